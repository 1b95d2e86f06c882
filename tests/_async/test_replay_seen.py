"""T5: all that a block can have seen of the first run is held against the second, and nothing is missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import (
    OperationalError,
    ReplayMismatchError,
    SerializationFailure,
    UniqueViolation,
)

from .clients import at_rest, client_of, first, outside, prepare
from .test_replay import ADD, TABLE, cut


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


async def test_the_words_of_an_error(db: AsyncDB, main_dsn: str) -> None:
    """T5: which constraint refused a row was seen, too: another one the second time is another answer."""
    prepare(
        main_dsn,
        "create table person (email text constraint by_email unique, name text constraint by_name unique);"
        "insert into person values ('a@b', 'other')",
    )
    with pytest.raises(ReplayMismatchError, match="by_name"):
        async with db.transaction() as tx:
            with pytest.raises(UniqueViolation, match="by_email"):
                async with db.transaction():
                    await db.execute("insert into person values ('a@b', 'a')")
            await cut(main_dsn)
            outside(main_dsn, "update person set email = 'c@d', name = 'a'")
            await tx.execute(ADD, 1, 1)
    assert first(main_dsn, "select n from t where id = 1") == 0


@pytest.mark.parametrize("is_cursor", [True, False], ids=["cursor", "parentheses"])
async def test_an_order_that_is_not_in_front(db: AsyncDB, main_dsn: str, is_cursor: bool) -> None:
    """T5: rows of a cursor, or of a query in parentheses, may have an order."""
    prepare(main_dsn, "create table pages (n int, at int); insert into pages values (1, 1), (2, 2)")
    query = "select n from pages order by at"
    with pytest.raises(ReplayMismatchError, match="its rows are others"):
        async with db.transaction() as tx:
            if is_cursor:
                await tx.execute(f"declare c cursor for {query}")
                rows = await tx.fetch("fetch 2 from c")
            else:
                rows = await tx.fetch(f"({query} limit 2)")
            assert [row[0] for row in rows] == [1, 2]
            await cut(main_dsn)
            outside(main_dsn, "update pages set at = -at")
            await tx.execute(ADD, 1, 1)


async def test_a_buffer_that_is_changed(db: AsyncDB, main_dsn: str) -> None:
    """T5: what the caller does to a buffer later changes nothing in what is sent again."""
    prepare(main_dsn, "create table file (data bytea, more bytea)")
    data, more = bytearray(b"first"), bytearray(b"second")
    async with db.transaction() as tx:
        await tx.execute("insert into file values ($1, $2)", data, memoryview(more))
        data[:] = more[:] = b"later!"
        await cut(main_dsn)
        await tx.execute(ADD, 1, 1)
    assert tx.replays == 1
    assert outside(main_dsn, "select data, more from file") == [(b"first", b"second")]


class Drain:
    """Rows that are gone when they were read, though it is no iterator itself."""

    def __init__(self, count: int) -> None:
        self.rows = deque((2, 1) for _ in range(count))

    def __iter__(self) -> Iterator[Any]:
        while self.rows:
            if len(self.rows) % 400 == 0:
                time.sleep(0.01)  # the answer to the first comes while there are more
            yield self.rows.popleft()


async def test_rows_that_come_once(db: AsyncDB, main_dsn: str) -> None:
    """T5: rows that were read in part and are gone are missed: the conflict is the caller's."""
    with pytest.raises(SerializationFailure):
        async with db.transaction(isolation="repeatable read") as tx:
            await tx.fetchval("select 1 from t where id = 1")
            outside(main_dsn, "update t set n = 0 where id = 2")
            await tx.executemany(ADD, Drain(3000))
    assert first(main_dsn, "select n from t where id = 2") == 0


async def test_a_program_on_the_server(db: AsyncDB, main_dsn: str) -> None:
    """T5: COPY to a file or a program of the server's is no part of the transaction, and not done twice."""
    with pytest.raises(OperationalError):
        async with db.transaction() as tx:
            await tx.execute("copy (select 1) to program 'cat > /dev/null'")
            await cut(main_dsn)
            await tx.execute(ADD, 1, 1)
    assert first(main_dsn, "select n from t where id = 1") == 0


async def test_rows_of_insert_many(db: AsyncDB, main_dsn: str) -> None:
    """T5: rows of insert_many are as they were given, whatever becomes of them later."""
    rows = [[10, 1], [11, 1]]
    async with db.transaction() as tx:
        assert await tx.insert_many("t", rows) == 2
        rows[0][1] = 99
        rows.append([12, 1])
        await cut(main_dsn)
        assert await tx.fetchval("select sum(n) from t where id >= 10") == 2
    assert tx.replays == 1
    assert first(main_dsn, "select sum(n) from t") == 2
