"""The one loop of a call: what is refused, what is sent again, what is not."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from time import monotonic
from weakref import ref

import pytest
from psycopg.errors import DivisionByZero, FeatureNotSupported

from pgdual.core.statement import Kind
from pgdual.errors import (
    OperationalError,
    OutcomeUnknownError,
    QueryTimeoutError,
    ReadOnlySqlTransaction,
    UndefinedTable,
    UsageError,
)

from .clients import client_of, is_running, prepare, terminate
from .runtime import Event, gather, sleep, spawn, wait_until

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
        ("listen news", r"db\.connection"),
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


@dataclass
class Stopping:
    id: int

    def __post_init__(self) -> None:
        raise StopIteration


async def test_a_maker_that_stops(main_dsn: str) -> None:
    """A StopIteration, which no task and no future can be given, is told as what it is."""
    async with client_of(main=main_dsn) as client:
        for call in (client["main"].fetchrow, client["main"].fetch):
            with pytest.raises(RuntimeError, match="into= raised StopIteration") as caught:
                await call("select 1 as id", into=Stopping)
            assert isinstance(caught.value.__cause__, StopIteration)
        assert await client["main"].fetchval("select 1") == 1


class Held(str):
    """An argument that shows whether it is still there."""

    __slots__ = ("__weakref__",)


async def test_nothing_is_kept_of_a_call_that_was_tried_again(main_dsn: str) -> None:
    """The error of the first try holds nobody's arguments until the collector comes."""
    prepare(main_dsn, "create table t (name text)", "create sequence tries")
    prepare(
        main_dsn,
        """create function once() returns trigger language plpgsql as $$ begin
          if nextval('tries') = 1 then raise 'meanwhile' using errcode = '40001'; end if; return new;
        end $$""",
        "create trigger once before insert on t for each row execute function once()",
    )
    async with client_of(main=main_dsn) as client:
        gc.collect()
        gc.disable()
        try:
            name = Held("a")
            seen = ref(name)
            assert await client["main"].execute("insert into t values ($1)", name) == "INSERT 0 1"
            assert client["main"].stats()["resent"] == 1
            del name
            await sleep(0)
            assert seen() is None
        finally:
            gc.enable()


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
    """0A000, T5: in a transaction the change has it begin anew; without a replay it is an error, once."""
    prepare(main_dsn, "create table t (id int)")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        async with db.transaction() as tx:
            await tx.fetch("select * from t")
        prepare(main_dsn, "alter table t add column name text")
        with pytest.raises(FeatureNotSupported):
            async with db.transaction(replay=False) as tx:
                await tx.fetch("select * from t")
        async with db.transaction() as tx:
            assert await tx.fetch("select * from t") == []
        prepare(main_dsn, "alter table t add column note text")
        async with db.transaction() as tx:
            assert await tx.fetch("select * from t") == []
        assert tx.replays == 1


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
    """Its connection goes while a READ runs: it is sent again, and its caller sees nothing (Q3, O1)."""
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


async def test_a_type_that_changes_before_a_new_connection(main_dsn: str) -> None:
    """Q5: what was dumped for the old type never reaches a column of the new one as other bytes."""
    prepare(main_dsn, "create table t (v bigint)")
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        insert = "insert into t values ($1)"
        await db.execute(insert, 1)
        prepare(main_dsn, "alter table t alter column v type float8")
        terminate(main_dsn)
        await db.execute(insert, 2)
        await db.executemany(insert, [(3,)])
        assert await db.fetch("select v from t order by v", into=tuple) == [(1.0,), (2.0,), (3.0,)]


async def test_a_wrong_text_is_refused_once_without_names(main_dsn: str) -> None:
    """N1, N3: with unnamed statements a text that cannot be parsed is not tried again, and leaves nothing."""
    async with client_of(main=main_dsn, prepared_statements="off") as client:
        db = client["main"]
        for number in range(3):
            with pytest.raises(UndefinedTable):
                await db.fetch(f"select {number} from nowhere")
        assert db.stats()["resent"] == 0


async def test_a_read_that_kills_its_connection(main_dsn: str) -> None:
    """O2: a READ that loses its connection again and again is given up after a few runs."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]
        db.pure("pg_terminate_backend")
        with pytest.raises(OperationalError):
            await db.fetch("select pg_terminate_backend(pg_backend_pid())")
        assert db.stats()["resent"] == 2
        assert await db.fetchval("select 1") == 1


async def test_many_rows_come_in_parts(main_dsn: str) -> None:
    """L1, L2: a large result is whole however it comes, and an error in its middle leaves nothing of it."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        text = "select g, 1 / (g - $1) as x from generate_series(1, 5000) g"
        for _ in range(3):
            rows = await db.fetch(text, 0, into=tuple)
            assert [row[0] for row in rows] == list(range(1, 5001))
            with pytest.raises(DivisionByZero):
                await db.fetch(text, 4000)
            assert await db.fetchval("select 1") == 1
        async with db.transaction() as tx:
            assert len(await tx.fetch(text, -1)) == 5000
        assert [len(rows) for rows in await gather(*[lambda: db.fetch(text, 0)] * 5)] == [5000] * 5


async def test_what_nobody_waits_for_is_cancelled_in_its_turn(main_dsn: str) -> None:
    """D1, D5: a read that timed out while it stood on a lane does not hold up who comes after it."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        text = "select pg_sleep($1) is null"
        for _ in range(30):
            await db.fetchval(text, 0)

        async def late() -> None:
            with pytest.raises(QueryTimeoutError):
                await db.fetchval(text, 30, timeout=0.2)

        started = monotonic()
        await gather(lambda: db.fetchval(text, 0.5), late, lambda: db.fetchval("select 1"))
        assert monotonic() - started < 10
