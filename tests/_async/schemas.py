"""What the tests of schema files share: files that count their runs, and one that waits to be let go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from pgdual.aio import AsyncClient
from pgdual.settings import DatabaseSettings, Settings

from .clients import first, outside

GATE = 42
COUNTED = (
    "CREATE TABLE t (id int PRIMARY KEY);\nCREATE TABLE runs (n serial);\nINSERT INTO runs DEFAULT VALUES;\n"
)
GATED = f"{COUNTED}SELECT pg_advisory_xact_lock({GATE});\n"
RAN = "select count(*) from pgdual_schema"
HELD = "select count(*) from pg_locks where locktype = 'advisory' and objid = 42"


def client_with(main: str, database: dict[str, Any] | None = None, **options: Any) -> AsyncClient:
    """Return a client of one server that looks for the lock often; *options* are Settings."""
    sizes: dict[str, Any] = {"dsn": main, "pool_min_size": 1, "pool_max_size": 3, **(database or {})}
    given: dict[str, Any] = {"schema_lock_retry_ms": 50.0, "schema_lock_wait": 20.0, "close_grace": 1.0}
    return AsyncClient(Settings(databases={"main": DatabaseSettings(**sizes)}, **{**given, **options}))


def file_of(folder: Path, text: str, name: str = "tradecore.sql") -> Path:
    """Return a file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def gate(dsn: str) -> Iterator[Any]:
    """Hold up a GATED file until the connection that this yields is closed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", [GATE])
        yield connection


def is_gated(dsn: str) -> bool:
    """Return whether a run waits at the gate."""
    return bool(first(dsn, f"{HELD} and not granted"))


def runs(dsn: str) -> tuple[Any, Any]:
    """Return how often the file ran by its own count, and by the fingerprint's."""
    return first(dsn, "select count(*) from runs"), first(dsn, RAN)


def tables(dsn: str) -> set[str]:
    """Return the tables that there are."""
    return {row[0] for row in outside(dsn, "select tablename from pg_tables where schemaname = 'public'")}
