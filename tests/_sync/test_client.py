# Generated from tests/_async/test_client.py by _generate.py. Do not edit.
"""P4, and the guide's names: clients are opened, used and closed; the default one is the environment's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pgdual._sync.tradecore as tradecore
from pgdual import sync
from pgdual.sync import Client, Database
from pgdual.errors import (
    ClientClosedError,
    OperationalError,
    UnknownDatabaseError,
    UsageError,
)
from pgdual.settings import DatabaseSettings, Settings, get_config

from .clients import at_rest, client_of, left_open, outside, pids
from .runtime import spawn, wait_until

NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


def test_a_client_opens_and_closes(main_dsn: str, vb_dsn: str) -> None:
    """P4: a client opens every configured database with its block and closes them with it."""
    client = client_of(main=main_dsn, vb=vb_dsn)
    assert repr(client) == f"<{Client.__name__} unused>"
    with client:
        health = client.health_check()
        assert {name: one["status"] for name, one in health.items()} == {"main": "healthy", "vb": "healthy"}
        assert client["main"] is client[Database.MAIN]
    for name in ("main", "vb"):
        with pytest.raises(ClientClosedError):
            client[name].fetch("select 1")
    wait_until(lambda: not pids(main_dsn))


def test_a_client_that_cannot_open_closes_again(main_dsn: str) -> None:
    """P4: where one database cannot be opened the block is not entered, and the others are closed again."""
    sizes: Any = {"pool_min_size": 1, "pool_max_size": 2, "pool_timeout": 3}
    settings = Settings(
        databases={
            "main": DatabaseSettings(dsn=main_dsn, **sizes),
            "vb": DatabaseSettings(dsn=f"{main_dsn}_not", **sizes),
        }
    )
    client = Client(settings)
    with pytest.raises(OperationalError, match="does not exist"):
        with client:
            pytest.fail("entered")
    assert not client["main"].is_open
    wait_until(lambda: not left_open(main_dsn))


def test_closing_waits_for_calls(main_dsn: str) -> None:
    """P4: closing waits for a call and for a transaction in flight, up to the grace period."""
    client = client_of(main=main_dsn, close_grace=5, pool_min_size=2)
    db = client["main"]
    db.execute("create table t (id int)")

    def block() -> int:
        with db.transaction() as tx:
            tx.execute("insert into t values (1)")
            tx.fetch("select pg_sleep(0.8)")
            tx.execute("insert into t values (2)")
        return 2

    with spawn(block) as working, spawn(lambda: db.fetchval("select 1 from pg_sleep(0.8)")) as reading:
        wait_until(
            lambda: sum("pg_sleep" in row[2] for row in left_open(main_dsn) if row[1] == "active") == 2
        )
        client.close()
        assert working.result() == 2
        assert reading.result() == 1
    assert outside(main_dsn, "select count(*) from t") == [(2,)]


def test_health_when_the_server_is_away() -> None:
    """The health check of a database that does not answer says so within two seconds, and raises nothing."""
    client = client_of(main=NOWHERE)
    report = client["main"].health_check()
    assert report["status"] == "unhealthy"
    assert "refused" in report["error"]
    assert report["role"] is report["latency_ms"] is None
    client.close()


def test_health_keys(main_dsn: str) -> None:
    """The guide's keys are there, with plain values."""
    with client_of(main=main_dsn) as client:
        report = client["main"].health_check()
        assert list(report) == [
            "database", "status", "pool_info", "pool_size", "pool_max", "breaker", "role", "in_recovery",
            "replication_lag_ms", "server_version", "latency_ms", "error",
        ]  # fmt: skip
        assert report["database"] == "main"
        assert report["pool_max"] == report["pool_info"]["max_size"] == 4
        assert report["pool_info"]["size"] == report["pool_size"]
        assert report["pool_info"]["min_size"] == 1
        assert report["role"] == "primary"
        assert 0 < report["latency_ms"] < 1000
        with client["main"].transaction() as tx:
            tx.execute("select 1 for update")
            assert (client["main"].health_check())["status"] == "healthy"
        at_rest(client["main"], main_dsn)


# -- the guide's names -----------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, main_dsn: str, vb_dsn: str) -> Iterator[None]:
    for name in ("REFERENCE_POSTGRES_DSN", "POSTGRES_REFERENCE_DSN", "DATABASE_URL", "VB_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTGRES_DSN", main_dsn)
    monkeypatch.setenv("VB_POSTGRES_DSN", vb_dsn)
    monkeypatch.setenv("PG_POOL_MAX_SIZE", "6")
    monkeypatch.setenv("VB_PG_POOL_MIN_SIZE", "1")
    get_config.cache_clear()
    yield
    get_config.cache_clear()


@pytest.fixture
def default(environment: None) -> Iterator[None]:
    sync.open_all()
    yield
    sync.close_all()
    for one in tradecore.client._databases.values():
        one._own = None


PORT = "select current_setting('port')"


def test_the_default_databases(default: None) -> None:
    """`db` and `vb_db` are the environment's main and vb; each asks its own server (R1)."""
    assert sync.db.fetchval(PORT) != sync.vb_db.fetchval(PORT)
    assert tradecore.client["main"] is sync.db


def test_calls_by_database(default: None) -> None:
    """The functions take `database` as a name or as Database, main where it is not given."""
    main, vb = sync.fetchval_for_db(PORT), sync.fetchval_for_db(PORT, database="vb")
    assert main != vb
    assert sync.fetchval_for_db(PORT, database=Database.VB) == vb
    assert sync.execute_for_db("create table t (id int)", database="vb") == "CREATE TABLE"
    assert sync.execute_for_db("insert into t values ($1)", 1, database="vb", timeout=5) == "INSERT 0 1"
    assert sync.fetch_for_db("select id from t", database="vb") == [(1,)]
    assert sync.fetchrow_for_db("select id from t where id = $1", 2, database="vb") is None
    assert sync.fetchrow_for_db("select id from t", database="vb", into=dict) == {"id": 1}
    with pytest.raises(UnknownDatabaseError, match="main, vb, reference"):
        sync.fetch_for_db("select 1", database="other")


def test_transactions_and_connections_by_database(default: None) -> None:
    """A transaction and a psycopg connection of either database."""
    vb = sync.fetchval_for_db(PORT, database="vb")
    with sync.transaction_for_db("vb", isolation="serializable", readonly=True) as tx:
        assert tx.fetchval(PORT) == sync.vb_db.fetchval(PORT) == vb
        assert tx.fetchval("show transaction_isolation") == "serializable"
        assert sync.fetchval_for_db(PORT) != vb
    with pytest.raises(UsageError):
        sync.transaction_for_db(isolation="dirty")  # type: ignore[arg-type]
    with sync.acquire_connection_for_db("vb") as connection:
        cursor = connection.execute(PORT)
        assert cursor.fetchone() == (vb,)


def test_pools(default: None) -> None:
    """The psycopg pools can be had, opened if need be; without that an unopened one is None."""
    assert sync.get_pool() is sync.db.pool() is sync.init_db_pool()
    assert sync.get_pool_for_db("vb") is sync.vb_db.pool()
    sync.close_all()
    assert sync.get_pool_for_db("vb", ensure_initialized=False) is None
    with pytest.raises(ClientClosedError):
        sync.get_pool()
    sync.init_all()
    assert sync.get_pool_for_db("vb", ensure_initialized=False) is not None
    assert sync.get_circuit_breaker("vb").state == sync.get_circuit_breaker().state == "closed"
    with (sync.get_pool()).connection() as connection:
        assert (connection.execute("select 1")).fetchone() == (1,)


def test_a_pool_of_ones_own_sizes(default: None, main_dsn: str, vb_dsn: str) -> None:
    """`init_pool_for_db` opens a pool anew with what it is given; the rest comes from the settings."""
    sync.init_pool_for_db("vb", max_size=3, default_command_timeout_sec=7.0)
    sync.init_pool_for_db(
        Database.VB, dsn_or_url=main_dsn, min_size=1, max_size=2, pool_acquire_timeout_sec=1.5
    )
    assert sync.vb_db.fetchval("select current_database()") == main_dsn.rpartition("/")[2]
    fleet: Any = sync.vb_db._fleet
    assert (fleet.min_size, fleet.max_size, fleet.acquire_timeout, fleet.command_timeout) == (1, 2, 1.5, 60.0)
    sync.init_pool_for_db("vb", vb_dsn, max_size=5)
    assert sync.fetchval_for_db("select current_database()", database="vb") == vb_dsn.rpartition("/")[2]
    assert (sync.health_check_for_db("vb"))["pool_max"] == 5
    sync.init_pool_for_db("main", min_size=1)
    assert (sync.health_check_for_db())["pool_max"] == 6
    with pytest.raises(UnknownDatabaseError):
        sync.init_pool_for_db("other")


def test_health(default: None) -> None:
    """Health of one database and of all configured ones."""
    assert (sync.health_check_for_db())["status"] == "healthy"
    assert sorted(sync.health_check_all()) == ["main", "vb"]
    assert (sync.health_check_for_db("reference"))["status"] == "unhealthy"


def test_dsns(default: None, main_dsn: str, vb_dsn: str) -> None:
    """Each database's DSN is its own."""
    assert sync.get_postgres_dsn() == main_dsn
    assert sync.get_postgres_dsn_for_db("vb") == vb_dsn


def test_lifespan(environment: None) -> None:
    """`lifespan=lifespan` opens the default client with an application and closes it with it, each time."""
    for _ in range(2):
        with sync.lifespan(object()) as state:
            assert state is None
            assert sync.vb_db.fetchval("select 1") == 1
            assert sync.db.is_open
        assert not sync.db.is_open
        with pytest.raises(ClientClosedError):
            sync.db.fetch("select 1")
