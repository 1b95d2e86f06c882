"""How many rows a second can be fetched and read, by position and by name? Row 12."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.clients import asyncpg_connection, pgdual_async
from bench.database import ACC, ROWS
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

SIZE = 2 * ROWS
MANY = f"SELECT id, name, balance::float8 AS v, created, id * 2 AS d FROM {ACC}, generate_series(1, 2)"

Read = Callable[[list[Any]], int]


def unpacked(rows: list[Any]) -> int:
    """Read every column by unpacking; return a sum that proves it."""
    total = 0
    for key, _name, _v, _created, double in rows:
        total += key + double
    return total


def by_name(rows: list[Any]) -> int:
    """Read every column by its name; return a sum that proves it."""
    total = 0
    for row in rows:
        row["name"], row["v"], row["created"]  # reading them is the work
        total += row["id"] + row["d"]
    return total


def _side(stage: Stage, client: Any, read: Read) -> Side:
    fetch = client.fetch

    async def answer() -> tuple[int, list[tuple[object, ...]]]:
        rows = await fetch(MANY)
        return read(rows), sorted(tuple(row) for row in rows)

    async def call() -> int:
        return read(await fetch(MANY))

    return Side(lambda: stage.run(answer()), stage.bulk(call, SIZE))


def _contest(stage: Stage, read: Read) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    theirs = stage.open_async(asyncpg_connection(stage.dsn))
    return _side(stage, ours, read), _side(stage, theirs, read)


UNPACKED = Promise("12a", "fetch 20,000 rows x 5, unpacked", "asyncpg", 1.4, 1.0, "rows/s")
BY_NAME = Promise("12b", 'fetch 20,000 rows x 5, row["x"]', "asyncpg", 1.3, 0.65, "rows/s")
QUESTIONS = [
    Question(UNPACKED, partial(_contest, read=unpacked)),
    Question(BY_NAME, partial(_contest, read=by_name)),
]
