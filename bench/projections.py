"""How fast do events become read models? Rows 19 to 22.

Every event is one insert and one update; in a rebuild, where the projector takes batches, an insert and an
update of many. There is no peer: the figure itself is held against the bounds, the client on one core and the
server on another. Row 22 is from an event's time to the end of its transaction, of the oldest in each batch,
while 1,000 events a second are appended one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

from bench.clients import POOL
from bench.database import SCHEMA
from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise, percentile
from pgdual.aio import (
    AsyncClient,
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    ProjectionType,
    Registry,
    project,
    projector,
    rebuild,
)
from pgdual.settings import DatabaseSettings, Settings

USERS = 1_000
BEHIND, REBUILT = 8_000, 40_000  # events of a round
PACE, WARM = 1_000, 200  # events a second, and before they count: connections, prepared statements
KIND = "OrderPlaced"
PLACE = "INSERT INTO placed VALUES ($1, $2, $3)"
COUNT = "UPDATE counted SET orders = orders + 1 WHERE id = $1"
TABLES = f"""
DROP TABLE IF EXISTS placed, counted, pgdual_streams, pgdual_events, pgdual_projected, pgdual_positions,
    projection_failures;
CREATE TABLE placed (id uuid PRIMARY KEY, user_id int, symbol text);
CREATE TABLE counted (id int PRIMARY KEY, orders int NOT NULL) WITH (fillfactor = 50);
INSERT INTO counted SELECT g, 0 FROM generate_series(0, {USERS - 1}) AS g
"""
HISTORY = f"""
INSERT INTO pgdual_events (turn, event_id, event_type, aggregate_id, version, occurred_at, data)
SELECT pg_current_xact_id()::text::bigint, gen_random_uuid(), '{KIND}', 'order-' || g, 1, now(),
    jsonb_build_object('user', g % {USERS}, 'symbol', 'AAPL') FROM generate_series(1, $1::int) AS g
"""
ANSWER = "SELECT (SELECT count(*) FROM placed), (SELECT sum(orders) FROM counted)"
RAISE = """
INSERT INTO counted SELECT * FROM unnest($1::int[], $2::int[]) AS u (id, orders) ORDER BY id
ON CONFLICT (id) DO UPDATE SET orders = counted.orders + excluded.orders
"""


async def place(event: Any, db: AsyncDB) -> None:
    """Project an event: one insert, one update."""
    await db.execute(PLACE, event.event_id, event.data["user"], event.data["symbol"])
    await db.execute(COUNT, event.data["user"])


async def place_many(events: list[Any], db: AsyncDB) -> None:
    """Project a batch of them."""
    rows = [(event.event_id, event.data["user"], event.data["symbol"]) for event in events]
    await db.insert_many("placed", rows)
    orders = Counter(row[1] for row in rows)
    await db.execute(RAISE, list(orders), list(orders.values()))


def placed(number: int) -> dict[str, Any]:
    return {
        "event_id": uuid4(),
        "event_type": KIND,
        "aggregate_id": f"order-{number}",
        "version": 1,
        "timestamp": datetime.now(UTC),
        "data": {"user": number % USERS, "symbol": "AAPL"},
    }


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[AsyncDB]:
    """Open a database with the tables, empty."""
    settings = DatabaseSettings(dsn=dsn, pool_min_size=POOL, pool_max_size=POOL, search_path=SCHEMA)
    async with AsyncClient(Settings(databases={"main": settings})) as client:
        yield client["main"]


async def _emptied(db: AsyncDB, history: int = 0) -> AsyncEventLog:
    await db.execute(TABLES)
    log = AsyncEventLog(db)
    await log.create()
    if history:
        await db.execute(HISTORY, history)
        await db.execute("ANALYZE pgdual_events")
    return log


def _contest(play: Callable[[AsyncDB, float], Awaitable[Sample]]) -> Callable[[Stage], tuple[Side, None]]:
    """Return the contest of *play*, which raises where the read model is not what it must be, with nobody."""

    def contest(stage: Stage) -> tuple[Side, None]:
        db = stage.open_async(opened(stage.dsn))

        def round_of(seconds: float) -> Sample:
            return stage.run(play(db, seconds))  # type: ignore[arg-type]

        return Side(lambda: None, round_of), None

    return contest


async def _checked(db: AsyncDB, events: int) -> None:
    found = await db.fetchrow(ANSWER)
    if found != (events, events):
        raise AssertionError(f"{events} events were projected, and the read model says {found}")


async def _inline(db: AsyncDB, seconds: float) -> Sample:
    await _emptied(db)
    registry = Registry("async")
    projector(KIND, projection_type=ProjectionType.SYNC, registry=registry)(place)
    took: list[float] = []
    cpu, end = process_time(), perf_counter() + seconds
    while (start := perf_counter()) < end:
        await project(placed(len(took)), db, registry)
        took.append(perf_counter() - start)
    sample = Sample(percentile(took, 0.5) * 1e3, (process_time() - cpu) / len(took))
    await _checked(db, len(took))
    return sample


async def _behind(db: AsyncDB, _seconds: float) -> Sample:
    await _emptied(db, BEHIND)
    registry = Registry("async")
    projector(KIND, name="behind", registry=registry)(place)
    worker = AsyncProjectionWorker(db, registry)
    start, cpu = perf_counter(), process_time()
    await worker.catch_up()
    sample = Sample(BEHIND / (perf_counter() - start), (process_time() - cpu) / BEHIND)
    await _checked(db, BEHIND)
    return sample


async def _rebuilt(db: AsyncDB, _seconds: float) -> Sample:
    await _emptied(db, REBUILT)
    registry = Registry("async")
    projector(KIND, name="rebuilt", batch=True, tables=["placed", "counted"], registry=registry)(place_many)
    start, cpu = perf_counter(), process_time()
    await rebuild("rebuilt", db, registry)
    sample = Sample(REBUILT / (perf_counter() - start), (process_time() - cpu) / REBUILT)
    await _checked(db, REBUILT)
    return sample


_rounds = count()


async def _lag(db: AsyncDB, seconds: float) -> Sample:
    log = await _emptied(db)
    registry, name = Registry("async"), f"lag {next(_rounds)}"
    projector(KIND, name=name, registry=registry)(place)
    worker = AsyncProjectionWorker(db, registry)
    events, figures = int(max(seconds, 2.0) * PACE), db._projections.of(name)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        for number in range(WARM):
            await log.append(placed(number - WARM))
        while figures.events < WARM:
            await asyncio.sleep(0.01)
        figures.lag.reset()
        start, cpu = perf_counter(), process_time()
        async with asyncio.TaskGroup() as writers:
            for number in range(events):
                await asyncio.sleep(max(start + number / PACE - perf_counter(), 0))
                writers.create_task(log.append(placed(number)))
        worker.stop()
        await running
    await worker.catch_up()
    await _checked(db, events + WARM)
    return Sample(figures.lag.quantile(0.99) * 1e3, (process_time() - cpu) / events)


def _promise(row: str, work: str, goal: float, floor: float, unit: str) -> Promise:
    is_lower = unit == "ms"
    return Promise(row, work, "the bound", goal, floor, unit, lower_is_better=is_lower, is_difference=True)


QUESTIONS = [
    Question(_promise("19", "SYNC projection, p50", 0.6, 1.0, "ms"), _contest(_inline)),
    Question(_promise("20", "ASYNC projections", 12_000, 8_000, "events/s"), _contest(_behind), is_slow=True),
    Question(
        _promise("21", "rebuild, by batches", 60_000, 40_000, "events/s"), _contest(_rebuilt), is_slow=True
    ),
    Question(_promise("22", "lag at 1,000 events/s, p99", 20, 50, "ms"), _contest(_lag), is_slow=True),
]
