"""`db.connection()` on a bad network: who does not get in leaves no connection lost (D4)."""

from __future__ import annotations

import asyncio
import time

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import QueryTimeoutError
from pgdual.sync import DB

from .leaks import serving, serving_blocking, settle, settle_blocking, stuck
from .proxy import Proxy

pytestmark = pytest.mark.slow

LIFTS = b"idle_in_transaction_session_timeout"  # what a borrower's session is told (D3)
ASYNC, BLOCKING = 0.25, 1.25  # D2: how long after its deadline a caller may be back


async def borrow(db: AsyncDB) -> None:
    async with db.connection() as connection:
        await connection.execute("select 1")


def borrow_blocking(db: DB) -> None:
    with db.connection() as connection:
        connection.execute("select 1")


async def test_cancelled_on_the_way_in(proxy: Proxy, dsn: str, direct: str) -> None:
    """D4: wherever a task is cancelled on its way into the block, its connection comes back."""
    async with serving(dsn, direct, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        proxy.latency(0.02)
        for step in range(1, 12):
            task = asyncio.create_task(borrow(db))
            await asyncio.sleep(0.01 * step)
            task.cancel()
            await asyncio.wait([task])
            await settle(lambda: stuck(db))
        proxy.latency(0.0)


async def test_cut_on_the_way_in(db: AsyncDB, proxy: Proxy) -> None:
    """D4: a connection that is cut before its borrower has it is replaced by another."""
    await db.fetchval("select 1")
    proxy.cut_on(LIFTS)
    await borrow(db)
    assert proxy.is_cut()


def test_cut_on_the_way_in_blocking(blocking: DB, proxy: Proxy) -> None:
    """D4: the same on the blocking face."""
    blocking.fetchval("select 1")
    proxy.cut_on(LIFTS)
    borrow_blocking(blocking)
    assert proxy.is_cut()


async def test_frozen_on_the_way_in(proxy: Proxy, dsn: str, direct: str) -> None:
    """D2: a borrower on a frozen network is told at the command clock."""
    async with serving(dsn, direct, pool_max_size=1, command_timeout=1.0) as client:
        db = client["main"]
        await db.fetchval("select 1")
        proxy.freeze_on(LIFTS)
        started = time.monotonic()
        with pytest.raises(QueryTimeoutError):
            await borrow(db)
        assert time.monotonic() - started < 1 + ASYNC
        proxy.thaw()


def test_frozen_on_the_way_in_blocking(proxy: Proxy, dsn: str, direct: str) -> None:
    """D2: the same on the blocking face."""
    with serving_blocking(dsn, direct, pool_max_size=1, command_timeout=1.0) as client:
        db = client["main"]
        db.fetchval("select 1")
        proxy.freeze_on(LIFTS)
        started = time.monotonic()
        with pytest.raises(QueryTimeoutError):
            borrow_blocking(db)
        assert time.monotonic() - started < 1 + BLOCKING
        proxy.thaw()


def test_interrupted_on_the_way_out(proxy: Proxy, dsn: str, direct: str) -> None:
    """D4: Ctrl-C while an open transaction is undone closes the connection; none is lost."""
    with serving_blocking(dsn, direct, pool_max_size=1) as client:
        db = client["main"]

        def interrupt() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), db.connection() as connection:
            connection.execute("begin")
            connection.rollback = interrupt
        settle_blocking(lambda: stuck(db))
