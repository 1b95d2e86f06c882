# Generated from tests/_async/test_replay_breaks.py by _generate.py. Do not edit.
"""T5 where it is hard: what else can happen while a transaction is said again, or before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import (
    OperationalError,
    PoolTimeoutError,
    QueryCanceled,
    QueryTimeoutError,
    TransactionClosedError,
    TransactionFailedError,
    UniqueViolation,
    UsageError,
)

from .clients import OURS, at_rest, client_of, first, outside, prepare, terminate
from .runtime import Event, gather, sleep, spawn, wait_until
from .test_replay import ADD, TABLE, cut


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


def test_a_statement_whose_rows_were_refused(db: DB, main_dsn: str) -> None:
    """T5: what was done, although its caller was told of a mistake, is not left out of a replay."""
    try:
        with db.transaction() as tx:
            with pytest.raises(UsageError):
                tx.fetchval("insert into log (note) values ('x') returning id", column="nowhere")
            cut(main_dsn)
            tx.execute(ADD, 1, 1)
    except OperationalError:
        pass  # it may fail as a whole: what counts is that both are done, or neither
    assert first(main_dsn, "select count(*) from log") == first(main_dsn, "select n from t where id = 1")


def test_the_deadline_passes_in_a_replay(db: DB, main_dsn: str) -> None:
    """D1, T5: the statement that is replayed for has one deadline, and passing it is not another answer."""
    with pytest.raises(QueryTimeoutError) as caught:
        with db.transaction() as tx:
            tx.execute(ADD, 1, 1)
            cut(main_dsn)
            holder = outside_holding(main_dsn)
            try:
                tx.execute(ADD, 2, 1, timeout=0.3)
            finally:
                holder.close()
    assert caught.value.outcome == "rolled back"
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [0, 0]


def outside_holding(dsn: str) -> Any:
    """Return a connection that holds the first row's lock until it is closed."""
    import psycopg

    connection = psycopg.connect(dsn)
    connection.execute("update t set n = n where id = 1")
    return connection


def test_a_child_waits_for_a_replay_at_release(db: DB, main_dsn: str) -> None:
    """T3, T5: while an inner block's end is replayed, a child's statement waits for its turn."""

    def child(tx: Any, steps: int) -> None:
        for _ in range(steps):
            sleep(0)
        tx.execute(ADD, 3, 1)

    for steps in range(20):
        with db.transaction() as tx:
            tx.execute(ADD, 1, 1)
            with db.transaction():
                db.execute(ADD, 2, 1)
                cut(main_dsn)
                spawned = spawn(lambda steps=steps, tx=tx: child(tx, steps))  # type: ignore[misc]
            spawned.result()
        assert tx.replays == 1
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [20, 20, 20]


def test_children_wait_for_a_replay(db: DB, main_dsn: str) -> None:
    """T3, T5: statements that children have in line are sent after the replay, each once."""
    with db.transaction() as tx:
        tx.execute(ADD, 1, 1)
        cut(main_dsn)
        gather(*[lambda: tx.execute(ADD, 2, 1) for _ in range(6)])
        tx.executemany(ADD, [(3, 1)] * 3)
    assert tx.replays == 1
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [1, 6, 3]


def test_the_caller_changes_an_empty_list(db: DB, main_dsn: str) -> None:
    """T5: a list that was returned is the caller's, even if no row came."""
    with db.transaction() as tx:
        rows = tx.fetch("insert into log (note) values ('x')")
        rows.append("mine")
        none = tx.fetch("select id from t where id > 100")
        none.append("mine")
        cut(main_dsn)
        tx.execute(ADD, 1, 1)
    assert tx.replays == 1


def test_a_mismatch_in_an_inner_block(db: DB, main_dsn: str) -> None:
    """T1: after a replay that failed nothing goes on, and what is said names the statement."""
    with pytest.raises(TransactionFailedError, match="update t"):
        with db.transaction(isolation="repeatable read") as tx:
            assert tx.fetchval("select n from t where id = $1", 1) == 0
            outside(main_dsn, "update t set n = 10 where id = 1")
            with pytest.raises(Exception, match="something else"):
                with db.transaction():
                    tx.execute(ADD, 1, 1)
            tx.execute(ADD, 2, 1)
    assert first(main_dsn, "select sum(n) from t") == 10


def test_a_statement_that_fails_after_a_replay(db: DB, main_dsn: str) -> None:
    """T4, T5: what it was replayed for fails by itself: that is its answer, and the outer block goes on."""
    with db.transaction() as tx:
        tx.execute(ADD, 1, 1)
        cut(main_dsn)
        with pytest.raises(UniqueViolation):
            with db.transaction():
                db.execute("insert into t values (1)")
        tx.execute(ADD, 2, 1)
        cut(main_dsn)
    assert tx.replays == 2
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [1, 1]


def test_what_a_replay_was_for_is_told(
    db: DB, main_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5: where it finds no connection that is raised, and the loss it was for is its context."""

    def refuse() -> None:
        raise PoolTimeoutError("none left")

    with pytest.raises(PoolTimeoutError) as caught, monkeypatch.context() as patched:
        with db.transaction() as tx:
            tx.execute(ADD, 1, 1)
            cut(main_dsn)
            patched.setattr(db._fleet, "place_alone", refuse)
            tx.execute(ADD, 2, 1)
    assert isinstance(caught.value.__context__, OperationalError)
    assert first(main_dsn, "select sum(n) from t") == 0


def test_what_ends_late_was_not_late(
    db: DB, main_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2: what failed on a lent connection is raised, though that is closed at a time limit afterwards."""

    def work(connection: Any) -> None:
        connection.pgconn.send_query(b"select pg_sleep(2)")
        monkeypatch.setattr(type(connection), "_cancel_soon", nothing)
        raise UniqueViolation("the original")

    def nothing(connection: Any, seconds: float) -> None:
        pass

    with pytest.raises(UniqueViolation, match="the original"):
        with db.transaction() as tx:
            tx._lent(db._statements.get("select 1"), work, True, 30)


def test_rows_that_were_half_read(db: DB, main_dsn: str) -> None:
    """T5: an iterator that was read in part cannot be sent again; a list can, and the block goes on."""
    with db.transaction() as tx:
        tx.execute(ADD, 1, 1)
        cut(main_dsn)
        tx.executemany(ADD, [(2, 1), (3, 1)])
    assert tx.replays == 1

    def rows(count: int) -> Any:
        for number in range(count):
            if number == count // 2:
                terminate(main_dsn)
            yield (2, 1)

    for count, kept in ((4, 1), (900, 0)):  # more than travel at once
        try:
            with db.transaction() as tx:
                tx.execute(ADD, 1, 1)
                tx.executemany(ADD, rows(count))
        except OperationalError:
            assert not kept
        assert tx.replays == kept
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [2, 5, 1]


def test_the_block_fails_while_a_child_waits_for_a_replay(db: DB, main_dsn: str) -> None:
    """T1, T5: a replay does not go on with a transaction that was undone, and leaves no connection taken."""
    begin, go = Event(), Event()
    taken: list[int] = []

    def hold() -> None:
        begin.wait()
        with db.transaction() as tx:
            tx.fetchval("select 1")
            taken.append(1)
            go.wait()

    holders = [spawn(hold) for _ in range(4)]  # outside of the block; nothing is left for the replay
    with pytest.raises(LookupError):
        with db.transaction() as tx:
            tx.execute(ADD, 1, 1)
            cut(main_dsn)
            begin.set()
            wait_until(lambda: len(taken) >= 3)  # a thread learns of a loss when it looks
            child = spawn(lambda: tx.execute(ADD, 2, 1))
            wait_until(lambda: len(taken) == 4 and db.stats()["pool"]["waiting"] == 1)
            raise LookupError
    go.set()
    for holder in holders:
        holder.result()
    with pytest.raises((OperationalError, TransactionClosedError)):
        child.result()
    wait_until(lambda: db.stats()["pool"]["active"] == 0)
    assert first(main_dsn, "select sum(n) from t") == 0


def test_everything_is_called_off_in_a_replay(db: DB, main_dsn: str) -> None:
    """T1, T5: cancel_all() reaches a replay that waits for a lock; the block is undone and says why."""
    with pytest.raises(QueryCanceled):
        with db.transaction() as tx:
            tx.execute(ADD, 1, 1)
            cut(main_dsn)
            holder = outside_holding(main_dsn)
            child = spawn(lambda: called_off(db, main_dsn))
            try:
                tx.execute(ADD, 2, 1)
            finally:
                child.result()
                holder.close()
    assert first(main_dsn, "select sum(n) from t") == 0
    assert db.fetchval("select 1") == 1


def called_off(db: DB, dsn: str) -> None:
    """Call everything off once something waits for a lock."""
    waits = f"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and {OURS}"
    wait_until(lambda: first(dsn, waits) == 1)
    assert db.cancel_all() == 1
