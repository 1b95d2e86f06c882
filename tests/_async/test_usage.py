"""Wrong use is refused with a remedy before anything is sent; time limits say what became of the call."""

from __future__ import annotations

import contextvars
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgdual.aio import AsyncClient, AsyncDB
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
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    outside(main_dsn, "create table t (id int primary key, name text)")
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
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


async def test_refused_before_anything_is_sent(db: AsyncDB) -> None:
    """Q4, Q5: the call is wrong, the error says how to do it right, and it is a ValueError as well."""
    for sql, arguments, words in REFUSED:
        for call in (db.execute, db.fetchval) if words != "execute" else (db.fetchval, db.fetch):
            with pytest.raises(UsageError, match=words) as caught:
                await call(sql, *arguments)  # type: ignore[operator]
            assert isinstance(caught.value, ValueError)
    assert await db.fetchval("select 1") == 1


async def test_a_wrong_timeout(db: AsyncDB) -> None:
    """D1: a time limit is seconds above 0, or None; anything else is refused, in a transaction as well."""
    for timeout in (0, -1, "1", True, float("nan"), [1]):
        wrong: Any = timeout
        with pytest.raises(UsageError, match="timeout="):
            await db.fetch("select 1", timeout=wrong)
        async with db.transaction() as tx:
            with pytest.raises(UsageError, match="timeout="):
                await tx.fetch("select 1", timeout=wrong)
            assert await tx.fetchval("select 1", timeout=float("inf")) == 1
    for _ in range(25):  # more than there are connections
        assert await db.fetchval("select 1", timeout=10**400) == 1


async def test_names_of_arguments(db: AsyncDB) -> None:
    """A misspelt argument is a TypeError."""
    with pytest.raises(TypeError, match="tiemout"):
        await db.fetch("select 1", tiemout=1)  # type: ignore[call-overload]


# -- databases that are not there ------------------------------------------------------------------


async def test_an_unknown_database(client: AsyncClient) -> None:
    """A name that no database has is refused with those that there are."""
    with pytest.raises(UnknownDatabaseError, match=r"'mian'.*main"):
        client["mian"]


async def test_an_unconfigured_database(main_dsn: str) -> None:
    """A database without a DSN raises when it is used, not before, and names its variables."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn), "reference": DatabaseSettings()})
    async with AsyncClient(settings) as client:
        reference = client["reference"]
        message = (
            "DSN not configured for database 'reference'. "
            "Set REFERENCE_POSTGRES_DSN (or POSTGRES_REFERENCE_DSN) in the environment."
        )
        with pytest.raises(DatabaseNotConfiguredError) as caught:
            await reference.fetch("select 1")
        assert str(caught.value) == message
        health = await reference.health_check()
        assert health["status"] == "unhealthy"
        assert message in health["error"]
        assert await client["main"].fetchval("select 1") == 1


async def test_a_closed_client(main_dsn: str) -> None:
    """P4: whatever is asked of a closed client says so; opened again it works."""
    client = client_of(main=main_dsn)
    db = client["main"]
    assert await db.fetchval("select 1") == 1
    await client.close()
    await client.close()
    for call in (lambda: db.fetch("select 1"), lambda: db.executemany("select $1::int", [(1,)])):
        with pytest.raises(ClientClosedError, match="'main'"):
            await call()
    with pytest.raises(ClientClosedError):
        async with db.transaction():
            pass
    assert (await db.health_check())["status"] == "unhealthy"
    await client.open()
    assert await db.fetchval("select 1") == 1
    await client.close()


# -- D1, D2 --------------------------------------------------------------------------------------


async def test_the_acquire_clock(main_dsn: str) -> None:
    """D1: without a free connection a call ends at the acquire clock, with the pool's figures."""
    async with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.2) as client:
        db = client["main"]

        async def hold() -> None:
            await db.execute("select pg_sleep(1) for update")

        async with spawn(hold):
            await wait_until(lambda: left_open(main_dsn))
            calls = [db.fetch, db.execute]
            for call in calls:
                with pytest.raises(PoolTimeoutError, match="1 of 1 in use") as caught:
                    await call("select 1", timeout=5)  # type: ignore[operator]
                assert isinstance(caught.value, TimeoutError)
            with pytest.raises(PoolTimeoutError):
                async with db.transaction() as tx:
                    await tx.fetch("select 1")
        await at_rest(db, main_dsn)


@pytest.mark.parametrize("sql", ["select pg_sleep(30)", "insert into t select 1 from pg_sleep(30)"])
async def test_the_command_clock(db: AsyncDB, main_dsn: str, sql: str) -> None:
    """D1, D2: past its time limit a statement is cancelled; the server said so: it was rolled back."""
    pid = await db.fetchval("select pg_backend_pid()")
    for _ in range(3):
        with pytest.raises(QueryTimeoutError, match=r"main: .*pg_sleep\(30\).*time limit") as caught:
            await db.execute(sql, timeout=0.1)
        assert caught.value.outcome == "rolled back"
        assert not isinstance(caught.value, OutcomeUnknownError)
        await at_rest(db, main_dsn)
    assert await db.fetchval("select pg_backend_pid()") == pid


async def test_the_default_clock_and_none(main_dsn: str) -> None:
    """D1: without `timeout=` the database's clock counts; None lifts it."""
    async with client_of(main=main_dsn, command_timeout=0.2) as client:
        db = client["main"]
        with pytest.raises(QueryTimeoutError):
            await db.fetch("select pg_sleep(1)")
        assert await db.fetch("select pg_sleep(0.4)", timeout=None)
        assert await db.fetch("select pg_sleep(0.4)", timeout=5)
        async with db.transaction() as tx:
            assert await tx.fetch("select pg_sleep(0.4)", timeout=None)


async def test_while_a_text_is_described(db: AsyncDB, main_dsn: str) -> None:
    """D2: a new text whose description waits for a lock ends at the limit as well, and was not run."""
    async with db.transaction() as tx:
        await tx.execute("lock table t")

        async def ask() -> None:
            with pytest.raises(QueryTimeoutError) as caught:
                await db.execute("insert into t values (77)", timeout=0.1)
            assert caught.value.outcome == "rolled back"

        await contextvars.Context().run(lambda: spawn(ask)).result()  # outside of the block
    assert await db.fetchval("select count(*) from t") == 0


async def test_inside_a_transaction(db: AsyncDB, main_dsn: str) -> None:
    """D1, T1: a time limit inside a block fails it: it rolls back, and its connection is used again."""
    pid = await db.fetchval("select pg_backend_pid()")
    with pytest.raises(QueryTimeoutError) as caught:
        async with db.transaction() as tx:
            await tx.execute("insert into t values (1)")
            await tx.execute("select pg_sleep(30)", timeout=0.1)
    assert caught.value.outcome == "rolled back"
    assert await db.fetchval("select count(*) from t") == 0
    async with db.transaction() as tx:
        await tx.execute("insert into t values (1)")
        with pytest.raises(QueryTimeoutError):
            async with tx.transaction():
                await tx.execute("select pg_sleep(30)", timeout=0.1)
        await tx.execute("insert into t values (2)")
    assert await db.fetchval("select count(*) from t") == 2
    assert await db.fetchval("select pg_backend_pid()") == pid


async def test_a_server_that_is_silent(main_dsn: str, main_server: Postgres) -> None:
    """D2: if the server stays silent the call ends all the same; what became of a write is not known."""
    async with client_of(main=main_dsn, pool_min_size=3) as client:
        db = client["main"]
        await db.execute("create table t (id int)")
        await db.fetch("select id from t")
        await db.execute("insert into t values (1)")
        await wait_until(lambda: db.stats()["pool"]["idle"] == 3)  # one of them is for the write
        frozen = [*pids(main_dsn), main_server.pid]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(QueryTimeoutError) as read:
                await db.fetch("select id from t", timeout=0.1)
            with pytest.raises(OutcomeUnknownError) as write:
                await db.execute("insert into t values (1)", timeout=0.1)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        assert not isinstance(read.value, OutcomeUnknownError)
        assert isinstance(write.value, QueryTimeoutError)
        assert write.value.outcome == "unknown"
        assert await db.fetchval("select 1", timeout=10) == 1
        await at_rest(db, main_dsn)


async def test_a_silent_server_in_a_transaction(main_dsn: str, main_server: Postgres) -> None:
    """D2, T1: before COMMIT a silent server's transaction was rolled back; during COMMIT nobody knows."""
    async with client_of(main=main_dsn, command_timeout=0.3) as client:
        db = client["main"]
        await db.execute("create table t (id int)", timeout=10)
        frozen: list[int] = []

        async def freeze(tx: Any) -> None:
            await tx.execute("insert into t values (1)", timeout=10)
            frozen[:] = [await tx.fetchval("select pg_backend_pid()", timeout=10), main_server.pid]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)

        for error, outcome in ((QueryTimeoutError, "rolled back"), (OutcomeUnknownError, "unknown")):
            try:
                with pytest.raises(error) as caught:
                    async with db.transaction() as tx:
                        await freeze(tx)
                        if outcome == "rolled back":
                            await tx.execute("insert into t values (2)")
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.outcome == outcome  # type: ignore[attr-defined]
        await at_rest(db, main_dsn)


async def test_a_script_that_leaves_a_transaction_open(db: AsyncDB) -> None:
    """A script that ends inside a transaction is undone, and that is said; the next call is not in it."""
    with pytest.raises(UsageError, match="left a transaction open"):
        await db.execute("begin; create table left_open (id int)")
    assert await db.fetchval("select to_regclass('left_open')") is None
    await db.execute("begin; create table ended (id int); commit")
    assert await db.fetchval("select to_regclass('ended')") == "ended"


async def test_without_prepared_statements(main_dsn: str) -> None:
    """N1: with PG_PREPARED_STATEMENTS=off every way of calling works, and the server keeps nothing."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, prepared_statements="off")})
    async with AsyncClient(settings) as client:
        db = client["main"]
        await db.execute("create table t (id int, name text)")
        assert await db.executemany("insert into t values ($1, $2)", [(1, "a"), (2, None)]) == 2
        for _ in range(3):
            assert await db.fetch("select name from t where id = $1", 1) == [("a",)]
        async with db.transaction() as tx:
            assert await tx.execute("update t set name = $1", "b") == "UPDATE 2"
            assert await tx.fetchval("select count(*) from pg_prepared_statements") == 0
