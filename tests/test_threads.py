"""T3 on the blocking face: a transaction belongs to the thread that opened it; a pool serves them all."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pgdual.errors import (
    ClientClosedError,
    OutcomeUnknownError,
    TransactionClosedError,
    TransactionOwnerError,
)
from pgdual.sync import DB, Client

from ._sync.clients import at_rest, client_of, first, outside
from ._sync.runtime import spawn, wait_until


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


def test_a_thread_is_outside(db: DB, main_dsn: str) -> None:
    """T3: a plain thread starts in a fresh context: its calls are outside of the opener's block."""
    with ThreadPoolExecutor() as pool, db.transaction():
        db.execute("insert into t values (1)")
        assert pool.submit(db.fetchval, "select count(*) from t").result() == 0


def test_a_thread_with_the_context_is_told(db: DB, main_dsn: str) -> None:
    """T3: a thread that was given the opener's context is refused, during the block and after it."""
    with ThreadPoolExecutor() as pool:
        with db.transaction() as tx:
            tx.execute("insert into t values (1)")
            context = contextvars.copy_context()
            with pytest.raises(TransactionOwnerError, match=r"tx\.fetch"):
                pool.submit(context.run, db.execute, "insert into t values (2)").result()
        with pytest.raises(TransactionClosedError):
            pool.submit(context.run, db.execute, "insert into t values (2)").result()
    assert ids(main_dsn) == [1]


def test_threads_with_tx(db: DB, main_dsn: str) -> None:
    """T3: threads that are handed `tx` work in it; their calls and their inner blocks take turns."""

    def work(tx: Any, number: int) -> None:
        tx.execute("insert into t values ($1)", number)
        with contextlib.suppress(LookupError), tx.transaction() as inner:
            inner.execute("insert into t values ($1)", 100 + number)
            inner.fetch("select pg_sleep(0.001)")
            if number % 2:
                raise LookupError

    with ThreadPoolExecutor(8) as pool, db.transaction() as tx:
        for done in [pool.submit(work, tx, number) for number in range(40)]:
            done.result()
    assert ids(main_dsn) == [*range(40), *range(100, 140, 2)]


def test_a_block_that_another_thread_ends(db: DB, main_dsn: str) -> None:
    """T3: a block that one worker thread enters and another leaves, as dependencies do, ends well."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        block = db.transaction()
        tx = one.submit(block.__enter__).result()
        tx.execute("insert into t values (1)")
        other.submit(block.__exit__, None, None, None).result()
        assert ids(main_dsn) == [1]
        assert other.submit(db.fetchval, "select 1").result() == 1
        assert one.submit(db.fetchval, "select 1").result() == 1


def test_many_threads_on_few_connections(db: DB, main_dsn: str) -> None:
    """L5: forty threads share four connections, in and out of transactions, and nobody's work is mixed."""

    def work(number: int) -> int:
        for step in range(5):
            with db.transaction():
                db.execute("insert into t values ($1)", number * 10 + step)
                pid = db.fetchval("select pg_backend_pid()")
                assert db.fetchval("select pg_backend_pid()") == pid
            assert db.fetchval("select $1::int", number) == number
        return number

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(work, range(40))) == list(range(40))
    assert len(ids(main_dsn)) == 200


def test_closing_while_threads_work(main_dsn: str) -> None:
    """P4: closing waits for calls in flight up to the grace period, and ends the others where they wait."""
    before = set(threading.enumerate())
    client = client_of(main=main_dsn, close_grace=1.0)
    db = client["main"]
    db.open()
    asleep = (
        "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    )
    quick = spawn(lambda: db.fetchval("select 7 from pg_sleep(0.2)"))
    read = spawn(lambda: db.fetchval("select pg_sleep(30)"))
    write = spawn(lambda: db.execute("select pg_sleep(30) for update"))
    wait_until(lambda: first(main_dsn, asleep) == 3)
    started = time.monotonic()
    client.close()
    assert time.monotonic() - started < 4
    assert quick.result() == 7
    with pytest.raises(ClientClosedError):
        read.result()
    with pytest.raises(OutcomeUnknownError):
        write.result()
    wait_until(lambda: not [one for one in set(threading.enumerate()) - before if "pgdual" in one.name])
