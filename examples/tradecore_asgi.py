"""An ASGI application on two databases, with its schema run once however many workers start at once.

    cd examples
    GRANIAN_WORKERS=4 granian --interface asgi --respawn-failed-workers tradecore_asgi:app

`GRANIAN_WORKERS` tells Granian how many workers to start, and pgdual by how many its pools are shared.
Without `--respawn-failed-workers` one worker that is killed ends the server. `POSTGRES_DSN` and
`VB_POSTGRES_DSN` say where the databases are, `SCHEMAS` in which folder the schema files.

    GET /            who answers, and how many users and accounts there are
    POST /users      a new user, with an account at the virtual broker
    GET /health/live, /health/ready      for Kubernetes
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from pgdual.aio import client, close_all, db, open_all, run_schema_from_file, run_vb_schema, vb_db
from pgdual.observe.probes import Probes

SCHEMAS = Path(os.environ.get("SCHEMAS", Path(__file__).parents[1] / "schemas"))
# So that pg_stat_activity says which worker a connection belongs to.
for variable in ("PG_APPLICATION_NAME", "VB_PG_APPLICATION_NAME"):
    os.environ.setdefault(variable, f"tradecore {os.getpid()}")

logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(message)s")
logger = logging.getLogger("tradecore")
probes = Probes(client)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one request, or live one life."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["path"].startswith("/health/"):
        await probes(scope, receive, send)
    elif scope["type"] == "http":
        status, answer = await serve(scope["method"], scope["path"])
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def live(receive: Receive, send: Send) -> None:
    """Run the schemas and open the pools, tell the server, and close them when it says so."""
    await receive()
    try:
        # Whichever worker comes first runs them; the others wait here and find them done.
        await run_schema_from_file(SCHEMAS / "tradecore.sql")
        await run_vb_schema(SCHEMAS / "tradecore_vb.sql")
        await open_all()
    except Exception as error:
        logger.exception("the worker cannot start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    logger.info("ready")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await close_all()
    logger.info("closed")
    await send({"type": "lifespan.shutdown.complete"})


async def serve(method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer to one request."""
    if (method, path) == ("GET", "/"):
        users = await db.fetchval("SELECT count(*) FROM users")
        accounts = await vb_db.fetchval("SELECT count(*) FROM vb_accounts")
        return 200, {"worker": os.getpid(), "users": users, "accounts": accounts}
    if (method, path) == ("POST", "/users"):
        user = uuid4()
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO users (id, email) VALUES ($1, $2)", user, f"{user}@example.com")
            await vb_db.execute("INSERT INTO vb_accounts (id, user_id) VALUES ($1, $2)", uuid4(), user)
        return 201, {"id": str(user)}
    return 404, {"error": "there is nothing here"}
