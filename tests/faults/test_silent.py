"""A server that lets a client in and then says nothing: no attempt to connect sticks for ever (D1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from pgdual.errors import PoolTimeoutError
from tests._async import clients as aio
from tests._sync import clients as sync

from .leaks import AGAIN, Footprint, serving, serving_blocking, settle, settle_blocking
from .proxy import Direction, Proxy

pytestmark = pytest.mark.slow

LIMIT = 2  # seconds an attempt to connect may take
WORKERS = 3  # of psycopg's pool: as many attempts run at a time


class Swallower(Proxy):
    """A proxy that keeps the first question of so many new connections to itself."""

    swallows = 0

    def _part(self, data: bytes, direction: Direction) -> bytes:
        if direction == "up" and self.swallows and b"pg_backend_pid" in data:
            self.swallows -= 1
            return b""
        return super()._part(data, direction)


@pytest.fixture
def proxy(main_server: object) -> Iterator[Swallower]:
    with Swallower(main_server.port) as made:  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def dsn(proxy: Proxy, direct: str) -> str:
    return f"{proxy.dsn(direct)}?connect_timeout={LIMIT}"


async def test_silent_after_the_startup(proxy: Swallower, dsn: str, direct: str) -> None:
    """D1: connections that are silent from their first question on are given up, and others are made."""
    proxy.swallows = WORKERS
    async with serving(dsn, direct, pool_min_size=3, pool_timeout=AGAIN) as client:
        assert await client["main"].fetchval("select 1") == 1
        assert not proxy.swallows


def test_silent_after_the_startup_blocking(proxy: Swallower, dsn: str, direct: str) -> None:
    """D1: the same on the blocking face."""
    proxy.swallows = WORKERS
    with serving_blocking(dsn, direct, pool_min_size=3, pool_timeout=AGAIN) as client:
        assert client["main"].fetchval("select 1") == 1
        assert not proxy.swallows


async def test_silent_for_ever(proxy: Swallower, dsn: str, direct: str) -> None:
    """B2, P4: each is an incident, the caller hears of it, and nothing is left when the client closes."""
    before = Footprint()
    proxy.swallows = 1000
    client = aio.client_of(main=dsn, pool_timeout=LIMIT * 4, breaker_failure_threshold=2)
    with pytest.raises(PoolTimeoutError, match=r"last attempt to connect failed: .*within 2"):
        await client.open()
    assert client["main"].circuit_breaker.state == "open"
    await client.close()
    await settle(lambda: before.left(direct))


def test_silent_for_ever_blocking(proxy: Swallower, dsn: str, direct: str) -> None:
    """B2, P4: the same on the blocking face."""
    before = Footprint()
    proxy.swallows = 1000
    client = sync.client_of(main=dsn, pool_timeout=LIMIT * 4, breaker_failure_threshold=2)
    with pytest.raises(PoolTimeoutError, match=r"last attempt to connect failed: .*within 2"):
        client.open()
    assert client["main"].circuit_breaker.state == "open"
    client.close()
    settle_blocking(lambda: before.left(direct))


async def test_closed_by_force(proxy: Swallower, dsn: str, direct: str) -> None:
    """D4, P4: an event loop whose main task is cancelled meanwhile ends soon all the same."""
    proxy.swallows = WORKERS

    async def main() -> None:
        await aio.client_of(main=dsn, pool_min_size=3).open()

    async def limited() -> None:
        async with asyncio.timeout(0.5):
            await main()

    def run() -> float:
        with asyncio.Runner() as runner:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                runner.run(limited())
        return time.monotonic() - started

    assert await asyncio.to_thread(run) < LIMIT + 2
