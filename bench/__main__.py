"""Which rows are run, how long, and does a missed floor fail the run?"""

from __future__ import annotations

import argparse
import json
import sys

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
from bench.database import database
from bench.harness import NotRunError, Plan, Question, Result, Stage, play
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
FULL = Plan(pairs=21, seconds=0.3, warm_up=0.6)
QUICK = Plan(pairs=7, seconds=0.3, warm_up=0.3)


def main(arguments: list[str] | None = None) -> int:
    """Run the rows asked for; return 1 where ``--check`` finds a floor missed."""
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    questions = _chosen(options.only)
    with database() as dsn:
        machine = describe(dsn)
        print(report.head(machine, plan), flush=True)
        tables = {"asyncio": [_run(question, dsn, plan) for question in questions]}
        if options.uvloop:
            print(f"\nunder uvloop, both sides\n{report.heading()}", flush=True)
            waiting = [question for question in questions if question.is_async]
            tables["uvloop"] = [_run(question, dsn, plan, uvloop=True) for question in waiting]
        kept = report.content(machine, plan, tables)
        if options.shapes:
            print("\nshapes of work, calls or rows a second, 10 tasks on a pool of 10")
            kept["shapes"] = shapes.measure(dsn, plan, _tell)
        if options.growth:
            print("\ngrowth, each point in a fresh process; memory: the most it held")
            kept["growth"] = growth.measure(dsn, plan, _tell)
    if options.only is None:
        page.RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        page.write(kept)
    else:  # the page of the whole run stays
        page.write(kept, page.PAGE.with_name("only.html"))
    missed = [
        f"{r.promise.row} ({name})"
        for name, table in tables.items()
        for r in table
        if r.verdict is Verdict.MISS
    ]
    print(f"\nfloors missed: {', '.join(missed) or 'none'}")
    return int(options.check and bool(missed))


def _tell(line: str) -> None:
    print(line, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description="pgdual against its peers, in pairs")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", metavar="ROWS", help="row numbers, as in 1,5,12")
    parser.add_argument("--uvloop", action="store_true", help="a second table with both sides under uvloop")
    parser.add_argument("--shapes", action="store_true", help="seven shapes of work by seven clients")
    parser.add_argument("--growth", action="store_true", help="curves over tasks, rows and databases")
    parser.add_argument("--check", action="store_true", help="fail where a floor is missed")
    return parser.parse_args(arguments)


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
    try:
        with Stage(dsn, uvloop=uvloop) as stage:
            result = play(question, stage, plan)
    except NotRunError as error:
        result = Result(question.promise, [], [], [], str(error), was_run=False)
    except Exception as error:
        result = Result(question.promise, [], [], [], f"{type(error).__name__}: {error}")
    print(report.line(result), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
