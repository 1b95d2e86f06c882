"""How long does trouble last for a caller? `python -m tests.faults.figures --check` prints one table.

Each figure is the worst of its tries, for a promise holds for every caller. With `--check` the exit status
says whether all are within their bounds. Real servers; the broken network is a proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from pgdual.aio import AsyncClient
from pgdual.embedded import Postgres
from pgdual.errors import CircuitOpenError, QueryTimeoutError
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client
from tests._async.clients import left_open, prepare
from tests.faults import bank, ledger, replaying
from tests.faults.proxy import Proxy

DEADLINE = 1.0  # seconds
CANCELLATIONS = 10_000
TABLE = "create table t (id int primary key, n int default 0); insert into t select generate_series(1, 100)"


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    found: float
    bound: float
    unit: str

    is_floor: bool = False  # at least the bound, not at most

    @property
    def holds(self) -> bool:
        return self.found >= self.bound if self.is_floor else self.found <= self.bound


def settings(dsn: str, **options: Any) -> Settings:
    return Settings(databases={"main": DatabaseSettings(dsn=dsn, **{"pool_max_size": 10, **options})})


# -- a frozen network ----------------------------------------------------------------------------


@contextmanager
def frozen(server: Postgres) -> Iterator[tuple[Proxy, str]]:
    with Proxy(server.port) as proxy:
        yield proxy, proxy.dsn(server.dsn)


async def late_async(server: Postgres, tries: int) -> float:
    """Return by how many seconds the worst caller came back after its deadline."""
    worst = 0.0
    for number in range(tries):
        with frozen(server) as (proxy, dsn):
            async with AsyncClient(settings(dsn, pool_min_size=2)) as client:
                db = client["main"]
                await db.fetchval("select 1")
                proxy.freeze()
                begun = time.monotonic()
                try:
                    await (db.fetchval if number % 2 else db.execute)("select 2", timeout=DEADLINE)
                except QueryTimeoutError:
                    worst = max(worst, time.monotonic() - begun - DEADLINE)
                else:
                    worst = float("inf")
                proxy.reset()
                proxy.thaw()
    return worst


def late_blocking(server: Postgres, tries: int) -> float:
    """Return the same of the blocking face."""
    worst = 0.0
    for number in range(tries):
        with frozen(server) as (proxy, dsn), Client(settings(dsn, pool_min_size=2)) as client:
            db = client["main"]
            db.fetchval("select 1")
            proxy.freeze()
            begun = time.monotonic()
            try:
                (db.fetchval if number % 2 else db.execute)("select 2", timeout=DEADLINE)
            except QueryTimeoutError:
                worst = max(worst, time.monotonic() - begun - DEADLINE)
            else:
                worst = float("inf")
            proxy.reset()
            proxy.thaw()
    return worst


# -- a server that is away -----------------------------------------------------------------------


async def back_async(server: Postgres, tries: int) -> float:
    """Return the seconds from the server's return to the first good answer, the breaker open meanwhile."""
    worst = 0.0
    async with AsyncClient(settings(server.dsn, breaker_failure_threshold=2)) as client:
        db = client["main"]
        for _ in range(tries):
            await db.fetchval("select 1")
            server.stop()
            while db.circuit_breaker.state == "closed":
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.start)
            accepting = time.monotonic()
            while True:
                try:
                    await db.fetchval("select 1")
                    break
                except CircuitOpenError:
                    await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - accepting)
    return worst


def back_blocking(server: Postgres, tries: int) -> float:
    """Return the same of the blocking face."""
    worst = 0.0
    with Client(settings(server.dsn, breaker_failure_threshold=2)) as client:
        db = client["main"]
        for _ in range(tries):
            db.fetchval("select 1")
            server.stop()
            while db.circuit_breaker.state == "closed":
                time.sleep(0.01)
            server.start()
            accepting = time.monotonic()
            while True:
                try:
                    db.fetchval("select 1")
                    break
                except CircuitOpenError:
                    time.sleep(0.005)
            worst = max(worst, time.monotonic() - accepting)
    return worst


async def refused(server: Postgres) -> float:
    """Return the microseconds that a refusal takes while the breaker is open, the median of many."""
    async with AsyncClient(settings(server.dsn, breaker_failure_threshold=2)) as client:
        db = client["main"]
        await db.fetchval("select 1")
        server.stop()
        while db.circuit_breaker.state == "closed":
            await asyncio.sleep(0.01)
        took = []
        for _ in range(2000):
            begun = time.perf_counter()
            try:
                await db.fetchval("select 1")
            except CircuitOpenError:
                took.append(time.perf_counter() - begun)
        server.start()
    return sorted(took)[len(took) // 2] * 1e6


# -- cancelled tasks -----------------------------------------------------------------------------


async def cancelled(server: Postgres, count: int) -> float:
    """Return what *count* cancellations at random moments have left behind, on the server and here."""
    chance = random.Random(1)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("drop table if exists t")
        connection.execute(TABLE)
    async with AsyncClient(settings(server.dsn)) as client:
        db = client["main"]

        async def work() -> None:
            kind, key = chance.randrange(3), chance.randint(1, 100)
            if kind == 0:
                await db.fetchval("select n from t where id = $1", key)
            elif kind == 1:
                await db.execute("update t set n = n + 1 where id = $1", key)
            else:
                async with db.transaction() as tx:
                    await tx.execute("update t set n = n + 1 where id = $1", key)
                    await tx.fetchval("select n from t where id = $1", key)

        async def given_up() -> None:
            task = asyncio.ensure_future(work())
            await asyncio.sleep(chance.random() * 0.003)
            task.cancel()
            await asyncio.wait([task])

        for _ in range(count // 50):
            await asyncio.gather(*[given_up() for _ in range(50)])
        fleet = db._fleet
        assert fleet is not None
        limit = time.monotonic() + 10
        left: Any = True
        while left and time.monotonic() < limit:
            await asyncio.sleep(0.05)
            left = [*left_open(server.dsn), *[wire for wire in fleet.lanes.wires if wire.load]]
        assert await db.fetchval("select 1") == 1
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return float(len(left) + len(others) + sum(name.startswith("pgdual") for name in _threads()))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


# -- the table -----------------------------------------------------------------------------------


async def violations(server: Postgres, seeds: list[int], seconds: float) -> float:
    """Return how often the ledger found a rule broken, over all *seeds*."""
    found = 0
    for seed in seeds:
        _, broken = await ledger.run(server, server.create_database(f"ledger_{seed}"), seed, seconds)
        found += len(broken)
        for one in broken:
            print(f"seed {seed}: {one}", flush=True)
    return float(found)


async def absorbed(server: Postgres, seconds: float) -> float:
    """Return the percentage of deadlocks that no caller of the bank heard of; -1 if money is wrong."""
    dsn = server.create_database("bank")
    prepare(dsn, *bank.SCHEMA)
    done = await bank.run(dsn, dsn, seconds, once=False)
    print(done, flush=True)
    return -1.0 if done.violations(dsn) or done.unknown or not done.absorbed else done.share


def measured(server: Postgres, seeds: list[int]) -> Iterator[Figure]:
    """Take one figure after the other."""

    def run(function: Callable[..., Any], *args: Any) -> float:
        return float(asyncio.run(function(server, *args)))

    yield Figure("frozen network: async caller back after its deadline", run(late_async, 6), 0.25, "s")
    yield Figure("frozen network: blocking caller back", late_blocking(server, 6), 1.25, "s")
    yield Figure("server back: first good answer, async", run(back_async, 5), 1.0, "s")
    yield Figure("server back: first good answer, blocking", back_blocking(server, 5), 1.0, "s")
    yield Figure("breaker open: a call refused in", run(refused), 20.0, "us")
    yield Figure(f"{CANCELLATIONS:,} cancellations: left behind", run(cancelled, CANCELLATIONS), 0, "")
    yield Figure("deadlocks absorbed by replay", run(absorbed, 30.0), 99.0, "%", is_floor=True)
    kills = "once: right outcomes of 490 kills and 10 promotions"
    right = run(replaying.right_outcomes, 490) + asyncio.run(replaying.promoted(10))
    yield Figure(kills, right, 500, "", is_floor=True)
    yield Figure("replay bookkeeping per statement", run(replaying.bookkeeping), 1.5, "us")
    yield Figure(f"ledger, seeds {seeds}: violations", run(violations, seeds, 20.0), 0, "")


def main() -> int:
    """Print the table; return 1 where `--check` finds a bound exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a figure is beyond its bound")
    options = parser.parse_args()
    seeds = [1, random.SystemRandom().randrange(1_000_000)]
    missed = False
    with Postgres() as server:
        for figure in measured(server, seeds):
            missed |= not figure.holds
            verdict = "ok" if figure.holds else "MISS"
            line = f"{figure.what:56} {figure.found:10.3f} {figure.unit:3} of {figure.bound:6g}  {verdict}"
            print(line, flush=True)
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
