"""`Record`, the caches of its classes (N3), and the functions behind `into=`.

What a Record does is tried twice: with its base in C, and in Python as where no compiler was.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import keyword
import pickle
import sys
import weakref
from collections import namedtuple
from collections.abc import Callable
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from threading import Thread
from types import ModuleType
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core import record
from pgdual.core.named import Named
from pgdual.core.record import Record, checked_shape, column_position, maker, record_class
from pgdual.errors import UsageError


def in_c() -> ModuleType:
    """Return the module with its base in C; where that is not built the test is skipped."""
    pytest.importorskip("pgdual.core._named", reason="_named.c is not built: it is by `pip install -e .`")
    assert Named not in Record.__mro__
    return record


def in_python() -> ModuleType:
    """Return the module as it is where the C is not built."""
    spec = spec_from_file_location(record.__name__, record.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"pgdual.core._named": None}):
        spec.loader.exec_module(module)
    assert Named in module.Record.__mro__
    return module


@pytest.fixture(scope="module", params=[in_c, in_python])
def made(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param()
    return module


@pytest.fixture(scope="module")
def both():
    return in_c(), in_python()


@pytest.fixture
def row(made):
    return made.record_class(("id", "email"))((1, "a@b"))


@pytest.fixture
def twice(made):
    return made.record_class(("a", "b", "a"))((1, 2, 3))


def test_a_record_is_a_tuple(row):
    """It compares, hashes, unpacks, slices, adds and is looked into as a tuple."""
    number, email = row
    assert (number, email) == row == (1, "a@b")
    assert isinstance(row, tuple)
    assert hash(row) == hash((1, "a@b"))
    assert {(1, "a@b"): "found"}[row] == "found"
    assert row < (2,)
    assert (len(row), row[0], row[-1], row[True]) == (2, 1, "a@b", "a@b")
    assert row[:1] == (1,)
    assert type(row[:1]) is type(row * 2) is tuple
    assert 1 in row
    assert "email" not in row
    assert (row.index("a@b"), row.count(1)) == (1, 1)
    with pytest.raises(IndexError):
        row[2]
    with pytest.raises(TypeError):
        row[0] = 2


def test_a_record_answers_by_name(made, row):
    """By [], by attribute, by get, and as a mapping."""
    assert row["email"] == row.email == row.get("email") == "a@b"
    assert (row.get("no"), row.get("no", 5)) == (None, 5)
    assert dict(row) == row.asdict() == {"id": 1, "email": "a@b"} == {**row}
    assert (list(row.keys()), list(row.values())) == (["id", "email"], [1, "a@b"])
    assert list(row.items()) == [("id", 1), ("email", "a@b")]
    assert repr(row) == "<Record id=1 email='a@b'>"
    assert repr(made.record_class(())(())) == "<Record>"


def test_of_two_columns_with_one_name_the_last_wins(twice):
    """Both stand by position; every way by name gives the last."""
    assert twice == (1, 2, 3)
    assert twice["a"] == twice.a == twice.get("a") == 3
    assert dict(twice) == {"a": 3, "b": 2}
    assert list(twice.keys()) == ["a", "b"]
    assert list(twice.values()) == [3, 2]
    assert list(twice.items()) == [("a", 3), ("b", 2)]
    assert repr(twice) == "<Record a=1 b=2 a=3>"
    assert column_position("a", ("a", "b", "a")) == 2


def test_a_missing_column_lists_those_there_are(row):
    """KeyError, AttributeError and UsageError name the column and the others."""
    with pytest.raises(KeyError, match="no column 'mail'; the row has id, email"):
        row["mail"]
    with pytest.raises(AttributeError, match="no column 'mail'; the row has id, email"):
        _ = row.mail
    for column in ("mail", 2, -3):
        with pytest.raises(UsageError, match="the result has the columns id, email"):
            column_position(column, ("id", "email"))
    with pytest.raises(UsageError, match="the result has no columns"):
        column_position(0, ())
    assert [column_position(at, ("id", "email")) for at in (0, -1, -2)] == [0, -1, -2]


def test_a_record_is_only_what_its_columns_say(row):
    """No attribute can be set on it."""
    with pytest.raises(AttributeError):
        row.email = "other"
    assert not hasattr(row, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_pickles_as_a_tuple(row, protocol):
    """The other side needs neither pgdual nor the class."""
    back = pickle.loads(pickle.dumps(row, protocol))
    assert back == row
    assert type(back) is tuple


def test_a_copy_is_a_record(made):
    """A copy of what cannot change is itself; a deep copy holds copies."""
    row = made.record_class(("tags",))(([1],))
    assert copy.copy(row) is row
    deep = copy.deepcopy(row)
    assert (type(deep), deep, deep.tags is row.tags) == (type(row), row, False)


def test_a_record_matches_patterns(made, row):
    """As a sequence, and by its class and names."""
    match row:
        case [1, email]:
            assert email == "a@b"
    match row:
        case made.Record(id=1, email=email):
            assert email == "a@b"
    match row:
        case made.Record(id=2):
            pytest.fail("the value decides")


NAMES = st.sampled_from(
    ["get", "keys", "values", "items", "count", "index", "asdict", "_index", "_names", "__class__", "__len__",
     "__getitem__", "__reduce__", "__private", "?column?", "user id", "", "1", "é", "class", *keyword.kwlist]
) | st.text()  # fmt: skip


@given(st.lists(NAMES, max_size=6))
def test_any_name_may_be_a_column(made, names):
    """A method's or a keyword's name takes nothing away from a row."""
    row = made.record_class(tuple(names))(range(len(names)))
    last = {name: at for at, name in enumerate(names)}
    assert (dict(row), tuple(row), len(row)) == (last, tuple(range(len(names))), len(names))
    for name, at in last.items():
        assert row[name] == row.get(name) == at
        if name not in dir(made.Record):
            assert getattr(row, name) == at
    assert pickle.loads(pickle.dumps(row)) == copy.deepcopy(row) == row


class Name(str):
    __slots__ = ()


class Place:
    """Stands for 1, and is equal to a name."""

    def __index__(self):
        return 1

    def __eq__(self, other):
        return other == "email"

    def __hash__(self):
        return hash("email")


class Torn(str):
    __slots__ = ()

    def __hash__(self):
        raise RuntimeError("no hash")


def outcome(read: Callable[[Any], Any], key: object) -> object:
    """Return what *read* makes of *key*, be it an error."""
    try:
        value = read(key)
    except Exception as error:
        return type(error), error.args, error.__cause__, error.__suppress_context__ or error.__context__
    return type(value), value


KEYS = st.one_of(
    NAMES,
    st.integers(-9, 9),
    st.builds(slice, *[st.none() | st.integers(-9, 9)] * 3),
    st.sampled_from([1.0, True, None, b"id", 1 << 70, Decimal(1), (), [], Name("get"), Place()]),
)


@given(st.lists(NAMES, max_size=6), KEYS, st.integers(0, 6))
def test_c_and_python_answer_alike(both, names, key, length):
    """[] gives the same value or the same error for any key, also where a row is too short for its names."""
    values = range(min(length, len(names)))
    c, python = (module.record_class(tuple(names))(values) for module in both)
    assert outcome(c.__getitem__, key) == outcome(python.__getitem__, key)
    assert outcome(lambda key: c[key], key) == outcome(lambda key: python[key], key)


def test_an_error_of_the_key_comes_out(row):
    """It is neither swallowed nor taken for a missing column."""
    with pytest.raises(RuntimeError, match="no hash"):
        row[Torn("email")]


def test_reading_keeps_nothing(made):
    """Neither the value, the name nor the class gains a reference, whether the column is there or not."""
    name, missing, value = Name("email"), Name("mail"), object()  # not interned, so that they count alone
    cls = made.record_class((name,))
    row = cls((value,))
    kept = (name, value, cls, cls._index, row, missing)
    before = [sys.getrefcount(it) for it in kept]
    for _ in range(1000):
        assert row[name] is row[0] is value
        with pytest.raises(KeyError):
            row[missing]
        with pytest.raises(TypeError):
            row[None]
    assert [sys.getrefcount(it) for it in kept] == before


def test_a_class_goes_with_its_rows(made):
    """A row that its own class holds keeps neither alive: the collector sees the way from row to class."""

    class Mine(made.record_class(("id",))):
        __slots__ = ()

    Mine.first = Mine((1,))
    seen = weakref.ref(Mine)
    assert Mine.first["id"] == 1
    del Mine
    gc.collect()
    assert seen() is None


def test_a_subclass_may_say_otherwise(made):
    """What a class of the user's says about [] and about missing columns holds."""

    class Lenient(made.record_class(("id",))):
        def __missing__(self, key):
            return f"no {key}"

    class Loud(made.record_class(("id",))):
        def __getitem__(self, key):
            return super().__getitem__(key.lower())

    assert (Lenient((1,))["id"], Lenient((1,))["mail"], Loud((1,))["ID"]) == (1, "no mail", 1)


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
