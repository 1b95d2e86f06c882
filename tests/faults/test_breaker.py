"""The breaker opens where nobody answers, also where nothing is refused and nothing is cut (B1, B2)."""

from __future__ import annotations

import asyncio
import time

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import CircuitOpenError, QueryTimeoutError
from pgdual.sync import DB
from tests._sync import runtime as threads

from .leaks import serving, serving_blocking
from .proxy import Proxy

pytestmark = pytest.mark.slow

WARM = 8  # connections, more than it takes incidents to open the breaker
SOON = 12.0  # seconds: five calls without an answer, each a deadline long
BACK = 1.5  # seconds from the end of the trouble until it closes: an attempt to connect, at each tick
LIMIT = 1.0
SETTINGS = {"pool_min_size": WARM, "pool_max_size": WARM + 2, "pool_timeout": 3.0, "command_timeout": LIMIT}
DO = "do $$ begin perform pg_sleep(0.2); end $$"


async def warm(db: AsyncDB) -> None:
    await asyncio.gather(*(db.execute(DO, timeout=5) for _ in range(WARM)))
    while db.stats()["pool"]["idle"] < WARM:
        await asyncio.sleep(0.01)


async def test_a_frozen_network(proxy: Proxy, dsn: str, direct: str) -> None:
    """B2: calls that get no answer one after the other open it; its closing needs no call (B1)."""
    async with serving(f"{dsn}?connect_timeout=2", direct, **SETTINGS) as client:
        db = client["main"]
        await warm(db)
        proxy.freeze()
        started = time.monotonic()
        while db.circuit_breaker.state == "closed":
            with pytest.raises(QueryTimeoutError):
                await db.fetchval("select 1")
        assert time.monotonic() - started < SOON
        with pytest.raises(CircuitOpenError):
            await db.fetchval("select 1")
        proxy.thaw()
        async with asyncio.timeout(BACK):
            while db.circuit_breaker.state != "closed":
                await asyncio.sleep(0.01)


def test_a_frozen_network_blocking(proxy: Proxy, dsn: str, direct: str) -> None:
    """B1, B2: the same on the blocking face."""
    with serving_blocking(f"{dsn}?connect_timeout=2", direct, **SETTINGS) as client:
        db: DB = client["main"]
        for call in [threads.spawn(lambda: db.execute(DO, timeout=5)) for _ in range(WARM)]:
            call.result()
        threads.wait_until(lambda: db.stats()["pool"]["idle"] >= WARM)
        proxy.freeze()
        started = time.monotonic()
        while db.circuit_breaker.state == "closed":
            with pytest.raises(QueryTimeoutError):
                db.fetchval("select 1")
        assert time.monotonic() - started < SOON
        with pytest.raises(CircuitOpenError):
            db.fetchval("select 1")
        proxy.thaw()
        threads.wait_until(lambda: db.circuit_breaker.state == "closed", BACK)


async def test_lost_together(db: AsyncDB, proxy: Proxy) -> None:
    """B2: all connections of a moment that are lost in flight are one incident."""
    calls = [asyncio.create_task(db.fetchval("select pg_sleep(0.5)")) for _ in range(4)]
    await asyncio.sleep(0.3)
    proxy.refuse()
    proxy.reset()
    await asyncio.sleep(0.05)
    assert db.circuit_breaker.failures <= 2  # theirs, and an attempt to connect
    proxy.accept()
    await asyncio.gather(*calls)
