"""Where does pgdual spend its time in a row? ``python -m bench.hotspots 2`` shows the functions.

Only pgdual's side is played. First under cProfile, whose own cost falls on Python functions and not on the C
below them: read the order and the call counts, not the seconds. CPU time is counted, not wall time: a send
that wakes the server may lose its core to it for as long as the server works. Then, with ``--flame``, under
py-spy, which looks on from outside: bench/report/flame-2.svg is a flame graph.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from bench.__main__ import QUESTIONS
from bench.database import database
from bench.fresh import ROOT
from bench.harness import Question, Sample, Stage

SECONDS = 3.0
WATCHED = 15.0  # seconds; the imports, of about a second, are in the flame graph too
LINES = 30
RATE = 250  # looks a second
REPORT = Path(__file__).with_name("report")


def main(arguments: list[str] | None = None) -> int:
    """Profile each of the rows asked for."""
    parser = argparse.ArgumentParser("python -m bench.hotspots", description="where a row's time goes")
    parser.add_argument(
        "rows", nargs="*", default=["2"], metavar="ROW", help="as in 2 12b; 2 if none is named"
    )
    parser.add_argument("--flame", action="store_true", help="a flame graph of each, by py-spy")
    options = parser.parse_args(arguments)
    with database() as dsn:
        for row in options.rows:
            _show(_question(row), dsn)
            if options.flame:
                print(_flame(row, dsn).resolve())  # a session of nox sees this folder through a link
    return 0


def _question(row: str) -> Question:
    # What plays in processes of its own cannot be watched here.
    watched = {question.promise.row: question for question in QUESTIONS if question.rows is None}
    if row not in watched:
        raise SystemExit(f"no such row: {row}; there are {', '.join(watched)}")
    return watched[row]


def _show(question: Question, dsn: str) -> None:
    profile = cProfile.Profile(time.process_time)
    sample = _play(question, dsn, profile, SECONDS)
    promise = question.promise
    print(f"row {promise.row}, {promise.work}: {sample.figure:,.0f} {promise.unit} under the profiler")
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)


def _play(question: Question, dsn: str, profile: AbstractContextManager[object], seconds: float) -> Sample:
    with Stage(dsn) as stage:
        ours, _peer = question.contest(stage)
        ours.round(1.0)
        with profile:
            return ours.round(seconds)


def play(row: str, dsn: str) -> None:
    """Play pgdual's side of *row*, to be watched from outside."""
    _play(_question(row), dsn, nullcontext(), WATCHED)


def _flame(row: str, dsn: str) -> Path:
    """Watch a process that plays *row*; return where its flame graph is."""
    REPORT.mkdir(exist_ok=True)
    path = REPORT / f"flame-{row}.svg"
    watch(row, dsn, path, "flamegraph", RATE)
    return path


def watch(row: str, dsn: str, path: Path, form: str, rate: int, tree: Path = ROOT) -> None:
    """Have py-spy look *rate* times a second at a process that plays *row* from *tree*, and write *path*."""
    look = ["py-spy", "record", "--native", "--rate", str(rate), "--format", form, "--output", str(path)]
    program = f"from bench.hotspots import play; play({row!r}, {dsn!r})"
    command = [*look, "--", sys.executable, "-P", "-c", program]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)


if __name__ == "__main__":
    sys.exit(main())
