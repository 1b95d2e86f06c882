"""Servers that are away for a while, however they went: the client serves again by itself (O3, B1)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres
from pgdual.errors import OperationalError, OutcomeUnknownError, PoolTimeoutError
from pgdual.sync import DB
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import OURS, is_running, outside

from .leaks import serves, serves_blocking, serving, serving_blocking
from .proxy import Proxy

READ = "select 9 from pg_sleep(0.5)"
WRITE = "insert into t select 9 from pg_sleep(0.5)"


def fast(server: Postgres) -> None:
    server.stop()


def immediate(server: Postgres) -> None:
    os.kill(server.pid, signal.SIGQUIT)
    server.stop()


def killed(server: Postgres) -> None:
    server.kill()


def postmaster_killed(server: Postgres) -> None:
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


ENDS = [fast, immediate, killed, postmaster_killed]


@pytest.fixture
def server(main_server: Postgres) -> Iterator[Postgres]:
    yield main_server
    main_server.start()


@pytest.fixture
async def near(server: Postgres, direct: str) -> AsyncIterator[AsyncDB]:
    """An async database without a proxy in between."""
    async with serving(direct, direct) as client:
        yield client["main"]


@pytest.fixture
def near_blocking(server: Postgres, direct: str) -> Iterator[DB]:
    """Its blocking twin."""
    with serving_blocking(direct, direct) as client:
        yield client["main"]


@pytest.mark.parametrize("end", ENDS)
async def test_a_server_ends(
    near: AsyncDB, server: Postgres, direct: str, end: Callable[[Postgres], None]
) -> None:
    """O1, O3: a READ outlives its server; of a WRITE the outcome is unknown; new calls wait."""
    read, write = asyncio.create_task(near.fetchval(READ)), asyncio.create_task(near.execute(WRITE))
    await wait_until(lambda: is_running(direct, READ) and is_running(direct, WRITE))
    await asyncio.to_thread(end, server)
    later = asyncio.create_task(near.execute("insert into t values (1)"))
    await asyncio.sleep(0.3)
    assert not later.done()
    with pytest.raises(OutcomeUnknownError):
        await write
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(10):
        assert await read == 9
        assert await later == "INSERT 0 1"
    assert await near.fetchval("select count(*) from t where id = 1") == 1


@pytest.mark.parametrize("end", ENDS)
def test_a_server_ends_blocking(
    near_blocking: DB, server: Postgres, direct: str, end: Callable[[Postgres], None]
) -> None:
    """O1, O3: the same on the blocking face."""
    db = near_blocking
    read, write = threads.spawn(lambda: db.fetchval(READ)), threads.spawn(lambda: db.execute(WRITE))
    threads.wait_until(lambda: is_running(direct, READ) and is_running(direct, WRITE))
    end(server)
    later = threads.spawn(lambda: db.execute("insert into t values (1)"))
    time.sleep(0.3)
    assert not later.is_done()
    with pytest.raises(OutcomeUnknownError):
        write.result()
    server.start()
    assert read.result() == 9
    assert later.result() == "INSERT 0 1"
    assert db.fetchval("select count(*) from t where id = 1") == 1


@pytest.mark.parametrize("end", ENDS)
async def test_a_transaction_without_its_server(
    near: AsyncDB, server: Postgres, end: Callable[[Postgres], None]
) -> None:
    """T1: a transaction whose server ended before COMMIT is undone, whatever the server said as it went."""
    with pytest.raises(OperationalError):
        async with near.transaction(replay=False) as tx:
            await tx.execute("insert into t values (1)")
            await asyncio.to_thread(end, server)
            await tx.execute("insert into t values (2)")
    await asyncio.to_thread(server.start)
    assert await near.fetchval("select count(*) from t") == 0


@pytest.mark.parametrize("end", ENDS)
async def test_a_transaction_that_outlives_its_server(
    near: AsyncDB, server: Postgres, end: Callable[[Postgres], None]
) -> None:
    """T5: a transaction whose server was restarted is said again, and done once."""
    async with near.transaction() as tx:
        await tx.execute("insert into t values (1)")
        await asyncio.to_thread(end, server)
        await asyncio.to_thread(server.start)
        await tx.execute("insert into t values (2)")
    assert tx.replays == 1
    assert await near.fetchval("select count(*) from t") == 2


@pytest.mark.parametrize("end", ENDS)
def test_a_transaction_without_its_server_blocking(
    near_blocking: DB, server: Postgres, end: Callable[[Postgres], None]
) -> None:
    """T1: the same on the blocking face."""
    with pytest.raises(OperationalError), near_blocking.transaction(replay=False) as tx:
        tx.execute("insert into t values (1)")
        end(server)
        tx.execute("insert into t values (2)")
    server.start()
    assert near_blocking.fetchval("select count(*) from t") == 0


async def test_one_backend_is_killed(near: AsyncDB, direct: str) -> None:
    """O1: the kill of one backend, which ends all others, costs no READ and doubles no WRITE."""
    read, write = asyncio.create_task(near.fetchval(READ)), asyncio.create_task(near.execute(WRITE))
    await wait_until(lambda: is_running(direct, READ) and is_running(direct, WRITE))
    os.kill(backend(direct, "select 9%"), signal.SIGKILL)
    with pytest.raises(OutcomeUnknownError):
        await write
    assert await read == 9
    assert await near.execute("insert into t values (1)") == "INSERT 0 1"


def test_one_backend_is_killed_blocking(near_blocking: DB, direct: str) -> None:
    """O1: the same on the blocking face."""
    db = near_blocking
    read, write = threads.spawn(lambda: db.fetchval(READ)), threads.spawn(lambda: db.execute(WRITE))
    threads.wait_until(lambda: is_running(direct, READ) and is_running(direct, WRITE))
    os.kill(backend(direct, "select 9%"), signal.SIGKILL)
    with pytest.raises(OutcomeUnknownError):
        write.result()
    assert read.result() == 9
    assert db.execute("insert into t values (1)") == "INSERT 0 1"


def backend(dsn: str, text: str) -> int:
    """Return the process that runs *text*."""
    sql = f"select pid from pg_stat_activity where {OURS} and state = 'active' and query like %s"
    return int(outside(dsn, sql, text)[0][0])


async def test_refused_and_accepted_again(db: AsyncDB, proxy: Proxy) -> None:
    """B1: calls wait while nobody listens, and are answered within a second of somebody listening again."""
    await db.execute("insert into t values (1)")
    proxy.refuse()
    proxy.reset()
    calls = [asyncio.create_task(db.fetchval("select 7")) for _ in range(20)]
    calls += [asyncio.create_task(db.execute("insert into t values (2)"))]
    await asyncio.sleep(1.5)
    assert not [call for call in calls if call.done()]
    proxy.accept()
    async with asyncio.timeout(1.5):
        assert await asyncio.gather(*calls) == [7] * 20 + ["INSERT 0 1"]


def test_refused_and_accepted_again_blocking(blocking: DB, proxy: Proxy) -> None:
    """B1: the same on the blocking face."""
    blocking.execute("insert into t values (1)")
    proxy.refuse()
    proxy.reset()
    calls = [threads.spawn(lambda: blocking.fetchval("select 7")) for _ in range(8)]
    time.sleep(1.5)
    assert not [call for call in calls if call.is_done()]
    proxy.accept()
    started = time.monotonic()
    assert [call.result() for call in calls] == [7] * 8
    assert time.monotonic() - started < 1.5


async def test_refused_for_too_long(proxy: Proxy, dsn: str, direct: str) -> None:
    """D1: who waits longer than the acquire clock for a server that refuses is told, and can come again."""
    async with serving(dsn, direct, pool_timeout=1.0, breaker_failure_threshold=50) as client:
        db = client["main"]
        for _ in range(2):
            proxy.refuse()
            proxy.reset()
            for call in (lambda: db.fetchval("select 7"), lambda: db.execute("insert into t values (1)")):
                started = time.monotonic()
                with pytest.raises(PoolTimeoutError):
                    await call()
                assert time.monotonic() - started < 1.25
            proxy.accept()
            await serves(db)


def test_refused_for_too_long_blocking(proxy: Proxy, dsn: str, direct: str) -> None:
    """D1: the same on the blocking face."""
    with serving_blocking(dsn, direct, pool_timeout=1.0, breaker_failure_threshold=50) as client:
        db = client["main"]
        for _ in range(2):
            proxy.refuse()
            proxy.reset()
            for call in (lambda: db.fetchval("select 7"), lambda: db.execute("insert into t values (1)")):
                started = time.monotonic()
                with pytest.raises(PoolTimeoutError):
                    call()
                assert time.monotonic() - started < 1.25
            proxy.accept()
            serves_blocking(db)
