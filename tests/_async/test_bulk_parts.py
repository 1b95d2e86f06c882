"""copy_out as an iterator: the data of a COPY as it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import DivisionByZero, QueryTimeoutError, UndefinedTable, UsageError

from .clients import at_rest, client_of, first, is_running, outside
from .runtime import Event, spawn, wait_until
from .test_bulk_copy import ODD, rows_of
from .test_executemany import resident

MANY = "select n, repeat('x', 500) from generate_series(1, 200000) n"


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    outside(main_dsn, "create table t (id int primary key, name text)")
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
async def test_out_and_in(db: AsyncDB, main_dsn: str, form: Any) -> None:
    """The parts together are what a function is given, and go in again on another connection."""
    await db.insert_many("t", ODD)
    await db.execute("create table u (like t)")
    given: list[bytes] = []
    assert await db.copy_out("t", given.append, format=form) == 6
    async with db.copy_out("t", format=form) as parts:
        assert parts.count is None
        assert b"".join([part async for part in parts]) == b"".join(given)
        assert parts.count == 6
        assert [part async for part in parts] == []
    async with db.copy_out("t", columns=["name", "id"], format=form) as parts:
        assert await db.copy_in("u", parts, columns=["name", "id"], format=form) == 6
    assert rows_of(main_dsn, "select * from u order by id") == ODD
    async with db.labelled("x").copy_out("select 1 where false; -- none", format=form) as parts:
        assert len(b"".join([part async for part in parts])) == (21 if form == "binary" else 0)
    assert parts.count == 0


async def test_left_early(db: AsyncDB, main_dsn: str) -> None:
    """Who stops early, by break or by an error, cancels the COPY, and the connection is good for more."""
    pid = await db.fetchval("select pg_backend_pid()")
    for at in range(6):
        with pytest.raises(ZeroDivisionError):
            async with db.copy_out(MANY) as parts:
                async for part in parts:
                    assert part.startswith(b"1\t")
                    if at % 2:
                        raise ZeroDivisionError
                    break
                raise ZeroDivisionError
        assert parts.count is None
        assert [part async for part in parts] == []
        assert await db.fetchval("select pg_backend_pid()") == pid
        await at_rest(db, main_dsn)
    async with db.copy_out(MANY):
        pass
    assert not is_running(main_dsn, "COPY")


async def test_left_early_in_a_transaction(db: AsyncDB, main_dsn: str) -> None:
    """It has a savepoint of its own: to stop it, or an error in it, undoes nothing else."""
    async with db.transaction() as tx:
        await tx.execute("insert into t values (1, 'a')")
        async with tx.copy_out(MANY) as parts:
            async for _ in parts:
                break
        await tx.execute("insert into t values (2, 'b')")
        async with db.copy_out("select id from t order by id") as parts:
            assert [part async for part in parts] == [b"1\n2\n"]
        for wrong, error in (
            ("nowhere", UndefinedTable),
            ("select 1 / (9 - n) from g(20) n", DivisionByZero),
        ):
            with pytest.raises(error):
                async with tx.copy_out(wrong.replace("g(", "generate_series(1, ")) as parts:
                    async for _ in parts:
                        pass
        async with db.transaction(), tx.copy_out("insert into t values (3, 'c') returning id") as parts:
            assert [part async for part in parts] == [b"3\n"]
    assert rows_of(main_dsn) == [(1, "a"), (2, "b"), (3, "c")]


async def test_nothing_in_between(db: AsyncDB) -> None:
    """In its transaction its own task is refused, and others wait until it is over; outside all goes on."""
    begun = Event()
    async with db.copy_out(MANY) as parts:
        async for _ in parts:
            assert await db.fetchval("select 1") == 1
            break
    async with db.transaction() as tx:

        async def other() -> Any:
            begun.set()
            return await tx.fetchval("select 2")

        async with spawn(other) as waiting:
            async with tx.copy_out("select generate_series(1, 3)") as parts:
                await begun.wait()
                with pytest.raises(UsageError, match="nothing else in between"):
                    await tx.fetchval("select 1")
                with pytest.raises(UsageError, match="nothing else in between"):
                    async with tx.transaction():
                        pass
                assert [part async for part in parts] == [b"1\n2\n3\n"]
            assert await waiting.result() == 2
        assert await tx.fetchval("select 3") == 3


async def test_an_error_in_the_midst(db: AsyncDB) -> None:
    """What came before it stands; the error is the server's, and it is over."""
    seen = b""
    async with db.copy_out("select 10 / (25 - n) from generate_series(1, 100) n") as parts:
        with pytest.raises(DivisionByZero):
            async for part in parts:
                seen += part
        assert [part async for part in parts] == []
    assert seen.count(b"\n") == 24
    assert await db.fetchval("select 1") == 1


async def test_the_server_waits(db: AsyncDB, main_dsn: str) -> None:
    """100 MB never stand in memory together: the server goes on when the reader does."""
    before, size = resident(), 0
    waits = "select count(*) from pg_stat_activity where query like 'COPY%' and wait_event = 'ClientWrite'"
    async with db.copy_out(MANY) as parts:
        async for part in parts:
            if not size:
                await wait_until(lambda: first(main_dsn, waits) == 1)
            size += len(part)
            assert len(part) < 100_000
        assert (parts.count, size > 100_000_000) == (200_000, True)
    assert resident() - before < 30


async def test_time_limits(db: AsyncDB) -> None:
    """D1, D2: a part that does not come in time ends it; the reader may take longer."""
    for sql in (
        "select 1 from pg_sleep(20)",
        "select n, pg_sleep(n / 3 * 20) from generate_series(1, 4) n",
    ):
        began = monotonic()
        with pytest.raises(QueryTimeoutError) as caught:
            async with db.copy_out(sql, timeout=0.15) as parts:
                async for _ in parts:
                    pass
        assert caught.value.outcome == "rolled back"
        assert monotonic() - began < 2
    async with db.copy_out("select generate_series(1, 3)", timeout=0.15) as parts:
        async for part in parts:
            assert part == b"1\n2\n3\n"
            until = monotonic() + 0.25
            while monotonic() < until:
                pass
    assert parts.count == 3


async def test_calls_that_are_wrong(db: AsyncDB) -> None:
    """What cannot be meant is refused, and so are the data of a COPY that was not entered, or twice."""
    for call, words in (
        (lambda: db.copy_out("select $1::int"), "parameters"),
        (lambda: db.copy_out("drop table t"), "one query"),
        (lambda: db.copy_out("t", columns=["nam"]), "no column 'nam'"),
        (lambda: db.copy_out("t", timeout=0), "timeout=0"),
        (lambda: db.copy_out("t", format="json"), "format='json'"),  # type: ignore[call-overload]
        (lambda: db.copy_out("t", format="binary", header=True), "binary has none"),
    ):
        with pytest.raises(UsageError, match=words):
            async with call():
                pass
    with pytest.raises(UsageError, match="with `with`"):
        async for _ in db.copy_out("t"):
            pass
    async with db.copy_out("t") as parts:
        with pytest.raises(UsageError, match="entered once"):
            async with parts:
                pass
