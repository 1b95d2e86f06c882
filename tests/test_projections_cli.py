"""`pgdual projections`: status, retry, skip."""

from __future__ import annotations

from typing import Any

from pgdual.sync import EventLog, ProjectionWorker, Registry, projector

from ._sync.clients import client_of
from ._sync.test_event_log import event
from .commands import pgdual


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
        assert asked(main_dsn, "status")[0] == 0
        code, _, error = asked(main_dsn, "skip", "orders", "a")
        assert (code, error) == (
            1,
            "ProjectionError: main: projector 'orders' has not failed with an event of 'a'\n",
        )
