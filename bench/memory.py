"""How much memory does a process hold with its pool open and one connection? Row 18.

Each side is a fresh interpreter that opens its pool of one, makes one query, collects its garbage and prints
its resident memory.
"""

from __future__ import annotations

from pathlib import Path

from bench import fresh
from bench.harness import NotRunError, Question, Sample, Side, Stage
from bench.verdict import Promise

STATUS = Path("/proc/self/status")

_FRAME = """
import asyncio, gc, sys
{imports}
async def main(dsn):
    {opening} as pool:
        answer = {call}
        gc.collect()
        for line in open("/proc/self/status"):
            if line.startswith("VmRSS"):
                print(answer, int(line.split()[1]) / 1024)
asyncio.run(main(sys.argv[1]))
"""
PGDUAL = _FRAME.format(
    imports="from pgdual.aio import AsyncClient, DatabaseSettings, Settings",
    opening=(
        "one = DatabaseSettings(dsn=dsn, pool_min_size=1, pool_max_size=1)\n"
        "    async with AsyncClient(Settings(databases={'main': one}))"
    ),
    call="await pool['main'].fetchval('SELECT 1 + $1::int', 1)",
)
ASYNCPG = _FRAME.format(
    imports="import asyncpg",
    opening="async with asyncpg.create_pool(dsn, min_size=1, max_size=1)",
    call="await pool.fetchval('SELECT 1 + $1::int', 1)",
)


def _told(program: str, dsn: str) -> tuple[str, Sample]:
    """Return the program's answer and its resident memory in MB; the CPU figure is the whole process'."""
    printed, cpu = fresh.run(program, dsn)
    answer, megabytes = printed.split()
    return answer, Sample(float(megabytes), cpu)


def _side(program: str, dsn: str) -> Side:
    return Side(lambda: _told(program, dsn)[0], lambda _seconds: _told(program, dsn)[1])


def _contest(stage: Stage) -> tuple[Side, Side]:
    if not STATUS.exists():
        raise NotRunError("resident memory is read from /proc, which this system has not")
    return _side(PGDUAL, stage.dsn), _side(ASYNCPG, stage.dsn)


WORK = "memory of a process, pool open"
PROMISE = Promise("18", WORK, "asyncpg pool", 1.8, 2.2, "MB", lower_is_better=True)
QUESTIONS = [Question(PROMISE, _contest, is_async=False, is_slow=True)]
