"""What does everything that pgdual keeps watch over cost a call? Row 16.

The bare side is the same fast path - statement cache, lane, protocol, row loader - with nothing around it: no
routing, scope, breaker, retry, meters, service times, deadlines, cancellation or session checks. The
figure is CPU microseconds of this process a call; what counts is how much they differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from bench.clients import pgdual_async
from bench.database import SELECT, keys
from bench.harness import Call, Question, Sample, Side, Stage
from bench.verdict import Promise
from pgdual._async.answer import Answer
from pgdual.core.job import DESCRIBE, Job
from pgdual.core.lanes import Lanes
from pgdual.core.pipeline import Pipeline
from pgdual.core.rows import ROW
from pgdual.core.statement import Statements
from pgdual.core.types import Types

TASKS = 100


class Bare:
    """One lane: a connection in pipeline mode with a standing reader, and nothing else."""

    load, backlog, idle_since = 0, 0.0, 0.0
    alone = closing = slow = False
    read_only = True

    def __init__(self, connection: Any) -> None:
        self._lanes = Lanes(TASKS)
        self._lanes.add(self)
        self._lanes.offer(self, 0.0)
        self._statements = Statements()
        self._types = Types()
        self._pipeline = Pipeline(connection, self._types, unnamed=False, pooled=False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.pgconn.socket, self._read)

    async def prepare(self) -> None:
        """Learn the statement's types."""
        statement = self._statements.get(SELECT)
        self._lanes.join(0.0)
        types, columns = await self._ask(Job(DESCRIBE, statement))
        statement.described(types, self._types.result_format(columns))
        statement.service = 0.0
        self._pipeline.adopt(statement)

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        """Return the first row."""
        statement = self._statements.get(sql)
        job = Job(ROW, statement, args)
        assert self._lanes.join(statement.service) is self
        job.encode(self._types)
        return await self._ask(job)

    def _ask(self, job: Job) -> Any:
        self._pipeline.send(job)
        job.future = Answer(loop=self._loop)
        return job.future

    def _read(self) -> None:
        finished = self._pipeline.receive()
        if finished and self._lanes.answered(self, len(finished)):
            self._lanes.offer(self, 0.0)
        self._pipeline.holds = True  # what they send leaves together, as it does on a wire
        for job in finished:
            job.future.give(job.value)
        self._pipeline.holds = False
        self._pipeline.pgconn.flush()


@asynccontextmanager
async def _bare(dsn: str) -> AsyncIterator[Bare]:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    bare = Bare(connection)
    await bare.prepare()
    yield bare
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
    db, bare = stage.open_async(pgdual_async(stage.dsn)), stage.open_async(_bare(stage.dsn))
    mine, other = keys(), keys()
    return (
        _side(stage, lambda: db.fetchrow(SELECT, mine()), lambda: db.fetchrow(SELECT, 42)),
        _side(stage, lambda: bare.fetchrow(SELECT, other()), lambda: bare.fetchrow(SELECT, 42)),
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
