"""`into=`: rows as tuple, dict, dataclass, pydantic model or msgspec Struct."""

from __future__ import annotations

import datetime as dt
import gc
import uuid
from collections.abc import AsyncIterator
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest
from psycopg.adapt import Loader
from psycopg.pq import Format

from pgdual._async.db import AsyncDB
from pgdual.aio import AsyncClient
from pgdual.core.record import Record
from pgdual.errors import UsageError
from pgdual.settings import DatabaseSettings, Settings


@dataclass
class Plain:
    id: int
    email: str = "none"
    made: list[int] = field(default_factory=list, init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    id: int
    email: str


@dataclass
class Doubled:
    id: int
    factor: InitVar[int] = 2

    def __post_init__(self, factor: int) -> None:
        if self.id < 0:
            raise LookupError("below zero")
        self.id *= factor


@dataclass
class Loose:
    def __init__(self, **columns: Any) -> None:
        self.columns = columns


class Model(pydantic.BaseModel):
    id: int
    email: str = "none"


class Struct(msgspec.Struct):
    id: int
    email: str = "none"


class Rich(msgspec.Struct):
    key: uuid.UUID
    price: Decimal
    at: dt.datetime
    tags: list[str]


SQL = "select n as id, 'a@b' as email from generate_series(1, 2) n"


@pytest.fixture
async def db(main_dsn: str) -> AsyncIterator[AsyncDB]:
    async with AsyncClient(Settings(databases={"main": DatabaseSettings(dsn=main_dsn)})) as client:
        yield client["main"]


@pytest.mark.parametrize(
    ("into", "one"),
    [
        (tuple, (1, "a@b")),
        (dict, {"id": 1, "email": "a@b"}),
        (Plain, Plain(1, "a@b")),
        (Frozen, Frozen(id=1, email="a@b")),
        (Model, Model(id=1, email="a@b")),
        (Struct, Struct(1, "a@b")),
    ],
)
async def test_rows_take_the_shape_asked_for(db: AsyncDB, into: Any, one: Any) -> None:
    """Each row is of exactly the class that was asked for, from fetch and from fetchrow."""
    rows = await db.fetch(SQL, into=into)
    assert [type(row) for row in rows] == [into, into]
    assert rows[0] == one
    assert await db.fetchrow(SQL, into=into) == one
    assert await db.fetch(f"{SQL} where false", into=into) == []
    assert await db.fetchrow(f"{SQL} where false", into=into) is None


async def test_a_record_is_what_comes_otherwise(db: AsyncDB) -> None:
    """Without into= a row is a Record."""
    assert isinstance(await db.fetchrow(SQL), Record)


@pytest.mark.parametrize("into", [Plain, Model, Struct])
async def test_defaults_stand_for_columns_that_are_missing(db: AsyncDB, into: Any) -> None:
    """A field with a default need not be a column."""
    assert await db.fetchrow("select 1 as id", into=into) == into(id=1)


async def test_a_dataclass_runs_its_own_code(db: AsyncDB) -> None:
    """__init__ and __post_init__ run, and what they raise is what the caller sees."""
    assert await db.fetchrow("select 2 as id, 3 as factor", into=Doubled) == Doubled(2, 3)
    assert (await db.fetchrow("select 1 as a, 2 as b", into=Loose)).columns == {"a": 1, "b": 2}
    with pytest.raises(LookupError, match="below zero"):
        await db.fetchrow("select -1 as id", into=Doubled)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select 'a' as email", "Plain also wants id; the result has the columns email"),
        ("select 1 as id, 2 as more", "Plain has no field for more; the result has the columns id, more"),
        ("select 1 as made", "Plain also wants id and Plain has no field for made"),
        ("select", "Plain also wants id; the result has no columns"),
    ],
)
async def test_a_dataclass_that_is_not_the_columns_is_refused(db: AsyncDB, sql: str, said: str) -> None:
    """The error names the fields that are missing, those too many, and the columns there are."""
    with pytest.raises(UsageError, match=said):
        await db.fetch(sql, into=Plain)
    assert await db.fetchval("select 1") == 1


@pytest.mark.parametrize(
    ("into", "error"), [(Model, pydantic.ValidationError), (Struct, msgspec.ValidationError)]
)
async def test_a_models_own_error_is_what_the_caller_sees(db: AsyncDB, into: Any, error: Any) -> None:
    """pydantic and msgspec say themselves what does not fit, and the connection stays good."""
    for sql in ("select 'a' as email", "select 'x' as id", "select null::int as id"):
        with pytest.raises(error):
            await db.fetch(sql, into=into)
    async with db.transaction() as tx:
        with pytest.raises(error):
            await tx.fetch("select 'a' as email", into=into)
        assert await tx.fetchval("select 1") == 1


async def test_a_struct_takes_rich_values(db: AsyncDB) -> None:
    """msgspec is given Python values, so nothing is parsed again."""
    key, at = uuid.uuid4(), dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
    sql = "select $1::uuid as key, 1.10 as price, $2::timestamptz as at, array['a'] as tags, 1 as unused"
    assert await db.fetchrow(sql, key, at, into=Rich) == Rich(key, Decimal("1.10"), at, ["a"])


@pytest.mark.parametrize("into", [list, int, 5, "dict", [], Plain(1), object, dict[str, int]])
async def test_what_is_no_row_shape_is_refused_before_anything_is_sent(db: AsyncDB, into: Any) -> None:
    """The error lists the shapes, and the statement was not run."""
    await db.execute("create table t (id int)")
    with pytest.raises(UsageError, match="is not a row shape: give tuple, dict, a dataclass"):
        await db.fetch("insert into t values (1) returning id", into=into)
    with pytest.raises(UsageError, match="is not a row shape"):
        await db.fetchrow("insert into t values (1) returning id", into=into)
    assert await db.fetchval("select count(*) from t") == 0


async def test_of_two_columns_with_one_name_the_last_wins(db: AsyncDB) -> None:
    """A shape that goes by name takes the last of two columns with one name."""
    assert await db.fetchrow("select 1 as id, 2 as id", into=dict) == {"id": 2}
    assert await db.fetchrow("select 1 as id, 2 as id", into=Plain) == Plain(2)
    assert await db.fetchrow("select 1 as id, 2 as id", into=tuple) == (1, 2)


async def test_the_collector_waits_while_many_rows_are_made(db: AsyncDB) -> None:
    """It would look through them again and again; not for a few, and not while code of the caller's runs."""
    seen: list[bool] = []

    class Looking(Loader):
        format = Format.BINARY

        def load(self, data: Any) -> int:
            seen.append(gc.isenabled())
            if bytes(data) == b"\0\0\0\0":
                raise LookupError("zero")
            return 1

    db._types.adapters.register_loader("oid", Looking)
    text = "select n::oid as id from generate_series($1::int, $2) n"

    async def looked(first: int, last: int, into: Any = None) -> set[bool]:
        seen.clear()
        await db.fetch(text, first, last, into=into)
        assert len(seen) == last - first + 1
        return set(seen)

    assert await looked(1, 1000) == {False}
    assert await looked(1, 1000) == {False}, "in parts, once it is known how many they are"
    assert [await looked(1, 200, into) for into in (tuple, dict, Plain)] == [{False}, {False}, {True}]
    assert await looked(1, 50) == {True}
    with pytest.raises(LookupError):
        await looked(0, 200)
    assert gc.isenabled()
    gc.disable()
    try:
        await looked(1, 200)
        assert not gc.isenabled(), "who has switched it off himself keeps it off"
    finally:
        gc.enable()
