"""How many connections there are, when, and what becomes of them."""

from __future__ import annotations

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.embedded import Postgres
from pgdual.errors import ClientClosedError, OutcomeUnknownError
from pgdual.settings import DatabaseSettings, Settings

from .clients import client_of, is_running, pids, prepare, terminate
from .runtime import Event, gather, sleep, spawn, wait_until


async def settled(db: AsyncDB, size: int) -> None:
    """Wait until the pool has *size* connections and makes no more."""

    def is_settled() -> bool:
        pool = db.stats()["pool"]
        return pool["size"] == size and not pool["connecting"]

    await wait_until(is_settled)


async def test_the_smallest_number_is_warm(main_dsn: str) -> None:
    """open() warms min connections and not one more (P2)."""
    async with client_of(main=main_dsn, pool_min_size=3, pool_max_size=6) as client:
        await settled(client["main"], 3)
        assert len(pids(main_dsn)) == 3


async def test_growth_ends_at_max(main_dsn: str) -> None:
    """Under any load there are never more connections than max (P2)."""
    async with client_of(main=main_dsn, pool_min_size=1, pool_max_size=5) as client:
        db = client["main"]
        done = Event()
        seen: list[int] = []

        async def look() -> None:
            while not done.is_set():
                seen.append(len(pids(main_dsn)))
                await sleep(0.01)

        async def work(number: int) -> None:
            for _ in range(5):
                if number % 2:
                    await db.execute("select pg_sleep(0.01) from pg_class for update limit 1")
                else:
                    await db.fetchval("select pg_sleep(0.01)")

        async with spawn(look):
            await gather(*[lambda number=number: work(number) for number in range(40)])
            done.set()
        assert max(seen) <= 5
        assert db.stats()["pool"]["size"] == 5
        assert len(pids(main_dsn)) == 5


async def test_idle_connections_go(main_dsn: str) -> None:
    """What was idle for pool_max_idle goes, down to min (P2)."""
    async with client_of(main=main_dsn, pool_min_size=2, pool_max_size=6, pool_max_idle=0.2) as client:
        db = client["main"]
        await gather(*[lambda: db.execute("select pg_sleep(0.1) from pg_class for update limit 1")] * 6)
        assert db.stats()["pool"]["size"] > 2
        await settled(db, 2)
        await wait_until(lambda: len(pids(main_dsn)) == 2)
        assert await gather(*[lambda: db.fetchval("select 1")] * 20) == [1] * 20


async def test_old_connections_are_replaced(main_dsn: str) -> None:
    """A connection older than pool_max_lifetime is replaced, and no call notices."""
    async with client_of(main=main_dsn, pool_min_size=2, pool_max_size=2, pool_max_lifetime=0.5) as client:
        db = client["main"]
        before = await db.fetchval("select pg_backend_pid()")

        async def replaced() -> bool:
            return bool(await db.fetchval("select pg_backend_pid()") != before)

        await wait_until(replaced)
        await wait_until(lambda: before not in pids(main_dsn))
        await wait_until(lambda: len(pids(main_dsn)) == 2)
        assert db.stats()["errors"] == 0


async def test_idle_connections_that_the_server_ended(main_dsn: str) -> None:
    """Connections ended by the server while idle cost no call an error, not even a WRITE (O3)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn, pool_min_size=4, pool_max_size=4) as client:
        db = client["main"]
        await settled(db, 4)
        for turn in range(1, 3):
            terminate(main_dsn)
            assert await db.execute("insert into t values (1)") == "INSERT 0 1"
            terminate(main_dsn)
            async with db.transaction() as tx:
                await tx.execute("insert into t values (1)")
            terminate(main_dsn)
            assert await db.fetchval("select count(*) from t") == 2 * turn
            await settled(db, 4)


async def test_a_restart(main_server: Postgres, main_dsn: str) -> None:
    """After the server was restarted the client recovers by itself (O3)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        await settled(db, 3)
        main_server.restart()
        assert await gather(*[lambda: db.fetchval("select 1")] * 10) == [1] * 10
        main_server.restart()
        assert await db.execute("insert into t values (1)") == "INSERT 0 1"
        await settled(db, 3)


async def test_calls_during_a_restart(main_server: Postgres, main_dsn: str) -> None:
    """Reads while the server restarts wait and succeed; of a write the outcome may be unknown (O1)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        done = Event()

        async def read() -> None:
            while not done.is_set():
                assert await db.fetchval("select 1") == 1
                await sleep(0.001)

        async def write() -> tuple[set[int], set[int]]:
            known, unknown, number = set(), set(), 0
            while not done.is_set():
                number += 1
                try:
                    await db.execute("insert into t values ($1)", number)
                    known.add(number)
                except OutcomeUnknownError:
                    unknown.add(number)
                await sleep(0.001)
            return known, unknown

        async with spawn(read) as reader, spawn(write) as writer:
            await sleep(0.05)
            main_server.stop()
            await sleep(0.2)
            main_server.start()
            assert await db.fetchval("select 2") == 2
            done.set()
            await reader.result()
            known, unknown = await writer.result()
        rows = [row[0] for row in await db.fetch("select id from t", into=tuple)]
        assert known <= set(rows) <= known | unknown
        assert len(rows) == len(set(rows))
        assert len(unknown) <= 1, "one was on its way when the server stopped"


async def test_trouble_stays_where_it_is(main_dsn: str, vb_server: Postgres, vb_dsn: str) -> None:
    """While vb's server is down, main answers as ever, and afterwards vb does again (R1)."""
    settings = Settings(
        databases={
            "main": DatabaseSettings(dsn=main_dsn, pool_min_size=2, pool_max_size=4),
            "vb": DatabaseSettings(dsn=vb_dsn, pool_min_size=2, pool_max_size=4, pool_timeout=5),
        }
    )
    async with AsyncClient(settings) as client:
        main, vb = client["main"], client["vb"]
        await vb.fetchval("select 1")
        vb_server.stop()
        try:
            async with spawn(lambda: gather(*[lambda: vb.fetchval("select 1")] * 20)) as waiting:
                main._meter.reset()

                async def read() -> None:
                    for _ in range(50):
                        assert await main.fetchval("select current_database()") in main_dsn

                await gather(*[read] * 10)
                assert main.stats()["calls"] == 500
                assert main.stats()["errors"] == 0
                assert main.stats()["acquire"]["max"] < 2000
                assert not waiting.is_done()
                vb_server.start()
                assert await waiting.result() == [1] * 20
        finally:
            if not vb_server.is_running:
                vb_server.start()


async def test_the_pool_itself_gets_a_connection(main_dsn: str) -> None:
    """Who asks the psycopg pool gets a connection although the fleet has them all, idle or busy (P2)."""
    async with client_of(main=main_dsn, pool_min_size=2, pool_max_size=2) as client:
        db = client["main"]
        await settled(db, 2)
        pool = await db.pool()
        async with pool.connection(timeout=5) as connection:
            assert (await (await connection.execute("select 1")).fetchone()) == (1,)
        done = Event()

        async def read() -> None:
            while not done.is_set():
                await db.fetchval("select 1")

        async with spawn(lambda: gather(*[read] * 20)) as readers:
            for _ in range(3):
                async with pool.connection(timeout=5), pool.connection(timeout=5):
                    assert len(pids(main_dsn)) <= 2
            done.set()
            await readers.result()
        assert await db.fetchval("select 1") == 1


async def test_closing_waits_for_calls_in_flight(main_dsn: str) -> None:
    """close() lets calls in flight end well; afterwards the client is closed until it is opened (P4)."""
    client = client_of(main=main_dsn)
    await client.open()
    db = client["main"]
    async with spawn(lambda: db.fetchval("select pg_sleep(0.3) is null")) as call:
        await wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
        await client.close()
        assert call.is_done()
        assert await call.result() is False
    for use in (lambda: db.fetchval("select 1"), lambda: db.execute("select 1"), db.pool):
        with pytest.raises(ClientClosedError):
            await use()
    await wait_until(lambda: len(pids(main_dsn)) == 0)
    await client.open()
    assert await db.fetchval("select 1") == 1
    await client.close()
    await client.close()


async def test_closing_ends_what_takes_longer(main_dsn: str) -> None:
    """Past the grace a READ hears that the client was closed, a WRITE that its outcome is unknown (P4)."""
    client = client_of(main=main_dsn)
    await client.open()
    db = client["main"]
    async with (
        spawn(lambda: db.fetchval("select pg_sleep(30)")) as reader,
        spawn(lambda: db.execute("create table t as select 1 from pg_sleep(30)")) as writer,
    ):
        await wait_until(lambda: db.stats()["pool"]["active"] == 2)
        await wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
        await wait_until(lambda: is_running(main_dsn, "create table"))
        await db._fleet.close(0.1)
        with pytest.raises(ClientClosedError):
            await reader.result()
        with pytest.raises(OutcomeUnknownError):
            await writer.result()
    await client.close()


async def test_calls_in_line_when_the_client_closes(main_dsn: str) -> None:
    """A call that waits for a connection when the client is closed is told so at once (P4)."""
    client = client_of(main=main_dsn, pool_max_size=1)
    await client.open()
    db = client["main"]
    borrowed, go = Event(), Event()

    async def borrow() -> None:
        async with db.connection():
            borrowed.set()
            await go.wait()

    async with spawn(borrow):
        await borrowed.wait()
        async with spawn(lambda: db.fetchval("select 1")) as call:
            await wait_until(lambda: db.stats()["pool"]["waiting"] == 1)
            async with spawn(client.close):
                with pytest.raises(ClientClosedError):
                    await call.result()
                go.set()


async def test_a_standby_is_left_once(main_dsn: str) -> None:
    """What an old connection says of its server gives up the old ones, not those made since (retry table)."""
    async with client_of(main=main_dsn, pool_min_size=3) as client:
        db = client["main"]
        await settled(db, 3)
        before, old = pids(main_dsn), list(db._fleet.lanes.wires)
        db._fleet.evict(old[0])
        await wait_until(lambda: not before & pids(main_dsn))
        await settled(db, 3)
        after = pids(main_dsn)
        for wire in old:
            db._fleet.evict(wire)
        await sleep(0.1)
        assert pids(main_dsn) == after
        assert [wire for wire in db._fleet.lanes.wires if wire.retire_at]  # they stay
