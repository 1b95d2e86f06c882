"""How much memory does a process hold that streams 10 million rows? Row 23.

A fresh interpreter on each face, and the most that it ever held. There is no peer: the figure itself is held
against the bounds. One round says enough, for it is long; in a shorter plan it has a share of the rows.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import fresh
from bench.harness import NotRunError, Question, Sample, Side, Stage
from bench.memory import STATUS
from bench.verdict import Promise

ROWS = 10_000_000

_FRAME = """
import asyncio, sys
from pgdual.{face} import {kind}, DatabaseSettings, Settings
SQL = "SELECT generate_series(1, $1::int8) AS n, 'user' AS name, 1.5::float8 AS v, now() AS at"
one = DatabaseSettings(dsn=sys.argv[1], pool_min_size=1, pool_max_size=1)
{a}def main(rows):
    count = total = 0
    {a}with {kind}(Settings(databases={{"main": one}})) as client, client["main"].stream(SQL, rows) as found:
        {a}for row in found:
            count, total = count + 1, total + row.n
    assert (count, total) == (rows, rows * (rows + 1) // 2)
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            print(int(line.split()[1]) / 1024)
rows = int(sys.argv[2])
{run}
"""
ASYNC = _FRAME.format(face="aio", kind="AsyncClient", a="async ", run="asyncio.run(main(rows))")
BLOCKING = _FRAME.format(face="sync", kind="Client", a="", run="main(rows)")


def _contest(program: str) -> Callable[[Stage], tuple[Side, None]]:
    def contest(stage: Stage) -> tuple[Side, None]:
        if not STATUS.exists():
            raise NotRunError("resident memory is read from /proc, which this system has not")

        def round_of(rows: float) -> Sample:
            printed, cpu = fresh.run(program, stage.dsn, f"{rows:.0f}")
            return Sample(float(printed), cpu / rows)

        return Side(lambda: None, round_of), None

    return contest


def _question(row: str, face: str, program: str) -> Question:
    work = f"memory, {{rows}} streamed, {face}"
    promise = Promise(row, work, "the bound", 60, 100, "MB", lower_is_better=True, is_difference=True)
    return Question(promise, _contest(program), is_async=False, rows=ROWS)


QUESTIONS = [_question("23a", "async", ASYNC), _question("23b", "blocking", BLOCKING)]
