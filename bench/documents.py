"""How many jsonb documents a second arrive as Python objects? Row 13."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from bench.clients import asyncpg_connection, pgdual_async
from bench.database import ACC
from bench.harness import Question, Side, Stage
from bench.verdict import Promise

# pgdual picks its JSON library in the same way.
decode: Any = json.loads
with suppress(ImportError):
    import msgspec

    decode = msgspec.json.Decoder().decode

SIZE = 1_000
DOCUMENTS = f"SELECT data FROM {ACC} WHERE id <= {SIZE} ORDER BY id"


@asynccontextmanager
async def _asyncpg(dsn: str) -> AsyncIterator[Any]:
    async with asyncpg_connection(dsn) as connection:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=decode)
        yield connection


def _side(stage: Stage, client: Any) -> Side:
    fetch = client.fetch

    async def answer() -> list[object]:
        return [row[0] for row in await fetch(DOCUMENTS)]

    return Side(lambda: stage.run(answer()), stage.bulk(lambda: fetch(DOCUMENTS), SIZE))


def _contest(stage: Stage) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    return _side(stage, ours), _side(stage, stage.open_async(_asyncpg(stage.dsn)))


PROMISE = Promise("13", "fetch 1,000 jsonb documents", "asyncpg, codec", 1.2, 0.8, "rows/s")
QUESTIONS = [Question(PROMISE, _contest)]
