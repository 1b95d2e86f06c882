"""`pgdual projections`: status, retry, skip."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdual.sync import EventLog, ProjectionWorker, Registry, projector

from ._sync.clients import client_of
from ._sync.runtime import wait_until
from ._sync.test_event_log import event
from .commands import pgdual, started

FACES = [("sync", "", ""), ("aio", "async ", "await ")]


def asked(dsn: str, *words: str) -> tuple[int, str, str]:
    """Return how `pgdual projections` with these words ended, and what it said."""
    done = pgdual("projections", *words, POSTGRES_DSN=dsn)
    return done.returncode, done.stdout, done.stderr


def fail(one: Any, db: Any) -> None:
    db.execute("select 1 / $1::int", one.data["by"])


def test_a_parked_event(main_dsn: str) -> None:
    """J3: status shows where projections are and what has failed; retry and skip let it go on."""
    assert asked(main_dsn, "status") == (0, "nothing was projected\n", "")
    registry = Registry("sync")
    projector("tick", name="orders", registry=registry)(fail)
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        log.create()
        log.append([event("a", 1, by=0), event("a", 2, by=1)])
        worker = ProjectionWorker(client["main"], registry, tries=1)
        worker.catch_up()
        code, out, _ = asked(main_dsn, "status")
        lines = out.splitlines()
        assert (code, len(lines)) == (1, 5)
        assert lines[0].split() == ["projection", "checkpoint", "events", "after", "it"]
        assert lines[1].startswith("orders ")
        assert lines[1].endswith(" 0")
        assert "DivisionByZero: division by zero" in lines[3]
        assert "waits for an earlier event" in lines[4]
        assert asked(main_dsn, "retry", "orders", "a")[:2] == (0, "orders: 1 to be tried again\n")
        assert asked(main_dsn, "skip", "orders", "a")[:2] == (0, "orders: version 1 of a is skipped\n")
        worker.catch_up()
        client["main"].execute("insert into pgdual_positions values ('orders @ ticks/0', 0, 7, 0)")
        code, out, _ = asked(main_dsn, "status")
        assert (code, out.splitlines()[-1].split()) == (0, ["orders", "@", "ticks/0", "7/0", "unknown"])
        code, _, error = asked(main_dsn, "skip", "orders", "a")
        assert (code, error) == (
            1,
            "ProjectionError: main: projector 'orders' has not failed with an event of 'a'\n",
        )


SLOW = """
from pgdual.{face} import projector

@projector("tick", projection="orders", tables="orders")
{word}def project_order(event, db):
    {wait}db.execute("select pg_sleep(0.002)")
    {wait}db.execute("insert into orders values ($1, $2)", event.event_id, event.version)
"""
BEGUN = "select count(*) from pgdual_positions where projector = 'orders (rebuild)' and turn > 0"


@pytest.mark.parametrize(
    ("face", "word", "wait"), [FACES[0], pytest.param(*FACES[1], marks=pytest.mark.slow)]
)
def test_ctrl_c(main_dsn: str, tmp_path: Path, face: str, word: str, wait: str) -> None:
    """J4: interrupted, a rebuild says that it can be gone on with, and goes on; the table stays as it was."""
    file = tmp_path / "projectors.py"
    file.write_text(SLOW.format(face=face, word=word, wait=wait))
    with client_of(main=main_dsn) as client, psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute("create table orders (id uuid primary key, version int)")
        log = EventLog(client["main"])
        log.create()
        for number in range(12):
            log.append([event(f"a{number}", n) for n in range(1, 26)])
        with started("projections", "rebuild", str(file), "orders", POSTGRES_DSN=main_dsn) as running:
            wait_until(lambda: own.execute(BEGUN).fetchone() != (0,), timeout=30)
            running.send_signal(signal.SIGINT)
            _, error = running.communicate(timeout=30)
            assert (running.returncode, "goes on where it was" in error) == (130, True), error
        assert own.execute("select count(*) from orders").fetchone() == (0,)
        code, out, _ = asked(main_dsn, "rebuild", str(file), "orders")
        assert (code, "rebuilt from 300 events" in out) == (0, True)
        assert own.execute("select count(*) from orders").fetchone() == (300,)


FILE = """
from pgdual.{face} import projector

@projector("tick", projection="orders", tables="orders", batch=True)
{word}def project_orders(events, db):
    {wait}db.insert_many("orders", [(one.event_id, one.version) for one in events])
"""


@pytest.mark.parametrize(("face", "word", "wait"), FACES)
def test_rebuild(main_dsn: str, tmp_path: Path, face: str, word: str, wait: str) -> None:
    """J4: it finds the projectors of either face in a file, and says how many events it took."""
    file = tmp_path / "projectors.py"
    file.write_text(FILE.format(face=face, word=word, wait=wait))
    with client_of(main=main_dsn) as client, psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute("create table orders (id uuid primary key, version int)")
        own.execute("insert into orders values (gen_random_uuid(), 9)")
        log = EventLog(client["main"])
        log.create()
        for number in range(3):
            log.append([event(f"a{number}", n) for n in range(1, 31)])
        code, out, error = asked(main_dsn, "rebuild", str(file), "orders")
        assert (code, out.startswith("orders: rebuilt from 90 events"), error) == (0, True, "")
        assert own.execute("select count(*), max(version) from orders").fetchone() == (90, 30)
        assert asked(main_dsn, "rebuild", str(file), "orders", "--in-place")[0] == 0
    for words, text in (
        ((str(file), "nobody"), "ProjectionError: no projection 'nobody'; there are: orders\n"),
        (("nowhere.at.all", "orders"), "UsageError: nowhere.at.all: give a file that is there"),
    ):
        code, _, error = asked(main_dsn, "rebuild", *words)
        assert (code, error.startswith(text)) == (1, True), error
