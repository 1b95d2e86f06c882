"""Ctrl-C, and a program that goes on: what was done is known, and nothing is left (D4, O1)."""

from __future__ import annotations

import contextvars
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from pgdual.embedded import Postgres, Template
from pgdual.sync import DB
from tests._sync.clients import client_of, first, is_running, outside, prepare
from tests._sync.runtime import wait_until

from .leaks import beyond, serving_blocking, settle_blocking, stuck
from .proxy import Proxy

AT_ONCE: Final = 1.0  # seconds; D4 says 0.2, on a machine that has nothing else to do
LIMIT: Final = 1.5 + 0.5  # seconds that a COMMIT is waited for: the program's command clock, and a cancel
ADD: Final = "insert into t values ($1)"
PATIENCE: Final = 20.0  # seconds that the program may take in all
# COMMIT takes its time: 0.5 s for each row, in a trigger that runs only then.
SLOW: Final = (
    """create function wait() returns trigger language plpgsql as
    'begin perform pg_sleep(0.5); return null; end'""",
    """create constraint trigger late after insert on t deferrable initially deferred
    for each row execute function wait()""",
)


class Told(NamedTuple):
    """What the program tells of its Ctrl-C."""

    took: float  # seconds until it came through
    rows: int  # in the table, for the same client
    is_kept: bool  # the connection serves on


def pressed(deed: str, dsn: str, when: Callable[[], object], then: Callable[[], None] = lambda: None) -> Told:
    """Run *deed*, press Ctrl-C once *when* holds, call *then* once it came through; return what is told."""
    program = [sys.executable, "-P", "-m", "tests.faults.ctrl_c", deed, dsn]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        watchdog = threading.Timer(PATIENCE, running.kill)
        watchdog.start()
        try:
            wait_until(when)
            at = time.monotonic()
            running.send_signal(signal.SIGINT)
            assert running.stdout is not None
            assert running.stderr is not None
            took = float(running.stdout.readline() or "nan") - at
            then()
            # Not by communicate(), which does not see what readline() has read beyond its line.
            said, complaints = running.stdout.read(), running.stderr.read()
            running.wait()
        finally:
            watchdog.cancel()
            running.kill()
    assert (running.returncode, complaints) == (0, "")
    return Told(took, **json.loads(said))


@pytest.mark.parametrize(
    ("deed", "text"),
    [
        ("write", "insert into t select 1"),
        pytest.param("block", "select pg_sleep", marks=pytest.mark.slow),
        pytest.param("read", "select pg_sleep", marks=pytest.mark.slow),
        pytest.param("many", "insert into t select $1", marks=pytest.mark.slow),
    ],
)
def test_during_a_statement(direct: str, deed: str, text: str) -> None:
    """D4: it ends at once, on the server too, and undone; its connection serves on."""
    told = pressed(deed, direct, lambda: is_running(direct, text))
    assert told.took < AT_ONCE
    assert told.rows == 0
    assert told.is_kept
    settle_blocking(lambda: beyond(direct, 0))


@pytest.mark.parametrize(
    ("deed", "rows"), [("commit", 1), pytest.param("commit_many", 2, marks=pytest.mark.slow)]
)
def test_during_commit(direct: str, deed: str, rows: int) -> None:
    """D4, O1: a COMMIT that Ctrl-C hits is waited for, and done when it comes through."""
    prepare(direct, *SLOW)
    told = pressed(deed, direct, lambda: is_running(direct, "COMMIT"))
    assert told.took < AT_ONCE + 0.5 * rows
    assert told.rows == first(direct, "select count(*) from t") == rows
    assert told.is_kept
    settle_blocking(lambda: beyond(direct, 0))


@pytest.fixture
def waiting(template: Template) -> Iterator[Postgres]:
    """A server whose commits wait for a standby that never comes, where a session asks for it."""
    with template.postgres({"synchronous_standby_names": "nobody", "synchronous_commit": "local"}) as server:
        prepare(server.dsn, "create table t (id int primary key)")
        yield server


def test_during_a_commit_that_is_done(waiting: Postgres) -> None:
    """D4, O1: Ctrl-C does not undo what is committed already; the wait ends at the command clock."""
    asking = f"{waiting.dsn}?options=-c%20synchronous_commit%3Don"
    told = pressed("commit", asking, lambda: waits_for_a_standby(waiting))
    assert told.took < AT_ONCE + LIMIT
    assert told.rows == first(waiting.dsn, "select count(*) from t") == 1
    assert told.is_kept
    settle_blocking(lambda: beyond(waiting.dsn, 0))


def waits_for_a_standby(server: Postgres) -> bool:
    """Return whether a commit waits for a standby now."""
    return bool(first(server.dsn, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"))


@pytest.mark.parametrize("deed", ["commit", pytest.param("commit_many", marks=pytest.mark.slow)])
def test_during_commit_on_a_frozen_network(proxy: Proxy, dsn: str, direct: str, deed: str) -> None:
    """D4, O1: a COMMIT that nobody answers costs its connection, and is not sent again."""

    def mend() -> None:
        proxy.reset()  # the COMMIT is gone with it
        proxy.thaw()

    proxy.freeze_on(b"COMMIT")
    told = pressed(deed, dsn, proxy.is_frozen, mend)
    assert told.took < AT_ONCE + LIMIT
    assert told.rows == first(direct, "select count(*) from t") == 0
    assert not told.is_kept
    settle_blocking(lambda: beyond(direct, 0))


def test_while_the_pool_grows(direct: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D4: who is interrupted as another connection is asked for leaves the line; that one is not lost."""
    with serving_blocking(direct, direct, pool_max_size=2) as client:
        db = client["main"]
        fleet: Any = db._fleet
        grow = fleet.grow

        def interrupted() -> None:
            grow()
            raise KeyboardInterrupt

        with db.transaction() as tx:
            tx.execute(ADD, 1)
            monkeypatch.setattr(fleet, "grow", interrupted)
            with pytest.raises(KeyboardInterrupt):
                contextvars.Context().run(db.execute, ADD, 2)
        monkeypatch.undo()
        settle_blocking(lambda: stuck(db))


def test_as_a_block_ends(direct: str) -> None:
    """D4, T1: Ctrl-C between a block's last statement and its end undoes it; later calls are not in it."""

    def block(db: DB) -> None:
        with db.transaction() as tx:
            tx.execute(ADD, 1)
            sys.setprofile(ctrl_c_in("__exit__"))

    with client_of(main=direct, pool_max_size=2) as client:
        db = client["main"]
        context = contextvars.Context()  # what it leaves behind is not the other tests'
        try:
            context.run(block, db)
        except KeyboardInterrupt:
            context.run(db.execute, ADD, 2)
    assert outside(direct, "select id from t") == [(2,)]


def ctrl_c_in(name: str) -> Callable[[Any, str, Any], None]:
    """Return a profiler that interrupts the next function of this name as it begins, as CPython may."""

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            raise KeyboardInterrupt

    return look
