"""How many rows a second does COPY bring in, from Python rows? Row 10, and insert_many beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bench.clients import asyncpg_connection, pgdual_async
from bench.database import BULK, SCHEMA
from bench.executemany import DIGEST, rows_of
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

SIZE = 100_000


def _side(stage: Stage, client: Any, copy: Callable[[list[Any]], Awaitable[object]]) -> Side:
    rows = rows_of(SIZE)

    async def truncate() -> None:
        await client.execute(f"TRUNCATE {BULK}")

    async def bring() -> None:
        await copy(rows)

    async def answer() -> tuple[object, ...]:
        await truncate()
        await bring()
        return tuple(await client.fetchrow(DIGEST))

    return Side(lambda: stage.run(answer()), stage.bulk(bring, SIZE, truncate))


def _contest(name: str) -> Callable[[Stage], tuple[Side, Side]]:
    def contest(stage: Stage) -> tuple[Side, Side]:
        ours = stage.open_async(pgdual_async(stage.dsn))
        theirs = stage.open_async(asyncpg_connection(stage.dsn))
        table = BULK.removeprefix(f"{SCHEMA}.")

        async def copy(rows: list[Any]) -> object:
            return await theirs.copy_records_to_table(table, records=rows, schema_name=SCHEMA)

        return (
            _side(stage, ours, lambda rows: getattr(ours, name)(BULK, rows)),
            _side(stage, theirs, copy),
        )

    return contest


PROMISE = Promise("10", "COPY 100,000 rows x 5 in", "asyncpg copy_records_to_table", 2.5, 1.7, "rows/s")
BESIDE = Promise("10b", "insert_many 100,000 rows x 5", "asyncpg copy_records_to_table", 2.5, 1.7, "rows/s")
QUESTIONS = [
    Question(PROMISE, _contest("copy_in"), is_slow=True),
    Question(BESIDE, _contest("insert_many"), is_slow=True),
]
