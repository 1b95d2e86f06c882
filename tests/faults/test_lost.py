"""Connections that go while a call is on them: what was lost in flight, and what is sent again (O1)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import OperationalError, OutcomeUnknownError
from pgdual.sync import DB
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import first, is_running

from .proxy import DOWN, UP, Proxy

READ = "select 9 from pg_sleep(0.5)"
WRITE = "insert into t select 9 from pg_sleep(0.5)"


def rows(dsn: str) -> int:
    """Return how many rows there are."""
    return int(first(dsn, "select count(*) from t"))


async def test_a_read(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1: a READ that was lost in flight is sent again, and answered."""
    call = asyncio.create_task(db.fetchval(READ))
    await wait_until(lambda: is_running(direct, READ))
    proxy.reset()
    assert await call == 9


def test_a_read_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """O1: the same on the blocking face."""
    call = threads.spawn(lambda: blocking.fetchval(READ))
    threads.wait_until(lambda: is_running(direct, READ))
    proxy.reset()
    assert call.result() == 9


@pytest.mark.parametrize("sql", [WRITE, f"{WRITE}; select 1"], ids=["statement", "script"])
async def test_a_write(db: AsyncDB, proxy: Proxy, direct: str, sql: str) -> None:
    """O1: a WRITE that was lost in flight is not sent again: its one row may be there, and is."""
    call = asyncio.create_task(db.execute(sql))
    await wait_until(lambda: is_running(direct, WRITE))
    proxy.reset()
    with pytest.raises(OutcomeUnknownError) as caught:
        await call
    assert not isinstance(caught.value, TimeoutError)
    await wait_until(lambda: rows(direct) == 1)


@pytest.mark.parametrize("sql", [WRITE, f"{WRITE}; select 1"], ids=["statement", "script"])
def test_a_write_blocking(blocking: DB, proxy: Proxy, direct: str, sql: str) -> None:
    """O1: the same on the blocking face."""
    call = threads.spawn(lambda: blocking.execute(sql))
    threads.wait_until(lambda: is_running(direct, WRITE))
    proxy.reset()
    with pytest.raises(OutcomeUnknownError) as caught:
        call.result()
    assert not isinstance(caught.value, TimeoutError)
    threads.wait_until(lambda: rows(direct) == 1)


async def test_reads_on_a_lane(db: AsyncDB, proxy: Proxy) -> None:
    """L1, O2: reads that share lanes are answered, each with its own, although the lanes are lost."""

    async def read(number: int) -> None:
        for _ in range(20):
            assert await db.fetchval("select $1::int", number) == number

    await db.fetchval("select $1::int", 0)
    calls = [asyncio.create_task(read(number)) for number in range(40)]
    await asyncio.sleep(0)
    proxy.reset()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("call", ["write", "transaction", "many"])
async def test_idle_connections(db: AsyncDB, proxy: Proxy, direct: str, call: str) -> None:
    """O3: connections that went while idle cost nobody an error, not even a WRITE."""
    for number in range(1, 4):
        await asyncio.gather(*(db.execute("select pg_sleep(0.01) for update") for _ in range(4)))
        proxy.reset()
        if call == "write":
            await db.execute("insert into t values ($1)", number)
        elif call == "many":
            await db.executemany("insert into t values ($1)", [(number,)])
        else:
            async with db.transaction() as tx:
                await tx.execute("insert into t values ($1)", number)
        assert rows(direct) == number


@pytest.mark.parametrize("call", ["write", "transaction", "many"])
def test_idle_connections_blocking(blocking: DB, proxy: Proxy, direct: str, call: str) -> None:
    """O3: the same on the blocking face."""
    for number in range(1, 4):
        threads.gather(*[lambda: blocking.execute("select pg_sleep(0.01) for update")] * 4)
        proxy.reset()
        if call == "write":
            blocking.execute("insert into t values ($1)", number)
        elif call == "many":
            blocking.executemany("insert into t values ($1)", [(number,)])
        else:
            with blocking.transaction() as tx:
                tx.execute("insert into t values ($1)", number)
        assert rows(direct) == number


async def test_a_transaction(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """T1: a transaction whose connection went before COMMIT is undone; without a replay it fails."""
    with pytest.raises(OperationalError):
        async with db.transaction(replay=False) as tx:
            await tx.execute("insert into t values (1)")
            proxy.reset()
            await tx.execute("insert into t values (2)")
    with pytest.raises(OperationalError):
        async with db.transaction(replay=False) as tx:
            await tx.execute("insert into t values (1)")
            proxy.reset()
            await wait_until(lambda: db.stats()["pool"]["active"] == 0)
    await wait_until(lambda: rows(direct) == 0)


def test_a_transaction_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """T1: the same on the blocking face."""
    with pytest.raises(OperationalError), blocking.transaction(replay=False) as tx:
        tx.execute("insert into t values (1)")
        proxy.reset()
        tx.execute("insert into t values (2)")
    with pytest.raises(OperationalError), blocking.transaction(replay=False) as tx:
        tx.execute("insert into t values (1)")
        proxy.reset()
    threads.wait_until(lambda: rows(direct) == 0)


@pytest.mark.parametrize("after", [1, 5, 100, 5_000, 100_000, 300_000])
async def test_a_result_cut_in_the_middle(db: AsyncDB, proxy: Proxy, after: int) -> None:
    """O1: a READ whose result broke off is sent again, and its rows are all there once."""
    sql = "select generate_series(1, 40000) as number"
    for _ in range(3):  # the first is described, the later ones come in parts
        proxy.cut(after)
        found = await db.fetch(sql)
        assert [row.number for row in found] == list(range(1, 40_001))
        assert proxy.is_cut()


@pytest.mark.parametrize("after", [1, 5, 100, 5_000, 100_000, 300_000])
def test_a_result_cut_in_the_middle_blocking(blocking: DB, proxy: Proxy, after: int) -> None:
    """O1: the same on the blocking face."""
    sql = "select generate_series(1, 40000) as number"
    for _ in range(3):
        proxy.cut(after)
        found = blocking.fetch(sql)
        assert [row.number for row in found] == list(range(1, 40_001))
        assert proxy.is_cut()


RETURNING = "insert into t select generate_series(1, 20000) returning id"


@pytest.mark.parametrize("after", [1, 100, 50_000])
async def test_a_write_cut_in_its_result(db: AsyncDB, proxy: Proxy, direct: str, after: int) -> None:
    """O1: a WRITE whose rows broke off is not sent again, and its outcome is unknown."""
    assert len(await db.fetch(RETURNING)) == 20_000
    await db.execute("truncate t")
    proxy.cut(after)
    with pytest.raises(OutcomeUnknownError):
        await db.fetch(RETURNING)
    assert await db.fetchval("select count(*) from t") in {0, 20_000}


@pytest.mark.parametrize("after", [1, 100, 50_000])
def test_a_write_cut_in_its_result_blocking(blocking: DB, proxy: Proxy, direct: str, after: int) -> None:
    """O1: the same on the blocking face."""
    assert len(blocking.fetch(RETURNING)) == 20_000
    blocking.execute("truncate t")
    proxy.cut(after)
    with pytest.raises(OutcomeUnknownError):
        blocking.fetch(RETURNING)
    assert blocking.fetchval("select count(*) from t") in {0, 20_000}


@pytest.mark.parametrize("after", [1, 20, 40])
async def test_a_write_cut_as_it_is_sent(db: AsyncDB, proxy: Proxy, direct: str, after: int) -> None:
    """O1: of a WRITE that broke off on its way up nothing is done twice, nor said to be done."""
    await db.execute("insert into t values ($1)", 1)
    proxy.cut(after, UP)
    with pytest.raises(OutcomeUnknownError):
        await db.execute("insert into t values ($1)", 2)
    await db.execute("insert into t values ($1)", 3)
    assert rows(direct) == 2


@pytest.mark.parametrize("after", [1, 10, 100, 300])
async def test_a_connection_cut_as_it_is_made(proxy: Proxy, db: AsyncDB, after: int) -> None:
    """D1: an attempt to connect that breaks off is made again, within the acquire clock."""
    for direction in (UP, DOWN):
        proxy.cut(after, direction)
        proxy.reset()
        assert await db.fetchval("select 1") == 1


@pytest.mark.parametrize("after", [1, 10, 100, 300])
def test_a_connection_cut_as_it_is_made_blocking(proxy: Proxy, blocking: DB, after: int) -> None:
    """D1: the same on the blocking face."""
    for direction in (UP, DOWN):
        proxy.cut(after, direction)
        proxy.reset()
        assert blocking.fetchval("select 1") == 1


async def test_the_answer_to_commit(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1, T6: a transaction whose COMMIT is not answered has an unknown outcome, and here was done."""
    with pytest.raises(OutcomeUnknownError):
        async with db.transaction() as tx:
            await tx.execute("insert into t values (1)")
            proxy.cut_on(b"COMMIT")
    with pytest.raises(OutcomeUnknownError):
        proxy.cut_on(b"COMMIT")
        await db.executemany("insert into t values ($1)", [(2,), (3,)])
    await wait_until(lambda: rows(direct) == 3)


def test_the_answer_to_commit_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """O1, T6: the same on the blocking face."""
    with pytest.raises(OutcomeUnknownError), blocking.transaction() as tx:
        tx.execute("insert into t values (1)")
        proxy.cut_on(b"COMMIT")
    proxy.cut_on(b"COMMIT")
    with pytest.raises(OutcomeUnknownError):
        blocking.executemany("insert into t values ($1)", [(2,), (3,)])
    threads.wait_until(lambda: rows(direct) == 3)


async def test_the_answer_to_a_write(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1: a WRITE that was done and not answered is not done again."""
    add = "insert into t values (length($1::text))"
    await db.execute(add, "x")
    proxy.cut_on(b"xyzzy")
    with pytest.raises(OutcomeUnknownError):
        await db.execute(add, "xyzzy")
    await wait_until(lambda: rows(direct) == 2)


def test_the_answer_to_a_write_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """O1: the same on the blocking face."""
    add = "insert into t values (length($1::text))"
    blocking.execute(add, "x")
    proxy.cut_on(b"xyzzy")
    with pytest.raises(OutcomeUnknownError):
        blocking.execute(add, "xyzzy")
    threads.wait_until(lambda: rows(direct) == 2)


async def test_a_commit_that_does_not_arrive(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1, T6: a COMMIT that the server never had has an unknown outcome too, and here was not done."""
    with pytest.raises(OutcomeUnknownError):
        async with db.transaction() as tx:
            await tx.execute("insert into t values (1)")
            proxy.freeze()
            asyncio.get_running_loop().call_later(0.1, proxy.reset)
    proxy.thaw()
    assert await db.fetchval("select count(*) from t") == 0


async def test_the_first_statement_of_a_block(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """T2, T5: a block that is lost together with its BEGIN is begun anew, and done once."""
    await db.execute("insert into t values (length($1::text))", "x")
    async with db.transaction() as tx:
        proxy.cut_on(b"xyzzy")
        await tx.execute("insert into t values (length($1::text))", "xyzzy")
    assert tx.replays == 1
    assert await db.fetchval("select array_agg(id order by id) from t") == [1, 5]


async def test_again_and_again(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1: under resets at random moments every write is done once, refused, or said to be unknown."""
    done: set[int] = set()
    failed: set[int] = set()
    unknown: set[int] = set()
    over = asyncio.Event()

    async def write(first_id: int) -> None:
        number = first_id
        while not over.is_set():
            number += 1
            try:
                await db.execute("insert into t values ($1)", number)
                done.add(number)
            except OutcomeUnknownError:
                unknown.add(number)
            except OperationalError:
                failed.add(number)

    async def reset() -> None:
        for _ in range(30):
            proxy.reset()
            await asyncio.sleep(0.03)
        over.set()

    await asyncio.gather(reset(), *(write(number * 1_000_000) for number in range(8)))
    found: Any = {row[0] for row in await db.fetch("select id from t")}
    assert done <= found <= done | unknown
    assert not failed & found
