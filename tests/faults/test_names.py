"""A host name that stops resolving: callers are told, and served once it resolves again (B1, D1)."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import CircuitOpenError, PoolTimeoutError
from pgdual.sync import DB
from tests._async.clients import client_of
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import terminate

from .leaks import serves, serves_blocking, serving, serving_blocking
from .names import NAME, Names

LIMITS = {"pool_timeout": 0.6, "breaker_failure_threshold": 2}
UNKNOWN = [socket.EAI_NONAME, pytest.param(socket.EAI_AGAIN, marks=pytest.mark.slow)]
TOLD = f"failed to resolve host '{NAME}'"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(monkeypatch)
    yield made
    made.know()


@pytest.fixture
def named(direct: str) -> str:
    """The database by its host's name."""
    return direct.replace("127.0.0.1", NAME)


@pytest.fixture
async def db(names: Names, named: str, direct: str) -> AsyncIterator[AsyncDB]:
    async with serving(named, direct, **LIMITS) as client:
        await serves(client["main"])
        yield client["main"]
        names.know()
        await wait_until(lambda: client["main"].circuit_breaker.state == "closed")


@pytest.fixture
def blocking(names: Names, named: str, direct: str) -> Iterator[DB]:
    with serving_blocking(named, direct, **LIMITS) as client:
        serves_blocking(client["main"])
        yield client["main"]
        names.know()
        threads.wait_until(lambda: client["main"].circuit_breaker.state == "closed")


@pytest.mark.parametrize("error", UNKNOWN)
async def test_a_name_that_is_gone(db: AsyncDB, names: Names, direct: str, error: int) -> None:
    """B2, D1: it costs nothing while connections last; then it is an incident, which names the host."""
    names.forget(error)
    calls = [db.fetchval("select 1 from pg_sleep(0.05)") for _ in range(8)]
    assert await asyncio.gather(*calls) == [1] * 8
    assert names.asked > 1
    assert db.circuit_breaker.failures == 0  # a live wire is left
    terminate(direct)
    with pytest.raises(PoolTimeoutError, match=TOLD):
        await db.execute("select 1 for update")
    await wait_until(lambda: db.circuit_breaker.state == "open")
    with pytest.raises(CircuitOpenError):
        await db.fetchval("select 1")
    names.know()
    started = time.monotonic()
    await wait_until(lambda: db.circuit_breaker.state == "closed")
    assert await db.fetchval("select 1") == 1
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("error", UNKNOWN)
def test_a_name_that_is_gone_blocking(blocking: DB, names: Names, direct: str, error: int) -> None:
    """B2, D1: the same on the blocking face."""
    db = blocking
    names.forget(error)
    assert threads.gather(*[lambda: db.fetchval("select 1 from pg_sleep(0.05)")] * 8) == [1] * 8
    assert names.asked > 1
    assert db.circuit_breaker.failures == 0
    terminate(direct)
    with pytest.raises(PoolTimeoutError, match=TOLD):
        db.execute("select 1 for update")
    threads.wait_until(lambda: db.circuit_breaker.state == "open")
    with pytest.raises(CircuitOpenError):
        db.fetchval("select 1")
    names.know()
    started = time.monotonic()
    threads.wait_until(lambda: db.circuit_breaker.state == "closed")
    assert db.fetchval("select 1") == 1
    assert time.monotonic() - started < 1.0


async def test_calls_that_wait_for_a_name(db: AsyncDB, names: Names, direct: str) -> None:
    """B1: who waits when the name comes back is answered, READs and writes alike."""
    names.forget()
    terminate(direct)
    asked = names.asked
    calls = [asyncio.create_task(db.fetchval("select 7")) for _ in range(10)]
    calls += [asyncio.create_task(db.execute("insert into t values (1)"))]
    await wait_until(lambda: names.asked > asked)
    names.know()
    async with asyncio.timeout(1.5):
        assert await asyncio.gather(*calls) == [7] * 10 + ["INSERT 0 1"]


def test_calls_that_wait_for_a_name_blocking(blocking: DB, names: Names, direct: str) -> None:
    """B1: the same on the blocking face."""
    names.forget()
    terminate(direct)
    asked = names.asked
    calls = [threads.spawn(lambda: blocking.execute("select 7 for update")) for _ in range(8)]
    threads.wait_until(lambda: names.asked > asked)
    names.know()
    assert [call.result(1.5) for call in calls] == ["SELECT 1"] * 8


@pytest.mark.slow
async def test_a_resolver_that_hangs(db: AsyncDB, names: Names, direct: str) -> None:
    """D1: a resolver that does not answer holds no caller beyond the acquire clock."""
    names.hang()
    terminate(direct)
    started = time.monotonic()
    with pytest.raises(PoolTimeoutError):
        await db.fetchval("select 1")
    assert time.monotonic() - started < LIMITS["pool_timeout"] + 0.25


@pytest.mark.slow
def test_a_resolver_that_hangs_blocking(blocking: DB, names: Names, direct: str) -> None:
    """D1: the same on the blocking face."""
    names.hang()
    terminate(direct)
    started = time.monotonic()
    with pytest.raises(PoolTimeoutError):
        blocking.fetchval("select 1")
    assert time.monotonic() - started < LIMITS["pool_timeout"] + 0.25


def test_a_client_that_ends_while_a_resolver_hangs(names: Names, named: str) -> None:
    """P4: nothing is said of the attempt that was still under way."""
    told = []

    async def start() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with pytest.raises(PoolTimeoutError):
            async with client_of(main=named, pool_timeout=0.1):
                pass

    async def end() -> None:  # as `asyncio.run` does
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        assert rest
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    names.hang()
    with asyncio.Runner() as runner:
        try:
            runner.run(start())
            runner.run(end())
            gc.collect()
        finally:
            names.know()  # else its thread would keep the loop from closing
    assert told == []


@pytest.mark.slow
async def test_a_name_that_moves(db: AsyncDB, names: Names, direct: str) -> None:
    """O3: a name is looked up for each connection: when it moves, so do new connections."""
    names.address = "127.0.0.2"  # nobody listens there
    terminate(direct)
    with pytest.raises(PoolTimeoutError, match=r"127\.0\.0\.2"):
        await db.fetchval("select 1")
    names.address = "127.0.0.1"
    await wait_until(lambda: db.circuit_breaker.state == "closed")
    await serves(db)
