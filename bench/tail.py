"""How long do fast reads wait beside slow ones? Row 15.

Fifty tasks share ten connections, and one call in a hundred sleeps 50 ms in the server. The figure is the
99th percentile of the others, in milliseconds. Both sides of a pair draw the same calls.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import count, cycle
from time import perf_counter, process_time
from typing import Any

from bench.clients import asyncpg_pool, pgdual_async
from bench.database import SELECT, keys
from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise, percentile

TASKS = 50
SLOW_SHARE = 0.01
SLOW = "SELECT pg_sleep(0.05), $1::int"
# A round in which too few slow calls fall says little about a tail.
LENGTHEN = 2.0


def _lots(seed: int) -> Callable[[], bool]:
    draw = random.Random(seed)
    return cycle([draw.random() < SLOW_SHARE for _ in range(50_000)]).__next__


async def _mix(client: Any, seconds: float, seed: int) -> Sample:
    fetchrow, key, is_slow = client.fetchrow, keys(seed), _lots(seed)
    fast: list[float] = []
    slow = 0
    cpu, end = process_time(), perf_counter() + seconds

    async def work() -> None:
        nonlocal slow
        while (start := perf_counter()) < end:
            if is_slow():
                await fetchrow(SLOW, 1)
                slow += 1
            else:
                await fetchrow(SELECT, key())
                fast.append(perf_counter() - start)

    await asyncio.gather(*(work() for _ in range(TASKS)))
    return Sample(percentile(fast, 0.99) * 1e3, (process_time() - cpu) / (len(fast) + slow))


def _side(stage: Stage, client: Any) -> Side:
    seeds = count()

    async def answer() -> list[object]:
        return [(await client.fetchrow(SLOW, 1))[1], tuple(await client.fetchrow(SELECT, 42))]

    def play(seconds: float) -> Sample:
        return stage.run(_mix(client, seconds * LENGTHEN, next(seeds)))

    return Side(lambda: stage.run(answer()), play)


def _contest(stage: Stage) -> tuple[Side, Side]:
    ours = stage.open_async(pgdual_async(stage.dsn))
    return _side(stage, ours), _side(stage, stage.open_async(asyncpg_pool(stage.dsn)))


WORK = "p99 of fast reads beside slow, 50 tasks"
QUESTIONS = [Question(Promise("15", WORK, "asyncpg pool", 0.05, 0.3, "ms", lower_is_better=True), _contest)]
