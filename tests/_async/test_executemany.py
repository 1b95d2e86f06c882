"""executemany: one statement for many rows, all or nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import FeatureNotSupported

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import (
    InvalidTextRepresentation,
    NotNullViolation,
    QueryTimeoutError,
    TransactionFailedError,
    UndefinedTable,
    UniqueViolation,
    UsageError,
)

from .clients import at_rest, client_of, outside, prepare
from .runtime import FACE, Event, spawn

INSERT = "insert into t values ($1, $2)"


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    outside(main_dsn, "create table t (id int primary key, name text not null)")
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


def ids(dsn: str) -> list[int]:
    return [row[0] for row in outside(dsn, "select id from t order by id")]


async def test_rows_touched(db: AsyncDB, main_dsn: str) -> None:
    """It returns how many rows were touched in all, from a list, a generator or an empty one."""
    assert await db.executemany(INSERT, [(1, "a"), [2, "b"], (3, "c")]) == 3
    assert await db.executemany(INSERT, ((number, "x") for number in range(4, 9))) == 5
    assert await db.executemany("update t set name = $1 where id > $2", [("y", 2), ("z", 7)]) == 7
    assert await db.executemany(INSERT, []) == 0
    assert await db.executemany(INSERT, iter(())) == 0
    assert ids(main_dsn) == list(range(1, 9))


async def test_a_statement_with_returning(db: AsyncDB, main_dsn: str) -> None:
    """Rows that come back are counted and not kept."""
    assert await db.executemany(f"{INSERT} returning id", [(1, "a"), (2, "b")]) == 2
    assert await db.executemany("select $1::int", [(1,), (2,)]) == 2


async def test_all_or_nothing_outside(db: AsyncDB, main_dsn: str) -> None:
    """T1: outside of a transaction an error in any row undoes all of them; it says which row it was."""
    rows = [(number, "a") for number in range(2000)]
    rows[1500] = (7, "again")
    with pytest.raises(UniqueViolation) as caught:
        await db.executemany(INSERT, rows)
    assert "row: 1501" in caught.value.__notes__
    assert ids(main_dsn) == []
    assert await db.executemany(INSERT, rows[:1500]) == 1500


async def test_all_or_nothing_inside(db: AsyncDB, main_dsn: str) -> None:
    """T4: inside a transaction it is kept with it; a server's error fails the block it stands in."""
    async with db.transaction() as tx:
        assert await tx.executemany(INSERT, [(1, "a")]) == 1
        with pytest.raises(NotNullViolation) as caught:
            async with db.transaction():
                await db.executemany(INSERT, [(2, "b"), (3, None), (4, "d")])
        assert "row: 2" in caught.value.__notes__
        assert await tx.executemany(INSERT, [(5, "e")]) == 1
        assert ids(main_dsn) == []
    assert ids(main_dsn) == [1, 5]
    with pytest.raises(TransactionFailedError, match="null value"):
        async with db.transaction() as tx:
            with pytest.raises(NotNullViolation):
                await tx.executemany(INSERT, [(6, None)])


MISFITS: list[tuple[Any, str]] = [
    ((9,), r"row 3: statement takes 2 arguments \(\$1, \$2\), 1 was given"),
    ((9, "x", "y"), "row 3: .* 3 were given"),
    ((9.5, "x"), r"row 3: argument \$1 .*cannot be"),
    ((2**40, "x"), r"row 3: argument \$1"),
    ({"id": 9, "name": "x"}, "row 3: it is a dict: give a tuple or list of the values"),
    ({9, "x"}, "row 3: it is a set"),
    ("9x", "row 3: it is a str"),
    (9, "row 3: it is a int"),
    ((9, "nul \0"), r"row 3: argument \$2"),
]


async def test_a_row_that_does_not_fit(db: AsyncDB, main_dsn: str) -> None:
    """A row that does not fit is refused by its number; nothing stays, and an open block stays usable."""
    for row, words in MISFITS:
        rows = [(1, "a"), (2, "b"), row, (4, "d")]
        with pytest.raises(UsageError, match=words):
            await db.executemany(INSERT, rows)
        assert await db.fetchval("select count(*) from t") == 0
        async with db.transaction() as tx:
            with pytest.raises(UsageError, match=words):
                await tx.executemany(INSERT, rows)
            await tx.execute(INSERT, 5, "e")
        assert await db.execute("delete from t") == "DELETE 1"


async def test_a_text_that_the_server_refuses(db: AsyncDB) -> None:
    """Q5: a str is parsed by the server, whose error names the row as well."""
    with pytest.raises(InvalidTextRepresentation) as caught:
        await db.executemany(INSERT, [("1", "a"), ("two", "b")])
    assert "row: 2" in caught.value.__notes__


async def test_columns_that_came_since(db: AsyncDB, main_dsn: str) -> None:
    """Q6: very many rows return no column that the statement was not described with."""
    await db.fetchmany(f"{INSERT} returning *", [(0, "a")])
    outside(main_dsn, "alter table t add column v tsvector default 'a b'")
    with pytest.raises(FeatureNotSupported):
        await db.fetchmany(f"{INSERT} returning *", [(number, "a") for number in range(1, 5001)])
    assert ids(main_dsn) == [0]
    rows = await db.fetchmany(f"{INSERT} returning *", [(number, "a") for number in range(1, 5001)])
    assert {row[2] for row in rows} == {"'a' 'b'"}


class Paged:
    """Rows that end, and go on if they are asked for more."""

    def __init__(self, pages: list[int]) -> None:
        self.pages = pages
        self.left = 0
        self.number = 0

    def __iter__(self) -> Paged:
        return self

    def __next__(self) -> tuple[int, str]:
        if not self.left:
            self.left = self.pages.pop(0) + 1
        self.left -= 1
        if not self.left:
            raise StopIteration
        self.number += 1
        return self.number, "a"


@pytest.mark.parametrize("size", [0, 9, 60, 499, 501])
async def test_rows_that_would_go_on(db: AsyncDB, size: int) -> None:
    """What an iterator gives after its end is not asked for."""
    rows = Paged([size, 7])
    assert await db.executemany(INSERT, rows) == size
    assert rows.pages == [7]


async def test_very_many_rows(db: AsyncDB, main_dsn: str) -> None:
    """N1, Q5: with a statement that is parsed for them, which knows what became of their table meanwhile."""
    rows: list[Any] = [(number, "a") for number in range(5000)]
    assert await db.executemany(INSERT, rows) == 5000
    rows[4500] = (4500, None)
    with pytest.raises(NotNullViolation) as caught:
        await db.executemany("insert into t values (-1 - $1, $2)", rows)
    assert "row: 4501" in caught.value.__notes__
    assert ids(main_dsn) == list(range(5000))
    rows[4500] = (4500, 1)
    with pytest.raises(UsageError, match="row 4501: "):
        await db.executemany("insert into t values (-1 - $1, $2)", rows)
    outside(main_dsn, "alter table t alter id type text; truncate t")
    assert await db.executemany(INSERT, [(str(number), "a") for number in range(5000)]) == 5000
    outside(main_dsn, "drop table t")
    for _ in range(2):
        with pytest.raises(UndefinedTable):
            await db.executemany(INSERT, [("1", "a")] * 5000)
    outside(main_dsn, "create table t (id int, name text)")
    assert await db.executemany(INSERT, [(1, "a")] * 5000) == 5000
    returned = await db.fetchmany(f"{INSERT} returning id + 1", [(number, "a") for number in range(5000)])
    assert [row[0] for row in returned] == list(range(1, 5001))


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 3, 1999])
async def test_rows_that_raise_midway(db: AsyncDB, main_dsn: str, at: int) -> None:
    """T1: an iterator's own error is what the caller sees, and nothing was done; a block stays usable."""

    def rows() -> Iterator[tuple[int, str]]:
        yield from ((number, "a") for number in range(at))
        raise BrokenError

    with pytest.raises(BrokenError):
        await db.executemany(INSERT, rows())
    assert ids(main_dsn) == []
    async with db.transaction() as tx:
        with pytest.raises(BrokenError):
            await tx.executemany(INSERT, rows())
        await tx.execute(INSERT, 1, "a")
    assert ids(main_dsn) == [1]


def resident() -> int:
    """Return how much memory this process takes, libpq's included, in MB; 0 where nothing says so."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20 if statm.exists() else 0


async def test_many_rows_in_little_memory(db: AsyncDB) -> None:
    """Rows are read as they are sent: 200,000 of them, 100 MB, never stand in memory together."""
    seen: list[int] = []

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(200_000):
            if not number % 5_000:
                seen.append(resident())
            yield number, "x" * 500

    assert await db.executemany("insert into t select $1, left($2, 1)", rows()) == 200_000
    assert max(seen) - seen[0] < 30


@pytest.mark.parametrize("described", [False, True], ids=["outdated", "described anew"])
async def test_what_another_learns_of_the_text(db: AsyncDB, main_dsn: str, described: bool) -> None:
    """Q5: rows on their way are dumped for the types that they began with, whatever the text is elsewhere."""
    prepare(main_dsn, "create table wide (id bigint, name text)", "create schema other")
    prepare(main_dsn, "create table other.wide (id float8, name text)")
    sql = "insert into wide values ($1, $2)"
    begun, over = Event(), Event()

    def rows() -> Iterator[tuple[Any, str]]:
        begun.set()
        for number in range(2_000_000):
            yield number, "a"
            if over.is_set():
                break
        yield from (("-1", "b"), (-2, "c"))

    async def elsewhere() -> None:
        await begun.wait()
        with pytest.raises(UndefinedTable):
            async with db.transaction() as tx:
                await tx.execute("set local search_path = nowhere")
                await tx.execute(sql, 1, "x")
        if described:
            async with db.transaction() as tx:
                await tx.execute("set local search_path = other")
                await tx.execute(sql, 1, "x")
        over.set()

    async with spawn(elsewhere) as other:
        touched = await db.executemany(sql, rows())
        await other.result()
    assert outside(main_dsn, "select id from wide where name <> 'a' order by name") == [(-1,), (-2,)]
    ((count, lowest, highest),) = outside(main_dsn, "select count(*), min(id), max(id) from wide")
    assert (count, lowest, highest) == (touched, -2, touched - 3)
    assert outside(main_dsn, "select id from other.wide") == [(1.0,)] * described


async def test_a_timeout(db: AsyncDB, main_dsn: str) -> None:
    """D1, D2: past its time limit it raises, and nothing was done."""
    sql = "insert into t select $1, $2 from pg_sleep(0.3)"
    with pytest.raises(QueryTimeoutError) as caught:
        await db.executemany(sql, [(1, "a"), (2, "b")], timeout=0.45)
    assert caught.value.outcome == "rolled back"
    assert ids(main_dsn) == []
    with pytest.raises(UsageError, match="timeout=0"):
        await db.executemany(INSERT, [(1, "a")], timeout=0)


REFUSED = [
    ("insert into t values (%s, %s)", "psycopg's placeholder"),
    ("insert into t values (1, 'a'); select 1", "not a script"),
    ("set work_mem = '1MB'", "SET"),
    ("commit", "transaction"),
    ("copy t from stdin", "COPY"),
]


async def test_texts_that_are_refused(db: AsyncDB) -> None:
    """Q4: what has no place in executemany is refused before anything is sent."""
    for sql, words in REFUSED:
        with pytest.raises(UsageError, match=words):
            await db.executemany(sql, [(1, "a")])


async def test_rows_from_a_query_of_the_same_database(db: AsyncDB, main_dsn: str) -> None:
    """Outside of a transaction the rows may come from queries; inside, where they cannot, it says so."""
    if FACE == "async":
        return  # an iterator cannot wait there

    def rows(ask: Any) -> Iterator[tuple[int, str]]:
        for start in (1, 3):
            yield from ask("select id, 'a' from generate_series($1::int, $1::int + 1) id", start)

    assert await db.executemany(INSERT, rows(db.fetch)) == 4
    with pytest.raises(UsageError, match="fetch them first"):
        async with db.transaction():
            await db.executemany(INSERT, rows(db.fetch))
    assert ids(main_dsn) == [1, 2, 3, 4]
