# Generated from tests/_async/test_transaction.py by _generate.py. Do not edit.
"""T1, T2, T4: what a block keeps, what it undoes, and what it costs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.pq import Trace

from pgdual.sync import Client, DB
from pgdual.errors import (
    DatabaseError,
    InFailedSqlTransaction,
    ReadOnlySqlTransaction,
    TransactionFailedError,
    UniqueViolation,
    UsageError,
)

from .clients import at_rest, client_of, outside, prepare


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    outside(main_dsn, "create table t (id int primary key)")
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


def ids(dsn: str) -> list[int]:
    return [row[0] for row in outside(dsn, "select id from t order by id")]


def test_commit(db: DB, main_dsn: str) -> None:
    """T1: a block that ends well is kept; nobody sees it before."""
    with db.transaction() as tx:
        tx.execute("insert into t values ($1)", 1)
        db.execute("insert into t values ($1)", 2)
        assert ids(main_dsn) == []
    assert ids(main_dsn) == [1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_rollback(db: DB, main_dsn: str, error: type[BaseException]) -> None:
    """T1: any exception undoes the block, and the caller sees that very exception."""
    raised = error("mine")
    with pytest.raises(error) as caught:
        with db.transaction():
            db.execute("insert into t values (1)")
            raise raised
    assert caught.value is raised
    assert ids(main_dsn) == []


def test_a_servers_error_is_what_the_caller_sees(db: DB, main_dsn: str) -> None:
    """T1: after a statement's error the rollback adds nothing to it."""
    with pytest.raises(UniqueViolation) as caught:
        with db.transaction():
            db.execute("insert into t values (1)")
            db.execute("insert into t values (1)")
    assert "database: main" in "".join(caught.value.__notes__)
    assert ids(main_dsn) == []


def test_the_original_error_outlives_the_connection(db: DB, main_dsn: str) -> None:
    """T1: where ROLLBACK cannot be sent, the block's own exception is seen all the same."""
    with pytest.raises(LookupError):
        with db.transaction() as tx:
            pid = tx.fetchval("select pg_backend_pid()")
            outside(main_dsn, "select pg_terminate_backend(%s)", pid)
            raise LookupError


def test_a_swallowed_error_is_named(db: DB, main_dsn: str) -> None:
    """T1: a block that swallowed an error and ends well raises, naming the statement that failed first."""
    db.execute("insert into t values (1)")
    with pytest.raises(TransactionFailedError, match=r"insert into t values \(1\): duplicate key"):
        with db.transaction():
            db.execute("insert into t values (2)")
            with contextlib.suppress(UniqueViolation):
                db.execute("insert into t values (1)")
            with contextlib.suppress(InFailedSqlTransaction):
                db.execute("insert into t values (3)")
    assert ids(main_dsn) == [1]


def test_what_follows_an_error_names_it(db: DB, main_dsn: str) -> None:
    """T1: a statement in a transaction that has failed (25P02) says which one failed first, and why."""
    db.execute("insert into t values (1)")
    with pytest.raises(InFailedSqlTransaction) as caught:
        with db.transaction():
            with contextlib.suppress(UniqueViolation):
                db.execute("insert into t values (1)")
            db.fetch("select 1")
    assert any(
        "first to fail: insert into t values (1): duplicate key" in one for one in caught.value.__notes__
    )
    with db.transaction():
        with pytest.raises(InFailedSqlTransaction) as caught:
            with db.transaction():
                with contextlib.suppress(DatabaseError):
                    db.execute("select 1 / 0")
                db.executemany("insert into t values ($1)", [(2,)])
        assert any("first to fail: select 1 / 0" in one for one in caught.value.__notes__)
        db.execute("insert into t values (3)")
    assert ids(main_dsn) == [1, 3]


def test_a_swallowed_loss_is_named(db: DB, main_dsn: str) -> None:
    """T1: a block that swallowed the loss of its connection and ends well raises, too."""
    with pytest.raises(TransactionFailedError, match="pg_terminate_backend"):
        with db.transaction(replay=False):
            with contextlib.suppress(DatabaseError):
                db.execute("select pg_terminate_backend(pg_backend_pid())")


def test_a_swallowed_error_of_an_inner_block_is_named(db: DB, main_dsn: str) -> None:
    """T1, T4: an inner block that swallowed an error raises at its own end; the outer one goes on."""
    db.execute("insert into t values (1)")
    with db.transaction():
        with pytest.raises(TransactionFailedError, match=r"insert into t values \(1\)") as caught:
            with db.transaction():
                db.execute("insert into t values (2)")
                with contextlib.suppress(UniqueViolation):
                    db.execute("insert into t values (1)")
        assert caught.value.__suppress_context__  # it says all there is to say
        db.execute("insert into t values (4)")
    assert ids(main_dsn) == [1, 4]


def test_a_deferred_constraint_is_what_commit_raises(db: DB, main_dsn: str) -> None:
    """T1, L2: what fails at COMMIT is raised by the block's end, and nothing is kept."""
    db.execute("create table d (id int unique deferrable initially deferred)")
    with pytest.raises(UniqueViolation):
        with db.transaction():
            db.execute("insert into d values (1)")
            db.execute("insert into d values (1)")
    assert db.fetchval("select count(*) from d") == 0


def groups(trace: str) -> list[tuple[str, ...]]:
    """Return what libpq says that it sent, by Sync: the texts, and the names of prepared statements."""
    said = [re.findall(r'\tParse\t "" "(.+)" |\tBind\t "" "(.+?)" ', group) for group in trace.split("Sync")]
    return [tuple(text or name for text, name in group) for group in said[:-1]]


def test_begin_costs_no_round_trip(db: DB, tmp_path: Path) -> None:
    """T2: BEGIN and SAVEPOINT travel with the first statement; each statement is one trip, COMMIT another."""
    insert = "insert into t values (1) on conflict do nothing"
    db.execute(insert)
    pgconn = db._fleet.lanes.wires[0].connection.pgconn  # type: ignore[union-attr]
    with (tmp_path / "trace").open("w+b") as file:
        pgconn.trace(file.fileno())
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        with db.transaction():
            db.execute(insert)
            with db.transaction():
                db.execute(insert)
        pgconn.untrace()
        sent = groups((tmp_path / "trace").read_text())
    name = db._statements.get(insert).name.decode()
    assert sent == [
        ("BEGIN", name),
        ("SAVEPOINT pgdual_1", name),
        ("RELEASE pgdual_1",),
        ("COMMIT",),
    ]


def test_an_empty_transaction_talks_to_nobody(main_dsn: str) -> None:
    """T2: a block without a statement needs no server, nor does an empty block inside of it."""
    client = client_of(main="postgresql://nobody@127.0.0.1:9/nothing")
    db = client["main"]
    with db.transaction(), db.transaction():
        pass
    with pytest.raises(LookupError):
        with db.transaction():
            raise LookupError
    assert db.stats()["pool"]["size"] == 0
    client.close()


def test_a_usage_error_leaves_the_block_usable(db: DB, main_dsn: str) -> None:
    """T1: a call that was refused before it was sent undoes nothing."""
    with db.transaction():
        with pytest.raises(UsageError):
            db.execute("insert into t values ($1)", "1", 2)
        with pytest.raises(UsageError):
            db.execute("insert into t values ($1)", object())
        db.execute("insert into t values ($1)", 1)
    assert ids(main_dsn) == [1]


# -- T4 ------------------------------------------------------------------------------------------


def test_an_inner_block_fails_alone(db: DB, main_dsn: str) -> None:
    """T4: the failure of an inner block leaves the outer one usable, whichever way it was opened."""
    with db.transaction() as tx:
        tx.execute("insert into t values (1)")
        for inner in (db.transaction, tx.transaction):
            with pytest.raises(UniqueViolation):
                with inner():
                    db.execute("insert into t values (2)")
                    tx.execute("insert into t values (1)")
        with tx.transaction() as inner_tx:
            inner_tx.execute("insert into t values (3)")
    assert ids(main_dsn) == [1, 3]


def test_deep_and_sibling_savepoints(db: DB, main_dsn: str) -> None:
    """T4: blocks nest to any depth; of siblings each keeps or loses what is its own."""

    def descend(depth: int) -> None:
        with db.transaction():
            db.execute("insert into t values ($1)", depth)
            if depth < 30:
                descend(depth + 1)
            if depth % 10 == 5:
                raise LookupError

    with db.transaction():
        with contextlib.suppress(LookupError):
            descend(0)
        for sibling in range(100, 110):
            with contextlib.suppress(LookupError):
                with db.transaction():
                    db.execute("insert into t values ($1)", sibling)
                    if sibling % 2:
                        raise LookupError
    assert ids(main_dsn) == list(range(100, 110, 2))


def test_an_outer_failure_undoes_inner_blocks(db: DB, main_dsn: str) -> None:
    """T4: what an inner block kept goes with the outer one."""
    with pytest.raises(LookupError):
        with db.transaction():
            with db.transaction():
                db.execute("insert into t values (1)")
            raise LookupError
    assert ids(main_dsn) == []


def test_modes_belong_to_the_outermost_block(db: DB) -> None:
    """T4: isolation, readonly and deferrable on an inner block are refused; a wrong level everywhere."""
    with db.transaction() as tx:
        for inner in (
            db.transaction(isolation="serializable"),
            db.transaction(readonly=True),
            tx.transaction(deferrable=True),
        ):
            with pytest.raises(UsageError, match="outermost"):
                with inner:
                    pass
        assert db.fetchval("select 1") == 1
    with pytest.raises(UsageError, match="'read committed', 'repeatable read', 'serializable'"):
        db.transaction(isolation="dirty")  # type: ignore[arg-type]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_isolation(db: DB, isolation: Any, main_dsn: str) -> None:
    """T2: the level is the block's, on a wire that was in read-only mode too, where it still may write."""
    assert db.fetchval("select 1") == 1
    assert all(wire.read_only for wire in db._fleet.lanes.wires)  # type: ignore[union-attr]
    with db.transaction(isolation=isolation):
        assert db.fetchval("show transaction_isolation") == isolation
        db.execute("insert into t values (1)")
    assert ids(main_dsn) == [1]
    assert db.fetchval("show transaction_isolation") == "read committed"


def test_readonly_and_deferrable(db: DB, main_dsn: str) -> None:
    """T1: a readonly block refuses to write, whichever mode its wire was in; deferrable is said."""
    db.execute("insert into t values (1)")
    with pytest.raises(ReadOnlySqlTransaction):
        with db.transaction(readonly=True):
            db.execute("insert into t values (2)")
    with db.transaction("serializable", readonly=True, deferrable=True):
        assert db.fetchval("show transaction_deferrable") == "on"
        assert db.fetchval("show transaction_read_only") == "on"
    assert ids(main_dsn) == [1]


def test_settings_inside(db: DB) -> None:
    """Q4, L7: SET LOCAL, SET and LISTEN belong into a block, and the next caller sees nothing of them."""
    with db.transaction():
        db.execute("set local work_mem = '7MB'")
        db.execute("set statement_timeout = '7min'")
        db.execute("listen news")
        assert db.fetchval("show work_mem") == "7MB"
    with db.transaction():
        assert db.fetchval("show work_mem") == "4MB"
        assert db.fetchval("show statement_timeout") == "65s"
        assert db.fetchval("select count(*) from pg_listening_channels()") == 0


def test_a_script_inside(db: DB, main_dsn: str) -> None:
    """Q4: a script runs inside a block, and is undone with it; one that would end it is refused."""
    with pytest.raises(LookupError):
        with db.transaction():
            assert db.execute("insert into t values (1); insert into t values (2)") == "INSERT 0 1"
            with pytest.raises(UsageError, match="COMMIT"):
                db.execute("insert into t values (3); commit")
            assert db.fetchval("select count(*) from t") == 2
            raise LookupError
    assert ids(main_dsn) == []


def test_a_trigger_that_speaks_of_prepared_statements(db: DB, main_dsn: str) -> None:
    """T1: whatever state a deferred trigger gives to COMMIT, the block ends with that error."""
    prepare(
        main_dsn,
        "create table crying (id int)",
        "create function cry() returns trigger language plpgsql as "
        "$$ begin raise exception 'as told' using errcode = '26000'; end $$",
        "create constraint trigger cry after insert on crying deferrable initially deferred "
        "for each row execute function cry()",
    )
    with pytest.raises(DatabaseError, match="as told"):
        with db.transaction() as tx:
            tx.execute("insert into crying values (1)")
    assert db.fetchval("select count(*) from crying") == 0
