"""How many transactions of two statements a second can async tasks commit? Row 7."""

from __future__ import annotations

from typing import Any

from bench.clients import asyncpg_pool, pgdual_async
from bench.database import BALANCE, UPDATE, keys
from bench.harness import Call, Question, Side, Stage
from bench.verdict import Promise

TASKS = 10


def _pgdual(db: Any) -> Call:
    key = keys()

    async def call() -> object:
        wanted = key()
        async with db.transaction() as tx:
            await tx.execute(UPDATE, wanted)
            return await tx.fetchval(BALANCE, wanted)

    return call


def _asyncpg(pool: Any) -> Call:
    key = keys()

    async def call() -> object:
        wanted = key()
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(UPDATE, wanted)
            return await connection.fetchval(BALANCE, wanted)

    return call


def _side(stage: Stage, client: Any, call: Call) -> Side:
    first = keys()()

    async def answer() -> tuple[object, object]:
        """Run one transaction; return what it saw itself add to the balance, and what others see."""
        before = await client.fetchval(BALANCE, first)
        seen: Any = await call()
        return seen - before, await client.fetchval(BALANCE, first) - before

    return Side(lambda: stage.run(answer()), stage.calls(call, TASKS))


def _contest(stage: Stage) -> tuple[Side, Side]:
    db = stage.open_async(pgdual_async(stage.dsn))
    pool = stage.open_async(asyncpg_pool(stage.dsn))
    return _side(stage, db, _pgdual(db)), _side(stage, pool, _asyncpg(pool))


PROMISE = Promise("7", "begin, update, select, commit, 10 tasks", "asyncpg pool", 2.5, 1.6)
QUESTIONS = [Question(PROMISE, _contest)]
