# Generated from tests/_async/clients.py by _generate.py. Do not edit.
"""Clients for the tests, and a look from outside at what they have left on the server."""

from __future__ import annotations

from typing import Any

import psycopg

from pgdual.sync import Client, DB
from pgdual.settings import DatabaseSettings, Settings

from .runtime import wait_until

OURS = "datname = current_database() and application_name = 'pgdual'"


def client_of(*, close_grace: float = 1.0, vb: str | None = None, main: str, **options: Any) -> Client:
    """Return a client of one or two servers with a small pool; *options* are DatabaseSettings."""
    sizes = {"pool_min_size": 1, "pool_max_size": 4, **options}
    databases = {"main": DatabaseSettings(dsn=main, **sizes)}
    if vb is not None:
        databases["vb"] = DatabaseSettings(dsn=vb, **sizes)
    return Client(Settings(databases=databases, close_grace=close_grace))


def outside(dsn: str, sql: str, *args: Any) -> list[Any]:
    """Return the rows of *sql*, asked on a connection that no client has to do with."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql, args or None)
        return cursor.fetchall() if cursor.description else []


def first(dsn: str, sql: str, *args: Any) -> Any:
    """Return the first value of *sql*, asked from outside, or None."""
    rows = outside(dsn, sql, *args)
    return rows[0][0] if rows else None


def prepare(dsn: str, *texts: str) -> None:
    """Run *texts* from outside."""
    for text in texts:
        outside(dsn, text)


def is_running(dsn: str, beginning: str) -> bool:
    """Return whether a statement that begins so runs for pgdual in this database."""
    running = f"select 1 from pg_stat_activity where {OURS} and state = 'active' and starts_with(query, %s)"
    return bool(outside(dsn, running, beginning))


def terminate(dsn: str) -> None:
    """Have the server end all connections of pgdual to this database, and wait until it has."""
    outside(dsn, f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {OURS}")


def left_open(dsn: str) -> list[Any]:
    """Return what other sessions of this database are in the middle of, or hold locks for."""
    return outside(
        dsn,
        f"select pid, state, query from pg_stat_activity where {OURS} and state <> 'idle' union all "
        "select pid, mode, relation::regclass::text from pg_locks where relation is not null and pid in "
        f"(select pid from pg_stat_activity where {OURS})",
    )


def pids(dsn: str) -> set[int]:
    """Return the server's processes that serve pgdual in this database."""
    return {row[0] for row in outside(dsn, f"select pid from pg_stat_activity where {OURS}")}


def is_at_rest(db: DB) -> bool:
    """Return whether no wire of *db* is in use, and nobody waits for one."""
    fleet = db._fleet
    assert fleet is not None
    figures = fleet.figures()
    loads = [wire.load for wire in fleet.lanes.wires]
    return figures["active"] == figures["waiting"] == figures["connecting"] == 0 and not any(loads)


def at_rest(db: DB, dsn: str) -> None:
    """Return once nothing is in use in the pool and nothing is left open on the server (D4)."""
    wait_until(lambda: is_at_rest(db))
    wait_until(lambda: not left_open(dsn))
