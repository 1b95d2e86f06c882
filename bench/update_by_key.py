"""How many rows a second can async tasks update by primary key? Row 6."""

from __future__ import annotations

from typing import Any

from bench.clients import asyncpg_pool, pgdual_async
from bench.database import BALANCE, UPDATE, keys
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

TASKS = 10


def _side(stage: Stage, client: Any) -> Side:
    execute, key = client.execute, keys()

    async def answer() -> tuple[str, object]:
        """Update one row; return the status and what that added to the balance."""
        before = await client.fetchval(BALANCE, 42)
        status = await execute(UPDATE, 42)
        return status, await client.fetchval(BALANCE, 42) - before

    return Side(lambda: stage.run(answer()), stage.calls(lambda: execute(UPDATE, key()), TASKS))


def _contest(stage: Stage) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    return _side(stage, ours), _side(stage, stage.open_async(asyncpg_pool(stage.dsn)))


PROMISE = Promise("6", "update by random key, 10 tasks", "asyncpg pool", 3.0, 2.0)
QUESTIONS = [Question(PROMISE, _contest)]
