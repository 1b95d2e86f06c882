"""Which rows are run, how long, and does a missed floor fail the run?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from bench import (
    backfill,
    blocking,
    copy_in,
    documents,
    executemany,
    fetch_many,
    growth,
    imports,
    memory,
    overhead,
    page,
    pgbench,
    projections,
    report,
    select_by_key,
    shapes,
    stream,
    tail,
    telemetry,
    transaction,
    update_by_key,
)
from bench.awake import awake
from bench.database import database
from bench.harness import POOL, NotRunError, Plan, Question, Result, Stage, play
from bench.machine import describe
from bench.verdict import Verdict

FILES = (
    select_by_key,
    update_by_key,
    transaction,
    blocking,
    copy_in,
    executemany,
    fetch_many,
    documents,
    pgbench,
    tail,
    overhead,
    telemetry,
    imports,
    memory,
    projections,
    stream,
    backfill,
)
QUESTIONS = [question for file in FILES for question in file.QUESTIONS]

# Many short pairs beat few long ones on a noisy machine: the median throws the disturbed ones away.
FULL = Plan(pairs=21, seconds=0.3, warm_up=0.6, slow_pairs=21, share=1.0)
QUICK = Plan(pairs=7, seconds=0.15, warm_up=0.15, slow_pairs=3, share=0.1)
PARTS = {
    "uvloop": "a second table with both sides under uvloop",
    "shapes": "seven shapes of work by seven clients",
    "growth": "curves over tasks, rows and databases",
}
Tables = Mapping[str, Sequence[Result]]


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; return 1 where ``--check`` finds a floor missed or a row not run."""
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    questions = _chosen(options.only)
    with database() as dsn, nullcontext("may sleep") if options.asleep else awake() as cores:
        machine = describe(dsn, cores)
        print(report.head(machine, plan), flush=True)
        tables = {"asyncio": [_run(question, dsn, plan) for question in questions]}
        if options.uvloop:
            print(f"\nunder uvloop, both sides\n{report.heading()}", flush=True)
            waiting = [question for question in questions if question.is_async]
            tables["uvloop"] = [_run(question, dsn, plan, uvloop=True) for question in waiting]
        kept = report.content(machine, plan, tables)
        if options.shapes:
            print(f"\nshapes of work, calls or rows a second, on a pool of {POOL}")
            kept["shapes"] = shapes.measure(dsn, plan, _tell)
        if options.growth:
            print("\ngrowth, each point in a fresh process; memory: the most it held")
            kept["growth"] = growth.measure(dsn, plan, _tell)
    if options.only is None:
        page.RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        page.write(kept)
    else:  # the page of the whole run stays
        page.write(kept, page.PAGE.with_name("only.html"))
    return int(not _judged(tables) and options.check)


def _judged(tables: Tables) -> bool:
    """Say which floors were missed and which rows were not run; return whether there are none of either."""
    missed, absent = (_rows(tables, verdict) for verdict in (Verdict.MISS, Verdict.NOT_RUN))
    print(f"\nfloors missed: {', '.join(missed) or 'none'}\nnot run: {', '.join(absent) or 'none'}")
    return not missed and not absent


def _rows(tables: Tables, verdict: Verdict) -> list[str]:
    """Return which rows of which table came to *verdict*, with the reason where there is one."""
    return [
        f"{result.promise.row} ({name}{f', {result.error}' if result.error else ''})"
        for name, table in tables.items()
        for result in table
        if result.verdict is verdict
    ]


def _tell(line: str) -> None:
    print(line, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what is asked for; a whole run has every part, a short one what it names."""
    told = "pgdual against its peers, in pairs; a short run has the first table and what else is named"
    parser = argparse.ArgumentParser("python -m bench", description=told)
    parser.add_argument("--quick", action="store_true", help="a short run of fewer rounds and rows")
    parser.add_argument("--only", metavar="ROWS", help="a short run of some rows, as in 1,5,12")
    for part, what in PARTS.items():
        parser.add_argument(f"--{part}", action=argparse.BooleanOptionalAction, help=what)
    parser.add_argument("--asleep", action="store_true", help="let cores sleep while they have nothing to do")
    parser.add_argument("--check", action="store_true", help="fail where a floor is missed or a row not run")
    options = parser.parse_args(arguments)
    is_whole = not (options.quick or options.only)
    for part in PARTS:
        if getattr(options, part) is None:
            setattr(options, part, is_whole)
    return options


def _chosen(only: str | None) -> list[Question]:
    if only is None:
        return QUESTIONS
    wanted = {word.strip() for word in only.split(",")}
    chosen = [q for q in QUESTIONS if wanted & {q.promise.row, str(q.promise.number)}]
    if not chosen:
        raise SystemExit(f"no such row: {only}; there are {', '.join(q.promise.row for q in QUESTIONS)}")
    return chosen


def _run(question: Question, dsn: str, plan: Plan, *, uvloop: bool = False) -> Result:
    """Run one row and print it; a row that breaks is a row missed, and the others still run."""
    promise, *_ = question.planned(plan)
    try:
        with Stage(dsn, uvloop=uvloop) as stage:
            result = play(question, stage, plan)
    except NotRunError as error:
        result = Result(promise, [], [], [], str(error), was_run=False)
    except Exception as error:
        result = Result(promise, [], [], [], f"{type(error).__name__}: {error}")
    print(report.line(result), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
