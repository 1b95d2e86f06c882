"""P2, P3: workers that start at once run the schema once, survive one another, and keep to their share."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from pgdual.embedded import Postgres, Template, Valkey

from ._sync.clients import first, outside, prepare
from ._sync.runtime import Event, spawn, wait_until
from .granian import Application
from .interpreter import script

WORKERS = 4
PLAN = 8  # connections of all workers to each database: the least pool that is not one for each
SCHEMAS = Path(__file__).parents[1] / "schemas"
COUNTED = "CREATE TABLE runs (n serial);\nINSERT INTO runs DEFAULT VALUES;\n"
# The first to come sleeps; a sequence does not roll back.
SLEEPY = "SELECT pg_sleep(CASE nextval('tries') WHEN 1 THEN 600 ELSE 0 END);\n"
ASLEEP = (
    "select application_name from pg_stat_activity where state = 'active' and query like 'SELECT pg_sleep%'"
)

WAITING = "select count(*) from pg_locks where not granted"


@pytest.fixture(scope="module")
def pair(template: Template) -> Iterator[tuple[Postgres, Postgres]]:
    """Two servers on which the role `app` may not have more connections than the plan says."""
    with template.postgres() as main, template.postgres() as vb:
        for server in (main, vb):
            prepare(server.dsn, f"create role app login connection limit {PLAN}")
        yield main, vb


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """The schema files, and in each what counts its runs."""
    for name in ("tradecore.sql", "tradecore_vb.sql"):
        (tmp_path / name).write_text((SCHEMAS / name).read_text("utf-8") + COUNTED, "utf-8")
    return tmp_path


def new_databases(pair: tuple[Postgres, Postgres], role: str = "app") -> list[str]:
    """Return the DSNs of two new databases that *role* owns, one on each server."""
    name = f"cold_{secrets.token_hex(4)}"
    found = []
    for server in pair:
        found.append(server.create_database(name).replace("postgres@", f"{role}@"))
        prepare(server.dsn, f"alter database {name} owner to {role}")
    return found


@contextmanager
def application(dsns: list[str], schemas: Path, **environment: str) -> Iterator[Application]:
    names = ("PG_POOL_MIN_SIZE", "VB_PG_POOL_MIN_SIZE"), ("PG_POOL_MAX_SIZE", "VB_PG_POOL_MAX_SIZE")
    sizes = {name: str(size) for size, pair in zip((WORKERS, PLAN), names, strict=True) for name in pair}
    where = {"POSTGRES_DSN": dsns[0], "VB_POSTGRES_DSN": dsns[1], "SCHEMAS": str(schemas)}
    with Application(schemas, WORKERS, **where, **sizes, **environment) as running:
        yield running


def as_postgres(dsn: str) -> str:
    return dsn.replace("app@", "postgres@")


def counted(dsns: list[str]) -> list[Any]:
    """Return how often each schema ran, by its own count and by the fingerprint's."""
    tables = ("runs", "pgdual_schema")
    return [[first(as_postgres(dsn), f"select count(*) from {table}") for table in tables] for dsn in dsns]


def connections(dsn: str) -> int:
    return int(first(as_postgres(dsn), "select count(*) from pg_stat_activity where usename = 'app'"))


def cold_start(pair: tuple[Postgres, Postgres], schemas: Path) -> None:
    dsns = new_databases(pair)
    with application(dsns, schemas) as running:
        running.wait_ready()
        assert counted(dsns) == [[1, 1], [1, 1]]
        for database in ("main", "vb"):
            assert len(running.said(rf"\[SCHEMA\] {database}: .* ran, ")) == 1
            assert len(running.said(rf"\[SCHEMA\] {database}: .* has run before")) == WORKERS - 1
        with ThreadPoolExecutor(12) as clients:
            added = [clients.submit(running.ask, "POST", "/users") for _ in range(100)]
            most = max(connections(dsn) for dsn in dsns for _ in range(5))
            assert len({one.result()["id"] for one in added}) == 100
        ready = {"status": "ready", "databases": {"main": "healthy", "vb": "healthy"}}
        assert [running.ask(path=f"/health/{name}") for name in ("live", "ready")] == [
            {"status": "alive"},
            ready,
        ]
        assert WORKERS <= most <= PLAN
        answer = running.ask()
        assert (answer["users"], answer["accounts"]) == (100, 100)
        running.terminate()
        assert running.wait_ended() == 0, running.log
        assert len(running.said(" tradecore closed$")) == WORKERS, running.log
    for dsn in dsns:
        wait_until(lambda dsn=dsn: not connections(dsn))
    for server in pair:
        # P2: the server would have refused one connection more than the plan's.
        assert "too many connections for role" not in (server.data / "server.log").read_text("utf-8")


@pytest.mark.parametrize("starts", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_cold_starts(pair: tuple[Postgres, Postgres], schemas: Path, starts: int) -> None:
    """P3, P2: at each cold start the schemas run exactly once, under load no worker exceeds its share."""
    for _ in range(starts):
        cold_start(pair, schemas)


@pytest.mark.parametrize("queue", ["no Redis", pytest.param("Redis", marks=pytest.mark.slow)])
def test_the_worker_that_runs_the_schema_is_killed(
    pair: tuple[Postgres, Postgres], schemas: Path, queue: str, record_property: Any
) -> None:
    """P3: after a kill -9 of the worker that runs the schema another one runs it, once, and all serve."""
    dsns = new_databases(pair)
    outside(dsns[0], "create sequence tries")
    file = schemas / "tradecore.sql"
    file.write_text(file.read_text("utf-8") + SLEEPY, "utf-8")
    with Valkey() as valkey:
        given = {"REDIS_URL": valkey.url} if queue == "Redis" else {}
        with application(dsns, schemas, **given) as running:
            wait_until(lambda: first(as_postgres(dsns[0]), ASLEEP), timeout=60)
            name = first(as_postgres(dsns[0]), ASLEEP)
            started = monotonic()
            os.kill(int(name.split()[1]), signal.SIGKILL)
            made = "select count(*) from pg_tables where tablename = 'runs'"
            wait_until(lambda: first(as_postgres(dsns[0]), made), timeout=120)
            seconds = monotonic() - started
            record_property("taken over after", seconds)
            logging.getLogger("tests").info("taken over after %.1f s, %s", seconds, queue)
            running.wait_ready()
            assert counted(dsns) == [[1, 1], [1, 1]]
            assert running.ask()["users"] == 0


def test_requests_in_flight_are_answered(pair: tuple[Postgres, Postgres], schemas: Path) -> None:
    """P4: on SIGTERM a request that waits in the database is answered before its worker closes."""
    dsns = new_databases(pair)
    come = Event()

    def post() -> Any:
        come.wait()
        return running.ask("POST", "/users")

    with application(dsns, schemas) as running:
        running.wait_ready()
        with psycopg.connect(as_postgres(dsns[0])) as door, spawn(post) as asking:
            door.execute("lock table users")
            come.set()
            wait_until(lambda: first(as_postgres(dsns[0]), WAITING))
            running.terminate()
            wait_until(lambda: len(running.said(" tradecore closed$")) == WORKERS - 1)
            door.rollback()
            assert asking.result(timeout=20)["id"]
        assert running.wait_ended() == 0, running.log
        assert len(running.said(" tradecore closed$")) == WORKERS, running.log
        assert first(dsns[0], "select count(*) from users") == 1


def test_four_processes_of_the_blocking_face(main_dsn: str, vb_dsn: str, tmp_path: Path) -> None:
    """P3: four processes that call the blocking function at once run the file once between them."""
    file = tmp_path / "tradecore.sql"
    file.write_text(COUNTED + "SELECT pg_sleep(0.2);", "utf-8")
    code = f"""
from pgdual.sync import db, run_schema_from_file
ran = run_schema_from_file({str(file)!r}).ran
assert db.fetchval("select count(*) from runs") == 1
print(ran, end="")
"""
    with ThreadPoolExecutor(4) as processes:
        found = [processes.submit(script, code, main_dsn, vb_dsn) for _ in range(4)]
        assert sorted(one.result() for one in found) == ["False", "False", "False", "True"]
    assert first(main_dsn, "select count(*) from pgdual_schema") == 1
