"""Shows that an installed wheel works on a server: what differs between PostgreSQL's versions, on both faces.

Schema files, types, transactions with their replay, bulk, lanes, deadlines, notifications, a lost connection,
the event log. It is copied away from the source before it runs.
"""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import distribution, version
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import pgdual
from pgdual.aio import AsyncClient, AsyncDB, AsyncEventLog, Record
from pgdual.core import pipeline
from pgdual.embedded import Postgres
from pgdual.errors import QueryTimeoutError, UniqueViolation
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import DB, Client, EventLog, create_commit_table, run_schema_from_file

SCHEMA = str(files("pgdual") / "schemas/tradecore.sql")
QUERY = "SELECT status FROM users WHERE email = $1"
INSERT = "INSERT INTO users (id, email) VALUES (gen_random_uuid(), $1)"
WRITES = "CREATE FUNCTION add(k int) RETURNS int LANGUAGE sql AS 'UPDATE n SET n = n + k RETURNING n'"
OTHERS = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
LOSE = f"SELECT count(pg_terminate_backend(pid)) {OTHERS}"
VALUES: dict[str, Any] = {
    "int8": 2**40,
    "numeric": Decimal("12.3400"),
    "text": "\u00e4\U0001f600",
    "bytea": b"\0\xff",
    "timestamptz": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "interval": timedelta(days=3, microseconds=1),
    "uuid": UUID(int=7),
    "jsonb": {"a": [1, None, "x"]},
    "int4[]": [1, None, 3],
    "text[]": ["a", "NULL", None],
}


def event() -> dict[str, Any]:
    """Return an event for the log."""
    one = {"event_id": uuid4(), "event_type": "tick", "aggregate_id": "a", "version": 1}
    return {**one, "timestamp": VALUES["timestamptz"], "data": {"n": 1}}


def blocking(db: DB) -> str:
    """Try the blocking face, which makes the tables; return the server's version."""
    assert [run_schema_from_file(SCHEMA, database=db).ran for _ in range(2)] == [True, False]
    with db.transaction() as tx:
        tx.execute(INSERT, "ann@example.com")
        with suppress(UniqueViolation), tx.transaction() as nested:
            nested.execute(INSERT, "ann@example.com")
        assert tx.fetchval("SELECT count(*) FROM users") == 1
    assert db.fetchval(QUERY, "ann@example.com") == "active"
    create_commit_table(db)
    db.execute(INSERT, "once@example.com", once=True)
    for name, value in VALUES.items():
        assert db.fetchval(f"SELECT $1::{name}", value) == value, name
    db.execute("CREATE TABLE n (n int); INSERT INTO n VALUES (0)")
    db.execute(WRITES)
    assert [db.fetchval("SELECT add(1)") for _ in range(3)] == [1, 2, 3]  # a SELECT that writes
    db.execute("CREATE TABLE bulk (k int PRIMARY KEY, v text)")
    assert db.executemany("INSERT INTO bulk VALUES ($1, $2)", [(k, str(k)) for k in range(500)]) == 500
    assert db.copy_in("bulk", ((k, None) for k in range(500, 1_000))) == 500
    assert db.insert_many("bulk", [(k, "x") for k in range(1_000, 1_500)]) == 500
    assert db.upsert_many("bulk", [(k, "y") for k in range(1_400, 1_600)], conflict="k") == 200
    with db.stream("SELECT k FROM bulk ORDER BY k") as rows:
        assert [row.k for row in rows] == list(range(1_600))
    assert db.copy_out("bulk", (out := io.BytesIO()), format="csv") == 1_600
    assert out.getvalue().count(b"\n") == 1_600
    deadline(db)
    with db.listen("news") as heard:
        db.execute("NOTIFY news, 'one'")
        assert tuple(heard.next(5) or ())[:2] == ("news", "one")
    EventLog(db).create()
    EventLog(db).append(event())
    assert db.health_check()["status"] == "healthy"
    db.fetchval(LOSE)
    assert db.fetchval("SELECT 1") == 1
    return str(db.fetchval("SHOW server_version"))


def deadline(db: DB) -> None:
    """Ask for what takes too long: the server is told to stop, and the next call is answered."""
    try:
        db.fetchval("SELECT pg_sleep(5)", timeout=0.2)
    except QueryTimeoutError:
        assert db.fetchval("SELECT 1") == 1
    else:
        raise AssertionError("no deadline")


async def asynchronous(db: AsyncDB) -> None:
    """Try the async face, on what the other one wrote."""
    rows = await asyncio.gather(*[db.fetchrow(QUERY, "ann@example.com") for _ in range(20)])
    assert {row.status for row in rows if row is not None} == {"active"}
    answers = await asyncio.gather(*[db.fetchval("SELECT $1::int", k) for k in range(300)])  # on few lanes
    assert answers == list(range(300))
    for name, value in VALUES.items():
        assert await db.fetchval(f"SELECT $1::{name}", value) == value, name
    await conflict(db)
    assert await db.executemany("UPDATE bulk SET v = $2 WHERE k = $1", [(k, "z") for k in range(99)]) == 99
    assert await db.copy_in("bulk", [(k, "w") for k in range(2_000, 2_100)]) == 100
    async with db.stream("SELECT k FROM bulk", chunk=100) as found:
        assert len([row async for row in found]) == 1_700
    try:
        await db.fetchval("SELECT pg_sleep(5)", timeout=0.2)
    except QueryTimeoutError:
        assert await db.fetchval("SELECT 1") == 1
    else:
        raise AssertionError("no deadline")
    async with db.listen("news") as heard:
        await db.execute("NOTIFY news, 'two'")
        assert tuple(await heard.next(5) or ())[:2] == ("news", "two")
    assert [one.data for one in await AsyncEventLog(db).read()] == [{"n": 1}]
    await db.fetchval(LOSE)
    assert await db.fetchval("SELECT 1") == 1


async def conflict(db: AsyncDB) -> None:
    """Add to one row in eight serializable blocks at once, which conflict: each is counted once."""

    async def add() -> None:
        async with db.transaction(isolation="serializable") as tx:
            await tx.execute("UPDATE n SET n = n + 1")

    await asyncio.gather(*[add() for _ in range(8)])
    assert await db.fetchval("SELECT n FROM n") == 3 + 8


async def opened(settings: Settings) -> None:
    """Open the async face and try it."""
    async with AsyncClient(settings) as client:
        await asynchronous(client["main"])


def language() -> str:
    """Return what it runs as: compiled, in the wheels that are not pure Python."""
    is_pure = "Root-Is-Purelib: true" in str(distribution("pgdual").read_text("WHEEL"))
    assert Record.__bases__[0].__module__ == ("pgdual.core.named" if is_pure else "pgdual.core._named")
    assert str(pipeline.__file__).endswith(".py") is is_pure, pipeline.__file__
    return "pure Python" if is_pure else "compiled"


def main() -> None:
    """Say what was tried."""
    assert "site-packages" in str(pgdual.__file__), pgdual.__file__
    with Postgres() as server:
        settings = Settings(databases={"main": DatabaseSettings(dsn=server.dsn)})
        with Client(settings) as client:
            number = blocking(client["main"])
        asyncio.run(opened(settings))
    python = ".".join(map(str, sys.version_info[:3]))
    what = f"pgdual {version('pgdual')}, {language()}"
    sys.stdout.write(f"{what}, on Python {python} and PostgreSQL {number}\n")


if __name__ == "__main__":
    main()
