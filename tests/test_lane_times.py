"""W1 on the async face: of calls that share a lane each has its own times; a thread shares none."""

from __future__ import annotations

import asyncio

from ._async.clients import client_of
from ._async.runtime import wait_until

SLEEP = "select 1 from pg_sleep($1)"


async def test_a_neighbours_slowness_is_not_blamed_on_it(main_dsn: str) -> None:
    """W1: query time runs from the predecessor's answer on the lane, and what came before it is acquire."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for _ in range(5):  # known to be quick, both may share a lane
            await db.fetchval(SLEEP, 0.0)
            await db.fetchval("select 1")
        (wire,) = db._fleet.lanes.wires  # type: ignore[union-attr]
        slow = asyncio.create_task(db.labelled("slow").fetchval(SLEEP, 0.3))
        await wait_until(lambda: wire.load == 1)
        quick = asyncio.create_task(db.labelled("quick").fetchval("select 1"))
        await wait_until(lambda: wire.load == 2)
        await asyncio.gather(slow, quick)
        found = db.stats()["labels"]
    assert found["slow"]["query"]["max"] >= 300
    assert found["quick"]["query"]["max"] < 150
    assert found["quick"]["acquire"]["max"] > 100
