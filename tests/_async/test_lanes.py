"""Who waits for whom: lanes of READs, wires alone, and the line for them."""

from __future__ import annotations

import re

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.core.lanes import SLOW
from pgdual.errors import PoolTimeoutError, UndefinedTable

from .clients import client_of, first, prepare
from .runtime import FACE, Event, gather, sleep, spawn, wait_until


async def warm(db: AsyncDB, *texts: str) -> None:
    """Ask *texts* until the service time of each is known to be short."""
    for text in texts:
        for _ in range(50):
            await db.fetchval(text)
            if db._statements.get(text).service < SLOW / 5:
                break


async def test_a_failing_read_touches_no_neighbour(main_dsn: str) -> None:
    """One in ten of many concurrent reads fails, a broken Parse among them, and the rest are right (L1)."""
    async with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]

        async def one(number: int) -> object:
            try:
                if number % 20 == 0:
                    return await db.fetchval("select $1::int / 0 as broken", number)
                if number % 10 == 0:
                    return await db.fetchval(f"select {number} from nothing_{number % 3}")
                return await db.fetchval("select $1::int as fine", number)
            except Exception as error:
                return type(error).__name__

        async def worker(first: int) -> None:
            for number in range(first, 1000, 50):
                expected: object = number
                if number % 10 == 0:
                    expected = "DivisionByZero" if number % 20 == 0 else UndefinedTable.__name__
                assert await one(number) == expected

        await gather(*[lambda first=first: worker(first) for first in range(50)])


async def test_an_error_at_sync_is_the_caller_s(main_dsn: str) -> None:
    """A deferred constraint fails after "INSERT 0 1": its caller hears of it, and nobody else (L2)."""
    prepare(
        main_dsn,
        "create table parent (id int primary key)",
        "create table child (id int, parent int references parent deferrable initially deferred)",
    )
    async with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]

        async def write() -> str:
            try:
                return await db.execute("insert into child values ($1, $2)", 1, 404)
            except Exception as error:
                return type(error).__name__

        async def read() -> str:
            for number in range(50):
                assert await db.fetchval("select $1::int", number) == number
            return ""

        failed = "ForeignKeyViolation"
        assert await gather(write, read, read, write) == [failed, "", "", failed]
        assert await db.fetchval("select count(*) from child") == 0


async def test_a_waiting_write_delays_no_read(main_dsn: str) -> None:
    """While a WRITE waits for a row lock, reads go on (L3)."""
    prepare(main_dsn, "create table t (id int primary key, n int)", "insert into t values (1, 0)")
    async with client_of(main=main_dsn, pool_max_size=3) as client:
        db = client["main"]
        locked, done = Event(), Event()

        async def hold() -> None:
            async with db.transaction():
                await db.execute("update t set n = n + 1 where id = 1")
                locked.set()
                await done.wait()

        async with spawn(hold):
            await locked.wait()
            async with spawn(lambda: db.execute("update t set n = n + 10 where id = 1")) as writer:
                await wait_until(lambda: first(main_dsn, "select count(*) from pg_locks where not granted"))

                async def read() -> None:
                    for _ in range(100):
                        await db.fetchval("select n from t where id = 1")

                await gather(*[read] * 5)
                assert not writer.is_done()
                done.set()
                assert await writer.result() == "UPDATE 1"
        assert await db.fetchval("select n from t") == 11


async def test_slow_reads_go_alone(main_dsn: str) -> None:
    """A text known to be slow has a wire alone, so fast reads are never behind it (L4)."""
    async with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        slow, fast = "select pg_sleep(0.3)", "select 1 as fast"
        await db.fetchval(slow)  # the first of all, when nothing is known of the network
        assert db._statements.get(slow).service > SLOW
        await warm(db, fast)
        async with (
            spawn(lambda: db.fetchval(slow)) as first,
            spawn(lambda: db.fetchval(slow)) as second,
        ):
            await wait_until(lambda: db.stats()["pool"]["active"] == 2)
            await gather(*[lambda: db.fetchval(fast)] * 20)
            assert not first.is_done()
            assert not second.is_done()


async def hammer(client: AsyncClient, readers: int, writes: int) -> None:
    """Have *readers* read without a pause until *writes* writes are through."""
    db = client["main"]
    done = Event()

    async def read() -> None:
        while not done.is_set():
            await db.fetchval("select n from t where id = 1")

    async def write() -> None:
        try:
            for _ in range(writes):
                await db.execute("update t set n = n + 1 where id = 1")
        finally:
            done.set()

    await gather(write, *[read] * readers)
    assert await db.fetchval("select n from t where id = 1") == writes


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("readers", [64, 200])
async def test_readers_starve_no_writer(main_dsn: str, size: int, readers: int) -> None:
    """Be there a lane's depth of readers or more, the writer has its turn again and again (L5)."""
    prepare(main_dsn, "create table t (id int primary key, n int)", "insert into t values (1, 0)")
    async with client_of(main=main_dsn, pool_max_size=size) as client:
        await warm(client["main"], "select n from t where id = 1")
        await hammer(client, readers, 10)


async def test_waiting_calls_are_served_in_order(main_dsn: str) -> None:
    """Calls that wait for the one connection get it in the order in which they came (L5)."""
    prepare(main_dsn, "create table t (id serial, n int)")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        async with client["main"].connection():
            calls = []
            for number in range(10):
                calls.append(spawn(lambda number=number: db.execute("insert into t(n) values ($1)", number)))
                await wait_until(lambda n=number: db.stats()["pool"]["waiting"] == n + 1)
        for call in calls:
            await call.result()
        rows = await db.fetch("select n from t order by id", into=tuple)
        assert [row[0] for row in rows] == list(range(10))


async def test_the_acquire_clock_ends_with_the_figures(main_dsn: str) -> None:
    """Who gets no connection in time has a PoolTimeoutError that says how the pool stands (L5, D1)."""
    async with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.2) as client:
        db = client["main"]
        async with db.connection():
            for call in (lambda: db.fetchval("select 1"), lambda: db.execute("create table t (id int)")):
                with pytest.raises(PoolTimeoutError, match=re.escape("1 of 1 in use")) as caught:
                    await call()
                assert "0.2 s" in str(caught.value)
                assert "1 allowed" in str(caught.value)
        assert await db.fetchval("select 1") == 1
        assert db.stats()["pool"]["waiting"] == 0


async def test_who_gives_up_waiting_leaves_the_line(main_dsn: str) -> None:
    """A call whose acquire clock has run out takes nothing from those behind it (L5)."""
    async with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.3) as client:
        db = client["main"]
        async with db.connection():
            with pytest.raises(PoolTimeoutError):
                await gather(*[lambda: db.fetchval("select 1")] * 5)
        assert await gather(*[lambda: db.fetchval("select 1")] * 20) == [1] * 20


async def test_acquire_and_query_are_measured_apart(main_dsn: str) -> None:
    """Behind a slow statement on a pool of one, a call's wait is acquire time and not query time (W1)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        db._meter.reset()
        async with spawn(lambda: db.execute("select pg_sleep(0.4)")):
            await wait_until(lambda: db.stats()["pool"]["active"] == 1)
            await sleep(0.02)
            await db.fetchval("select 1")
        stats = db.stats()
        assert stats["calls"] == 2
        assert stats["acquire"]["max"] > 250
        assert 380 < stats["query"]["max"] < 700
        assert stats["query"]["p50"] < 100


async def test_reads_share_lanes_on_the_face_that_shares(main_dsn: str) -> None:
    """Many quick reads need few wires where lanes are shared, one each where threads have their own (L4)."""
    async with client_of(main=main_dsn, pool_min_size=1, pool_max_size=8) as client:
        db = client["main"]
        await warm(db, "select 1 as quick")

        async def read() -> None:
            for _ in range(20):
                assert await db.fetchval("select 1 as quick") == 1

        await gather(*[read] * 40)
        assert db.stats()["pool"]["size"] <= (8 if FACE == "sync" else 4)
