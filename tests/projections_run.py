"""A service with projections, to be killed: python -m tests.projections_run DSN TURN.

TURN is what it does: "project" gives every event to the SYNC projectors three times, in random batches;
"work" runs the worker; "rebuild" rebuilds both projections.
"""

import asyncio
import random
import sys
from typing import Any

from pgdual.aio import (
    AsyncClient,
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    ProjectionType,
    project,
    projector,
    rebuild,
)
from pgdual.settings import DatabaseSettings, Settings

COUNT = """
INSERT INTO {0} AS t (id, events, last) VALUES ($1, 1, $2)
ON CONFLICT (id) DO UPDATE SET events = t.events + 1, last = excluded.last, jumps = t.jumps
    + CASE WHEN excluded.last > t.last THEN 0 ELSE 1 END
"""


@projector("tick", projection_type=ProjectionType.SYNC, projection="inline", tables="inline")
async def count_inline(event: Any, db: AsyncDB) -> None:
    """Count an aggregate's events of one type, which a replay must not double."""
    await db.execute(COUNT.format("inline"), event.aggregate_id, event.version)


@projector("tick", projection="behind", tables="behind")
@projector("tock", projection="behind", tables="behind")
async def count_behind(event: Any, db: AsyncDB) -> None:
    """Count an aggregate's events of both types, and note each that comes out of order."""
    await db.execute(COUNT.format("behind"), event.aggregate_id, event.version)


@projector("tock", projection="batches", batch=True, tables="batches")
async def count_batches(events: list[Any], db: AsyncDB) -> None:
    """Count batches of them."""
    await db.executemany(COUNT.format("batches"), [(one.aggregate_id, one.version) for one in events])


async def give(db: AsyncDB) -> None:
    """Give every event to its SYNC projectors three times, an aggregate's in order."""
    events = await AsyncEventLog(db).read(limit=1_000_000)
    for _ in range(3):
        aggregates: dict[str, list[Any]] = {}
        for event in events:
            aggregates.setdefault(event.aggregate_id, []).append(event)
        while aggregates:
            name = random.choice(list(aggregates))
            size = random.randint(1, 5)
            for event in aggregates[name][:size]:
                await project(event, db)
            aggregates[name] = aggregates[name][size:]
            if not aggregates[name]:
                del aggregates[name]


async def main(dsn: str, turn: str) -> None:
    """Do one of the three until it is done."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=dsn, pool_min_size=1, pool_max_size=12)})
    async with AsyncClient(settings) as client:
        db = client["main"]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if turn == "project":
            await give(db)
        elif turn == "work":
            await AsyncProjectionWorker(db, batch=random.randint(5, 50)).catch_up()
        else:
            for name in random.sample(["inline", "behind", "batches"], 3):
                await rebuild(name, db)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
