"""D4: Ctrl-C interrupts a blocking call at once, wherever it is, and leaves the client usable."""

from __future__ import annotations

import contextlib
import contextvars
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from pgdual._sync.connection import Connection
from pgdual.sync import DB

from ._sync.clients import at_rest, client_of, left_open, outside, pids

SLEEPERS = {
    "read": "select pg_sleep(30)",
    "write": "insert into t select 1 from pg_sleep(30)",
    "script": "insert into t values (1); select pg_sleep(30)",
}


@pytest.fixture
def blocking(main_dsn: str) -> Iterator[DB]:
    outside(main_dsn, "create table t (id int primary key)")
    with client_of(main=main_dsn) as made:
        yield made["main"]
        at_rest(made["main"], main_dsn)


class CtrlC:
    """Press Ctrl-C once *condition* holds, and see the call end at once: D4 says 0.2 s, if busy 1."""

    def __init__(self, condition: Any) -> None:
        self._condition = condition
        self._pressed = 0.0

    def __enter__(self) -> None:
        def press() -> None:
            sync_wait(self._condition)
            self._pressed = time.monotonic()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        self._thread = threading.Thread(target=press)
        self._thread.start()

    def __exit__(self, kind: Any, *_: Any) -> bool:
        took = time.monotonic() - self._pressed
        self._thread.join()
        assert kind is KeyboardInterrupt
        assert took < 1
        return True


def sync_wait(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def is_running(dsn: str, words: str) -> bool:
    return any(words in (row[2] or "") for row in left_open(dsn))


@pytest.mark.parametrize("kind", SLEEPERS)
def test_ctrl_c_interrupts_a_call(blocking: DB, main_dsn: str, kind: str) -> None:
    """D4: Ctrl-C ends a blocking call at once, on the server too, and its connection is used again."""
    pid = blocking.fetchval("select pg_backend_pid()")
    with CtrlC(lambda: is_running(main_dsn, "pg_sleep")):
        blocking.execute(SLEEPERS[kind])
    assert left_open(main_dsn) == []
    assert blocking.fetchval("select pg_backend_pid()") == pid
    assert blocking.fetchval("select count(*) from t") == 0


def test_ctrl_c_at_any_moment_of_a_call(blocking: DB, main_dsn: str) -> None:
    """D4: Ctrl-C just before a call waits ends it, too, though poll() and compiled code do not hear it."""
    blocking.execute("select pg_sleep($1)", 0)
    main, chances = threading.main_thread().ident or 0, random.Random(1)
    for _ in range(200):
        begun, delay = threading.Event(), chances.uniform(0, 3e-4)

        def press(begun: threading.Event = begun, delay: float = delay) -> None:
            begun.wait()
            time.sleep(delay)
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            begun.set()
            blocking.execute("select pg_sleep($1)", 20)
        assert time.monotonic() - started < 10
        thread.join()
    at_rest(blocking, main_dsn)


SLOW = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return new; end $$;
create trigger s before insert on t for each row execute function slow()
"""
COPIES: dict[str, Callable[[DB], object]] = {
    "in": lambda db: db.copy_in("t", [(1,)]),
    "many": lambda db: db.insert_many("t", [(n,) for n in range(1500)]),
    "out": lambda db: db.copy_out("select 1 from pg_sleep(30)", lambda _: None),
    "long out": lambda db: db.copy_out("select generate_series(1, 100_000)", lambda _: None),
}


@pytest.mark.parametrize("kind", ["in", "many", "out"])
def test_ctrl_c_in_a_copy(blocking: DB, main_dsn: str, kind: str) -> None:
    """D4: Ctrl-C ends a COPY, on the server too; nothing stays of it, and its connection is used again."""
    outside(main_dsn, SLOW)
    pid = blocking.fetchval("select pg_backend_pid()")
    with CtrlC(lambda: is_running(main_dsn, "COPY")):
        COPIES[kind](blocking)
    assert left_open(main_dsn) == []
    assert blocking.fetchval("select pg_backend_pid()") == pid
    assert blocking.fetchval("select count(*) from t") == 0


@pytest.mark.parametrize("kind", ["in", "many", "long out"])
def test_ctrl_c_as_a_copy_begins(blocking: DB, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """D4: Ctrl-C as psycopg has begun a COPY, which nobody there ends yet, leaves its connection usable."""
    interrupts = iter([KeyboardInterrupt()])

    def begin(_: object) -> None:
        raise next(interrupts)

    pid = blocking.fetchval("select pg_backend_pid()")
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Copy, "_enter", begin)
        with pytest.raises(KeyboardInterrupt):
            COPIES[kind](blocking)
    assert blocking.fetchval("select pg_backend_pid()") == pid
    assert blocking.fetchval("select count(*) from t") == 0


def test_ctrl_c_as_the_data_of_a_copy_are_left(blocking: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """D4, L7: Ctrl-C as a COPY that was left early is ended leaves nothing that the next one waits for."""
    interrupts, settle_it = [KeyboardInterrupt()], Connection.settle

    def settle(*args: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        settle_it(*args)

    monkeypatch.setattr(Connection, "settle", settle)
    many = blocking.copy_out("select generate_series(1, 1000000)")
    with pytest.raises(KeyboardInterrupt), many as left:
        next(iter(left))
    with blocking.copy_out("select 1", timeout=2) as parts:
        assert list(parts) == [b"1\n"]


def test_a_borrower_whose_thread_goes_on(blocking: DB) -> None:
    """D4, L7: a connection that another thread still uses as its block ends is given up at once."""

    def use() -> None:
        with contextlib.suppress(psycopg.Error):
            connection.execute("select pg_sleep(20)")

    with blocking.connection() as connection:
        threading.Thread(target=use, daemon=True).start()
        sync_wait(connection.lock.locked)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert blocking.fetchval("select 1") == 1


def test_ctrl_c_in_a_transaction(blocking: DB, main_dsn: str) -> None:
    """D4, T1: Ctrl-C in a block undoes it, inner blocks included, and the client stays usable."""
    pid = blocking.fetchval("select pg_backend_pid()")
    with CtrlC(lambda: is_running(main_dsn, "pg_sleep")), blocking.transaction() as tx:
        tx.execute("insert into t values (1)")
        with blocking.transaction():
            blocking.execute("select pg_sleep(30)")
    assert left_open(main_dsn) == []
    assert blocking.fetchval("select pg_backend_pid()") == pid
    assert blocking.fetchval("select count(*) from t") == 0


def test_ctrl_c_in_executemany(blocking: DB, main_dsn: str) -> None:
    """D4, T1: Ctrl-C in the middle of many rows has done nothing, and the client stays usable."""
    fed = []

    def rows() -> Iterator[tuple[int]]:
        for number in range(10_000_000):
            fed.append(number)
            yield (number,)

    with CtrlC(lambda: len(fed) > 5_000):
        blocking.executemany("insert into t values ($1)", rows())
    at_rest(blocking, main_dsn)
    assert blocking.fetchval("select count(*) from t") == 0
    with CtrlC(lambda: is_running(main_dsn, "pg_sleep")):
        blocking.executemany("select pg_sleep($1)", [(0,), (30,), (0,)])
    at_rest(blocking, main_dsn)


def test_ctrl_c_while_waiting_for_a_connection(main_dsn: str) -> None:
    """D4: Ctrl-C ends the wait for a connection, and the line goes on without the call."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        with db.transaction() as tx:
            tx.execute("select 1 for update")
            with CtrlC(lambda: db.stats()["pool"]["waiting"]):
                contextvars.Context().run(db.fetch, "select 1")  # outside of the block
        assert db.fetchval("select 1", timeout=5) == 1
        at_rest(db, main_dsn)


def test_ctrl_c_with_a_large_argument(blocking: DB, main_dsn: str) -> None:
    """D4, L6: Ctrl-C while an argument of many megabytes is sent closes that connection, not the client."""
    data = b"x" * 60_000_000
    with CtrlC(lambda: blocking.stats()["pool"]["active"]):
        while True:
            blocking.fetchval("select length($1::bytea)", data)
    assert blocking.fetchval("select 1", timeout=10) == 1
    at_rest(blocking, main_dsn)


def test_ctrl_c_while_the_client_closes(main_dsn: str) -> None:
    """D4, P4: a close() that Ctrl-C has ended can be finished by another."""
    client = client_of(main=main_dsn, close_grace=5.0)
    client.open()
    db = client["main"]
    call = threading.Thread(target=lambda: db.fetch("select pg_sleep(1)"))
    call.start()
    sync_wait(lambda: is_running(main_dsn, "pg_sleep"))
    with CtrlC(lambda: not db.is_open):
        client.close()
    client.close()
    call.join()
    sync_wait(lambda: not pids(main_dsn))
    assert not [one for one in threading.enumerate() if one.name.startswith("pgdual-")]
