"""How near does async Python come to PostgreSQL's own load generator, written in C? Row 14.

pgbench is the measure of what the server gives: no row becomes an object, no task is woken. It plays rounds
of whole seconds in a process of its own, on one thread, with as many connections as pgdual's pool and the
statement prepared. It cannot hand out a row: it compares one with what pgdual read, and stops if they differ.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import partial
from tempfile import NamedTemporaryFile
from typing import Any

from bench.clients import pgdual_async
from bench.database import ROWS, SELECT, keys
from bench.fresh import children_cpu
from bench.harness import POOL, NotRunError, Question, Sample, Side, Stage
from bench.verdict import Promise
from pgdual.embedded import find_postgres

TASKS = 100
STATEMENT = SELECT.replace("$1", ":id")
PLAY = f"\\set id random(1, {ROWS})\n{STATEMENT};\n"
# A division by zero ends the run, and with it the row.
COMPARE = (
    f"{STATEMENT} \\gset got_\n"
    "SELECT 1 / ((:got_id::int, :got_name::text, :got_created::timestamptz)"
    " = (:id::int, :name::text, :created::timestamptz))::int;\n"
)
RATE = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
DONE = re.compile(r"transactions actually processed: (\d+)")


def _program() -> str:
    """Return pgbench as it came with the server, else as PATH has it."""
    beside = find_postgres() / "pgbench"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("pgbench")
    if found is None:
        raise NotRunError(f"no pgbench in {beside.parent} nor on PATH; PGDUAL_PG_BIN may name its folder")
    return found


def _run(program: str, dsn: str, script: str, *options: str) -> str:
    """Return what pgbench reports."""
    with NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [program, "--no-vacuum", "--jobs=1", "--protocol=prepared", f"--file={file.name}"]
        done = subprocess.run([*command, *options, dsn], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split()))
    return done.stdout


def _found(pattern: re.Pattern[str], report: str) -> float:
    match = pattern.search(report)
    if match is None:
        raise RuntimeError(f"pgbench said nothing like {pattern.pattern}: {report[:200]}")
    return float(match[1])


def _play(program: str, dsn: str, seconds: float) -> Sample:
    before = children_cpu()
    report = _run(program, dsn, PLAY, f"--client={POOL}", f"--time={max(1, round(seconds))}")
    return Sample(_found(RATE, report), (children_cpu() - before) / _found(DONE, report))


def _contest(stage: Stage) -> tuple[Side, Side]:
    program = _program()
    db: Any = stage.open_async(pgdual_async(stage.dsn))
    key = keys()
    row: Any = stage.run(db.fetchrow(SELECT, 42))

    def compare() -> tuple[object, ...]:
        defined = [f"--define={name}={str(value).replace(' ', 'T')}" for name, value in row.items()]
        _run(program, stage.dsn, COMPARE, "--transactions=1", *defined)
        return tuple(row)

    played = stage.calls(lambda: db.fetchrow(SELECT, key()), TASKS)
    return (
        Side(lambda: tuple(row), lambda seconds: played(max(1.0, seconds))),
        Side(compare, partial(_play, program, stage.dsn)),
    )


PROMISE = Promise("14", f"select by key, {TASKS} tasks", "pgbench -M prepared", 1.0, 0.7)
QUESTIONS = [Question(PROMISE, _contest, is_slow=True)]
