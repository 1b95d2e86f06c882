"""Health checks of servers in trouble: on a frozen network, of a standby, and as Kubernetes asks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.embedded import Postgres, Template
from pgdual.observe.probes import Probes
from tests._async import clients as aio
from tests._sync import clients as sync
from tests._sync.runtime import wait_until

from .proxy import Proxy
from .standby import Standby, caught_up, missing


@pytest.fixture
def proxy(main_server: Postgres) -> Iterator[Proxy]:
    with Proxy(main_server.port) as made:
        yield made


async def test_a_frozen_network(proxy: Proxy, main_dsn: str) -> None:
    """B3: it is back within its own deadline, and an answer that never came is no incident."""
    async with aio.client_of(main=proxy.dsn(main_dsn), pool_min_size=1, pool_max_size=1) as client:
        db = client["main"]
        assert (await db.health_check())["status"] == "healthy"
        proxy.freeze()
        started = time.monotonic()
        report = await db.health_check()
        assert time.monotonic() - started < 1.5
        assert report["status"] == "unhealthy"
        assert report["error"].startswith(("QueryTimeoutError", "TimeoutError"))
        assert db.circuit_breaker.failures == 0
        proxy.thaw()


def test_a_frozen_network_blocking(proxy: Proxy, main_dsn: str) -> None:
    """B3: the same on the blocking face, with the grace that D2 gives it."""
    with sync.client_of(main=proxy.dsn(main_dsn), pool_min_size=1, pool_max_size=1) as client:
        db = client["main"]
        assert db.health_check()["status"] == "healthy"
        proxy.freeze()
        started = time.monotonic()
        report = db.health_check()
        assert time.monotonic() - started < 2.5
        assert report["status"] == "unhealthy"
        assert db.circuit_breaker.failures == 0
        proxy.thaw()


def test_a_standby(template: Template) -> None:
    """A standby says that it is one, and how far behind: nothing when it is level, more while it rests."""
    if missing():
        pytest.skip(missing())
    with template.postgres() as primary, Standby(primary) as standby:
        sync.outside(primary.dsn, "create table t (id int)")
        caught_up(primary, standby)
        with sync.client_of(main=standby.dsn) as client:
            report = client["main"].health_check()
            assert (report["role"], report["in_recovery"]) == ("standby", True)
            assert report["replication_lag_ms"] == 0.0
            sync.outside(standby.dsn, "select pg_wal_replay_pause()")
            sync.outside(primary.dsn, "insert into t values (1)")
            wait_until(lambda: (client["main"].health_check()["replication_lag_ms"] or 0) > 0)


# -- probes ----------------------------------------------------------------------------------------


async def asked(app: Probes, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return the status and the body that *app* answers with."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app({"type": "http", "path": path, "method": method, "headers": []}, receive, send)
    start, body = sent
    assert dict(start["headers"])[b"content-type"] == b"application/json"
    return start["status"], json.loads(body["body"]) if body["body"] else None


async def test_probes(main_dsn: str) -> None:
    """Live asks nobody; ready is what the databases are; under a mount or not; and nothing leaks."""
    nowhere = "postgresql://nobody:h7unt3r2@127.0.0.1:9/nothing"
    client = aio.client_of(main=main_dsn, vb=nowhere)
    try:
        app = Probes(client)
        assert await asked(app, "/live") == (200, {"status": "alive"})
        assert await asked(app, "/health/live/") == (200, {"status": "alive"})
        assert await asked(Probes(client, ["main"]), "/health/ready") == (
            200,
            {"status": "ready", "databases": {"main": "healthy"}},
        )
        status, body = await asked(app, "/ready")
        assert (status, body["status"]) == (503, "not ready")
        assert body["databases"] == {"main": "healthy", "vb": "unhealthy"}
        assert "h7unt3r2" not in str(body)
        assert (await asked(app, "/other"))[0] == 404
        assert (await asked(app, "/ready", "POST"))[0] == 405
        assert await asked(app, "/live", "HEAD") == (200, None)
        assert (await asked(Probes(client, []), "/ready"))[0] == 503
    finally:
        await client.close()


async def test_probes_by_themselves(main_dsn: str) -> None:
    """Where they are the whole application, the server's start and end are answered."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = Probes(aio.client_of(main=main_dsn))
    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(NotImplementedError):
        await app({"type": "websocket"}, receive, send)
