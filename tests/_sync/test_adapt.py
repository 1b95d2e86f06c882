# Generated from tests/_async/test_adapt.py by _generate.py. Do not edit.
"""`db.register`: the user's own types, in parameters and in results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.adapt import Dumper
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pgdual._sync.db import DB
from pgdual.sync import Client
from pgdual.errors import CheckViolation, UsageError
from pgdual.settings import DatabaseSettings, Settings

AWARE = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
SCHEMA = """
    create type mood as enum ('sad', 'GLAD');
    create type line_item as (name text, price numeric, at timestamptz, tags text[]);
    create type parcel as (label text, items line_item[], mood mood);
    create type strange as (x int, words tsvector);
    create type span as range (subtype = float8, multirange_type_name = span_multirange);
    create domain positive as int check (value > 0);
    create domain document as jsonb;
"""


class Mood(Enum):
    SAD = "sad"
    GLAD = "is glad"


class Word(StrEnum):
    SAD = "sad"
    GLAD = "is glad"


@dataclass
class LineItem:
    price: Decimal | float  # the server has it second
    name: str | None
    tags: list[str | None]
    at: dt.datetime | None = None


class Row(NamedTuple):
    name: str
    price: Decimal
    at: dt.datetime
    tags: list[str]


@dataclass
class Parcel:
    label: str
    items: list[LineItem]
    mood: Any


class Strange:
    pass


class Cents:
    def __init__(self, count: int) -> None:
        self.count = count


class CentsDumper(Dumper):
    def dump(self, obj: Cents) -> bytes:
        if obj.count < 0:
            raise LookupError("below zero")
        return f"{obj.count / 100:.2f}".encode()


@pytest.fixture
def db(main_dsn: str) -> Iterator[DB]:
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=2)})
    with Client(settings) as client:
        db = client["main"]
        db.execute(SCHEMA)
        yield db


@pytest.mark.parametrize("kind", [Mood, Word])
def test_an_enum_is_its_members(db: DB, kind: Any) -> None:
    """A member stands for the label that is its value, or else its name, alone and in arrays."""
    assert db.fetchval("select 'sad'::mood") == "sad"
    db.register(kind, name="mood")
    for member, label in ((kind.SAD, "sad"), (kind.GLAD, "GLAD")):
        assert db.fetchval("select $1::mood", member) is member
        assert db.fetchval("select $1::mood::text", member) == label
        assert db.fetchval("select $1::mood", label) is member
    assert db.fetchval("select $1::mood[]", [kind.SAD, None]) == [kind.SAD, None]
    assert db.fetchval("select 'sad'::mood") is kind.SAD


def test_a_strenum_is_its_value_where_text_is_asked_for(db: DB) -> None:
    """A registered StrEnum stays a str for every other type."""
    db.register(Word, name="mood")
    assert db.fetchval("select $1::text", Word.GLAD) == "is glad"
    assert db.fetchval("select $1::jsonb", [Word.GLAD]) == ["is glad"]


def test_a_name_alone_makes_plain_values(db: DB) -> None:
    """Registered by name, an enum is a str, a domain what it is made of, a composite a named tuple."""
    for name in ("mood", "positive", "document", "line_item", "span", "span_multirange"):
        db.register(name)
    assert db.fetchval("select array['sad']::mood[]") == ["sad"]
    assert db.fetchval("select $1::mood[]", ["sad", None]) == ["sad", None]
    assert db.fetchval("select $1::positive[]", [5, None]) == [5, None]
    assert db.fetchval("select $1::document", [1, {"a": 1}]) == [1, {"a": 1}]
    assert db.fetchval("select $1::document[]", [[1], {"a": 1}]) == [[1], {"a": 1}]
    assert db.fetchval("select $1::span", Range(0.1, 2)) == Range(0.1, 2.0)
    spans = Multirange([Range(0.1, 2), Range(3, None)])
    assert db.fetchval("select $1::span_multirange", spans) == spans
    item = db.fetchval("select $1::line_item", ("a", 0.1, AWARE, ["x"]))
    assert item == ("a", Decimal("0.1"), AWARE, ["x"])
    assert item.price == Decimal("0.1")
    for value, said in ((2**31, "is not between"), (1.5, "float")):
        with pytest.raises(UsageError, match=said):
            db.fetchval("select $1::positive", value)
    with pytest.raises(CheckViolation):
        db.fetchval("select $1::positive", -1)


def test_a_dataclass_is_a_composite_by_its_fields_names(db: DB) -> None:
    """Fields go by name whatever their order, as exactly as arguments (Q5), also in arrays and nested."""
    db.register(LineItem)
    odd = LineItem(Decimal("0.10"), 'a"b\\c,(d)', ["", None, "{x}"], AWARE)
    none = LineItem(Decimal(0), None, [])
    for item in (odd, none):
        assert db.fetchval("select $1::line_item", item) == item
    assert db.fetchval("select $1::line_item[]", [odd, None, none]) == [odd, None, none]
    assert db.fetchval("select ($1::line_item).price", LineItem(0.1, "", [])) == Decimal("0.1")
    db.register(Mood)
    db.register(Parcel)
    parcel = Parcel("", [odd, none], Mood.GLAD)
    assert db.fetchval("select $1::parcel", parcel) == parcel


def test_a_namedtuple_is_a_composite(db: DB) -> None:
    """A NamedTuple and a plain tuple both stand for a composite."""
    db.register(Row, name="line_item")
    row = Row("a", Decimal(1), AWARE, ["x"])
    for given in (row, tuple(row)):
        back = db.fetchval("select $1::line_item", given)
        assert back == row
        assert isinstance(back, Row)
    assert db.fetchval("select $1::line_item[]", [tuple(row)]) == [row]


def test_fields_are_held_to_the_rules_of_arguments(db: DB) -> None:
    """Q5: what would be refused as an argument is refused in a composite, before anything is sent."""
    db.register(LineItem)
    with db.transaction() as tx:
        for item, said in (
            (LineItem(Decimal(1), "a", [], dt.datetime(2024, 1, 1)), "offset-naive"),
            (LineItem(Decimal(1), 5, []), "a part of it is text"),  # type: ignore[arg-type]
            (("a", 1), "2 fields, not 4"),
            (Strange(), "cannot be given as Strange"),
        ):
            with pytest.raises(UsageError, match=said):
                tx.fetchval("select $1::line_item", item)
        assert tx.fetchval("select 1") == 1


def test_a_composite_with_a_strange_field_is_asked_for_in_text(db: DB) -> None:
    """Q6: a field without a binary loader is a str, never raw bytes."""
    db.register("strange")
    assert db.fetchval("select row(1, 'a')::strange") == (1, "'a'")


def test_hstore_is_a_dict(db: DB) -> None:
    """A registered hstore takes and gives dicts, and jsonb goes on taking them as JSON."""
    db.execute("create extension hstore")
    db.register("hstore")
    for value in ({}, {"a": "1", 'b"': None}):
        assert db.fetchval("select $1::hstore", value) == value
    assert db.fetchval("select $1::jsonb", {"a": 1}) == {"a": 1}
    with pytest.raises(UsageError, match=r"argument \$1 \(dict\) cannot be sent as hstore"):
        db.fetchval("select $1::hstore", {"a": 1})


def test_registering_what_does_not_fit_is_refused(db: DB) -> None:
    """A class is held against the type when it is registered, and the error says what differs."""
    for kind, name, said in (
        (Mood, None, None),
        (Mood, "line_item", "does not fit 'line_item'"),
        (LineItem, "mood", "does not fit 'mood'"),
        (Parcel, "line_item", r"the fields of Parcel \(label, items, mood\) are not those of 'line_item'"),
        (Strange, "line_item", "does not fit"),
        (Strange, "no_such", "the database has no type 'no_such'"),
        (Enum("Mood", {"SAD": "sad", "MAD": []}), "mood", "has no label for Mood.MAD; it has sad, GLAD"),
        (5, None, "5 is not a type"),
    ):
        if said is None:
            db.register(kind, name)
            continue
        with pytest.raises(UsageError, match=said):
            db.register(kind, name)
    assert db.fetchval("select 1") == 1


def test_psycopgs_own_registry_is_honoured(main_dsn: str) -> None:
    """A dumper that the user registered with psycopg serves any type; its error is a UsageError."""
    psycopg.adapters.register_dumper(Cents, CentsDumper)  # for a class that nobody else has
    with Client(Settings(databases={"main": DatabaseSettings(dsn=main_dsn)})) as client:
        db = client["main"]
        assert db.fetchval("select $1::numeric", Cents(5)) == Decimal("0.05")
        assert db.fetchval("select $1::numeric[]", [Cents(5), None]) == [Decimal("0.05"), None]
        assert db.fetchval("select $1::money", Cents(5)) == "$0.05"
        with pytest.raises(UsageError, match=r"\(Cents\) cannot be sent as numeric: below zero") as caught:
            db.fetchval("select $1::numeric", Cents(-5))
        assert isinstance(caught.value.__cause__, LookupError)
