"""Liveness and readiness for Kubernetes, as an ASGI application that needs no framework.

    app.mount("/health", Probes(client))        # Starlette, FastAPI: /health/live and /health/ready
    app = Probes(client)                        # by itself, under Granian or Uvicorn

`live` answers as long as the event loop does and asks no database: a restart does not mend one. `ready`
asks every database that it was given and answers 503 until all are healthy.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from pgdual.aio import AsyncClient

__all__ = ["Probes"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Probes:
    """An ASGI application with two paths, `/live` and `/ready`.

    The body says which database is healthy and nothing else: an error may name hosts and users.

    Args:
        client: Whose databases `ready` asks.
        databases: Their names; every configured one otherwise. Leave out what the service can do without.
    """

    def __init__(self, client: AsyncClient, databases: Iterable[str] | None = None) -> None:
        self._client = client
        self._names = None if databases is None else [str(name) for name in databases]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and end."""
        if scope["type"] == "lifespan":
            await _live_along(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send)
        else:
            raise NotImplementedError(f"{scope['type']} is not served here")

    async def _answer(self, scope: Message, send: Send) -> None:
        path = scope["path"].rstrip("/")  # whatever it was mounted under comes before
        if scope["method"] not in {"GET", "HEAD"}:
            status, body = 405, {"status": "method not allowed"}
        elif path.endswith("/live"):
            status, body = 200, {"status": "alive"}
        elif path.endswith("/ready"):
            status, body = await self._ready()
        else:
            status, body = 404, {"status": "not found"}
        text = json.dumps(body).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(text)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})

    async def _ready(self) -> tuple[int, dict[str, Any]]:
        names = self._client.settings.configured if self._names is None else self._names
        reports = await asyncio.gather(*(self._client[name].health_check() for name in names))
        found = {report["database"]: report["status"] for report in reports}
        is_ready = bool(found) and all(status == "healthy" for status in found.values())
        return (200, {"status": "ready", "databases": found}) if is_ready else (
            503, {"status": "not ready", "databases": found}
        )  # fmt: skip


async def _live_along(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
