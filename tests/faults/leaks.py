"""What a test with faults must leave behind: nothing, on either end, and a client that serves.

`serving` and `serving_blocking` are the frame of such a test: a client, the test, and then the claims.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.sync import DB, Client
from tests._async import clients as aio
from tests._sync import clients as sync

__all__ = [
    "AGAIN",
    "Footprint",
    "beyond",
    "serves",
    "serves_blocking",
    "serving",
    "serving_blocking",
    "settle",
    "settle_blocking",
    "stuck",
]

AGAIN = 10.0  # seconds within which a client has to serve again, by itself


def tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of the running event loop but this one and pytest's; none where there is no loop."""
    try:
        found = asyncio.all_tasks() - {asyncio.current_task()}
    except RuntimeError:
        return set()
    return {task for task in found if "TestRunner" not in repr(task.get_coro())}


def threads() -> set[str]:
    """Return the names of pgdual's threads."""
    return {one.name for one in threading.enumerate() if one.name.startswith("pgdual-")}


def descriptors() -> int:
    """Return how many files this process has open, sockets among them."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def beyond(dsn: str, size: int) -> str:
    """Return what of pgdual's sessions should not be there, with *size* connections allowed, or ""."""
    try:
        rows = sync.outside(dsn, f"select pid, state, query from pg_stat_activity where {sync.OURS}")
    except psycopg.OperationalError as error:
        return f"the server does not answer: {error}"
    if len(rows) > size:
        return f"{len(rows)} sessions, {size} allowed: {rows}"
    return "; ".join(f"{pid} is {state}: {query}" for pid, state, query in rows if state != "idle")


class Footprint:
    """What this process holds now, to be compared with afterwards."""

    def __init__(self) -> None:
        self._tasks, self._descriptors = tasks(), descriptors()

    def left(self, dsn: str) -> str:
        """Return what is left of a client that was closed; "" if nothing is."""
        grown = descriptors() - self._descriptors
        found = {
            "threads": threads(),
            "tasks": tasks() - self._tasks,
            "more files open": max(0, grown),
            "sessions": beyond(dsn, 0),
        }
        return "; ".join(f"{what}: {count}" for what, count in found.items() if count)


async def settle(look: Callable[[], str], patience: float = AGAIN) -> None:
    """Return once *look* finds nothing.

    Raises:
        AssertionError: It still did after *patience* seconds; the message is what it found.
    """
    deadline = time.monotonic() + patience
    while found := look():
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def settle_blocking(look: Callable[[], str], patience: float = AGAIN) -> None:
    """Do what `settle` does, in a thread."""
    deadline = time.monotonic() + patience
    while found := look():
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def stuck(db: AsyncDB | DB) -> str:
    """Return what is still in use in the pool of *db*; "" if nothing is."""
    return "" if sync.is_at_rest(db) else f"in use: {db!r}"  # type: ignore[arg-type]


async def serves(db: AsyncDB) -> None:
    """Have *db* read, write and commit, all within AGAIN seconds."""
    async with asyncio.timeout(AGAIN):
        assert await db.fetchval("select 1") == 1
        assert await db.execute("select 1 for update") == "SELECT 1"
        async with db.transaction() as tx:
            assert await tx.fetchval("select 2") == 2


def serves_blocking(db: DB) -> None:
    """Have *db* read, write and commit, all within AGAIN seconds."""
    started = time.monotonic()
    assert db.fetchval("select 1") == 1
    assert db.execute("select 1 for update") == "SELECT 1"
    with db.transaction() as tx:
        assert tx.fetchval("select 2") == 2
    assert time.monotonic() - started < AGAIN


@asynccontextmanager
async def serving(dsn: str, direct: str, **options: Any) -> AsyncIterator[AsyncClient]:
    """Lend a client of *dsn*, and see afterwards that it serves by itself and leaves nothing behind.

    Args:
        direct: The DSN of the same database, past every fault.
    """
    before = Footprint()
    async with aio.client_of(main=dsn, **options) as client:
        yield client
        db = client["main"]
        await serves(db)
        await settle(lambda: stuck(db))
        await settle(lambda: beyond(direct, db.stats()["pool"]["max_size"]))
    await settle(lambda: before.left(direct))


@contextmanager
def serving_blocking(dsn: str, direct: str, **options: Any) -> Iterator[Client]:
    """Do what `serving` does, on the blocking face."""
    before = Footprint()
    with sync.client_of(main=dsn, **options) as client:
        yield client
        db = client["main"]
        serves_blocking(db)
        settle_blocking(lambda: stuck(db))
        settle_blocking(lambda: beyond(direct, db.stats()["pool"]["max_size"]))
    settle_blocking(lambda: before.left(direct))
