"""How does the work grow with tasks, rows and databases, and the memory with it? ``--growth``

Every point is a fresh process that opens one client, plays a few rounds and tells the rate and the highest
resident memory it has had: what a point costs is its own, not its predecessor's. pgdual's one client has all
the databases of a point; of the others each has a pool of its own for every database.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import fresh, peers
from bench.database import SELECT, keys
from bench.harness import POOL, Plan, Side, Stage, figures, same_answers

MANY = (
    "SELECT g AS id, 'user-' || g AS name, g * 1.5::float8 AS v, timestamptz '2024-01-01Z' AS created,"
    " g * 2 AS d FROM generate_series(1, $1::int) AS g"
)
POINTS = {
    "tasks": (1, 4, 16, 64, 256, 1024),
    "rows": (1, 10, 100, 1_000, 10_000, 100_000),
    "databases": (1, 2, 4, 8, 16, 32, 64),
}
TITLES = {
    "tasks": (f"Select by key, tasks on a pool of {POOL}", "calls/s"),
    "rows": ("One fetch of that many rows x 5, one task", "rows/s"),
    "databases": ("Select of a constant, 64 tasks over databases with 2 connections each", "calls/s"),
}
EACH = 2  # connections to each of many databases
TASKS = 64
ROUNDS = 5
PROGRAM = "from bench.growth import main; main()"


Opener = Callable[[Sequence[str], int], AbstractAsyncContextManager[list[peers.Peer]]]


def _pools(opener: Callable[[str, int], AbstractAsyncContextManager[peers.Peer]]) -> Opener:
    """Return what opens one pool for each database."""

    @asynccontextmanager
    async def opened(dsns: Sequence[str], size: int) -> AsyncIterator[list[peers.Peer]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(opener(dsn, size)) for dsn in dsns]

    return opened


OPENERS: dict[str, Opener] = {
    "pgdual": peers.pgdual_over,
    "asyncpg pool": _pools(peers.asyncpg),
    "psycopg pool": _pools(peers.psycopg),
}


def measure(dsn: str, plan: Plan, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    """Return one curve for each kind of growth, with a series for each client."""
    with _databases(dsn, max(POINTS["databases"])) as names:
        return [_curve(kind, dsn, names, plan, tell) for kind in POINTS]


def _curve(
    kind: str, dsn: str, names: list[str], plan: Plan, tell: Callable[[str], object]
) -> dict[str, Any]:
    series: dict[str, list[dict[str, float]]] = {client: [] for client in OPENERS}
    expected: dict[int, list[object]] = {}
    for x in POINTS[kind]:
        for client, points in series.items():
            many = [urlsplit(dsn)._replace(path=f"/{name}").geturl() for name in names[:x]]
            point = played(kind, client, x, many if kind == "databases" else [dsn], plan)
            answer = point.pop("answer")
            same_answers(expected.setdefault(x, answer), answer)
            points.append(point)
            memory = f"{point['memory_mb'] or 0:>5.0f} MB"
            tell(f"{kind:<10} {x:>7,}  {client:<14} {point['figure']:>12,.0f} {TITLES[kind][1]:<8}{memory}")
    title, unit = TITLES[kind]
    return {"kind": kind, "title": title, "unit": unit, "series": series}


def played(kind: str, client: str, x: int, dsns: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Return one point, with what the client answered."""
    work = {"kind": kind, "client": client, "x": x, "dsns": dsns, "seconds": plan.seconds}
    found: dict[str, Any] = json.loads(fresh.run(PROGRAM, json.dumps(work))[0])
    return found


@contextmanager
def _databases(dsn: str, count: int) -> Iterator[list[str]]:
    """Make *count* empty databases and remove them at the end."""
    import psycopg  # noqa: PLC0415  # not in the process of a point: its memory is the peer's

    names = [f"pgdual_bench_{number}" for number in range(count)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")
    try:
        yield names
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for name in names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main() -> None:
    """Play one point, described by the first argument, and print it."""
    print(json.dumps(_point(**json.loads(sys.argv[1]))))


def _point(kind: str, client: str, x: int, dsns: list[str], seconds: float) -> dict[str, Any]:
    with Stage(dsns[0]) as stage:
        size = EACH if kind == "databases" else POOL
        opened = stage.open_async(OPENERS[client](dsns, size))
        side = _side(stage, kind, opened, x)
        answer = side.answer()
        side.round(seconds)
        rounds = [side.round(seconds) for _ in range(ROUNDS)]
    return figures(rounds) | {"x": x, "memory_mb": _highest(), "answer": answer}


def _side(stage: Stage, kind: str, opened: list[peers.Peer], x: int) -> Side:
    if kind == "rows":
        many = opened[0].fetch(MANY)
        return Side(lambda: _told(stage, many, x), stage.bulk(lambda: many(x), x))
    if kind == "tasks":
        fetch, key = opened[0].fetch(SELECT), keys()
        return Side(lambda: _told(stage, fetch, 42), stage.calls(lambda: fetch(key()), x))
    turns = [peer.fetch("SELECT $1::int AS one") for peer in opened]
    turn = cycle(turns).__next__
    return Side(lambda: _told(stage, turns[-1], 1), stage.calls(lambda: turn()(1), TASKS))


def _told(stage: Stage, fetch: peers.Fetch, argument: int) -> list[str]:
    """Return how many rows there are and the last of them, in words that another process can compare."""

    async def call() -> Sequence[Any]:
        return await fetch(argument)

    rows = stage.run(call())
    return [str(len(rows)), *map(str, rows[-1])]


def _highest() -> float | None:
    """Return the most memory that this process has held, in MB; None where the system has no /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
