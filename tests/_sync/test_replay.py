# Generated from tests/_async/test_replay.py by _generate.py. Do not edit.
"""T5: a transaction that was rolled back for another's sake, or lost its connection, is said again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.sync import DB
from pgdual.errors import (
    DeadlockDetected,
    OperationalError,
    ReplayMismatchError,
    SerializationFailure,
    TransactionFailedError,
    UniqueViolation,
)

from .clients import client_of, first, outside, prepare
from .runtime import Event, gather, spawn, wait_until

TABLE = """
create table t (id int primary key, n int not null default 0);
insert into t select g from generate_series(1, 6) g;
create table log (id int generated always as identity, note text);
"""
ADD = "update t set n = n + $2 where id = $1"
READ = "select id, n from t where id = $1"
OURS = "pg_stat_activity where state = 'idle in transaction' and datname = current_database()"
IDLE = f"select count(*) from {OURS}"


def cut(dsn: str) -> None:
    """End the one transaction that is open, and return when its server process is gone."""
    assert first(dsn, f"select count(pg_terminate_backend(pid)) from {OURS}") == 1
    wait_until(lambda: first(dsn, IDLE) == 0)


def both(db: DB, one: int, other: int, ready: list[int], **options: Any) -> int:
    """Touch two rows, in an order that deadlocks with the opposite one; return how often it was replayed."""
    with db.transaction(**options) as tx:
        tx.execute(ADD, one, 1)
        ready.append(one)
        wait_until(lambda: len(ready) >= 2)
        tx.execute(ADD, other, 1)
    return tx.replays


def test_a_deadlock(main_dsn: str) -> None:
    """T5: of two transactions that wait for each other one is run again, and both are done."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db, ready = client["main"], []
        counts = gather(lambda: both(db, 1, 2, ready), lambda: both(db, 2, 1, ready))
        assert sorted(counts) == [0, 1]
        assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [2, 2]
        assert db.stats()["replays"] == 1


def test_replays_take_turns(main_dsn: str) -> None:
    """T5: who was rolled back waits, without a lock, for one that was so before to end, but not for ever."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db, ended, order = client["main"], Event(), []

        def work(number: int, until: Event | None) -> None:
            with db.transaction(isolation="repeatable read") as tx:
                tx.fetchval("select 1")
                outside(main_dsn, f"update t set n = n where id = {number}")
                tx.execute(ADD, number, 1)
                order.append(number)
                if until is not None:
                    until.wait()
            assert tx.replays == 1

        first_one = spawn(lambda: work(1, ended))
        wait_until(lambda: order == [1])
        work(2, None)  # after a while it goes on although the first has not ended
        second = spawn(lambda: work(3, None))
        wait_until(lambda: db.stats()["pool"]["active"] == 2)
        ended.set()
        gather(first_one.result, second.result)
        assert order == [1, 2, 3]
        assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [1, 1, 1]


def test_a_deadlock_without_replay(main_dsn: str) -> None:
    """T5: with replay=False the error is the caller's."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db, ready = client["main"], []
        with pytest.raises(DeadlockDetected):
            gather(
                lambda: both(db, 1, 2, ready, replay=False), lambda: both(db, 2, 1, ready, replay=False)
            )
        assert db.stats()["replays"] == 0


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_serialization_failure(main_dsn: str, level: Any) -> None:
    """T5: what another has changed since the snapshot; what was seen is as it was, so the block goes on."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with db.transaction(isolation=level) as tx:
            assert tx.fetchval("select n from t where id = $1", 3) == 0
            outside(main_dsn, "update t set n = 10 where id = 1")
            tx.execute(ADD, 1, 1)
        assert tx.replays == 1
        assert first(main_dsn, "select n from t where id = 1") == 11


def test_something_else_is_seen(main_dsn: str) -> None:
    """T5: what the block has read is other than it was: the error, and nothing stays done."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with pytest.raises(ReplayMismatchError, match="its rows are others") as caught:
            with db.transaction(isolation="repeatable read") as tx:
                tx.execute(ADD, 2, 1)
                n = tx.fetchval("select n from t where id = $1", 1)
                outside(main_dsn, "update t set n = 10 where id = 1")
                tx.execute("update t set n = $2 where id = $1", 1, n + 1)
        assert isinstance(caught.value.__cause__, SerializationFailure)
        assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [10, 0]
        assert db.fetchval("select 1") == 1


def test_a_mismatch_that_was_swallowed(main_dsn: str) -> None:
    """T1: a block cannot go on from the middle of a replay that failed."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with pytest.raises(TransactionFailedError):
            with db.transaction(isolation="repeatable read") as tx:
                assert tx.fetchval("select n from t where id = $1", 1) == 0
                outside(main_dsn, "update t set n = 10 where id = 1")
                with pytest.raises(ReplayMismatchError):
                    tx.execute(ADD, 1, 1)
                with pytest.raises(TransactionFailedError):
                    tx.execute(ADD, 2, 1)
        assert first(main_dsn, "select sum(n) from t") == 10


@pytest.mark.parametrize("by", ["ordered", "unordered", "first"])
def test_the_order_of_rows(main_dsn: str, by: str) -> None:
    """T5: it counts where the text asks for one, and the first row does where only that is seen."""
    prepare(main_dsn, TABLE)
    outside(main_dsn, "create table pages (n int); insert into pages values (1), (2)")
    swap = "truncate pages; insert into pages values (2), (1)"
    with client_of(main=main_dsn) as client:
        db = client["main"]
        calls = {
            "ordered": lambda tx: tx.fetch("select n from pages order by n + 0 * random()"),
            "unordered": lambda tx: tx.fetch("select n from pages"),
            "first": lambda tx: tx.fetchval("select n from pages"),
        }
        differs = by == "first"
        try:
            with db.transaction() as tx:
                calls[by](tx)
                cut(main_dsn)
                outside(main_dsn, swap)
                tx.execute(ADD, 1, 1)
        except ReplayMismatchError:
            assert differs
        else:
            assert not differs
            assert tx.replays == 1


def test_a_lost_connection(main_dsn: str) -> None:
    """T5: a backend that was ended between two statements, or before COMMIT; calls of all kinds."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with db.transaction() as tx:
            names = ["x"]
            tx.execute("insert into log (note) select unnest($1::text[])", names)
            names.append("changed later")
            rows = [[1, 5], [2, 5]]
            assert tx.executemany(ADD, rows) == 2
            rows[0][1] = 99
            assert dict(tx.fetchrow(READ, 1)) == {"id": 1, "n": 5}
            cut(main_dsn)
            assert tx.fetchval("select count(*) from log") == 1
            cut(main_dsn)
        assert tx.replays == 2
        assert first(main_dsn, "select array_agg(note) from log") == ["x"]
        assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [5, 5]


def test_inner_blocks(main_dsn: str) -> None:
    """T4, T5: savepoints that were kept and undone are so again, with the errors that were seen in them."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with db.transaction() as tx:
            with db.transaction():
                db.execute(ADD, 1, 1)
            with pytest.raises(UniqueViolation):
                with db.transaction():
                    db.execute(ADD, 2, 1)
                    db.execute("insert into t values (1)")
            with pytest.raises(ValueError, match="mine"):
                with db.transaction():
                    db.execute(ADD, 3, 1)
                    raise ValueError("mine")
            with db.transaction():
                db.execute(ADD, 4, 1)
                cut(main_dsn)
            cut(main_dsn)
        assert tx.replays == 2
        assert first(main_dsn, "select array_agg(n order by id) from t where id < 5") == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "sql",
    [
        "select n from t where id = 1 for update",
        "select pg_advisory_xact_lock(7)",
        "do $$ begin perform 1; end $$",
        "select id, now() from t where id = 1",
        "insert into log (note) values ('x') returning id",
    ],
)
def test_what_cannot_be_said_again(main_dsn: str, sql: str) -> None:
    """T5: locks taken for their own sake, what cannot be seen, and values that differ from run to run."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with pytest.raises((OperationalError, ReplayMismatchError)):
            with db.transaction() as tx:
                tx.fetch(sql)
                cut(main_dsn)
                tx.execute(ADD, 2, 1)
        assert first(main_dsn, "select n from t where id = 2") == 0
        assert db.fetchval("select 1") == 1


def test_a_conflict_at_commit(main_dsn: str) -> None:
    """T5: 40001 that COMMIT itself brings, for another one has read and written around it."""
    prepare(main_dsn, TABLE)
    total = "select sum(n) from t where id in (1, 2)"
    other = f"begin isolation level serializable; {total}; update t set n = n where id = 2; commit"
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with db.transaction(isolation="serializable") as tx:
            assert tx.fetchval(total) == 0
            tx.execute(ADD, 1, 5)
            outside(main_dsn, other)
            assert tx.replays == 0
        assert tx.replays == 1
        assert first(main_dsn, "select n from t where id = 1") == 5


def test_the_log_is_bounded(main_dsn: str) -> None:
    """T5: past 1,000 statements or 10,000 rows nothing is kept any more."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]
        with pytest.raises(OperationalError):
            with db.transaction() as tx:
                tx.fetch("select g from generate_series(1, 10001) g")
                cut(main_dsn)
                tx.execute(ADD, 2, 1)
        with pytest.raises(OperationalError):
            with db.transaction() as tx:
                for _ in range(1001):
                    tx.fetchval("select 1")
                cut(main_dsn)
                tx.execute(ADD, 2, 1)


WIDE = """
create table wide (id int, note text);
create sequence tries;
create function once() returns trigger language plpgsql as $$ begin
  if new.id = 5 and nextval('tries') = 1 then raise 'meanwhile' using errcode = '40001'; end if;
  return new;
end $$;
create trigger once before insert on wide for each row execute function once();
"""


def test_rows_that_are_made_as_they_are_sent(main_dsn: str) -> None:
    """T5: some hundred rows of a generator are read whole, however early one failed, and said again."""
    prepare(main_dsn, WIDE)

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(300):
            time.sleep(0.0005)  # the error has come long before the last
            yield number, "a" * 3000

    with client_of(main=main_dsn) as client:
        with client["main"].transaction() as tx:
            assert tx.executemany("insert into wide values ($1, $2)", rows()) == 300
        assert tx.replays == 1
        assert first(main_dsn, "select count(*) from wide") == 300
