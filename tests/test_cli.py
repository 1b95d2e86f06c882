"""The commands for operating: what they say, how they end, and that no password is in it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from psycopg import sql
from typer.testing import CliRunner, Result

from pgdual.cli.app import app
from pgdual.cli.checks import CHECKS
from pgdual.embedded import Postgres, Template

from ._sync.clients import outside
from ._sync.runtime import wait_until
from .pgbouncer import PgBouncer

SECRET = "h7unt3r2"
NOWHERE = f"postgresql://nobody:{SECRET}@127.0.0.1:9/nothing"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs `pgdual` with its arguments in an environment of its own."""
    import os

    for name in list(os.environ):
        if re.search(r"DSN|DATABASE_URL|^PG|POOL|^DB_|WORKERS|CONCURRENCY", name) and name != "PGDUAL_PG_BIN":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, **environment: str) -> Result:
        result = CliRunner().invoke(app, arguments, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a traceback is what no command may show
        assert SECRET not in result.output
        return result

    return invoke


# -- every command -----------------------------------------------------------------------------------


def names_of(command: Any) -> Iterator[list[str]]:
    """Yield the words that lead to a command and to each below it."""
    yield []
    for name, below in getattr(command, "commands", {}).items():
        yield from ([name, *rest] for rest in names_of(below))


COMMANDS = list(names_of(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example(run, words: list[str]) -> None:
    """The help of each command shows it in use."""
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example: .*{' '.join(['pgdual', *words])}", result.output)


@pytest.mark.parametrize(("typed", "offered"), [("pgdual h", "health"), ("pgdual migrate up", "upgrade")])
def test_the_shell_completes(monkeypatch: pytest.MonkeyPatch, typed: str, offered: str) -> None:
    """A shell that asks is told what may follow, and `--show-completion` how it is to ask."""
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # whatever runs the tests
    asked = {"_PGDUAL_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    result = CliRunner().invoke(app, [], prog_name="pgdual", env=asked)
    assert result.output.split() == [offered]
    shown = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="pgdual")
    assert "complete -o default -F _pgdual_completion pgdual" in shown.output


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["health", "--nonsense"], ["pool-plan", "--workers", "0"]]
)
def test_what_is_unknown(run, arguments: list[str]) -> None:
    """An unknown command or option, or a value out of bounds, ends with code 2."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["health", "pool-plan", "doctor"])
def test_no_dsn(run, command: str) -> None:
    """Without a DSN one line says what to set, also for a database that is named."""
    result = run(command)
    assert result.exit_code == 2
    assert result.output == (
        "No database has a DSN. Set POSTGRES_DSN (or DATABASE_URL) in the environment or in .env.\n"
    )
    result = run(command, "vb")
    assert result.exit_code == 2
    assert "Set VB_POSTGRES_DSN" in result.output
    assert "Use one of main, vb, reference" in run(command, "other").output


@pytest.mark.parametrize(
    ("command", "code"), [("health", 1), ("pool-plan", 1), ("doctor", 2), ("schema status", 1)]
)
def test_an_unreachable_server(run, command: str, code: int) -> None:
    """A server that cannot be reached is one line with the reason."""
    result = run(*command.split(), POSTGRES_DSN=NOWHERE, PG_POOL_TIMEOUT_SEC="1")
    assert result.exit_code == code
    assert len([line for line in result.output.splitlines() if "Connection refused" in line]) == 1
    assert "Traceback" not in result.output


# -- config ------------------------------------------------------------------------------------------


def table(output: str) -> dict[str, list[str]]:
    """Return the lines of aligned columns by their first cell."""
    return {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line) for line in output.splitlines())}


def test_config_names_where_each_value_comes_from(run, tmp_path: Path) -> None:
    """Every setting is there once with its variable, the environment before `.env`; passwords are masked."""
    (tmp_path / ".env").write_text("PG_POOL_TIMEOUT_SEC=7\nPG_POOL_MAX_SIZE=9\nUNKNOWN=1\n")
    result = run(
        "config",
        DATABASE_URL=f"postgresql+asyncpg://app:{SECRET}@db.example/tradecore?sslmode=require&gssencmode=disable",
        PG_POOL_MAX_SIZE="50",
        VB_PG_POOL_MAX_SIZE="6",
        REDIS_URL=f"redis://:{SECRET}@h",
        GRANIAN_WORKERS="2",
    )
    assert result.exit_code == 0, result.output
    found = table(result.output)
    assert found["main.dsn"] == [
        "host=db.example dbname=tradecore user=app sslmode=require password=********** (+1 more)",
        "DATABASE_URL",
    ]
    assert found["main.pool_max_size"] == ["50", "PG_POOL_MAX_SIZE"]
    assert found["main.pool_timeout"] == ["7", "PG_POOL_TIMEOUT_SEC (.env)"]
    assert found["vb.pool_max_size"] == ["6", "VB_PG_POOL_MAX_SIZE"]
    assert found["vb.pool_min_size"] == ["6", "default"]  # lowered to the greatest size
    assert found["workers"] == ["2", "GRANIAN_WORKERS"]
    assert found["redis_url"] == ["**********", "REDIS_URL"]
    assert found["leak_threshold"] == ["none", "default"]


def test_config_says_every_mistake_once(run) -> None:
    """Code 2, and one line for each variable that is wrong, not for the first alone."""
    result = run(
        "config",
        PG_POOL_MAX_SIZE="many",
        VB_PG_POOL_TIMEOUT_SEC="-1",
        DB_SLOW_QUERY_THRESHOLD_MS="soon",
        POSTGRES_DSN=f"postgresql://u:{SECRET}@[::1/db",
    )
    assert result.exit_code == 2
    lines = result.output.splitlines()
    for variable in (
        "PG_POOL_MAX_SIZE",
        "VB_PG_POOL_TIMEOUT_SEC",
        "DB_SLOW_QUERY_THRESHOLD_MS",
        "POSTGRES_DSN",
    ):
        assert len([line for line in lines if line.startswith(variable)]) == 1, lines
    assert len(lines) == 4


# -- health ------------------------------------------------------------------------------------------


def test_health(run, main_dsn: str) -> None:
    """The exit code says whether all are healthy; the table and the JSON say the same."""
    result = run("health", POSTGRES_DSN=main_dsn)
    assert result.exit_code == 0
    assert table(result.output)["main"][:2] == ["healthy", "primary"]
    result = run("health", "--json", POSTGRES_DSN=main_dsn, VB_POSTGRES_DSN=NOWHERE)
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert {name: report["status"] for name, report in found.items()} == {
        "main": "healthy",
        "vb": "unhealthy",
    }
    assert run("health", "main", POSTGRES_DSN=main_dsn, VB_POSTGRES_DSN=NOWHERE).exit_code == 0


# -- pool-plan ---------------------------------------------------------------------------------------


def test_pool_plan(run, main_dsn: str, main_server: Postgres) -> None:
    """P2: the plan is held against the server's real limit, with both databases of one server together."""
    most = int(outside(main_dsn, "show max_connections")[0][0])
    result = run("pool-plan", "--workers", "4", POSTGRES_DSN=main_dsn, PG_POOL_MAX_SIZE="20")
    assert result.exit_code == 0, result.output
    assert table(result.output)["main"] == ["20", "5", "20"]
    assert f"4 workers open up to 20 connections; x 2 is 40. The server allows {most}," in result.output
    result = run("pool-plan", "--workers", "4", POSTGRES_DSN=main_dsn, PG_POOL_MAX_SIZE=str(most // 2 + 20))
    assert result.exit_code == 1
    assert "ALTER SYSTEM SET max_connections" in result.output
    half = str(most // 4 + 8)
    result = run(
        "pool-plan",
        POSTGRES_DSN=main_dsn,
        VB_POSTGRES_DSN=main_server.dsn,
        PG_POOL_MAX_SIZE=half,
        VB_PG_POOL_MAX_SIZE=half,
        WORKERS="2",
    )
    assert result.exit_code == 1
    assert re.search(r"set PG_POOL_MAX_SIZE=\d+, VB_PG_POOL_MAX_SIZE=\d+", result.output)
    assert (
        "4 workers cannot share 3"
        in run("pool-plan", "--workers", "4", POSTGRES_DSN=main_dsn, PG_POOL_MAX_SIZE="3").output
    )


# -- doctor ------------------------------------------------------------------------------------------

SICK = """
create table users (id serial primary key);
create table orders (id int, user_id int references users, symbol text);
create index orders_symbol on orders (symbol);
create table good (user_id int references users);
create index on good (user_id);
insert into users select from generate_series(1, 10);
insert into orders select g, 1, g::text from generate_series(1, 5000) g;
insert into good values (1);
select setval('users_id_seq', 2000000000);
create sequence fine;
"""


@contextmanager
def a_blocked_session(dsn: str) -> Iterator[int]:
    """Hold a row that another session waits for; yield the holder's process."""

    def wait() -> None:
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("update users set id = id where id = 1")

    with psycopg.connect(dsn) as holder:
        holder.execute("update users set id = id where id = 1")
        thread = threading.Thread(target=wait)
        thread.start()
        try:
            wait_until(lambda: outside(dsn, "select 1 from pg_locks where not granted"))
            yield holder.info.backend_pid
        finally:
            holder.rollback()
            thread.join(10)


def test_doctor(run, main_dsn: str) -> None:
    """Each kind of trouble is found, once, with the SQL that mends it; what is well is not mentioned."""
    outside(main_dsn, SICK)
    with pytest.raises(psycopg.errors.UniqueViolation):
        outside(main_dsn, "create unique index concurrently broken on orders (user_id)")
    outside(main_dsn, "delete from orders where id > 2000")
    outside(main_dsn, "select pg_stat_force_next_flush()")
    outside(main_dsn, "analyze orders")  # says how many rows are dead without vacuuming them
    with a_blocked_session(main_dsn) as holder:
        result = run("doctor", "--min-size-mb", "0", "--longer-than", "0", "--json", POSTGRES_DSN=main_dsn)
    assert result.exit_code == 1, result.output
    report = json.loads(result.output)["main"]
    assert report["not_looked_at"] == []
    findings = [finding for finding in report["findings"] if finding["title"] != "long session"]
    fixes = {finding["title"]: finding["fix"] for finding in findings}
    assert len(findings) == len(fixes) == 6
    assert len(report["findings"]) > 6  # the long sessions, which are two or more
    assert fixes["waiting for a lock"] == f"SELECT pg_terminate_backend({holder});"
    assert fixes["unused index"] == "DROP INDEX CONCURRENTLY public.orders_symbol;"
    assert fixes["missing index"] == "CREATE INDEX CONCURRENTLY ON public.orders (user_id);"
    assert fixes["invalid index"] == "REINDEX INDEX CONCURRENTLY public.broken;"
    assert fixes["bloat"] == "VACUUM (ANALYZE) public.orders;"
    assert "ALTER COLUMN id TYPE bigint" in fixes["sequence near its end"]
    # The cure works, and what it cured is not found again.
    for title in ("unused index", "missing index", "bloat", "sequence near its end"):
        for statement in filter(str.strip, fixes[title].split(";")):
            outside(main_dsn, statement)
    outside(main_dsn, "drop index broken")
    result = run("doctor", "--min-size-mb", "0", POSTGRES_DSN=main_dsn)
    assert [line for line in result.output.splitlines() if "orders" in line and "bloat" not in line] == []


def test_doctor_of_a_healthy_database(run, main_dsn: str) -> None:
    """An empty database has no findings, and the code says so."""
    result = run("doctor", POSTGRES_DSN=main_dsn)
    assert (result.exit_code, result.output) == (0, "main: no findings\n")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.title)
def test_every_check_is_read_only(check, main_dsn: str) -> None:
    """No check needs more than to read."""
    with psycopg.connect(main_dsn, options="-c default_transaction_read_only=on") as connection:
        if check.needs is None or connection.execute(check.needs).fetchone():
            connection.execute(check.sql, {"longer_than": 1.0, "slower_than_ms": 1.0, "min_bytes": 0})


def slow_ones(run, dsn: str) -> list[dict[str, str]]:
    """Return what `doctor` finds about slow statements, which it was able to look at."""
    result = run("doctor", "--json", "--slower-than-ms", "20", POSTGRES_DSN=dsn)
    (report,) = json.loads(result.output).values()
    assert report["not_looked_at"] == []
    return [one for one in report["findings"] if one["title"] == "slow statement"]


def test_slow_statements(run, template: Template) -> None:
    """Slow statements are found where the extension is, in any schema, and the SQL given for each runs."""
    with template.postgres({"shared_preload_libraries": "pg_stat_statements"}) as server:
        dsn = server.create_database("shop")
        assert slow_ones(run, dsn) == []  # it was loaded, and not made
        outside(dsn, "create role clerk login; grant pg_read_all_stats to clerk; create schema tools")
        outside(dsn, "grant usage on schema tools to clerk; create extension pg_stat_statements schema tools")
        outside(dsn, "select tools.pg_stat_statements_reset()")
        with psycopg.connect(dsn, autocommit=True) as connection:
            for number in range(3):
                connection.execute("select %s::int, pg_sleep(0.03)", [number])
        outside(dsn, "do $$ begin perform pg_sleep(0.03); end $$")
        outside(dsn, f"select pg_sleep(0.03), {' + '.join(['1'] * 600)}")  # longer than what is shown
        outside(dsn, "select 1")
        outside(server.dsn, "select pg_sleep(0.03)")  # in another database
        found = {one["what"].split("`")[1][:28]: one for one in slow_ones(run, dsn)}
        wanted = {
            "select $1::int, pg_sleep($2)",
            "do $$ begin perform pg_sleep",
            "select pg_sleep($1), $2 + $3",
        }
        assert wanted <= found.keys()
        assert "select pg_sleep($1)" not in found
        words = found["select $1::int, pg_sleep($2)"]["what"]
        assert re.match(r"\d+ ms on average, 3 calls, 0\.\d s in all: ", words)
        with psycopg.connect(dsn, options="-c search_path=tools") as connection:
            for one in found.values():
                assert connection.pgconn.exec_(one["fix"].encode()).ntuples > 0, one["fix"]
        assert len(slow_ones(run, dsn.replace("postgres@", "clerk@"))) >= 3
        del server.settings["shared_preload_libraries"]
        server.stop()
        server.start()
        assert slow_ones(run, dsn) == []  # it was made, and is not loaded


def test_a_role_without_rights(run, main_dsn: str) -> None:
    """A role that may see nothing of others gets one line for each thing it could not see, and code 2."""
    name = "limited_" + main_dsn.rpartition("_")[2]
    outside(main_dsn, sql.SQL("create role {} login").format(sql.Identifier(name)).as_string())
    try:
        dsn = main_dsn.replace("//postgres@", f"//{name}@")
        result = run("doctor", POSTGRES_DSN=dsn)
        assert result.exit_code == 2
        assert f"sees only its own. GRANT pg_monitor TO {name};" in result.output
        assert run("pool-plan", POSTGRES_DSN=dsn).exit_code == 0
        outside(main_dsn, "revoke select on pg_stat_activity from public")
        result = run("doctor", POSTGRES_DSN=dsn)
        assert result.exit_code == 2
        assert "not looked at: long session: permission denied for view pg_stat_activity" in result.output
        result = run("pool-plan", POSTGRES_DSN=dsn)
        assert (result.exit_code, "permission denied" in result.output) == (1, True)
    finally:
        outside(main_dsn, "grant select on pg_stat_activity to public")
        outside(main_dsn, sql.SQL("drop role {}").format(sql.Identifier(name)).as_string())


def test_through_a_pooler(run, pooler: PgBouncer, main_dsn: str) -> None:
    """N2: behind a transaction pooler doctor and pool-plan work, and change no session of it."""
    way = pooler.through(main_dsn)
    for command in ("doctor", "pool-plan", "health"):
        result = run(command, POSTGRES_DSN=way)
        assert result.exit_code == 0, result.output
    for _ in range(4):
        assert outside(way, "show statement_timeout") == [("0",)]
        assert outside(way, "show default_transaction_read_only") == [("off",)]
