# Generated from tests/_async/test_turns.py by _generate.py. Do not edit.
"""T3: when a transaction may be used, and how the calls of several tasks or threads take turns in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import QueryTimeoutError, TransactionClosedError, UsageError

from .clients import at_rest, client_of, left_open, outside
from .runtime import Event, spawn, wait_until


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


def test_a_transaction_is_used_once_and_while_it_is_open(db: DB) -> None:
    """T3: before its block, after it and in a second one a transaction is refused."""
    tx = db.transaction()
    with pytest.raises(TransactionClosedError):
        tx.fetch("select 1")
    with tx:
        assert tx.fetchval("select 1") == 1
    with pytest.raises(TransactionClosedError, match="inside the with block"):
        tx.fetch("select 1")
    with pytest.raises(TransactionClosedError):
        tx.executemany("insert into t values ($1)", [(1,)])
    with pytest.raises(TransactionClosedError):
        with tx.transaction():
            pass
    with pytest.raises(UsageError, match="one block"):
        with tx:
            pass


def test_an_inner_block_ends_for_good(db: DB, main_dsn: str) -> None:
    """T3: the inner transaction is closed after its block although the outer one is open."""
    with db.transaction():
        with db.transaction() as inner:
            inner.execute("insert into t values (1)")
        with pytest.raises(TransactionClosedError):
            inner.execute("insert into t values (2)")
    assert ids(main_dsn) == [1]


def test_a_generator_with_a_block(db: DB, main_dsn: str) -> None:
    """T3: a block that a generator opens, as a fixture or a dependency does, works from begin to end."""

    def dependency() -> Iterator[Any]:
        with db.transaction() as tx:
            yield tx

    generator = dependency()
    for tx in generator:
        tx.execute("insert into t values (1)")
        db.execute("insert into t values (2)")
        assert ids(main_dsn) == []
    assert ids(main_dsn) == [1, 2]


def test_others_wait_for_an_inner_block_of_another(db: DB, main_dsn: str) -> None:
    """T3: what one task does through `tx` is not undone by the inner block of another: it has its turn."""
    inside, failing = Event(), Event()
    done: list[str] = []

    def fails(tx: Any) -> None:
        with contextlib.suppress(LookupError):
            with tx.transaction() as inner:
                inner.execute("insert into t values (1)")
                inside.set()
                failing.wait()
                done.append("undone")
                raise LookupError

    def inserts(tx: Any) -> None:
        tx.execute("insert into t values (2)")
        done.append("inserted")

    def saves(tx: Any) -> None:
        with tx.transaction() as inner:
            inner.execute("insert into t values (3)")

    with db.transaction() as tx:
        tx.execute("insert into t values (0)")
        with spawn(lambda: fails(tx)):
            inside.wait()
            with spawn(lambda: inserts(tx)) as first, spawn(lambda: saves(tx)) as second:
                with pytest.raises(QueryTimeoutError) as late:
                    tx.execute("insert into t values (4)", timeout=0.05)
                assert late.value.outcome == "not sent"
                assert not first.is_done()
                assert not second.is_done()
                failing.set()
                first.result()
                second.result()
    assert done == ["undone", "inserted"]
    assert ids(main_dsn) == [0, 2, 3]


def test_children_may_use_the_outer_name_inside_an_inner_block(db: DB, main_dsn: str) -> None:
    """T3: a child that was handed the outer `tx` inside of its opener's inner block does not wait for it."""
    with db.transaction() as tx:
        tx.execute("insert into t values (1)")
        with db.transaction():
            db.execute("insert into t values (2)")
            with spawn(lambda: tx.execute("insert into t values (3)")) as child:
                child.result()
    assert ids(main_dsn) == [1, 2, 3]


def test_the_blocks_end_cancels_what_a_child_still_runs(db: DB, main_dsn: str) -> None:
    """T1, T3: a failed block does not wait for a child's statement, and tells the child why it ended."""
    failed: list[BaseException] = []

    def child(tx: Any) -> None:
        try:
            tx.fetch("select pg_sleep(30)")
        except Exception as error:
            failed.append(error)

    with pytest.raises(LookupError):
        with db.transaction() as tx:
            tx.execute("insert into t values (1)")
            spawned = spawn(lambda: child(tx))
            wait_until(lambda: any("pg_sleep" in row[2] for row in left_open(main_dsn)))
            raise LookupError
    spawned.result(5)
    assert isinstance(failed[0], TransactionClosedError)
    assert ids(main_dsn) == []


def test_what_waits_for_its_turn_is_refused_at_the_end(db: DB, main_dsn: str) -> None:
    """T3: a child's statement that had no turn before the block ended is refused, and never runs later."""
    refused: list[BaseException] = []

    def child(tx: Any, sql: str) -> None:
        try:
            tx.fetch(sql)
        except TransactionClosedError as error:
            refused.append(error)

    with db.transaction() as tx:
        tx.execute("insert into t values (1)")
        first = spawn(lambda: child(tx, "select pg_sleep(0.3)"))
        wait_until(lambda: any("pg_sleep" in row[2] for row in left_open(main_dsn)))
        second = spawn(lambda: child(tx, "insert into t values (2)"))
    first.result()
    second.result()
    assert len(refused) == 1
    assert ids(main_dsn) == [1]
