"""Attempts to connect that fail for a reason of the client's own: who hears of it, and what goes on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from pgdual.embedded import Postgres
from pgdual.errors import CircuitOpenError, OperationalError, PoolTimeoutError

from .clients import client_of, outside, pids
from .runtime import gather, wait_until

SLOW = "do $$ begin perform pg_sleep(0.1); end $$"


def is_let_in(dsn: str) -> bool:
    try:
        outside(dsn, "select 1")
    except OperationalError:
        return False
    return True


@pytest.fixture
def role(main_dsn: str) -> Any:
    """The database's DSN for a role of its own."""
    outside(main_dsn, "create role guest login")
    yield main_dsn.replace("postgres@", "guest@")
    outside(main_dsn, "drop role guest")


async def test_live_connections_serve_on(main_dsn: str, role: str) -> None:
    """R1: while connections live, calls have those, though no other could be made any more."""
    async with client_of(main=role, pool_min_size=2, pool_max_size=6) as client:
        db = client["main"]
        await wait_until(lambda: db.stats()["pool"]["idle"] == 2)
        outside(main_dsn, "alter role guest nologin")
        assert await gather(*[lambda: db.execute(SLOW)] * 8) == ["DO"] * 8
        assert (db.circuit_breaker.state, db.circuit_breaker.failures) == ("closed", 0)


async def test_a_refusal_that_will_not_change(main_server: Postgres, main_dsn: str, role: str) -> None:
    """D1, B2: without a live connection the caller is told at once, and it is no incident."""
    rules = main_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all guest 127.0.0.1/32 reject\n{before}")
    client = client_of(main=role, breaker_failure_threshold=1)
    try:
        outside(main_dsn, "select pg_reload_conf()")
        await wait_until(lambda: not is_let_in(role))
        for _ in range(2):
            with pytest.raises(OperationalError, match=r"pg_hba.conf rejects connection"):
                await client["main"].fetchval("select 1")
        assert client["main"].circuit_breaker.failures == 0
    finally:
        await client.close()
        rules.write_text(before)
        outside(main_dsn, "select pg_reload_conf()")
        await wait_until(lambda: is_let_in(role))


NOBODY = "postgresql://127.0.0.1:1/none"


async def test_nobody_listens() -> None:
    """D1: who waited for a connection is told for which, and why there is none."""
    client = client_of(main=NOBODY, breaker_failure_threshold=1000, pool_timeout=0.3)
    try:
        with pytest.raises(PoolTimeoutError, match=r"main.*127\.0\.0\.1.*refused"):
            await client["main"].fetchval("select 1")
    finally:
        await client.close()


async def test_nobody_listens_still() -> None:
    """B1: who is refused at once is told for which database, and why it is given up."""
    client = client_of(main=NOBODY, breaker_failure_threshold=1, pool_timeout=0.3)
    try:
        with suppress(PoolTimeoutError, CircuitOpenError):  # whether the first attempt fails before or after
            await client["main"].fetchval("select 1")
        with pytest.raises(CircuitOpenError, match=r"main.*127\.0\.0\.1.*refused"):
            await client["main"].fetchval("select 1")
    finally:
        await client.close()


async def test_a_function_that_fails(main_dsn: str) -> None:
    """D1, B2: the caller hears what a password function said; it is no incident, and may work again."""
    is_away = True

    def password() -> str:
        if is_away:
            raise RuntimeError("the vault is away")
        return "secret"

    client = client_of(main=main_dsn, password=password, pool_timeout=0.7, breaker_failure_threshold=1)
    db = client["main"]
    with pytest.raises(PoolTimeoutError, match=r"failed: RuntimeError.'the vault is away'"):
        await db.fetchval("select 1")
    assert db.circuit_breaker.failures == 0
    is_away = False
    assert await db.fetchval("select 1") == 1
    await client.close()


async def test_a_hook_that_fails(main_dsn: str) -> None:
    """D1, B2: the caller hears what a hook said; no connection is left behind, and it may work again."""
    is_broken = True
    client = client_of(main=main_dsn, pool_timeout=0.7, breaker_failure_threshold=1)
    db = client["main"]

    @db.configure
    async def hook(connection: Any) -> None:
        if is_broken:
            raise RuntimeError("the hook is broken")

    with pytest.raises(PoolTimeoutError, match=r"attempt to connect failed: .*the hook is broken"):
        await db.fetchval("select 1")
    assert db.circuit_breaker.failures == 0
    await wait_until(lambda: not pids(main_dsn))
    is_broken = False
    assert await db.fetchval("select 1") == 1
    await client.close()
