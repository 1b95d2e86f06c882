# Generated from tests/_async/test_usage.py by _generate.py. Do not edit.
"""Wrong use is refused with a remedy before anything is sent; time limits say what became of the call."""

from __future__ import annotations

import contextvars
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.embedded import Postgres
from pgdual.errors import (
    ClientClosedError,
    DatabaseNotConfiguredError,
    OutcomeUnknownError,
    PoolTimeoutError,
    QueryTimeoutError,
    UnknownDatabaseError,
    UsageError,
)
from pgdual.settings import DatabaseSettings, Settings

from .clients import at_rest, client_of, left_open, outside, pids
from .runtime import spawn, wait_until


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    outside(main_dsn, "create table t (id int primary key, name text)")
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


# -- wrong texts and arguments ---------------------------------------------------------------------


REFUSED: list[tuple[Any, Any, str]] = [
    ("select $1::int", (), r"takes 1 argument \(\$1\), 0 were given"),
    ("select 1", (1,), "takes no arguments, 1 was given"),
    ("select $2::int", (1, 2, 3), "takes 2 arguments .*, 3 were given"),
    ("select * from t where id = %s", (1,), "psycopg's placeholder"),
    ("select * from t where id = %(id)s", ({"id": 1},), "psycopg's placeholder"),
    ("select $1::int", (object(),), r"\$1"),
    ("select $1::int", (2**31,), r"\$1"),
    ("select $1::text", ("a\0b",), r"\$1"),
    ("select 'a\0b'", (), "NUL"),
    ("", (), "empty"),
    ("-- nothing", (), "empty"),
    (b"select 1", (), "must be a str"),
    (None, (), "must be a str"),
    ("select 'open", (), "never ends"),
    ("select 1; select 2", (), "execute"),
    ("copy t to stdout", (), "COPY"),
    ("copy t from stdin", (), "COPY"),
    ("begin", (), "transaction"),
    ("commit", (), "transaction"),
    ("savepoint a", (), "transaction"),
    ("prepare transaction 'a'", (), "transaction"),
    ("set work_mem = '1MB'", (), "SET LOCAL"),
    ("set local work_mem = '1MB'", (), "transaction"),
    ("listen news", (), r"db\.connection"),
    ("create temp table x ()", (), "transaction"),
    ("select 1; select $1", (1,), "script"),
]


def test_refused_before_anything_is_sent(db: DB) -> None:
    """Q4, Q5: the call is wrong, the error says how to do it right, and it is a ValueError as well."""
    for sql, arguments, words in REFUSED:
        for call in (db.execute, db.fetchval) if words != "execute" else (db.fetchval, db.fetch):
            with pytest.raises(UsageError, match=words) as caught:
                call(sql, *arguments)  # type: ignore[operator]
            assert isinstance(caught.value, ValueError)
    assert db.fetchval("select 1") == 1


def test_a_wrong_timeout(db: DB) -> None:
    """D1: a time limit is seconds above 0, or None; anything else is refused, in a transaction as well."""
    for timeout in (0, -1, "1", True, float("nan"), [1]):
        wrong: Any = timeout
        with pytest.raises(UsageError, match="timeout="):
            db.fetch("select 1", timeout=wrong)
        with db.transaction() as tx:
            with pytest.raises(UsageError, match="timeout="):
                tx.fetch("select 1", timeout=wrong)
            assert tx.fetchval("select 1", timeout=float("inf")) == 1
    for _ in range(25):  # more than there are connections
        assert db.fetchval("select 1", timeout=10**400) == 1


def test_names_of_arguments(db: DB) -> None:
    """A misspelt argument is a TypeError."""
    with pytest.raises(TypeError, match="tiemout"):
        db.fetch("select 1", tiemout=1)  # type: ignore[call-overload]


# -- databases that are not there ------------------------------------------------------------------


def test_an_unknown_database(client: Client) -> None:
    """A name that no database has is refused with those that there are."""
    with pytest.raises(UnknownDatabaseError, match=r"'mian'.*main"):
        client["mian"]


def test_an_unconfigured_database(main_dsn: str) -> None:
    """A database without a DSN raises when it is used, not before, and names its variables."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn), "reference": DatabaseSettings()})
    with Client(settings) as client:
        reference = client["reference"]
        message = (
            "DSN not configured for database 'reference'. "
            "Set REFERENCE_POSTGRES_DSN (or POSTGRES_REFERENCE_DSN) in the environment."
        )
        with pytest.raises(DatabaseNotConfiguredError) as caught:
            reference.fetch("select 1")
        assert str(caught.value) == message
        health = reference.health_check()
        assert health["status"] == "unhealthy"
        assert message in health["error"]
        assert client["main"].fetchval("select 1") == 1


def test_a_closed_client(main_dsn: str) -> None:
    """P4: whatever is asked of a closed client says so; opened again it works."""
    client = client_of(main=main_dsn)
    db = client["main"]
    assert db.fetchval("select 1") == 1
    client.close()
    client.close()
    for call in (lambda: db.fetch("select 1"), lambda: db.executemany("select $1::int", [(1,)])):
        with pytest.raises(ClientClosedError, match="'main'"):
            call()
    with pytest.raises(ClientClosedError):
        with db.transaction():
            pass
    assert (db.health_check())["status"] == "unhealthy"
    client.open()
    assert db.fetchval("select 1") == 1
    client.close()


# -- D1, D2 --------------------------------------------------------------------------------------


def test_the_acquire_clock(main_dsn: str) -> None:
    """D1: without a free connection a call ends at the acquire clock, with the pool's figures."""
    with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.2) as client:
        db = client["main"]

        def hold() -> None:
            db.execute("select pg_sleep(1) for update")

        with spawn(hold):
            wait_until(lambda: left_open(main_dsn))
            calls = [db.fetch, db.execute]
            for call in calls:
                with pytest.raises(PoolTimeoutError, match="1 of 1 in use") as caught:
                    call("select 1", timeout=5)  # type: ignore[operator]
                assert isinstance(caught.value, TimeoutError)
            with pytest.raises(PoolTimeoutError):
                with db.transaction() as tx:
                    tx.fetch("select 1")
        at_rest(db, main_dsn)


@pytest.mark.parametrize("sql", ["select pg_sleep(30)", "insert into t select 1 from pg_sleep(30)"])
def test_the_command_clock(db: DB, main_dsn: str, sql: str) -> None:
    """D1, D2: past its time limit a statement is cancelled; the server said so: it was rolled back."""
    pid = db.fetchval("select pg_backend_pid()")
    for _ in range(3):
        with pytest.raises(QueryTimeoutError, match=r"main: .*pg_sleep\(30\).*time limit") as caught:
            db.execute(sql, timeout=0.1)
        assert caught.value.outcome == "rolled back"
        assert not isinstance(caught.value, OutcomeUnknownError)
        at_rest(db, main_dsn)
    assert db.fetchval("select pg_backend_pid()") == pid


def test_the_default_clock_and_none(main_dsn: str) -> None:
    """D1: without `timeout=` the database's clock counts; None lifts it."""
    with client_of(main=main_dsn, command_timeout=0.2) as client:
        db = client["main"]
        with pytest.raises(QueryTimeoutError):
            db.fetch("select pg_sleep(1)")
        assert db.fetch("select pg_sleep(0.4)", timeout=None)
        assert db.fetch("select pg_sleep(0.4)", timeout=5)
        with db.transaction() as tx:
            assert tx.fetch("select pg_sleep(0.4)", timeout=None)


def test_while_a_text_is_described(db: DB, main_dsn: str) -> None:
    """D2: a new text whose description waits for a lock ends at the limit as well, and was not run."""
    with db.transaction() as tx:
        tx.execute("lock table t")

        def ask() -> None:
            with pytest.raises(QueryTimeoutError) as caught:
                db.execute("insert into t values (77)", timeout=0.1)
            assert caught.value.outcome == "rolled back"

        contextvars.Context().run(lambda: spawn(ask)).result()  # outside of the block
    assert db.fetchval("select count(*) from t") == 0


def test_inside_a_transaction(db: DB, main_dsn: str) -> None:
    """D1, T1: a time limit inside a block fails it: it rolls back, and its connection is used again."""
    pid = db.fetchval("select pg_backend_pid()")
    with pytest.raises(QueryTimeoutError) as caught:
        with db.transaction() as tx:
            tx.execute("insert into t values (1)")
            tx.execute("select pg_sleep(30)", timeout=0.1)
    assert caught.value.outcome == "rolled back"
    assert db.fetchval("select count(*) from t") == 0
    with db.transaction() as tx:
        tx.execute("insert into t values (1)")
        with pytest.raises(QueryTimeoutError):
            with tx.transaction():
                tx.execute("select pg_sleep(30)", timeout=0.1)
        tx.execute("insert into t values (2)")
    assert db.fetchval("select count(*) from t") == 2
    assert db.fetchval("select pg_backend_pid()") == pid


def test_a_server_that_is_silent(main_dsn: str, main_server: Postgres) -> None:
    """D2: if the server stays silent the call ends all the same; what became of a write is not known."""
    with client_of(main=main_dsn, pool_min_size=3) as client:
        db = client["main"]
        db.execute("create table t (id int)")
        db.fetch("select id from t")
        db.execute("insert into t values (1)")
        wait_until(lambda: db.stats()["pool"]["idle"] == 3)  # one of them is for the write
        frozen = [*pids(main_dsn), main_server.pid]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(QueryTimeoutError) as read:
                db.fetch("select id from t", timeout=0.1)
            with pytest.raises(OutcomeUnknownError) as write:
                db.execute("insert into t values (1)", timeout=0.1)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        assert not isinstance(read.value, OutcomeUnknownError)
        assert isinstance(write.value, QueryTimeoutError)
        assert write.value.outcome == "unknown"
        assert db.fetchval("select 1", timeout=10) == 1
        at_rest(db, main_dsn)


def test_a_silent_server_in_a_transaction(main_dsn: str, main_server: Postgres) -> None:
    """D2, T1: before COMMIT a silent server's transaction was rolled back; during COMMIT nobody knows."""
    with client_of(main=main_dsn, command_timeout=0.3) as client:
        db = client["main"]
        db.execute("create table t (id int)", timeout=10)
        frozen: list[int] = []

        def freeze(tx: Any) -> None:
            tx.execute("insert into t values (1)", timeout=10)
            frozen[:] = [tx.fetchval("select pg_backend_pid()", timeout=10), main_server.pid]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)

        for error, outcome in ((QueryTimeoutError, "rolled back"), (OutcomeUnknownError, "unknown")):
            try:
                with pytest.raises(error) as caught:
                    with db.transaction() as tx:
                        freeze(tx)
                        if outcome == "rolled back":
                            tx.execute("insert into t values (2)")
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.outcome == outcome  # type: ignore[attr-defined]
        at_rest(db, main_dsn)


def test_a_script_that_leaves_a_transaction_open(db: DB) -> None:
    """A script that ends inside a transaction is undone, and that is said; the next call is not in it."""
    with pytest.raises(UsageError, match="left a transaction open"):
        db.execute("begin; create table left_open (id int)")
    assert db.fetchval("select to_regclass('left_open')") is None
    db.execute("begin; create table ended (id int); commit")
    assert db.fetchval("select to_regclass('ended')") == "ended"


def test_without_prepared_statements(main_dsn: str) -> None:
    """N1: with PG_PREPARED_STATEMENTS=off every way of calling works, and the server keeps nothing."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, prepared_statements="off")})
    with Client(settings) as client:
        db = client["main"]
        db.execute("create table t (id int, name text)")
        assert db.executemany("insert into t values ($1, $2)", [(1, "a"), (2, None)]) == 2
        for _ in range(3):
            assert db.fetch("select name from t where id = $1", 1) == [("a",)]
        with db.transaction() as tx:
            assert tx.execute("update t set name = $1", "b") == "UPDATE 2"
            assert tx.fetchval("select count(*) from pg_prepared_statements") == 0
