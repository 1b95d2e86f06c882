"""A service that projects a topic, to be killed: python -m tests.sources.kafka_run DSN BOOTSTRAP_SERVERS."""

import asyncio
import random
import sys
from typing import Any

from pgdual.aio import AsyncClient, AsyncDB, AsyncProjectionWorker, projector
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sources.kafka import AsyncKafkaSource

COUNT = """
INSERT INTO counts AS c VALUES ($1, 1, $2, 0)
ON CONFLICT (id) DO UPDATE SET events = c.events + 1, last = excluded.last, jumps = c.jumps
    + CASE WHEN excluded.last = c.last + 1 THEN 0 ELSE 1 END
"""


@projector("tick", name="counts")
async def count(event: Any, db: AsyncDB) -> None:
    """Count an aggregate's events, and note each that comes out of order."""
    await db.execute(COUNT, event.aggregate_id, event.version)


async def main(dsn: str, servers: str) -> None:
    """Project until killed."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=dsn, pool_min_size=1, pool_max_size=12)})
    async with AsyncClient(settings) as client:
        quick = {"session_timeout_ms": 1_100, "heartbeat_interval_ms": 100, "fetch_max_wait_ms": 20}
        source = AsyncKafkaSource("ticks", servers, consumer=quick)
        worker = AsyncProjectionWorker(client["main"], source=source, batch=random.randint(3, 30))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
