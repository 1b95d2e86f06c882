# Generated from tests/_async/test_clean.py by _generate.py. Do not edit.
"""A wire goes back clean: nothing of one caller is seen by the next (L7)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgdual.sync import DB
from pgdual.errors import DatabaseError

from .clients import client_of, prepare
from .runtime import gather

STATE = """select current_setting('TimeZone'), coalesce(current_setting('app.who', true), ''),
    (select count(*) from pg_locks where locktype = 'advisory'), to_regclass('pg_temp.t') is null,
    (select count(*) from pg_listening_channels())"""
CLEAN = ("UTC", "", 0, True, 0)


def state(db: DB) -> Any:
    """Return what the next caller sees of the session."""
    return db.fetchrow(STATE, into=tuple)


@pytest.mark.parametrize(
    "text",
    [
        "create temporary table t (id int)",
        "set timezone = 'Asia/Tokyo'",
        "select set_config('app.who', 'eve', false)",
        "select pg_advisory_lock(42)",
        "listen news",
        "set session characteristics as transaction read only",
    ],
)
def test_session_text_in_a_transaction(main_dsn: str, text: str) -> None:
    """What a transaction does to its session is undone before the next caller has it (L7)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        with db.transaction() as tx:
            tx.execute(text)
        assert state(db) == CLEAN
        with db.transaction() as tx:
            tx.execute(text)
        assert db.execute("create table written (id int)") == "CREATE TABLE"
        assert state(db) == CLEAN


@pytest.mark.parametrize(
    "text",
    [
        "create temporary table t (id int)",
        "set timezone = 'Asia/Tokyo'",
        "select set_config('app.who', 'eve', false)",
        "select pg_advisory_lock(42)",
        "listen news",
    ],
)
def test_session_text_on_a_connection(main_dsn: str, text: str) -> None:
    """The same on a borrowed connection (L7)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        with db.connection() as connection:
            connection.execute(text)
        assert state(db) == CLEAN


@pytest.mark.parametrize(
    "text",
    [
        "select soil()",
        "call soil_too()",
        "do $$ begin perform set_config('app.who', 'eve', false); end $$",
        "select 1; set app.who = 'eve'; create temporary table t (id int)",
    ],
)
def test_text_that_does_not_show_it(main_dsn: str, text: str) -> None:
    """A function of the user's, CALL, DO and a SCRIPT may do the same unseen (L7)."""
    prepare(
        main_dsn,
        """create function soil() returns text language sql as
        $$ select set_config('app.who', 'eve', false) $$""",
        """create procedure soil_too() language plpgsql as
        $$ begin perform set_config('app.who', 'eve', false); create temporary table t (id int); end $$""",
    )
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for _ in range(2):
            db.execute(text)
            assert state(db) == CLEAN


def test_a_time_zone_of_one_transaction(main_dsn: str) -> None:
    """SET LOCAL TimeZone ends with its transaction, also in how a text's timestamps are read (L7)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        text = "select timestamptz '2026-01-01 00:00:00+00'"
        with db.transaction() as tx:
            tx.execute("set local timezone = 'Asia/Tokyo'")
            assert (tx.fetchval(text)).utcoffset() is not None
        found = db.fetchval(text)
        assert found == datetime(2026, 1, 1, tzinfo=UTC)
        assert not found.utcoffset()


def use_cursors(connection: Any) -> None:
    """Use a server-side cursor and leave the transaction open."""
    with connection.transaction(), connection.cursor("named") as cursor:
        cursor.execute("select * from generate_series(1, 1000)")
        assert len(cursor.fetchmany(10)) == 10


def use_prepared(connection: Any) -> None:
    """Have psycopg prepare a statement of its own."""
    for _ in range(10):
        connection.execute("select %s::int + 1", (1,), prepare=True)


def use_pipeline(connection: Any) -> None:
    """Send statements in psycopg's own pipeline mode."""
    with connection.pipeline():
        for number in range(10):
            connection.execute("select %s::int", (number,))


def leave_pipeline_open(connection: Any) -> None:
    """Enter psycopg's pipeline mode and never leave it."""
    connection.pipeline().__enter__()
    connection.execute("select 1")


def leave_open(connection: Any) -> None:
    """Leave a transaction open."""
    connection.set_autocommit(False)
    connection.execute("create table left_open (id int)")


def leave_failed(connection: Any) -> None:
    """Leave a failed transaction open."""
    connection.execute("begin")
    with pytest.raises(DatabaseError):
        connection.execute("select 1 / 0")


def leave_copy(connection: Any) -> None:
    """Stop in the middle of a COPY."""
    connection.pgconn.exec_(b"copy (select 1) to stdout")


def leave_factories(connection: Any) -> None:
    """Change what psycopg's connection makes of rows and transactions."""
    connection.row_factory = dict_row
    connection.add_notify_handler(lambda notify: pytest.fail("a handler of the last borrower"))
    connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    connection.set_autocommit(False)


def leave_notified(connection: Any) -> None:
    """Leave a notification unread."""
    connection.execute("listen news")
    connection.execute("notify news, 'secret'")


def close(connection: Any) -> None:
    """Close the connection."""
    connection.close()


def lose(connection: Any) -> None:
    """Have the server close the connection."""
    with pytest.raises(DatabaseError):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")


def fail(connection: Any) -> None:
    """Raise."""
    connection.execute("set timezone = 'Asia/Tokyo'")
    raise LookupError


USES = [
    use_cursors, use_prepared, use_pipeline, leave_pipeline_open, leave_open, leave_failed, leave_copy,
    leave_factories, leave_notified, close, lose, fail,
]  # fmt: skip


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_psycopg_on_a_loan(main_dsn: str, use: Any) -> None:
    """However a borrower used psycopg, the next has a connection like new, and calls share it again (L7)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for _ in range(2):
            try:
                with db.connection() as connection:
                    use(connection)
            except LookupError:
                assert use is fail
            assert gather(*[lambda: db.fetchval("select 1")] * 10) == [1] * 10
            assert state(db) == CLEAN
            assert db.fetchval("select to_regclass('left_open') is null")
        with db.connection() as connection:
            check_loan(connection)
        assert gather(*[lambda: db.fetchval("select 1")] * 10) == [1] * 10


def check_loan(connection: Any) -> None:
    """Hold a borrowed connection against a new one."""
    assert connection.autocommit
    assert connection.isolation_level is None
    cursor = connection.execute("select %s::int + 1", (1,))
    assert cursor.fetchone() == (2,)
    connection.execute("listen news")
    connection.execute("notify news, 'mine'")
    notes = [note.payload for note in connection.notifies(timeout=2, stop_after=1)]
    assert notes == ["mine"]


def test_loans_side_by_side(main_dsn: str) -> None:
    """Closing one loan's connection deafens no other (its socket's number is used again)."""
    with client_of(main=main_dsn, pool_max_size=4) as client:
        db = client["main"]

        def borrow(number: int) -> None:
            for turn in range(5):
                with db.connection() as connection:
                    if (number + turn) % 2:
                        connection.close()
                assert db.fetchval("select $1::int", turn) == turn

        gather(*[lambda number=number: borrow(number) for number in range(8)])


def test_hooks_hold_after_cleaning(main_dsn: str) -> None:
    """What a configure hook SETs holds on every connection, also after it was reset (L7)."""
    with client_of(main=main_dsn, pool_max_size=2) as client:
        client.close()
        db = client["main"]

        @db.configure
        def hook(connection: Any) -> None:
            connection.execute("set app.who = 'hook'")

        db.open()
        user = "select current_setting('app.who')"
        assert db.fetchval(user) == "hook"
        with db.connection() as connection:
            connection.execute("set app.who = 'eve'")
        with db.transaction() as tx:
            tx.execute("set app.who = 'eve'")
        assert gather(*[lambda: db.fetchval(user)] * 10) == ["hook"] * 10


def test_a_connection_of_the_pool_s_own(main_dsn: str) -> None:
    """A connection lent by the psycopg pool itself comes clean, writable, and goes back clean (L7)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        assert db.fetchval("select current_setting('default_transaction_read_only')") == "on"
        pool = db.pool()
        with pool.connection() as connection:
            connection.execute("create table t (id int)")
            connection.execute("set app.who = 'eve'")
            connection.row_factory = dict_row
        assert state(db) == CLEAN
        with db.connection() as connection:
            check_loan(connection)
