"""Bulk work that is interrupted leaves nothing behind (D4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from threading import RLock
from typing import Any

import pytest

from pgdual._sync.bulk.backfill import Run

from ._async.clients import at_rest, client_of, outside, prepare


async def slow_rows() -> AsyncIterator[tuple[int, str]]:
    yield 1, "a"
    await asyncio.sleep(20)


async def test_cancelled_tasks(main_dsn: str) -> None:
    """While the server works, while the source waits, between the chunks of a stream: all goes on after."""
    prepare(
        main_dsn,
        "create table t (id int, name text)",
        "create table slow (id int, name text)",
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(20);"
        " return new; end $$",
        "create trigger s before insert on slow for each row execute function slow()",
    )

    async def pieces() -> AsyncIterator[bytes]:
        yield b"1\ta\n"
        await asyncio.sleep(20)

    async def read(db: Any) -> None:
        async for _ in db.stream("select generate_series(1, 100000)"):
            await asyncio.sleep(20)

    async def take(source: str) -> None:
        async with db.copy_out(source) as parts:
            async for _ in parts:
                await asyncio.sleep(20)

    async with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]
        for work in (
            lambda: db.copy_in("slow", [(1, "a")]),
            lambda: db.copy_in("t", pieces()),
            lambda: db.copy_in("t", slow_rows()),
            lambda: db.copy_out("select 1 from pg_sleep(20)", lambda _: None),
            lambda: db.insert_many("slow", [(n, "a") for n in range(1500)]),
            lambda: read(db),
            lambda: take("select generate_series(1, 1000000)"),
            lambda: take("select 1 from pg_sleep(20)"),
        ):
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.15):
                        await work()
                assert await db.fetchval("select count(*) from t") == 0
                await at_rest(db, main_dsn)
        async with db.transaction() as tx:
            assert await tx.copy_in("t", [(1, "a")]) == 1
    assert outside(main_dsn, "select count(*) from t") == [(1,)]


class Struck:
    """A lock; Ctrl-C comes as it is taken."""

    def __init__(self) -> None:
        self.lock = RLock()

    def acquire(self) -> None:
        self.lock.acquire()
        raise KeyboardInterrupt

    def release(self) -> None:
        self.lock.release()

    def _is_owned(self) -> bool:
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]


def test_ctrl_c_at_a_lock() -> None:
    """D4: Ctrl-C as a backfill's state is locked is heard, and the lock let go."""
    run, lock = Run.__new__(Run), Struck()
    run.lock = lock  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run._state(None)  # type: ignore[arg-type]
    assert not lock._is_owned()
