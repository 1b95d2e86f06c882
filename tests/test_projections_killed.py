"""J3, J4: kill -9 in the middle, again and again, and every read model is what it is from scratch."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import psycopg
import pytest

from pgdual.sync import EventLog

from ._sync.clients import client_of
from ._sync.test_event_log import event

TURNS = ("project", "work", "rebuild", "work")
LATEST = 0.15  # seconds from its begin at which a turn is killed
KINDS = {"inline": ["tick"], "behind": ["tick", "tock"], "batches": ["tock"]}
SCRATCH = """
SELECT aggregate_id, count(*), max(version), 0 FROM pgdual_events WHERE event_type = ANY(%s)
GROUP BY 1 ORDER BY 1
"""


def killed(dsn: str, turn: str, after: float | None) -> int:
    """Return how a turn ended that is killed *after* so many seconds."""
    command = [sys.executable, "-m", "tests.projections_run", dsn, turn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            return process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def replay(dsn: str, kills: int, aggregates: int, seed: int) -> int:
    """Append events, kill turns at random moments, let all end; return how many were killed in time."""
    dice = random.Random(seed)
    count = 0
    with client_of(main=dsn) as client, psycopg.connect(dsn, autocommit=True) as own:
        log = EventLog(client["main"])
        log.create()
        for name in KINDS:
            own.execute(
                f"create table {name} (id text primary key, events int, last int, jumps int default 0)"
            )
        for number in range(aggregates):
            kinds = [dice.choice(["tick", "tock"]) for _ in range(12)]
            log.append([event(f"a{number}", n, kind) for n, kind in enumerate(kinds, 1)])
        for number in range(kills):
            count += killed(dsn, TURNS[number % len(TURNS)], dice.random() * LATEST) == -signal.SIGKILL
        for turn in TURNS:
            assert killed(dsn, turn, None) == 0
        for name, kinds in KINDS.items():
            found = own.execute(f"select id, events, last, jumps from {name} order by 1").fetchall()
            assert found == own.execute(SCRATCH, [kinds]).fetchall(), name
        assert own.execute("select count(*) from projection_failures").fetchone() == (0,)
    return count


def test_every_event_three_times(main_dsn: str) -> None:
    """J3: replayed, rebuilt and killed, the guide's total + 1 is right, and no event came out of order."""
    assert replay(main_dsn, kills=4, aggregates=40, seed=1) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_for_longer(main_dsn: str, seed: int) -> None:
    """J3: the same with more of everything."""
    assert replay(main_dsn, kills=24, aggregates=120, seed=seed) > 10
