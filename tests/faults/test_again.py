"""What is sent again after a loss, for how long, and what is said when it did not help (O1, D1)."""

from __future__ import annotations

import asyncio
from time import monotonic as now

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import OutcomeUnknownError, QueryTimeoutError
from pgdual.sync import DB
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import is_running, outside

from .proxy import Proxy
from .test_lost import READ, WRITE, rows

TWICE = "insert into t select 9 from pg_sleep(0.5) on conflict do nothing"


async def test_an_idempotent_write(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """Retry table: what its user calls idempotent is sent again after a loss."""
    call = asyncio.create_task(db.execute(TWICE, idempotent=True))
    await wait_until(lambda: is_running(direct, TWICE))
    proxy.reset()
    assert (await call).startswith("INSERT 0")
    assert rows(direct) == 1


def test_an_idempotent_write_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """Retry table: the same on the blocking face."""
    call = threads.spawn(lambda: blocking.execute(TWICE, idempotent=True))
    threads.wait_until(lambda: is_running(direct, TWICE))
    proxy.reset()
    assert call.result().startswith("INSERT 0")
    assert rows(direct) == 1


async def test_another_try_that_finds_no_server(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1: the first try may have been run, and was: no error of a later one may say that it was not."""
    call = asyncio.create_task(db.execute(TWICE, idempotent=True, timeout=2.0))
    await wait_until(lambda: is_running(direct, TWICE))
    proxy.refuse()
    proxy.reset()
    with pytest.raises(OutcomeUnknownError, match="an earlier try was sent and never answered"):
        await call
    await wait_until(lambda: rows(direct) == 1)
    proxy.accept()
    await wait_until(lambda: db.circuit_breaker.state == "closed")


async def test_another_try_that_fails(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1: the same where the later try is answered, with an error of its own."""
    call = asyncio.create_task(db.execute(WRITE, idempotent=True))
    await wait_until(lambda: is_running(direct, WRITE))
    outside(direct, "insert into t values (9)")
    proxy.reset()
    with pytest.raises(OutcomeUnknownError, match="duplicate key"):
        await call
    assert rows(direct) == 1


async def test_a_read_has_its_time_limit(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """D1: all tries have one clock: a READ that was lost does not wait beyond it for another connection."""
    begun = now()
    call = asyncio.create_task(db.fetchval(READ, timeout=1.5))
    await wait_until(lambda: is_running(direct, READ))
    proxy.refuse()
    proxy.reset()
    with pytest.raises(QueryTimeoutError):
        await call
    assert now() - begun < 3
    proxy.accept()
    await wait_until(lambda: db.circuit_breaker.state == "closed")


def test_a_read_has_its_time_limit_blocking(blocking: DB, proxy: Proxy, direct: str) -> None:
    """D1: the same on the blocking face."""
    begun = now()
    call = threads.spawn(lambda: blocking.fetchval(READ, timeout=1.5))
    threads.wait_until(lambda: is_running(direct, READ))
    proxy.refuse()
    proxy.reset()
    with pytest.raises(QueryTimeoutError):
        call.result()
    assert now() - begun < 3
    proxy.accept()
    threads.wait_until(lambda: blocking.circuit_breaker.state == "closed")
