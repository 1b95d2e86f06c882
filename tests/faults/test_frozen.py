"""A network that takes everything and delivers nothing: the caller is back in time all the same (D2)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import OutcomeUnknownError, PoolTimeoutError, QueryTimeoutError
from pgdual.sync import DB
from tests._async import clients as aio
from tests._async.runtime import wait_until
from tests._sync import clients as sync
from tests._sync import runtime as threads
from tests._sync.clients import is_at_rest, is_running

from .leaks import AGAIN, Footprint, serving, serving_blocking, settle, settle_blocking, stuck
from .proxy import Proxy

pytestmark = pytest.mark.slow

LIMIT = 1.0
GRACE = 5.0  # what clean-up may take, by the runtime of either face
ASYNC, BLOCKING = 0.25, 1.25  # D2: how long after its deadline a caller may be back
_KEEP = "insert into t values (1) on conflict do nothing"
_MANY = "insert into t values ($1) on conflict do nothing"
# What is called, and whether its outcome is known when no answer came. An executemany is: COMMIT, which
# goes alone, was not sent.
CALLS: dict[str, tuple[bool, str, Any]] = {
    "read": (True, "fetchval", ("select 7",)),
    "large parameter": (True, "fetchval", ("select length($1::bytea)", bytes(20_000_000))),
    "write": (False, "execute", (_KEEP,)),
    "large write": (False, "execute", ("insert into t select length($1::bytea)", bytes(20_000_000))),
    "script": (False, "execute", (f"{_KEEP}; select 1",)),
    "many": (True, "executemany", (_MANY, [(1,), (2,)])),
}


SLEEPERS = {
    "read": "select 9 from pg_sleep(0.5)",
    "write": "insert into t select 9 from pg_sleep(0.5) on conflict do nothing",
}


def small(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *arguments* to warm a connection with, which is not kept after large ones (L6)."""
    return tuple(b"" if isinstance(one, bytes) else one for one in arguments)


@contextmanager
def within(patience: float, limit: float = LIMIT) -> Iterator[None]:
    """Hold the block against a deadline of *limit* and the *patience* after it."""
    started = time.monotonic()
    yield
    spent = time.monotonic() - started
    assert limit - 0.05 < spent < limit + patience


@contextmanager
def timed_out(is_known: bool) -> Iterator[None]:
    """Expect what a caller is told whose time is up."""
    with pytest.raises(QueryTimeoutError) as caught:
        yield
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, OutcomeUnknownError) is not is_known


@pytest.mark.parametrize("name", CALLS)
async def test_a_call(db: AsyncDB, proxy: Proxy, direct: str, name: str) -> None:
    """D2: on a frozen network a call is back in time; only of a write it cannot say what became of it."""
    is_known, method, arguments = CALLS[name]
    await getattr(db, method)(*small(arguments))
    await settle(lambda: stuck(db))
    proxy.freeze()
    with within(ASYNC), timed_out(is_known):
        await getattr(db, method)(*arguments, timeout=LIMIT)
    proxy.thaw()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_blocking(blocking: DB, proxy: Proxy, name: str) -> None:
    """D2: the same on the blocking face."""
    is_known, method, arguments = CALLS[name]
    getattr(blocking, method)(*small(arguments))
    settle_blocking(lambda: stuck(blocking))
    proxy.freeze()
    with within(BLOCKING), timed_out(is_known):
        getattr(blocking, method)(*arguments, timeout=LIMIT)
    proxy.thaw()


@pytest.mark.parametrize("sql", ["select 8", "insert into t values (8)"])
async def test_a_text_not_seen_before(db: AsyncDB, proxy: Proxy, sql: str) -> None:
    """D2: what was still being described was not sent, and the error says so, also of a write."""
    await db.fetchval("select 1")
    proxy.freeze()
    with within(ASYNC), pytest.raises(QueryTimeoutError) as caught:
        await db.fetch(sql, timeout=LIMIT)
    assert caught.value.outcome == "not sent"
    proxy.thaw()


@pytest.mark.parametrize("sql", ["select 8", "insert into t values (8)"])
def test_a_text_not_seen_before_blocking(blocking: DB, proxy: Proxy, sql: str) -> None:
    """D2: the same on the blocking face."""
    blocking.fetchval("select 1")
    proxy.freeze()
    with within(BLOCKING), pytest.raises(QueryTimeoutError) as caught:
        blocking.fetch(sql, timeout=LIMIT)
    assert caught.value.outcome == "not sent"
    proxy.thaw()


@pytest.mark.parametrize("sql", SLEEPERS.values(), ids=SLEEPERS)
async def test_while_it_runs(db: AsyncDB, proxy: Proxy, direct: str, sql: str) -> None:
    """D2: the caller of a statement that the server finishes behind a frozen network is back in time."""
    await db.execute(sql)
    with within(ASYNC), timed_out(sql.startswith("select")):
        call = asyncio.create_task(db.execute(sql, timeout=LIMIT))
        await wait_until(lambda: is_running(direct, sql))
        proxy.freeze()
        await call
    proxy.thaw()


@pytest.mark.parametrize("sql", SLEEPERS.values(), ids=SLEEPERS)
def test_while_it_runs_blocking(blocking: DB, proxy: Proxy, direct: str, sql: str) -> None:
    """D2: the same on the blocking face."""
    blocking.execute(sql)
    with within(BLOCKING), timed_out(sql.startswith("select")):
        call = threads.spawn(lambda: blocking.execute(sql, timeout=LIMIT))
        threads.wait_until(lambda: is_running(direct, sql))
        proxy.freeze()
        call.result()
    proxy.thaw()


async def test_reads_on_a_lane(db: AsyncDB, proxy: Proxy) -> None:
    """D1, D2: reads that share frozen lanes are all back in time."""
    async with asyncio.TaskGroup() as slow:  # for which the pool grows
        for _ in range(3):
            slow.create_task(db.fetch("select pg_sleep(0.3)"))
    for _ in range(20):
        await asyncio.gather(*(db.fetchval("select 7") for _ in range(20)))
    proxy.freeze()
    with within(ASYNC):
        ended = await asyncio.gather(
            *(db.fetchval("select 7", timeout=LIMIT) for _ in range(100)), return_exceptions=True
        )
    assert {type(error) for error in ended} == {QueryTimeoutError}
    proxy.thaw()


async def test_a_transaction(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """D2, T1: a block on a frozen network is left in time, and is undone."""
    await db.execute(_KEEP)
    with within(ASYNC), timed_out(is_known=True):
        async with db.transaction() as tx:
            await tx.execute("delete from t")
            async with tx.transaction():
                proxy.freeze()
                await tx.execute(_KEEP, timeout=LIMIT)
    proxy.thaw()
    assert await db.fetchval("select count(*) from t") == 1


def test_a_transaction_blocking(blocking: DB, proxy: Proxy) -> None:
    """D2, T1: the same on the blocking face."""
    blocking.execute(_KEEP)
    with within(BLOCKING), timed_out(is_known=True), blocking.transaction() as tx:
        tx.execute("delete from t")
        with tx.transaction():
            proxy.freeze()
            tx.execute(_KEEP, timeout=LIMIT)
    proxy.thaw()
    assert blocking.fetchval("select count(*) from t") == 1


async def test_an_inner_block(dsn: str, direct: str, proxy: Proxy) -> None:
    """D2, T4: an inner block that ends on a frozen network is a time limit of pgdual's, and undone."""
    async with serving(dsn, direct, command_timeout=LIMIT) as client:
        with within(ASYNC), pytest.raises(TimeoutError) as caught:
            async with client["main"].transaction() as tx:
                await tx.execute(_KEEP)
                async with tx.transaction():
                    await tx.execute(_KEEP)
                    proxy.freeze()
        proxy.thaw()
        assert await client["main"].fetchval("select count(*) from t") == 0
    assert isinstance(caught.value, QueryTimeoutError)
    assert caught.value.outcome == "rolled back"


def test_an_inner_block_blocking(dsn: str, direct: str, proxy: Proxy) -> None:
    """D2, T4: the same on the blocking face."""
    with serving_blocking(dsn, direct, command_timeout=LIMIT) as client:
        with within(BLOCKING), pytest.raises(TimeoutError) as caught, client["main"].transaction() as tx:
            tx.execute(_KEEP)
            with tx.transaction():
                tx.execute(_KEEP)
                proxy.freeze()
        proxy.thaw()
        assert client["main"].fetchval("select count(*) from t") == 0
    assert isinstance(caught.value, QueryTimeoutError)
    assert caught.value.outcome == "rolled back"


async def test_commit(dsn: str, direct: str, proxy: Proxy) -> None:
    """D2, O1: COMMIT on a frozen network is back at the database's own limit, its outcome unknown."""
    async with serving(dsn, direct, command_timeout=LIMIT) as client:
        with within(ASYNC), timed_out(is_known=False):
            async with client["main"].transaction() as tx:
                await tx.execute(_KEEP)
                proxy.freeze()
        proxy.thaw()


def test_commit_blocking(dsn: str, direct: str, proxy: Proxy) -> None:
    """D2, O1: the same on the blocking face."""
    with serving_blocking(dsn, direct, command_timeout=LIMIT) as client:
        with within(BLOCKING), timed_out(is_known=False), client["main"].transaction() as tx:
            tx.execute(_KEEP)
            proxy.freeze()
        proxy.thaw()


async def test_a_block_that_fails(db: AsyncDB, proxy: Proxy) -> None:
    """D4, T1: ROLLBACK on a frozen network is bounded, and the caller sees the error of the block."""
    started = time.monotonic()
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.execute(_KEEP)
            proxy.freeze()
            raise LookupError
    assert time.monotonic() - started < 6
    proxy.thaw()
    assert await db.fetchval("select count(*) from t") == 0


def test_a_block_that_fails_blocking(blocking: DB, proxy: Proxy) -> None:
    """D4, T1: the same on the blocking face."""
    started = time.monotonic()
    with pytest.raises(LookupError), blocking.transaction() as tx:
        tx.execute(_KEEP)
        proxy.freeze()
        raise LookupError
    assert time.monotonic() - started < 7
    proxy.thaw()
    assert blocking.fetchval("select count(*) from t") == 0


async def test_a_cancelled_task(db: AsyncDB, proxy: Proxy) -> None:
    """D4: a task that is cancelled on a frozen network ends at once, a read's and a write's."""
    await db.fetchval("select 7")
    await db.execute(_KEEP)
    proxy.freeze()
    calls = [asyncio.create_task(call) for call in (db.execute(_KEEP), db.fetchval("select 7"))]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    async with asyncio.timeout(0.25):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in ended} == {asyncio.CancelledError}
    proxy.thaw()


async def test_from_the_start(dsn: str, direct: str, proxy: Proxy) -> None:
    """D1: where nobody answers from the start, the acquire clock ends the wait of open() and of calls."""
    before = Footprint()
    proxy.freeze()
    client = aio.client_of(main=dsn, pool_timeout=LIMIT)
    with within(ASYNC), pytest.raises(PoolTimeoutError):
        await client.open()
    with within(ASYNC), pytest.raises(PoolTimeoutError):
        await client["main"].fetchval("select 1")
    proxy.thaw()
    async with asyncio.timeout(AGAIN):
        assert await client["main"].fetchval("select 1") == 1
    await client.close()
    await settle(lambda: before.left(direct))


def test_from_the_start_blocking(dsn: str, direct: str, proxy: Proxy) -> None:
    """D1: the same on the blocking face."""
    before = Footprint()
    proxy.freeze()
    client = sync.client_of(main=dsn, pool_timeout=LIMIT)
    with within(BLOCKING), pytest.raises(PoolTimeoutError):
        client.open()
    with within(BLOCKING), pytest.raises(PoolTimeoutError):
        client["main"].fetchval("select 1")
    proxy.thaw()
    assert client["main"].fetchval("select 1") == 1
    client.close()
    settle_blocking(lambda: before.left(direct))


@pytest.fixture
def mute() -> Iterator[str]:
    """The DSN of a server that lets everybody connect and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://nobody@127.0.0.1:{listening.getsockname()[1]}/none"


async def test_closing_while_it_connects(mute: str, direct: str) -> None:
    """P4: closing a client whose attempt to connect is not answered ends that attempt as well."""
    before = Footprint()
    client = aio.client_of(main=mute, pool_timeout=LIMIT)
    with pytest.raises(PoolTimeoutError):
        await client.open()
    await client.close()
    await settle(lambda: before.left(direct), patience=2.0)


def test_closing_while_it_connects_blocking(mute: str, direct: str) -> None:
    """P4: the same on the blocking face."""
    before = Footprint()
    client = sync.client_of(main=mute, pool_timeout=LIMIT)
    with pytest.raises(PoolTimeoutError):
        client.open()
    client.close()
    settle_blocking(lambda: before.left(direct), patience=2.0)


def test_closing_while_it_is_made_ready(dsn: str, direct: str, proxy: Proxy) -> None:
    """P4: nor is one waited for that was let in, and never told a word more."""
    proxy.freeze_on(b"pg_backend_pid")
    client = sync.client_of(main=dsn, pool_timeout=LIMIT)
    with pytest.raises(PoolTimeoutError):
        client.open()
    assert proxy.is_frozen()
    client.close()
    settle_blocking(lambda: str(threads_of_pgdual() or ""), patience=2.0)


def threads_of_pgdual() -> list[str]:
    """Return the threads that a client has for itself."""
    return [one.name for one in threading.enumerate() if one.name.startswith("pgdual-")]


async def test_as_the_session_is_cleaned(db: AsyncDB, proxy: Proxy) -> None:
    """D2, L7: a script that was answered is not held up by the cleaning of its connection."""
    await db.execute("select 1; select 2")
    await settle(lambda: stuck(db))
    proxy.freeze_on(b"DISCARD")
    async with asyncio.timeout(LIMIT + ASYNC):
        await db.execute("select 1; select 2", timeout=LIMIT)
    await wait_until(proxy.is_frozen)
    proxy.thaw()


def test_as_the_session_is_cleaned_blocking(blocking: DB, proxy: Proxy) -> None:
    """D2, L7: the same on the blocking face."""
    blocking.execute("select 1; select 2")
    threads.wait_until(lambda: is_at_rest(blocking))
    proxy.freeze_on(b"DISCARD")
    call = threads.spawn(lambda: blocking.execute("select 1; select 2", timeout=LIMIT))
    try:
        call.result(LIMIT + BLOCKING)
    finally:
        proxy.thaw()


@pytest.mark.parametrize("begin", ["select 1", "begin"])
async def test_a_borrowed_connection(db: AsyncDB, proxy: Proxy, begin: str) -> None:
    """D4: who leaves `db.connection()` on a frozen network is let go, whatever was open on it."""

    async def borrow() -> None:
        async with db.connection() as connection:
            await connection.execute(begin)
            proxy.freeze()

    call = asyncio.create_task(borrow())
    try:
        await asyncio.wait_for(asyncio.shield(call), GRACE + LIMIT)
    finally:
        proxy.thaw()
        await call


@pytest.mark.parametrize("begin", ["select 1", "begin"])
def test_a_borrowed_connection_blocking(blocking: DB, proxy: Proxy, begin: str) -> None:
    """D4: the same on the blocking face."""

    def borrow() -> None:
        with blocking.connection() as connection:
            connection.execute(begin)
            proxy.freeze()

    call = threads.spawn(borrow)
    try:
        call.result(GRACE + LIMIT)
    finally:
        proxy.thaw()
        threads.wait_until(call.is_done)


async def test_the_health_check(db: AsyncDB, proxy: Proxy) -> None:
    """B3: a health check on a frozen network is bounded and says that the database is not well."""
    assert (await db.health_check())["status"] == "healthy"
    proxy.freeze()
    started = time.monotonic()
    assert (await db.health_check())["status"] == "unhealthy"
    assert time.monotonic() - started < 2.5
    proxy.thaw()


def test_the_health_check_blocking(blocking: DB, proxy: Proxy) -> None:
    """B3: the same on the blocking face."""
    assert blocking.health_check()["status"] == "healthy"
    proxy.freeze()
    started = time.monotonic()
    assert blocking.health_check()["status"] == "unhealthy"
    assert time.monotonic() - started < 3.5
    proxy.thaw()


async def test_closing(dsn: str, direct: str, proxy: Proxy) -> None:
    """P4: closing a client on a frozen network ends what is in flight at the grace, and ends itself."""
    async with serving(dsn, direct, close_grace=0.5) as client:
        db = client["main"]
        await db.fetchval("select 7")
        await db.execute(_KEEP)
        proxy.freeze()
        calls = [asyncio.create_task(call) for call in (db.execute(_KEEP), db.fetchval("select 7"))]
        await wait_until(lambda: db.stats()["pool"]["active"] == 1)
        started = time.monotonic()
        await client.close()
        assert time.monotonic() - started < 2
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(ended[0], OutcomeUnknownError)
        assert isinstance(ended[1], Exception)
        proxy.thaw()
        await client.open()


def test_closing_blocking(dsn: str, direct: str, proxy: Proxy) -> None:
    """P4: the same on the blocking face."""
    with serving_blocking(dsn, direct, close_grace=0.5) as client:
        db = client["main"]
        db.execute(_KEEP)
        proxy.freeze()
        call = threads.spawn(lambda: db.execute(_KEEP))
        threads.wait_until(lambda: db.stats()["pool"]["active"] == 1)
        started = time.monotonic()
        client.close()
        assert time.monotonic() - started < 2
        with pytest.raises(OutcomeUnknownError):
            call.result(1.0)
        proxy.thaw()
        client.open()


async def test_a_short_freeze_costs_nobody_anything(db: AsyncDB, proxy: Proxy) -> None:
    """D1: calls that are answered within their time, though late, are answered right."""
    await asyncio.gather(*(db.fetchval("select $1::int", number) for number in range(20)))
    proxy.freeze()
    thaw = threading.Timer(0.3, proxy.thaw)
    thaw.start()
    calls = [db.fetchval("select $1::int", number, timeout=5) for number in range(100)]
    calls += [db.execute("insert into t values ($1)", number, timeout=5) for number in range(10)]
    assert await asyncio.gather(*calls) == [*range(100), *["INSERT 0 1"] * 10]
    thaw.join()
