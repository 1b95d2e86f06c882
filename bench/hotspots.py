"""Where does pgdual spend its time in a row? ``python -m bench.hotspots 2`` shows the functions.

Only pgdual's side is played, under cProfile, whose own cost falls on Python functions and not on the C below
them: read the order and the call counts, not the seconds. CPU time is counted, not wall time: a send that
wakes the server may lose its core to it for as long as the server works.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time

from bench.__main__ import QUESTIONS
from bench.database import database
from bench.harness import Question, Stage

SECONDS = 3.0
LINES = 30


def main(rows: list[str]) -> int:
    """Profile each of *rows*; return 2 where there is none."""
    chosen = [question for question in QUESTIONS if question.promise.row in rows]
    if not chosen:
        print(f"usage: python -m bench.hotspots ROW...; rows: {', '.join(q.promise.row for q in QUESTIONS)}")
        return 2
    with database() as dsn:
        for question in chosen:
            _show(question, dsn)
    return 0


def _show(question: Question, dsn: str) -> None:
    with Stage(dsn) as stage:
        ours, _peer = question.contest(stage)
        ours.round(1.0)
        profile = cProfile.Profile(time.process_time)
        profile.enable()
        sample = ours.round(SECONDS)
        profile.disable()
    promise = question.promise
    print(f"row {promise.row}, {promise.work}: {sample.figure:,.0f} {promise.unit} under the profiler")
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
