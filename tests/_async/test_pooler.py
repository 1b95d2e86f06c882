"""N2: behind a transaction pooler no session is changed, and nobody else on it notices anything."""

from __future__ import annotations

from typing import Any

import pytest

from pgdual.errors import ConfigurationError, DivisionByZero, OperationalError, UniqueViolation
from tests.pgbouncer import PgBouncer

from .clients import client_of, first, outside, prepare
from .runtime import gather, wait_until

IN_BLOCK = "from pg_stat_activity where state = 'idle in transaction' and datname = current_database()"
TABLE = "create table t (id int primary key, n int default 0)"


async def test_it_is_noticed(pooler: PgBouncer, main_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """A pooler that the settings do not name is noticed at connect, with a warning, and treated as one."""
    prepare(main_dsn, TABLE)
    way = pooler.through(main_dsn)
    async with client_of(main=way) as client:
        db = client["main"]
        assert await db.fetchval("select 1") == 1
        assert await db.execute("insert into t values ($1)", 1) == "INSERT 0 1"
        assert "[POOLER] main is reached through a pooler" in caplog.text
        caplog.clear()
    async with client_of(main=way, pooler="transaction") as client:
        assert await client["main"].fetchval("select count(*) from t") == 1
        assert not caplog.records


async def test_the_sessions_stay_as_they_were(pooler: PgBouncer, main_dsn: str) -> None:
    """After every kind of work both server sessions are writable and hold nothing prepared."""
    prepare(main_dsn, TABLE)
    way = pooler.through(main_dsn)
    async with client_of(main=way, pool_min_size=4) as client:
        db = client["main"]

        async def work(number: int) -> None:
            assert await db.fetchval("select $1::int", number) == number
            await db.execute("insert into t values ($1)", number)
            async with db.transaction() as tx:
                await tx.execute("update t set n = n + 1 where id = $1", number)
                assert await tx.fetchval("select n from t where id = $1", number) == 1
            assert await db.executemany("update t set n = $1 where id = $2", [(2, number), (3, number)]) == 2

        await gather(*[lambda number=number: work(number) for number in range(12)])
        await db.execute("vacuum t", timeout=120)
        async with db.connection() as connection:
            for _ in range(10):
                await connection.execute("select 1")
        for _ in range(4):
            assert outside(way, "show default_transaction_read_only") == [("off",)]
            assert outside(way, "show transaction_read_only") == [("off",)]
            assert outside(way, "show statement_timeout") == [("0",)]
            assert outside(way, "select name from pg_prepared_statements") == []


async def test_two_applications_share_two_connections(pooler: PgBouncer, main_dsn: str) -> None:
    """60 clients of two kinds on 2 server connections: answers are one's own, and no insert is refused."""
    prepare(main_dsn, TABLE)
    way = pooler.through(main_dsn)
    async with client_of(main=way, pool_min_size=10, pool_max_size=30, pooler="transaction") as client:
        db = client["main"]

        async def ours(number: int) -> None:
            for turn in range(20):
                wanted = number * 1000 + turn
                assert await db.fetchval("select $1::int", wanted) == wanted
                row = await db.fetchrow(
                    "select $1::text as text, $2::float8 as half", str(wanted), wanted / 2
                )
                assert row is not None
                assert (row.text, row.half) == (str(wanted), wanted / 2)
            await db.execute("insert into t values ($1)", number)

        async def another(number: int) -> None:
            for turn in range(3):
                key = 1000 + number * 10 + turn
                assert outside(way, "insert into t values (%s) returning id", key) == [(key,)]

        works: list[Any] = [lambda number=number: ours(number) for number in range(30)]
        works += [lambda number=number: another(number) for number in range(30)]
        await gather(*works)
        assert first(main_dsn, "select count(*) from t") == 30 + 90
        assert db.stats()["errors"] == 0


async def test_an_error_touches_no_neighbour(pooler: PgBouncer, main_dsn: str) -> None:
    """L1: of READs on one lane only the one that fails fails, and no transaction is left open."""
    prepare(main_dsn, TABLE)
    async with client_of(main=pooler.through(main_dsn), pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 12 / $1::int", 4)

        async def read(number: int) -> None:
            if number % 3:
                assert await db.fetchval("select 12 / $1::int", number) == 12 // number
            else:
                with pytest.raises(DivisionByZero):
                    await db.fetchval("select 12 / $1::int", 0)

        await gather(*[lambda number=number: read(number) for number in range(30)])
        await db.execute("insert into t values (1)")
        with pytest.raises(UniqueViolation):
            await db.execute("insert into t values (1)")
    assert (
        first(main_dsn, "select count(*) from pg_stat_activity where state like 'idle in transaction%'") == 0
    )


async def test_a_read_that_writes(pooler: PgBouncer, main_dsn: str) -> None:
    """Q2: a text that was taken for a READ is refused by the server, and sent once more as a WRITE."""
    prepare(
        main_dsn,
        TABLE,
        "create function sneaky() returns int language sql as 'insert into t values (7) returning id'",
    )
    async with client_of(main=pooler.through(main_dsn)) as client:
        db = client["main"]
        db.pure("sneaky")
        assert await db.fetchval("select sneaky()") == 7
        assert first(main_dsn, "select count(*) from t") == 1
        assert db.stats()["resent"] == 1


async def test_it_is_restarted(pooler: PgBouncer, main_dsn: str) -> None:
    """After the pooler was restarted the client serves again by itself."""
    async with client_of(main=pooler.through(main_dsn), pooler="transaction") as client:
        db = client["main"]
        assert await db.fetchval("select 1") == 1
        pooler.restart()
        assert await db.fetchval("select 2") == 2
        await wait_until(lambda: db.circuit_breaker.state == "closed")


async def test_what_it_cannot_keep(pooler: PgBouncer, main_dsn: str) -> None:
    """A search path would be other clients' too, and is refused before anything is sent."""
    client = client_of(main=pooler.through(main_dsn), pooler="transaction", search_path="app")
    with pytest.raises(ConfigurationError, match="PG_SEARCH_PATH cannot be set for 'main'"):
        await client["main"].fetchval("select 1")


async def test_a_conflict_is_replayed(pooler: PgBouncer, main_dsn: str) -> None:
    """T5, N2: what was rolled back for another's sake is said again through a pooler, without names."""
    prepare(main_dsn, f"{TABLE}; insert into t values (1), (2)")
    async with client_of(main=pooler.through(main_dsn), pooler="transaction") as client:
        async with client["main"].transaction(isolation="repeatable read") as tx:
            assert await tx.fetchval("select n from t where id = $1", 2) == 0
            assert await tx.executemany("update t set n = $2 where id = $1", [(2, 5), (2, 6)]) == 2
            outside(main_dsn, "update t set n = 10 where id = 1")
            await tx.execute("update t set n = n + 1 where id = $1", 1)
        assert tx.replays == 1
    assert first(main_dsn, "select array_agg(n order by id) from t") == [11, 6]


async def test_a_loss_is_not_replayed(pooler: PgBouncer, main_dsn: str) -> None:
    """T5, N2: nobody knows which server process was lost behind a pooler: the error, and nothing is done."""
    prepare(main_dsn, TABLE)
    async with client_of(main=pooler.through(main_dsn), pooler="transaction") as client:
        db = client["main"]
        with pytest.raises(OperationalError, match="behind a pooler"):
            async with db.transaction() as tx:
                await tx.execute("insert into t values (1)")
                outside(main_dsn, f"select pg_terminate_backend(pid) {IN_BLOCK}")
                await tx.execute("insert into t values (2)")
        assert tx.replays == 0
        await db.execute("insert into t values (3)")
    assert outside(main_dsn, "select id from t") == [(3,)]
