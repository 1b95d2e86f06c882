"""What does everything that pgdual keeps watch over cost a call? Row 16.

The bare side is the same fast path with nothing around it (`bare.py`). The figure is CPU microseconds of this
process a call; what counts is how much they differ. Both sides are Python, or both are compiled by mypyc:
were only the whole compiled, it would seem to cost less than it does.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from bench import bare
from bench.clients import pgdual_async
from bench.database import SELECT, keys
from bench.harness import Call, NotRunError, Question, Sample, Side, Stage
from bench.machine import is_compiled
from bench.verdict import Promise

TASKS = bare.MOST


@cache
def _compiled() -> Any:
    """Return `bare` compiled.

    Raises:
        NotRunError: There is no mypyc.
    """
    source = Path(bare.__file__)
    if importlib.util.find_spec("mypyc") is None:
        raise NotRunError("mypyc is not installed: the extra bench brings it")
    # What it calls is in another build, so a call costs it a little more than pgdual's own: bench/README.md.
    options = ("--config-file=", "--follow-imports=skip", "--ignore-missing-imports")
    with TemporaryDirectory() as folder:
        shutil.copy(source, folder)
        command = (sys.executable, "-m", "mypyc", *options, source.name)
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        [built] = Path(folder).glob("bare.*.so")
        found = importlib.util.spec_from_file_location("bare", built)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    return module


@asynccontextmanager
async def _bare(dsn: str) -> AsyncIterator[Any]:
    made = _compiled() if is_compiled() else bare
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    path = made.Bare(connection, SELECT)
    await path.prepare()
    yield path
    asyncio.get_running_loop().remove_reader(connection.pgconn.socket)
    connection.pgconn.finish()


def _side(stage: Stage, call: Call, answer: Call) -> Side:
    played = stage.calls(call, TASKS)

    def play(seconds: float) -> Sample:
        cpu = played(seconds).cpu
        return Sample(cpu * 1e6, cpu)

    async def told() -> tuple[object, ...]:
        row: Any = await answer()
        return tuple(row)

    return Side(lambda: stage.run(told()), play)


def _contest(stage: Stage) -> tuple[Side, Side]:
    db, path = stage.open_async(pgdual_async(stage.dsn)), stage.open_async(_bare(stage.dsn))
    mine, other = keys(), keys()
    return (
        _side(stage, lambda: db.fetchrow(SELECT, mine()), lambda: db.fetchrow(SELECT, 42)),
        _side(stage, lambda: path.fetchrow(SELECT, other()), lambda: path.fetchrow(SELECT, 42)),
    )


PROMISE = Promise(
    "16",
    "everything on, CPU a call, 100 tasks",
    "its bare path",
    3,
    6,
    "us",
    lower_is_better=True,
    is_difference=True,
)
QUESTIONS = [Question(PROMISE, _contest)]
