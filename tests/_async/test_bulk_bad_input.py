"""Bad input to each bulk call: the error says where it is, and nothing is half written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from io import BytesIO, StringIO
from typing import Any

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import NumericValueOutOfRange, UndefinedTable, UsageError

from .clients import at_rest, client_of, outside

TABLE = '"Odd ""schema"."T %s"'
CALLS = ("insert_many", "upsert_many", "copy_in", "executemany")
BAD = 1_203  # past what goes as one statement


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    outside(main_dsn, f'create schema "Odd ""schema"; create table {TABLE} (id int primary key, "Né" int2)')
    async with client_of(main=main_dsn) as made:
        yield made
        assert outside(main_dsn, f"select count(*) from {TABLE}") == [(0,)]
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


def rows(bad: Any, at: int = BAD) -> Iterator[Any]:
    """Yield rows without end, the one numbered *at* being *bad*; an exception is raised."""
    for number in range(1, at + 5_000):
        if number == at and isinstance(bad, Exception):
            raise bad
        yield bad if number == at else (number, 7)


async def brought(db: AsyncDB, call: str, given: Any, table: str = TABLE) -> Any:
    if call == "upsert_many":
        return await db.upsert_many(table, given, "id")
    if call == "executemany":
        return await db.executemany(f"insert into {table} values ($1, $2)", given)
    return await getattr(db, call)(table, given)


async def test_a_row_far_in(db: AsyncDB) -> None:
    """A wrong count of columns in row 73,211 of an iterator is said so, and none of the rows before stays."""
    for call in ("insert_many", "copy_in"):
        with pytest.raises(UsageError, match=r"^row 73211: 3 values for 2 columns \(id, Né\)"):
            await brought(db, call, rows((1, 2, 3), at=73_211))


async def test_a_row_that_does_not_fit(db: AsyncDB) -> None:
    """A row with too few or too many values, of a wrong type, or that is none: its number is in the error."""
    for bad, words in (
        ((1,), "2"),
        ((1, 2, 3), "2"),
        ((BAD, 1.5), "float"),
        (5, "a int|5"),
        ((1, "x", 1), ""),
    ):
        for call in CALLS:
            with pytest.raises(UsageError, match=rf"(?s)^row {BAD}\b.*({words})"):
                await brought(db, call, rows(bad))


async def test_a_value_out_of_range(db: AsyncDB) -> None:
    """A number that the column cannot hold is refused, with the row; so is one that the server parses."""
    for call in CALLS:
        with pytest.raises(UsageError, match=rf"(?s)^row {BAD}\b.*70000 is not between -32768 and 32767"):
            await brought(db, call, rows((BAD, 70_000)))
        with pytest.raises(NumericValueOutOfRange):
            await brought(db, call, rows((BAD, "70000")))


class BrokenError(Exception):
    pass


async def test_a_generator_that_raises(db: AsyncDB) -> None:
    """T1: its own error is what the caller sees."""
    for call in CALLS:
        with pytest.raises(BrokenError):
            await brought(db, call, rows(BrokenError()))


async def test_names(db: AsyncDB) -> None:
    """A column that is not there is named beside those that are; a table is found by its odd name alone."""
    for call in CALLS[:3]:
        with pytest.raises(UsageError, match="no column 'née'; it has id, Né"):
            await brought(db, call, [{"id": 1, "née": 1}])
        with pytest.raises(UndefinedTable):
            await brought(db, call, [(1, 2)], table='"T %s"')
        with pytest.raises(UsageError, match="not the name of a table"):
            await brought(db, call, [(1, 2)], table="T %s")


async def test_nothing(db: AsyncDB) -> None:
    """An empty input is 0 rows, and no statement is sent, which a table that is not there would fail."""
    for call in CALLS:
        table = "nowhere" if call != "executemany" else TABLE
        assert await brought(db, call, [], table) == 0
        assert await brought(db, call, iter(()), table) == 0
    for empty in (BytesIO(), StringIO()):
        assert await db.copy_in("nowhere", empty, format="csv", header=True) == 0


async def test_what_has_no_rows(db: AsyncDB) -> None:
    """What cannot be iterated, or is a text or one dict, is refused before anything is sent."""
    for call in CALLS:
        for wrong in (None, 5, "abc", b"abc", {"id": 1}):
            with pytest.raises(UsageError, match=f"^(rows|source) is a {type(wrong).__name__}: give a list"):
                await brought(db, call, wrong)
