"""Trouble: what is tried again and how often, and when calls are refused at once."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.errors import InvalidSqlStatementName

from pgdual.aio import AsyncClient, AsyncDB, AsyncTransaction
from pgdual.embedded import Postgres
from pgdual.errors import (
    CircuitOpenError,
    DeadlockDetected,
    OutcomeUnknownError,
    QueryCanceled,
    SerializationFailure,
)

from .clients import client_of, first, is_running, outside, prepare, terminate
from .runtime import gather, sleep, spawn, wait_until

# Two rows locked in one order, and in the other, with time for the other one in between.
CROSS = """
with one as materialized (update t set n = n + 1 where id = $1 returning pg_sleep(0.2))
update t set n = n + 1 where id = $2 and exists (select from one)
"""
# A function that fails with a state, so many times: a sequence counts, for a rollback does not undo it.
FLAKY = """
create sequence tries;
create table t (id int primary key, n int default 0);
insert into t values (1), (2);
create function flaky(state text, times int) returns int language plpgsql as
$$ begin
    if nextval('tries') <= times then raise exception 'as told' using errcode = state; end if;
    update t set n = n + 1 where id = 1;
    return 7;
end $$;
create procedure flaky_call(state text, times int) language plpgsql as
$$ begin perform flaky(state, times); end $$;
"""


def tries(dsn: str) -> int:
    return int(first(dsn, "select last_value from tries"))


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_conflict_is_tried_again(main_dsn: str, state: str) -> None:
    """A statement that was rolled back for another's sake runs again, five times in all (retry table)."""
    prepare(main_dsn, FLAKY)
    async with client_of(main=main_dsn, retry_initial_delay=0.001, retry_max_delay=0.01) as client:
        db = client["main"]
        assert await db.fetchval("select flaky($1, $2)", state, 4) == 7
        assert tries(main_dsn) == 5
        assert first(main_dsn, "select n from t where id = 1") == 1
        outside(main_dsn, "select setval('tries', 1, false)")
        with pytest.raises((SerializationFailure, DeadlockDetected)):
            await db.fetchval("select flaky($1, $2)", state, 5)
        assert tries(main_dsn) == 5
        assert db.stats()["resent"] == 8


async def test_what_may_have_committed_is_not_tried_again(main_dsn: str) -> None:
    """A conflict in CALL, DO or a script is raised: part of it may have been committed (retry table)."""
    prepare(main_dsn, FLAKY)
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        texts = ["call flaky_call('40001', 9)", "select 1; select flaky('40001', 9)"]
        texts.append("do $$ begin perform flaky('40001', 9); end $$")
        for count, text in enumerate(texts, 1):
            with pytest.raises(SerializationFailure):
                await db.execute(text)
            assert tries(main_dsn) == count


COMMITS = """
create table t (id int);
create procedure bad() language plpgsql as
$$ begin insert into t values (1); commit; execute 'execute nope'; end $$;
create procedure slow() language plpgsql as
$$ begin insert into t values (1); commit; perform pg_sleep(30); end $$;
"""


async def test_what_has_committed_and_failed_is_not_run_again(main_dsn: str) -> None:
    """O1: "prepared statement does not exist" of a statement in a procedure is no reason to CALL it again."""
    prepare(main_dsn, COMMITS)
    async with client_of(main=main_dsn) as client:
        with pytest.raises(InvalidSqlStatementName):
            await client["main"].execute("call bad()")
    assert first(main_dsn, "select count(*) from t") == 1


@pytest.mark.parametrize(
    "sql", ["call slow()", "begin; insert into t values (1); commit; select pg_sleep(30)"]
)
async def test_what_has_committed_is_not_said_to_be_rolled_back(main_dsn: str, sql: str) -> None:
    """D2: a time limit that hits a CALL or a script leaves what it had committed: its outcome is unknown."""
    prepare(main_dsn, COMMITS)
    async with client_of(main=main_dsn) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client["main"].execute(sql, timeout=0.5)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.outcome == "unknown"
    assert first(main_dsn, "select count(*) from t") == 1


async def test_the_command_clock_of_a_transaction_begins_on_its_connection(main_dsn: str) -> None:
    """D1: the time that its first statement waits for a connection is the acquire clock's."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        async with spawn(lambda: db.fetchval("select 1 from pg_sleep(0.8)")) as call:
            await wait_until(lambda: is_running(main_dsn, "select 1 from pg_sleep(0.8)"))
            async with db.transaction() as tx:
                assert await tx.fetchval("select 2 from pg_sleep(0.1)", timeout=0.5) == 2
            assert await call.result() == 1


async def test_a_very_long_time_limit(main_dsn: str) -> None:
    """D1: longer than a system call can wait is no error."""
    async with client_of(main=main_dsn) as client:
        assert await client["main"].fetchval("select 3", timeout=4e9) == 3


async def test_a_real_deadlock(main_dsn: str) -> None:
    """Of two statements that wait for each other one is rolled back by the server, and runs again."""
    prepare(main_dsn, FLAKY)
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        await gather(lambda: db.execute(CROSS, 1, 2), lambda: db.execute(CROSS, 2, 1))
        assert first(main_dsn, "select array_agg(n order by id) from t") == [2, 2]
        assert 1 <= db.stats()["resent"] <= 4


async def stopped(server: Postgres, db: AsyncDB) -> Any:
    """Stop the server and return once the breaker of *db* has opened."""
    server.stop()
    await wait_until(lambda: db.circuit_breaker.state != "closed")


def small(main: str, vb: str | None = None) -> AsyncClient:
    return client_of(main=main, vb=vb, pool_max_size=2, breaker_failure_threshold=2, pool_timeout=10.0)


async def test_the_breaker(main_server: Postgres, main_dsn: str, vb_dsn: str) -> None:
    """B1, R1: it opens while the server is away, refuses at once, and closes when it is back; vb goes on."""
    async with small(main_dsn, vb_dsn) as client:
        db, vb = client["main"], client["vb"]
        assert await db.fetchval("select 1") == 1
        assert (db.circuit_breaker.state, db.circuit_breaker.failures) == ("closed", 0)
        try:
            await stopped(main_server, db)
            with pytest.raises(
                CircuitOpenError, match=r"main: refused at once.* did not answer \d+ times"
            ) as caught:
                await db.fetchval("select 1")
            assert 0 < caught.value.retry_after <= 30
            with pytest.raises(CircuitOpenError):
                async with db.transaction() as tx:
                    await tx.fetchval("select 1")
            with pytest.raises(CircuitOpenError):
                await db.executemany("select $1::int", [(1,)])
            with pytest.raises(CircuitOpenError):
                async with db.connection():
                    pass
            assert db.stats()["refused"] == 4
            assert (await db.health_check())["breaker"] == "open"
            assert await vb.fetchval("select 2") == 2
            assert vb.circuit_breaker.failures == 0
        finally:
            main_server.start()
        await wait_until(lambda: db.circuit_breaker.state == "closed")
        assert await db.fetchval("select 3") == 3
        assert (await db.health_check())["breaker"] == "closed"


async def test_the_breaker_is_closed_by_hand(main_server: Postgres, main_dsn: str) -> None:
    """reset() lets calls through again, which then wait for the server."""
    async with small(main_dsn) as client:
        db = client["main"]
        assert await db.fetchval("select 1") == 1
        try:
            await stopped(main_server, db)
            db.circuit_breaker.reset()
            assert db.circuit_breaker.state == "closed"
            async with spawn(lambda: db.fetchval("select 4")) as call:
                main_server.start()
                assert await call.result() == 4
        finally:
            main_server.start()


async def test_errors_are_no_incidents(main_dsn: str) -> None:
    """B2: whatever the server says with an answer, the breaker stays as it is."""
    prepare(main_dsn, FLAKY)
    async with client_of(main=main_dsn, breaker_failure_threshold=1, retry_max_attempts=1) as client:
        db = client["main"]
        for state in ("08P01", "53400", "58P01", "57014", "22012", "XX000"):
            with pytest.raises(Exception, match="as told"):
                await db.fetchval("select flaky($1, 99)", state)
        outside(
            main_dsn,
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where application_name = 'pgdual' and datname = current_database()",
        )
        assert await db.fetchval("select 1") == 1
        assert (db.circuit_breaker.state, db.circuit_breaker.failures) == ("closed", 0)


async def test_cancel_all(main_dsn: str) -> None:
    """cancel_all() ends what runs, tells its callers, and leaves the connections in use."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        assert await db.cancel_all() == 0
        async with spawn(lambda: db.fetchval("select pg_sleep(30)")) as call:
            await wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
            assert await db.cancel_all() == 1
            with pytest.raises(QueryCanceled):
                await call.result()
        assert await db.fetchval("select 1") == 1
        assert db.circuit_breaker.failures == 0


LIMIT = "select current_setting('statement_timeout')"


async def test_the_servers_limit(main_dsn: str) -> None:
    """D3: the server ends a statement some seconds after its caller has given it up, however long that is."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert await db.fetchval(LIMIT) == "65s"
        assert await db.fetchval(LIMIT, timeout=120) == "125s"
        assert await db.fetchval(LIMIT, timeout=None) == "0"
        assert await db.fetchval(LIMIT) == "65s"
        await db.execute("create table t (id int)")
        await db.execute("vacuum t", timeout=120)
        await db.execute("select 1; insert into t select 1", timeout=120)
        assert await db.executemany("insert into t values ($1)", [(1,), (2,)], timeout=120) == 2
        assert await db.fetchval(LIMIT) == "65s"
        async with db.transaction() as tx:
            assert await tx.fetchval(LIMIT) == "65s"
            await tx.execute("select 1; select 2", timeout=120)
            assert await tx.fetchval(LIMIT) == "125s"
            assert await tx.fetchval(LIMIT, timeout=None) == "0"
        async with db.connection() as connection:
            cursor = await connection.execute(LIMIT)
            assert await cursor.fetchone() == ("0",)
        assert await db.fetchval(LIMIT) == "65s"
        idle = "select current_setting('idle_in_transaction_session_timeout')"
        assert await db.fetchval(idle) == "5min"


LIMITS = """insert into limits
select $1, current_setting('statement_timeout'), current_setting('transaction_timeout', true)"""


async def limits_seen(db: AsyncDB | AsyncTransaction, timeout: float | None = 10) -> list[tuple[str, str]]:
    """Return which limits of a statement and of a transaction the rows of a long executemany saw."""
    await db.executemany(LIMITS, [(number,) for number in range(4000)], timeout=timeout)
    return await db.fetch("delete from limits returning statement, transaction", into=tuple)


@pytest.mark.parametrize("timeout", [10, 120, None])
async def test_a_limit_of_many_rows(main_dsn: str, timeout: float | None) -> None:
    """D3: very many rows have a limit together, where the server knows that (17), and else one each."""
    outside(main_dsn, "create table limits (id int, statement text, transaction text)")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        is_old = await db.fetchval("select current_setting('server_version_num')::int < 170000")
        each = {10: "65s", 120: "125s", None: "0"}[timeout]
        both = {10: ("0", "75s"), 120: ("0", "185s"), None: ("0", "0")}[timeout]
        seen = await limits_seen(db, timeout)
        assert len(seen) == 4000
        assert set(seen) == ({(each, None)} if is_old else {both})
        assert await db.fetchval(LIMIT) == "65s"
        async with db.transaction() as tx:
            assert {statement for statement, _ in await limits_seen(tx, timeout)} == {each}


@pytest.mark.parametrize("name", ["statement_timeout", "transaction_timeout"])
async def test_many_rows_within_a_limit_of_the_users_own(main_dsn: str, name: str) -> None:
    """D3: what the DSN or the role sets stays."""
    outside(main_dsn, "create table limits (id int, statement text, transaction text)")
    if not outside(main_dsn, f"select true from pg_settings where name = '{name}'"):
        pytest.skip(f"this server has no {name}")
    async with client_of(main=f"{main_dsn}?options=-c%20{name}%3D7min") as client:
        ((statement, transaction),) = set(await limits_seen(client["main"]))
        assert (statement if name == "statement_timeout" else transaction) == "7min"
        assert (statement, transaction) in {("7min", "0"), ("7min", None), ("65s", "7min")}


async def test_a_limit_of_the_users_own(main_dsn: str) -> None:
    """D3: what the DSN or the role sets is left as it is."""
    async with client_of(main=f"{main_dsn}?options=-c%20statement_timeout%3D7s") as client:
        assert await client["main"].fetchval(LIMIT) == "7s"


async def test_the_health_check_after_idle_connections_ended(main_dsn: str) -> None:
    """B3, O3: an idle connection that the server has ended says nothing of the database's health."""
    async with client_of(main=main_dsn, pool_min_size=2) as client:
        db = client["main"]
        assert await db.fetchval("select 1") == 1
        terminate(main_dsn)
        assert (await db.health_check())["status"] == "healthy"


@pytest.mark.parametrize("in_block", [False, True])
async def test_cancel_all_hits_what_ran_and_nothing_after_it(main_dsn: str, in_block: bool) -> None:
    """D5: a cancel that comes late does not hit the next call on the connection."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert await db.fetchval("select 1") == 1
        connection = db._fleet.lanes.wires[0].connection
        cancel = connection.cancel_safe

        async def late(**options: Any) -> None:
            await sleep(0.15)
            await cancel(**options)

        connection.cancel_safe = late

        async def work() -> list[str]:
            return [await db.execute(f"do $$ begin perform pg_sleep({s}); end $$") for s in (0.1, 0.3)]

        async def block() -> list[str]:
            async with db.transaction():
                return await work()

        async with spawn(block if in_block else work) as call:
            await wait_until(lambda: is_running(main_dsn, "do $$"))
            assert await db.cancel_all() == 1
            assert await call.result() == ["DO", "DO"]
