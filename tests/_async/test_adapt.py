"""`db.register`: the user's own types, in parameters and in results."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.adapt import Dumper
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pgdual._async.db import AsyncDB
from pgdual.aio import AsyncClient
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
async def db(main_dsn: str) -> AsyncIterator[AsyncDB]:
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=2)})
    async with AsyncClient(settings) as client:
        db = client["main"]
        await db.execute(SCHEMA)
        yield db


@pytest.mark.parametrize("kind", [Mood, Word])
async def test_an_enum_is_its_members(db: AsyncDB, kind: Any) -> None:
    """A member stands for the label that is its value, or else its name, alone and in arrays."""
    assert await db.fetchval("select 'sad'::mood") == "sad"
    await db.register(kind, name="mood")
    for member, label in ((kind.SAD, "sad"), (kind.GLAD, "GLAD")):
        assert await db.fetchval("select $1::mood", member) is member
        assert await db.fetchval("select $1::mood::text", member) == label
        assert await db.fetchval("select $1::mood", label) is member
    assert await db.fetchval("select $1::mood[]", [kind.SAD, None]) == [kind.SAD, None]
    assert await db.fetchval("select 'sad'::mood") is kind.SAD


async def test_a_strenum_is_its_value_where_text_is_asked_for(db: AsyncDB) -> None:
    """A registered StrEnum stays a str for every other type."""
    await db.register(Word, name="mood")
    assert await db.fetchval("select $1::text", Word.GLAD) == "is glad"
    assert await db.fetchval("select $1::jsonb", [Word.GLAD]) == ["is glad"]


async def test_a_name_alone_makes_plain_values(db: AsyncDB) -> None:
    """Registered by name, an enum is a str, a domain what it is made of, a composite a named tuple."""
    for name in ("mood", "positive", "document", "line_item", "span", "span_multirange"):
        await db.register(name)
    assert await db.fetchval("select array['sad']::mood[]") == ["sad"]
    assert await db.fetchval("select $1::mood[]", ["sad", None]) == ["sad", None]
    assert await db.fetchval("select $1::positive[]", [5, None]) == [5, None]
    assert await db.fetchval("select $1::document", [1, {"a": 1}]) == [1, {"a": 1}]
    assert await db.fetchval("select $1::document[]", [[1], {"a": 1}]) == [[1], {"a": 1}]
    assert await db.fetchval("select $1::span", Range(0.1, 2)) == Range(0.1, 2.0)
    spans = Multirange([Range(0.1, 2), Range(3, None)])
    assert await db.fetchval("select $1::span_multirange", spans) == spans
    item = await db.fetchval("select $1::line_item", ("a", 0.1, AWARE, ["x"]))
    assert item == ("a", Decimal("0.1"), AWARE, ["x"])
    assert item.price == Decimal("0.1")
    for value, said in ((2**31, "is not between"), (1.5, "float")):
        with pytest.raises(UsageError, match=said):
            await db.fetchval("select $1::positive", value)
    with pytest.raises(CheckViolation):
        await db.fetchval("select $1::positive", -1)


async def test_a_dataclass_is_a_composite_by_its_fields_names(db: AsyncDB) -> None:
    """Fields go by name whatever their order, as exactly as arguments (Q5), also in arrays and nested."""
    await db.register(LineItem)
    odd = LineItem(Decimal("0.10"), 'a"b\\c,(d)', ["", None, "{x}"], AWARE)
    none = LineItem(Decimal(0), None, [])
    for item in (odd, none):
        assert await db.fetchval("select $1::line_item", item) == item
    assert await db.fetchval("select $1::line_item[]", [odd, None, none]) == [odd, None, none]
    assert await db.fetchval("select ($1::line_item).price", LineItem(0.1, "", [])) == Decimal("0.1")
    await db.register(Mood)
    await db.register(Parcel)
    parcel = Parcel("", [odd, none], Mood.GLAD)
    assert await db.fetchval("select $1::parcel", parcel) == parcel


async def test_a_namedtuple_is_a_composite(db: AsyncDB) -> None:
    """A NamedTuple and a plain tuple both stand for a composite."""
    await db.register(Row, name="line_item")
    row = Row("a", Decimal(1), AWARE, ["x"])
    for given in (row, tuple(row)):
        back = await db.fetchval("select $1::line_item", given)
        assert back == row
        assert isinstance(back, Row)
    assert await db.fetchval("select $1::line_item[]", [tuple(row)]) == [row]


async def test_fields_are_held_to_the_rules_of_arguments(db: AsyncDB) -> None:
    """Q5: what would be refused as an argument is refused in a composite, before anything is sent."""
    await db.register(LineItem)
    async with db.transaction() as tx:
        for item, said in (
            (LineItem(Decimal(1), "a", [], dt.datetime(2024, 1, 1)), "offset-naive"),
            (LineItem(Decimal(1), 5, []), "a part of it is text"),  # type: ignore[arg-type]
            (("a", 1), "2 fields, not 4"),
            (Strange(), "cannot be given as Strange"),
        ):
            with pytest.raises(UsageError, match=said):
                await tx.fetchval("select $1::line_item", item)
        assert await tx.fetchval("select 1") == 1


async def test_a_composite_with_a_strange_field_is_asked_for_in_text(db: AsyncDB) -> None:
    """Q6: a field without a binary loader is a str, never raw bytes."""
    await db.register("strange")
    assert await db.fetchval("select row(1, 'a')::strange") == (1, "'a'")


async def test_hstore_is_a_dict(db: AsyncDB) -> None:
    """A registered hstore takes and gives dicts, and jsonb goes on taking them as JSON."""
    await db.execute("create extension hstore")
    await db.register("hstore")
    for value in ({}, {"a": "1", 'b"': None}):
        assert await db.fetchval("select $1::hstore", value) == value
    assert await db.fetchval("select $1::jsonb", {"a": 1}) == {"a": 1}
    with pytest.raises(UsageError, match=r"argument \$1 \(dict\) cannot be sent as hstore"):
        await db.fetchval("select $1::hstore", {"a": 1})


async def test_registering_what_does_not_fit_is_refused(db: AsyncDB) -> None:
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
            await db.register(kind, name)
            continue
        with pytest.raises(UsageError, match=said):
            await db.register(kind, name)
    assert await db.fetchval("select 1") == 1


async def test_psycopgs_own_registry_is_honoured(main_dsn: str) -> None:
    """A dumper that the user registered with psycopg serves any type; its error is a UsageError."""
    psycopg.adapters.register_dumper(Cents, CentsDumper)  # for a class that nobody else has
    async with AsyncClient(Settings(databases={"main": DatabaseSettings(dsn=main_dsn)})) as client:
        db = client["main"]
        assert await db.fetchval("select $1::numeric", Cents(5)) == Decimal("0.05")
        assert await db.fetchval("select $1::numeric[]", [Cents(5), None]) == [Decimal("0.05"), None]
        assert await db.fetchval("select $1::money", Cents(5)) == "$0.05"
        with pytest.raises(UsageError, match=r"\(Cents\) cannot be sent as numeric: below zero") as caught:
            await db.fetchval("select $1::numeric", Cents(-5))
        assert isinstance(caught.value.__cause__, LookupError)
