"""How many byte codes does a call take, and in which file? ``python -m bench.opcodes``

Where the interpreter is most of a call's CPU, its byte codes are its cost, and they can be counted: the same
count comes out however busy the machine is. What C does - libpq, psycopg, the kernel - is not in it. With
many tasks it is a slower client's count: the tracing makes every answer late, and lanes choose by lateness.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from bench.clients import pgdual_async, pgdual_blocking
from bench.database import BALANCE, SELECT, UPDATE, database

CALLS = 2_000
WARM_UP = 500
LINES = 16
Counts = Counter[str]


def _tracer(counts: Counts) -> Callable[[FrameType, str, Any], Any]:
    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            counts[frame.f_code.co_filename] += 1
        return trace

    return trace


async def _async(dsn: str, kind: str, tasks: int) -> Counts:
    counts: Counts = Counter()
    async with pgdual_async(dsn) as db:

        async def select() -> None:
            await db.fetchrow(SELECT, 42)

        async def transaction() -> None:
            async with db.transaction() as tx:
                await tx.execute(UPDATE, 42)
                await tx.fetchval(BALANCE, 42)

        async def work(call: Callable[[], Awaitable[None]], calls: int) -> None:
            for _ in range(calls):
                await call()

        call = transaction if kind == "transaction" else select
        await asyncio.gather(*(work(call, WARM_UP // tasks) for _ in range(tasks)))
        sys.settrace(_tracer(counts))
        try:
            await asyncio.gather(*(work(call, CALLS // tasks) for _ in range(tasks)))
        finally:
            sys.settrace(None)
    return counts


def _blocking(dsn: str) -> Counts:
    counts: Counts = Counter()
    with pgdual_blocking(dsn, 1) as db:
        for _ in range(WARM_UP):
            db.fetchrow(SELECT, 42)
        sys.settrace(_tracer(counts))
        try:
            for _ in range(CALLS):
                db.fetchrow(SELECT, 42)
        finally:
            sys.settrace(None)
    return counts


def _show(name: str, counts: Counts) -> None:
    del counts[__file__]
    print(f"\n{name}: {counts.total() / CALLS:.0f} byte codes a call")
    for file, count in counts.most_common(LINES):
        print(f"{count / CALLS:>8.1f}  {'/'.join(Path(file).parts[-3:])}")


def main() -> int:
    """Count and print."""
    with database() as dsn:
        _show("select, 1 task", asyncio.run(_async(dsn, "select", 1)))
        _show("select, 100 tasks", asyncio.run(_async(dsn, "select", 100)))
        _show("transaction of two statements, 1 task", asyncio.run(_async(dsn, "transaction", 1)))
        _show("blocking select, 1 thread", _blocking(dsn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
