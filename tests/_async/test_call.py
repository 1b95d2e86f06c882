"""The one loop of a call: what is refused, what is sent again, what is not."""

from __future__ import annotations

import pytest
from psycopg.errors import FeatureNotSupported

from pgdual.core.statement import Kind
from pgdual.errors import OutcomeUnknownError, ReadOnlySqlTransaction, UsageError

from .clients import client_of, is_running, prepare, terminate
from .runtime import Event, gather, spawn, wait_until

WRITER = """create function next_number() returns int language sql as
    $$ insert into log default values returning id $$"""


async def test_a_read_runs_read_only(main_dsn: str) -> None:
    """A READ has a read-only session and a WRITE has not (Q2)."""
    mode = "select current_setting('default_transaction_read_only')"
    prepare(main_dsn, f"create function my_mode() returns text language sql as $$ {mode} $$")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert await db.fetchval("show default_transaction_read_only") in {"on", "off"}
        for _ in range(3):
            assert await db.fetchval(mode) == "on"
            assert await db.fetchval("select my_mode()") == "off"


async def test_a_wrong_guess_is_sent_once_more(main_dsn: str) -> None:
    """A function that writes although it was said to be pure: it runs once, as a WRITE, from then on (Q2)."""
    prepare(main_dsn, "create table log (id serial)", WRITER)
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        db.pure("next_number")
        text = "select next_number()"
        assert db._statements.get(text).kind is Kind.READ
        assert await db.fetchval(text) == 1
        assert db._statements.get(text).kind is Kind.WRITE
        assert db.stats()["resent"] == 1
        assert await db.fetchval(text) == 2
        assert db.stats()["resent"] == 1
        assert await db.fetchval("select count(*) from log") == 2


async def test_many_wrong_guesses_at_once(main_dsn: str) -> None:
    """The same at the same time: each runs once (Q2)."""
    prepare(main_dsn, "create table log (id serial)", WRITER)
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        db.pure("next_number")
        found = await gather(*[lambda: db.fetchval("select next_number()")] * 30)
        assert sorted(found) == list(range(1, 31))


async def test_a_refusal_in_a_read_only_transaction_is_the_caller_s(main_dsn: str) -> None:
    """25006 for a WRITE is no wrong guess and is raised (Q2)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn) as client:
        with pytest.raises(ReadOnlySqlTransaction):
            async with client["main"].transaction(readonly=True):
                await client["main"].execute("insert into t values (1)")


async def test_a_wire_of_another_mode_is_closed(main_dsn: str) -> None:
    """A session whose mode is not what pgdual made it is closed, and not used again (Q2)."""
    prepare(
        main_dsn,
        """create function allow() returns text language sql as
        $$ select set_config('default_transaction_read_only', 'off', false) $$""",
    )
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.pure("allow")
        before = await db.fetchval("select pg_backend_pid()")
        assert await db.fetchval("select allow()") == "off"
        assert await db.fetchval("select pg_backend_pid()") != before
        assert await db.fetchval("select current_setting('default_transaction_read_only')") == "on"


async def test_reads_and_writes_mixed(main_dsn: str) -> None:
    """Reads and writes on few wires: no write meets a read-only session, none waits for ever (Q2)."""
    prepare(
        main_dsn,
        "create table t (id int primary key, n int)",
        "insert into t select i, 0 from generate_series(0, 9) i",
    )
    async with client_of(main=main_dsn, pool_max_size=3) as client:
        db = client["main"]

        async def work(number: int) -> None:
            for turn in range(30):
                if (number + turn) % 3:
                    await db.fetchval("select n from t where id = $1", number % 10)
                else:
                    assert await db.execute("update t set n = n + 1 where id = $1", number % 10) == "UPDATE 1"

        await gather(*[lambda number=number: work(number) for number in range(30)])
        assert await db.fetchval("select sum(n) from t") == 300
        assert db.stats()["errors"] == db.stats()["resent"] == 0


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("set timezone = 'UTC'", "SET LOCAL"),
        ("listen news", "db.listen"),
        ("select pg_advisory_lock(1)", "db.connection"),
        ("select set_config('a.b', 'c', false)", "db.connection"),
        ("create temporary table t (id int)", "db.transaction"),
        ("prepare p as select 1", "db.connection"),
        ("begin", "db.transaction"),
        ("commit", "db.transaction"),
        ("rollback", "db.transaction"),
        ("savepoint s", "db.transaction"),
        ("copy t from stdin", "copy"),
        ("copy t to stdout", "copy"),
    ],
)
async def test_what_is_refused_before_it_is_sent(main_dsn: str, text: str, remedy: str) -> None:
    """SESSION, CONTROL and COPY text outside its place is a UsageError that names the right way (Q4)."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        for call in (db.fetch, db.execute):
            with pytest.raises(UsageError, match=remedy):
                await call(text)
        assert db.stats()["calls"] == 0


async def test_columns_that_change(main_dsn: str) -> None:
    """ALTER TABLE between two fetches of `select *` goes unnoticed on every connection (0A000)."""
    prepare(main_dsn, "create table t (id int)", "insert into t values (1)")
    async with client_of(main=main_dsn, pool_max_size=4) as client:
        db = client["main"]

        async def fetch() -> object:
            return await db.fetch("select * from t where id = $1", 1, into=dict)

        await gather(*[fetch] * 20)
        await db.execute("alter table t add column name text default 'a'")
        assert await fetch() == [{"id": 1, "name": "a"}]
        assert await gather(*[fetch] * 20) == [[{"id": 1, "name": "a"}]] * 20
        await db.execute("alter table t add column words tsvector default 'a'")
        assert await gather(*[fetch] * 20) == [[{"id": 1, "name": "a", "words": "'a'"}]] * 20


async def test_parameter_types_that_change(main_dsn: str) -> None:
    """A column that becomes bigint or text under a parameter is described anew, for every connection (Q5)."""
    prepare(main_dsn, "create table t (id int)", "insert into t values (1)")
    async with client_of(main=main_dsn, pool_min_size=4, pool_max_size=4) as client:
        db = client["main"]
        text = "select *, pg_sleep(0.01) is null as slept from t where id = $1"

        async def fetch(value: object) -> object:
            return (await db.fetchrow(text, value)).id

        assert await gather(*[lambda: fetch(1)] * 12) == [1] * 12
        await db.execute("alter table t alter column id type bigint")
        assert await gather(*[lambda: fetch(1)] * 12) == [1] * 12
        await db.execute("update t set id = $1", 1 << 40)
        assert await gather(*[lambda: fetch(1 << 40)] * 12) == [1 << 40] * 12
        await db.execute("alter table t alter column id type text")
        assert await gather(*[lambda: fetch("1099511627776")] * 12) == ["1099511627776"] * 12


async def test_columns_that_change_within_a_transaction(main_dsn: str) -> None:
    """In a transaction the change is an error, and the next one on that connection is fine (0A000)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        async with db.transaction() as tx:
            await tx.fetch("select * from t")
        prepare(main_dsn, "alter table t add column name text")
        with pytest.raises(FeatureNotSupported):
            async with db.transaction() as tx:
                await tx.fetch("select * from t")
        async with db.transaction() as tx:
            assert await tx.fetch("select * from t") == []


async def test_statements_that_were_deallocated(main_dsn: str) -> None:
    """DEALLOCATE ALL behind pgdual's back costs nobody an error (26000)."""
    prepare(
        main_dsn,
        """create function forget() returns int language plpgsql as
        $$ begin deallocate all; return 1; end $$""",
    )
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert await db.fetchval("select 7") == 7
        async with db.connection() as connection:
            await connection.execute("deallocate all")
        assert await db.fetchval("select 7") == 7
        db.pure("forget")
        assert await db.fetchval("select forget()") == 1
        assert await db.fetchval("select 7") == 7
        assert db.stats()["resent"] == 1


async def test_a_statement_that_is_prepared_already(main_dsn: str) -> None:
    """A name that the server has already is taken for what it is: the same text (42P05, N1)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert await db.fetchval("select 7") == 7
        for wire in db._fleet.lanes.wires:
            wire.pipeline.prepared.clear()
        assert await db.fetchval("select 7") == 7
        assert db.stats()["resent"] == 1
        assert await db.fetchval("select 7") == 7


async def test_a_read_lost_in_flight_is_sent_again(main_dsn: str) -> None:
    """Its connection goes while a READ runs: it is sent again, and its caller sees nothing (O1)."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        async with spawn(lambda: db.fetchval("select pg_sleep(0.3) is null")) as call:
            await wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
            terminate(main_dsn)
            assert await call.result() is False
        assert db.stats()["resent"] >= 1


async def test_a_write_lost_in_flight_is_unknown(main_dsn: str) -> None:
    """Its connection goes while a WRITE runs: OutcomeUnknownError, and it is not sent again (O1)."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        async with spawn(lambda: db.execute("insert into t select 1 from pg_sleep(30)")) as call:
            await wait_until(lambda: is_running(main_dsn, "insert"))
            terminate(main_dsn)
            with pytest.raises(OutcomeUnknownError):
                await call.result()
        assert await db.fetchval("select count(*) from t") == 0
        assert db.stats()["lost"] == 1


async def test_figures(main_dsn: str) -> None:
    """stats() counts calls, rows, errors and connections, and times in milliseconds (W1)."""
    async with client_of(main=main_dsn, pool_min_size=2, pool_max_size=3) as client:
        db = client["main"]
        await wait_until(lambda: db.stats()["pool"]["size"] == 2)
        await db.fetch("select * from generate_series(1, 7)")
        with pytest.raises(Exception, match="division"):
            await db.fetchval("select 1 / 0")
        stats = db.stats()
        assert (stats["calls"], stats["rows"], stats["errors"]) == (2, 7, 1)
        assert stats["pool"] == {
            "size": 2, "min_size": 2, "max_size": 3, "active": 0, "idle": 2, "waiting": 0, "connecting": 0,
        }  # fmt: skip
        assert 0 < stats["query"]["p50"] <= stats["query"]["p99"] <= stats["query"]["max"]
        started, go = Event(), Event()

        async def block() -> None:
            async with db.connection():
                started.set()
                await go.wait()

        async with spawn(block):
            await started.wait()
            assert db.stats()["pool"]["active"] == 1
            go.set()
