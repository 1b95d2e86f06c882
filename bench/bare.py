"""The fast path with nothing around it: what row 16 holds the whole against.

Statement cache, lane, protocol and row loader are pgdual's own. There is no routing, scope, breaker, retry,
meter, service time, deadline, cancellation or session check. Where what is installed of pgdual is compiled,
the bench compiles this file too (`overhead.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from pgdual._async.answer import Answer
from pgdual.core.job import DESCRIBE, Job
from pgdual.core.lanes import Lane, Lanes
from pgdual.core.pipeline import Pipeline
from pgdual.core.rows import ROW
from pgdual.core.statement import Statements
from pgdual.core.types import Types

MOST = 100  # calls on the lane at once


class Bare:
    """One lane: a connection in pipeline mode with a standing reader, and nothing else."""

    def __init__(self, connection: Any, sql: str) -> None:
        self._lane = Lane(connection, read_only=True)
        self._sql = sql
        self._lanes = Lanes(MOST)
        self._lanes.add(self._lane)
        self._lanes.offer(self._lane, 0.0)
        self._statements = Statements()
        self._types = Types()
        self._pipeline = Pipeline(connection, self._types, unnamed=False, pooled=False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.pgconn.socket, self._read)

    async def prepare(self) -> None:
        """Learn the statement's types."""
        statement = self._statements.get(self._sql)
        self._lanes.join(0.0)
        types, columns = await self._ask(Job(DESCRIBE, statement))
        statement.described(types, self._types.result_format(columns))
        statement.service = 0.0
        self._pipeline.adopt(statement)

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        """Return the first row."""
        statement = self._statements.get(sql)
        job = Job(ROW, statement, args)
        assert self._lanes.join(statement.service) is self._lane
        job.encode(self._types)
        return await self._ask(job)

    def _ask(self, job: Job) -> Any:
        self._pipeline.send(job)
        job.future = Answer(self._loop)
        return job.future

    def _read(self) -> None:
        finished = self._pipeline.receive()
        if finished and self._lanes.answered(self._lane, len(finished)):
            self._lanes.offer(self._lane, 0.0)
        self._pipeline.holds = True  # what they send leaves together, as it does on a wire
        for job in finished:
            job.future.give(job.value)
        self._pipeline.holds = False
        self._pipeline.pgconn.flush()
