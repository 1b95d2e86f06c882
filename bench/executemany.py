"""How many rows a second does `executemany` insert? Row 11."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bench.clients import asyncpg_connection, pgdual_async
from bench.database import BULK
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

SIZE = 10_000
INSERT = f"INSERT INTO {BULK} VALUES ($1, $2, $3, $4, $5)"
START = datetime(2024, 1, 1, tzinfo=UTC)
DIGEST = f"SELECT count(*), md5(string_agg(b::text, ',' ORDER BY id)) FROM {BULK} AS b"


def rows_of(size: int) -> list[tuple[object, ...]]:
    return [(i, f"user-{i}", i * 1.5, START + timedelta(seconds=i), UUID(int=i)) for i in range(size)]


def _side(stage: Stage, client: Any) -> Side:
    rows = rows_of(SIZE)

    async def truncate() -> None:
        await client.execute(f"TRUNCATE {BULK}")

    async def insert() -> None:
        await client.executemany(INSERT, rows)

    async def answer() -> tuple[object, ...]:
        await truncate()
        await insert()
        return tuple(await client.fetchrow(DIGEST))

    return Side(lambda: stage.run(answer()), stage.bulk(insert, SIZE, truncate))


def _contest(stage: Stage) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    return _side(stage, ours), _side(stage, stage.open_async(asyncpg_connection(stage.dsn)))


PROMISE = Promise("11", "executemany 10,000 rows x 5", "asyncpg", 1.5, 1.0, "rows/s")
QUESTIONS = [Question(PROMISE, _contest)]
