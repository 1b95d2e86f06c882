"""A backfill that a standby cannot follow waits for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pgdual.embedded import Postgres
from pgdual.errors import UsageError

from ._sync.clients import client_of, first, outside
from ._sync.runtime import wait_until
from .faults.standby import Standby, missing


@pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
def test_a_standby_that_stands_still() -> None:
    """No batch begins while a standby is further behind than it may be; then it goes on to its end."""
    with Postgres() as primary, Standby(primary) as standby, client_of(main=primary.dsn) as client:
        outside(primary.dsn, "create table source as select n as id from generate_series(1, 600) n")
        outside(primary.dsn, "create table target (id int primary key)")
        wait_until(lambda: first(primary.dsn, "select count(*) from pg_stat_replication") == 1)
        outside(standby.dsn, "select pg_wal_replay_pause()")
        states: list[Any] = []

        def run() -> None:
            client["main"].backfill(
                "source", None, "target", key="id", checkpoint="b", batch=1, seconds=1e-6, max_lag=0.1,
                progress=states.append,
            )  # fmt: skip

        work = threading.Thread(target=run)
        work.start()

        def stands_still() -> bool:
            before = len(states)
            return bool(states) and not threading.Event().wait(0.5) and len(states) == before

        wait_until(stands_still)
        assert not states[-1].done
        assert work.is_alive()
        outside(standby.dsn, "select pg_wal_replay_resume()")
        work.join(30)
        assert (states[-1].rows, states[-1].done) == (600, True)
        outside(
            primary.dsn,
            "create role plain login; grant all on schema public to plain; "
            "grant all on all tables in schema public to plain",
        )
        plain = primary.dsn.replace("postgres@", "plain@")
        with client_of(main=plain) as other, pytest.raises(UsageError, match="pg_monitor"):
            other["main"].backfill("target", None, "target", key="id", checkpoint="c", max_lag=1.0)
