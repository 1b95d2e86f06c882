"""How many rows a second can async tasks fetch by primary key? Rows 1 to 5."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from bench.clients import asyncpg_connection, asyncpg_pool, pgdual_async
from bench.database import SELECT, keys
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

Opener = Callable[[str], AbstractAsyncContextManager[Any]]


def _side(stage: Stage, client: Any, tasks: int) -> Side:
    fetchrow, key = client.fetchrow, keys()

    async def answer() -> list[tuple[object, ...]]:
        return [tuple(await fetchrow(SELECT, wanted)) for wanted in (1, 42, 9_999)]

    return Side(lambda: stage.run(answer()), stage.calls(lambda: fetchrow(SELECT, key()), tasks))


def _contest(stage: Stage, tasks: int, peer: Opener) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    theirs = stage.open_async(peer(stage.dsn))
    return _side(stage, ours, tasks), _side(stage, theirs, tasks)


def _question(row: str, tasks: int, peer: str, opener: Opener, goal: float, floor: float) -> Question:
    work = f"select by key, {tasks} task" + "s" * (tasks > 1)
    return Question(Promise(row, work, peer, goal, floor), partial(_contest, tasks=tasks, peer=opener))


QUESTIONS = [
    _question("1", 1, "asyncpg pool", asyncpg_pool, 4.0, 2.0),
    _question("2", 10, "asyncpg pool", asyncpg_pool, 8.0, 4.5),
    _question("3", 100, "asyncpg pool", asyncpg_pool, 8.0, 4.5),
    _question("4", 100, "asyncpg pool, no reset", partial(asyncpg_pool, reset=False), 5.0, 3.0),
    _question("5", 1, "asyncpg bare", asyncpg_connection, 1.2, 0.9),
]
