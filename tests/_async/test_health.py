"""A health check has a time and a connection of its own, and leaves the breaker alone (B3)."""

from __future__ import annotations

from typing import Any

from pgdual.aio import AsyncDB
from tests.pgbouncer import PgBouncer

from .clients import at_rest, client_of, outside
from .runtime import spawn, wait_until


async def test_it_stands_in_no_line(main_dsn: str) -> None:
    """B3: with every connection in use and calls in line it is answered at once all the same."""
    async with client_of(main=main_dsn, pool_min_size=2, pool_max_size=2) as client:
        db = client["main"]
        async with db.connection(), db.connection():
            waiting = spawn(lambda: db.fetchval("select 7"))
            await wait_until(lambda: db.stats()["pool"]["waiting"] == 1)
            report = await db.health_check()
            assert report["status"] == "healthy"
            assert report["latency_ms"] < 1000
            assert report["pool_info"]["active"] == 2
            assert report["pool_info"]["waiting"] == 1
            assert not waiting.is_done()
        assert await waiting.result() == 7
        await at_rest(db, main_dsn)


async def open_breaker(db: AsyncDB) -> Any:
    """Open the breaker of *db* as incidents do, and return it."""
    breaker = db._own_breaker()
    for _ in range(breaker.threshold):
        breaker.fail(0.0)
    breaker._until = float("inf")
    assert db.circuit_breaker.state == "open"
    return breaker


async def test_an_open_breaker_does_not_stop_it(main_dsn: str) -> None:
    """B3: while calls are refused it asks the server, and says in which state the breaker is."""
    async with client_of(main=main_dsn, pool_min_size=1, pool_max_size=1) as client:
        db = client["main"]
        async with db.connection():  # so it has to connect
            await open_breaker(db)
            report = await db.health_check()
            assert (report["status"], report["breaker"]) == ("healthy", "open")
        await wait_until(lambda: db.stats()["pool"]["idle"] == 1)
        await open_breaker(db)
        assert (await db.health_check())["status"] == "healthy"
        assert db.circuit_breaker.state == "closed"  # its own wire was answered, as any call's


async def test_what_it_reports(main_dsn: str) -> None:
    """The server's version and role, and values that are plain."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        report = await db.health_check()
        version = await db.fetchval("select split_part(current_setting('server_version'), ' ', 1)")
        assert report["server_version"] == version
        assert (report["role"], report["in_recovery"], report["replication_lag_ms"]) == (
            "primary",
            False,
            None,
        )


async def test_all_at_once(main_dsn: str) -> None:
    """R1: a database that cannot be reached does not keep the others' report back, nor spoil it."""
    client = client_of(main=main_dsn, vb="postgresql://nobody@127.0.0.1:9/nothing")
    try:
        reports = await client.health_check()
        assert {name: report["status"] for name, report in reports.items()} == {
            "main": "healthy",
            "vb": "unhealthy",
        }
        assert "refused" in reports["vb"]["error"]
        assert reports["vb"]["latency_ms"] is None
    finally:
        await client.close()


async def test_through_a_pooler(pooler: PgBouncer, main_dsn: str) -> None:
    """N2: behind a transaction pooler it works, on a wire and beside the pool, and leaves nothing there."""
    way = pooler.through(main_dsn)
    async with client_of(main=way, pooler="transaction", pool_min_size=1, pool_max_size=1) as client:
        db = client["main"]
        assert (await db.health_check())["status"] == "healthy"
        async with db.connection():
            assert (await db.health_check())["status"] == "healthy"
    assert outside(way, "select name from pg_prepared_statements") == []
