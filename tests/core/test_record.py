"""`Record`, the caches of its classes (N3), and the functions behind `into=`."""

from __future__ import annotations

import copy
import dataclasses
import keyword
import pickle
from collections import namedtuple
from threading import Thread

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core import record
from pgdual.core.record import Record, checked_shape, column_position, maker, record_class
from pgdual.errors import UsageError

ROW = record_class(("id", "email"))((1, "a@b"))
TWICE = record_class(("a", "b", "a"))((1, 2, 3))


def test_a_record_is_a_tuple():
    """It compares, hashes, unpacks, slices, adds and is looked into as a tuple."""
    number, email = ROW
    assert (number, email) == ROW == (1, "a@b")
    assert isinstance(ROW, tuple)
    assert hash(ROW) == hash((1, "a@b"))
    assert {(1, "a@b"): "found"}[ROW] == "found"
    assert ROW < (2,)
    assert (len(ROW), ROW[0], ROW[-1], ROW[True]) == (2, 1, "a@b", "a@b")
    assert ROW[:1] == (1,)
    assert type(ROW[:1]) is type(ROW * 2) is tuple
    assert 1 in ROW
    assert "email" not in ROW
    assert (ROW.index("a@b"), ROW.count(1)) == (1, 1)
    with pytest.raises(IndexError):
        ROW[2]
    with pytest.raises(TypeError):
        ROW[0] = 2


def test_a_record_answers_by_name():
    """By [], by attribute, by get, and as a mapping."""
    assert ROW["email"] == ROW.email == ROW.get("email") == "a@b"
    assert (ROW.get("no"), ROW.get("no", 5)) == (None, 5)
    assert dict(ROW) == ROW.asdict() == {"id": 1, "email": "a@b"} == {**ROW}
    assert (list(ROW.keys()), list(ROW.values())) == (["id", "email"], [1, "a@b"])
    assert list(ROW.items()) == [("id", 1), ("email", "a@b")]
    assert repr(ROW) == "<Record id=1 email='a@b'>"
    assert repr(record_class(())(())) == "<Record>"


def test_of_two_columns_with_one_name_the_last_wins():
    """Both stand by position; every way by name gives the last."""
    assert TWICE == (1, 2, 3)
    assert TWICE["a"] == TWICE.a == TWICE.get("a") == 3
    assert dict(TWICE) == {"a": 3, "b": 2}
    assert list(TWICE.keys()) == ["a", "b"]
    assert list(TWICE.values()) == [3, 2]
    assert list(TWICE.items()) == [("a", 3), ("b", 2)]
    assert repr(TWICE) == "<Record a=1 b=2 a=3>"
    assert column_position("a", ("a", "b", "a")) == 2


def test_a_missing_column_lists_those_there_are():
    """KeyError, AttributeError and UsageError name the column and the others."""
    with pytest.raises(KeyError, match="no column 'mail'; the row has id, email"):
        ROW["mail"]
    with pytest.raises(AttributeError, match="no column 'mail'; the row has id, email"):
        _ = ROW.mail
    for column in ("mail", 2, -3):
        with pytest.raises(UsageError, match="the result has the columns id, email"):
            column_position(column, ("id", "email"))
    with pytest.raises(UsageError, match="the result has no columns"):
        column_position(0, ())
    assert [column_position(at, ("id", "email")) for at in (0, -1, -2)] == [0, -1, -2]


def test_a_record_is_only_what_its_columns_say():
    """No attribute can be set on it."""
    with pytest.raises(AttributeError):
        ROW.email = "other"
    assert not hasattr(ROW, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_pickles_as_a_tuple(protocol):
    """The other side needs neither pgdual nor the class."""
    back = pickle.loads(pickle.dumps(ROW, protocol))
    assert back == ROW
    assert type(back) is tuple


def test_a_copy_is_a_record():
    """A copy of what cannot change is itself; a deep copy holds copies."""
    row = record_class(("tags",))(([1],))
    assert copy.copy(row) is row
    deep = copy.deepcopy(row)
    assert (type(deep), deep, deep.tags is row.tags) == (type(row), row, False)


def test_a_record_matches_patterns():
    """As a sequence, and by its class and names."""
    match ROW:
        case [1, email]:
            assert email == "a@b"
    match ROW:
        case Record(id=1, email=email):
            assert email == "a@b"
    match ROW:
        case Record(id=2):
            pytest.fail("the value decides")


NAMES = st.sampled_from(
    ["get", "keys", "values", "items", "count", "index", "asdict", "_index", "_names", "__class__", "__len__",
     "__getitem__", "__reduce__", "__private", "?column?", "user id", "", "1", "é", "class", *keyword.kwlist]
) | st.text()  # fmt: skip


@given(st.lists(NAMES, max_size=6))
def test_any_name_may_be_a_column(names):
    """A method's or a keyword's name takes nothing away from a row."""
    row = record_class(tuple(names))(range(len(names)))
    last = {name: at for at, name in enumerate(names)}
    assert (dict(row), tuple(row), len(row)) == (last, tuple(range(len(names))), len(names))
    for name, at in last.items():
        assert row[name] == row.get(name) == at
        if name not in dir(Record):
            assert getattr(row, name) == at
    assert pickle.loads(pickle.dumps(row)) == copy.deepcopy(row) == row


def test_the_caches_are_bounded(monkeypatch):
    """N3: past the limit the oldest class goes; one that is in use works on."""
    monkeypatch.setattr(record, "_classes", {})
    monkeypatch.setattr(record, "_makers", {})
    first = record_class(("first",))
    assert record_class(("first",)) is first
    for number in range(record.SHAPES + 10):
        record_class((f"c{number}",))
        maker(dict, (f"c{number}",))
    assert len(record._classes) == len(record._makers) == record.SHAPES
    assert record_class(("first",)) is not first
    assert first((1,)).first == 1


def test_the_caches_are_shared_by_threads(monkeypatch):
    """N3: threads that overflow the cache together raise nothing."""
    monkeypatch.setattr(record, "_classes", {})
    monkeypatch.setattr(record, "SHAPES", 4)
    done = []

    def work(at: int) -> None:
        for number in range(300):
            assert record_class((f"c{at}_{number}",))((1,))[f"c{at}_{number}"] == 1
        done.append(at)

    threads = [Thread(target=work, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(6))


def test_what_can_be_made():
    """`checked_shape` passes what `maker` makes, and nothing else."""
    plain = dataclasses.make_dataclass("Plain", ["id"])
    for into in (None, tuple, dict, plain):
        assert checked_shape(into) is into
    for into in (list, Record, namedtuple("Pair", "a b"), plain(1), [], "dict"):
        with pytest.raises(UsageError, match="is not a row shape"):
            checked_shape(into)
    assert maker(None, ("id",)) is record_class(("id",))
    assert maker(tuple, ("id",)) is tuple
    assert maker(plain, ("id",))((1,)) == plain(1)
    assert maker(plain, ("id",)) is maker(plain, ("id",))


@dataclasses.dataclass
class Plain:
    id: int
    email: str = "none"
    made: int = dataclasses.field(default=7, init=False)


class Loose:
    """Takes any column, as a dataclass with an __init__ of its own may."""

    __dataclass_fields__ = ()

    def __init__(self, **columns):
        self.columns = columns


class Struct(msgspec.Struct):
    id: int


def test_rows_in_each_shape():
    """A row goes into a dict, a dataclass by its fields, a model or a Struct as its library reads it."""
    assert maker(dict, ("id", "email"))((1, "a")) == {"id": 1, "email": "a"}
    assert maker(Plain, ("email", "id"))(("a", 1)) == Plain(1, "a")
    assert maker(Plain, ("id",))((1,)) == Plain(1, "none")
    assert maker(Loose, ("a", "b"))((1, 2)).columns == {"a": 1, "b": 2}
    model = type("Model", (), {"model_validate": staticmethod(lambda values: sorted(values.items()))})
    assert maker(model, ("id", "email"))((1, "a")) == [("email", "a"), ("id", 1)]
    assert checked_shape(model) is model
    assert maker(Struct, ("id", "more"))(("1", 2)) == Struct(1)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("email",), "^Plain also wants id; the result has the columns email"),
        (("id", "made"), "^Plain has no field for made; the result has"),
        (("a", "b"), "^Plain also wants id and Plain has no field for a, b; the result has the columns a, b"),
        ((), "^Plain also wants id; the result has no columns"),
    ],
)
def test_a_dataclass_of_other_columns(names, words):
    """It is refused when it is looked at first, and says which columns there are."""
    with pytest.raises(UsageError, match=words):
        maker(Plain, names)
