"""A server that is away for longer than the acquire clock: what waits meanwhile is bounded (D1, B1)."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from psycopg_pool import PoolTimeout

from pgdual.aio import AsyncDB
from pgdual.errors import CircuitOpenError, PoolTimeoutError
from pgdual.sync import DB

from .leaks import serving, serving_blocking
from .proxy import Proxy

pytestmark = pytest.mark.slow

OUTAGE = 6.0  # seconds: six acquire clocks
MOST = 12  # tasks or threads of one pool: its workers, its keeper, and one for each connection it may make
BACK = 1.0  # B1: seconds until calls are answered again
REFUSED = (CircuitOpenError, PoolTimeoutError)


async def first_answer(db: AsyncDB) -> float:
    started = time.monotonic()
    while True:
        try:
            await db.fetchval("select 1")
        except REFUSED:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - started


def first_answer_blocking(db: DB) -> float:
    started = time.monotonic()
    while True:
        try:
            db.fetchval("select 1")
        except REFUSED:
            time.sleep(0.01)
        else:
            return time.monotonic() - started


async def test_an_outage(proxy: Proxy, dsn: str, direct: str) -> None:
    """B1: no tasks pile up while the server is away, and calls are answered a second after it is back."""
    async with serving(dsn, direct, pool_timeout=1.0) as client:
        db = client["main"]
        await db.fetchval("select 1")
        before = len(asyncio.all_tasks())
        proxy.refuse()
        proxy.reset()
        until, most = time.monotonic() + OUTAGE, 0
        while time.monotonic() < until:
            with pytest.raises(REFUSED):
                await db.fetchval("select 1")
            await asyncio.sleep(0.1)
            most = max(most, len(asyncio.all_tasks()))
        assert most - before <= MOST
        assert len((await db.pool())._waiting) <= MOST
        proxy.accept()
        assert await first_answer(db) < BACK


def test_an_outage_blocking(proxy: Proxy, dsn: str, direct: str) -> None:
    """B1: the same on the blocking face, of threads."""
    with serving_blocking(dsn, direct, pool_timeout=1.0) as client:
        db = client["main"]
        db.fetchval("select 1")
        before = threading.active_count()
        proxy.refuse()
        proxy.reset()
        until, most = time.monotonic() + OUTAGE, 0
        while time.monotonic() < until:
            with pytest.raises(REFUSED):
                db.fetchval("select 1")
            time.sleep(0.1)
            most = max(most, threading.active_count())
        assert most - before <= MOST
        assert len(db.pool()._waiting) <= MOST
        proxy.accept()
        assert first_answer_blocking(db) < BACK


async def test_askers_of_the_pool_itself(proxy: Proxy, dsn: str, direct: str) -> None:
    """P2: who asks the pool itself, again and again in vain, leaves no tasks behind either."""
    async with serving(dsn, direct, pool_timeout=5.0, pool_max_size=1) as client:
        db = client["main"]
        pool = await db.pool()
        async with db.connection():
            before = len(asyncio.all_tasks())
            for _ in range(40):
                with pytest.raises(PoolTimeout):
                    await pool.getconn(0.02)
            assert len(asyncio.all_tasks()) - before <= 2


def test_askers_of_the_pool_itself_blocking(proxy: Proxy, dsn: str, direct: str) -> None:
    """P2: the same on the blocking face, of threads."""
    with serving_blocking(dsn, direct, pool_timeout=5.0, pool_max_size=1) as client:
        db = client["main"]
        pool = db.pool()
        with db.connection():
            before = threading.active_count()
            for _ in range(40):
                with pytest.raises(PoolTimeout):
                    pool.getconn(0.02)
            assert threading.active_count() - before <= 2
