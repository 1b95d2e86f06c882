"""The ledger of rule O1: nothing whose outcome is unknown is ever sent again on a guess.

Tasks and threads insert ids that are used once, move money between two accounts and read, while the
network and the server fail in ways that a seed chooses. Each call is entered as ok, failed or unknown. In
the end what is ok stands in the table, what failed does not, no id stands twice, and no money was made.

Run it as `python -m tests.faults.ledger --seeds 3 --seconds 20`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres
from pgdual.errors import Error, OutcomeUnknownError, PgdualError, QueryTimeoutError
from pgdual.sync import DB
from tests._async import clients as aio
from tests._sync import clients as sync

from .leaks import Footprint, beyond, serves, serves_blocking, settle
from .proxy import DOWN, UP, Proxy

TASKS, THREADS = 16, 4
TOTAL = 1000
SCHEMA = (
    "create table ledger (id bigint not null, worker int)",  # no key: an id that stands twice must show
    "create table account (id int primary key, balance bigint not null)",
    f"insert into account values (1, {TOTAL // 2}), (2, {TOTAL // 2})",
)
INSERT = "insert into ledger values ($1, $2)"
GIVE = "update account set balance = balance - $1 where id = 1"
TAKE = "update account set balance = balance + $1 where id = 2"
SUM = "select sum(balance)::int from account"
LIMITS: dict[str, Any] = {"command_timeout": 1.5, "pool_timeout": 4.0, "pool_max_size": 6}


@dataclass
class Book:
    """What became of every call."""

    ok: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    _numbers: Any = field(default_factory=lambda: count(1))

    def ids(self, many: int) -> list[int]:
        """Return *many* ids that nobody else has."""
        return [next(self._numbers) for _ in range(many)]

    def enter(self, ids: list[int], error: BaseException | None) -> None:
        """Enter what the caller was told of *ids*."""
        self.kinds[type(error).__name__ if error else "ok"] += 1
        place = self.ok if error is None else self.failed
        if isinstance(error, (OutcomeUnknownError, asyncio.CancelledError)):
            place = self.unknown
        elif isinstance(error, QueryTimeoutError) and error.outcome == "unknown":
            self.wrong.append(f"D2: a write whose outcome is unknown ended in {error!r}")
        elif error is not None and not isinstance(error, (Error, PgdualError)):
            self.wrong.append(f"{ids} ended in {error!r}")
        place.update(ids)

    def check_sum(self, found: Any) -> None:
        """Enter what a read has seen of the accounts."""
        self.kinds["read"] += 1
        if found != TOTAL:
            self.wrong.append(f"a read saw {found} in the accounts")

    def check_error(self, error: Exception) -> None:
        """Enter why a read failed."""
        self.kinds[f"read: {type(error).__name__}"] += 1
        if isinstance(error, OutcomeUnknownError):
            self.wrong.append(f"a read ended in {error!r}")

    def violations(self, dsn: str) -> list[str]:
        """Hold the book against the tables; return what the rule forbids."""
        rows = Counter(row[0] for row in sync.outside(dsn, "select id from ledger"))
        twice = {number for number, times in rows.items() if times > 1}
        strangers = set(rows) - self.ok - self.failed - self.unknown
        found = {
            "ok, and not there": self.ok - set(rows),
            "failed, and there": self.failed & set(rows),
            "there twice": twice,
            "there, and nobody's": strangers,
        }
        told = [f"{what}: {sorted(ids)}" for what, ids in found.items() if ids]
        balance = sync.first(dsn, SUM)
        if balance != TOTAL:
            told.append(f"the accounts hold {balance}, not {TOTAL}")
        return told + self.wrong

    def __str__(self) -> str:
        return (
            f"{len(self.ok)} ok, {len(self.failed)} failed, {len(self.unknown)} unknown; "
            f"calls: {dict(self.kinds)}; faults: {dict(self.faults)}"
        )


# -- the workers -------------------------------------------------------------------------------------


async def work(db: AsyncDB, book: Book, chance: random.Random, worker: int, over: threading.Event) -> None:
    """Insert, move and read until *over*."""
    while not over.is_set():
        deed = chance.choice((_insert, _insert, _many, _move, _move, _given_up, _read))
        await deed(db, book, chance, worker)
        await asyncio.sleep(chance.random() * 0.01)


async def _insert(db: AsyncDB, book: Book, chance: random.Random, worker: int) -> None:
    ids = book.ids(1)
    await _entered(book, ids, db.execute(INSERT, ids[0], worker))


async def _many(db: AsyncDB, book: Book, chance: random.Random, worker: int) -> None:
    ids = book.ids(chance.randint(1, 20))
    await _entered(book, ids, db.executemany(INSERT, [(one, worker) for one in ids]))


async def _move(db: AsyncDB, book: Book, chance: random.Random, worker: int) -> None:
    ids, amount = book.ids(1), chance.randint(-5, 5)

    async def move() -> None:
        async with db.transaction():
            await db.execute(GIVE, amount)
            async with db.transaction():
                await db.execute(INSERT, ids[0], worker)
            await db.execute(TAKE, amount)

    await _entered(book, ids, move())


async def _given_up(db: AsyncDB, book: Book, chance: random.Random, worker: int) -> None:
    ids = book.ids(1)
    task = asyncio.create_task(db.execute(INSERT, ids[0], worker))
    handle = asyncio.get_running_loop().call_later(chance.random() * 0.01, task.cancel)
    await _entered(book, ids, task)
    handle.cancel()


async def _read(db: AsyncDB, book: Book, chance: random.Random, worker: int) -> None:
    try:
        book.check_sum(await db.fetchval(SUM))
    except Exception as error:
        book.check_error(error)


async def _entered(book: Book, ids: list[int], call: Any) -> None:
    try:
        await call
    except (Exception, asyncio.CancelledError) as error:
        book.enter(ids, error)
    else:
        book.enter(ids, None)


def work_blocking(db: DB, book: Book, chance: random.Random, worker: int, over: threading.Event) -> None:
    """Do in a thread what `work` does."""
    while not over.is_set():
        deed = chance.choice((_insert_blocking, _many_blocking, _move_blocking, _read_blocking))
        deed(db, book, chance, worker)
        time.sleep(chance.random() * 0.01)


def _insert_blocking(db: DB, book: Book, chance: random.Random, worker: int) -> None:
    ids = book.ids(1)
    _entered_blocking(book, ids, lambda: db.execute(INSERT, ids[0], worker))


def _many_blocking(db: DB, book: Book, chance: random.Random, worker: int) -> None:
    ids = book.ids(chance.randint(1, 20))
    _entered_blocking(book, ids, lambda: db.executemany(INSERT, [(one, worker) for one in ids]))


def _move_blocking(db: DB, book: Book, chance: random.Random, worker: int) -> None:
    ids, amount = book.ids(1), chance.randint(-5, 5)

    def move() -> None:
        with db.transaction():
            db.execute(GIVE, amount)
            with db.transaction():
                db.execute(INSERT, ids[0], worker)
            db.execute(TAKE, amount)

    _entered_blocking(book, ids, move)


def _read_blocking(db: DB, book: Book, chance: random.Random, worker: int) -> None:
    try:
        book.check_sum(db.fetchval(SUM))
    except Exception as error:
        book.check_error(error)


def _entered_blocking(book: Book, ids: list[int], call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:
        book.enter(ids, error)
    else:
        book.enter(ids, None)


# -- the faults --------------------------------------------------------------------------------------


class Faults:
    """The ways in which things go wrong; each method is one, and mends what it broke before it returns."""

    def __init__(self, proxy: Proxy, server: Postgres, direct: str, chance: random.Random) -> None:
        self._proxy = proxy
        self._server = server
        self._direct = direct
        self._chance = chance

    def names(self) -> list[str]:
        """Return what there is to choose from."""
        return [name for name in vars(Faults) if not name.startswith("_") and name not in {"names", "strike"}]

    def strike(self) -> str:
        """Let one of them happen; return its name."""
        name = self._chance.choice(self.names())
        with suppress(psycopg.Error):  # it had the server look down already
            getattr(self, name)()
        return name

    def freeze(self) -> None:
        self._proxy.freeze()
        time.sleep(self._chance.uniform(0.1, 2.5))
        self._proxy.thaw()

    def freeze_and_reset(self) -> None:
        self._proxy.freeze()
        time.sleep(self._chance.uniform(0.05, 0.5))
        self._proxy.reset()
        self._proxy.thaw()

    def reset(self) -> None:
        self._proxy.reset()

    def cut_down(self) -> None:
        self._proxy.cut(self._chance.randint(1, 2000), DOWN)

    def cut_up(self) -> None:
        self._proxy.cut(self._chance.randint(1, 2000), UP)

    def cut_on_commit(self) -> None:
        self._proxy.cut_on(b"COMMIT")

    def cut_on_a_change(self) -> None:
        self._proxy.cut_on(b"SET default_transaction_read_only")

    def refuse(self) -> None:
        self._proxy.refuse()
        self._proxy.reset()
        time.sleep(self._chance.uniform(0.1, 0.8))
        self._proxy.accept()

    def latency(self) -> None:
        self._proxy.latency(self._chance.uniform(0.01, 0.2))
        time.sleep(0.5)
        self._proxy.latency(0.0)

    def terminate(self) -> None:
        self._tell("select pg_terminate_backend(pid) from pg_stat_activity")

    def cancel(self) -> None:
        self._tell("select pg_cancel_backend(pid) from pg_stat_activity")

    def kill_a_backend(self) -> None:
        victims = sync.outside(self._direct, f"select pid from pg_stat_activity where {sync.OURS}")
        if victims:
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(victims)[0], signal.SIGKILL)

    def restart(self) -> None:
        self._server.restart()

    def stop_at_once(self) -> None:
        os.kill(self._server.pid, signal.SIGQUIT)
        self._server.stop()
        self._server.start()

    def kill_the_server(self) -> None:
        self._server.kill()
        time.sleep(self._chance.uniform(0, 0.5))
        self._server.start()

    def kill_the_postmaster(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()
        self._server.start()

    def _tell(self, sql: str) -> None:
        sync.outside(self._direct, f"{sql} where {sync.OURS} and random() < 0.5")


# -- a run -------------------------------------------------------------------------------------------


async def run(server: Postgres, direct: str, seed: int, seconds: float) -> tuple[Book, list[str]]:
    """Work for *seconds* while faults strike; return the book and what the rule forbids in it.

    Args:
        direct: The DSN of an empty database on *server*.
    """
    sync.prepare(direct, *SCHEMA)
    book, over, before = Book(), threading.Event(), Footprint()
    with Proxy(server.port) as proxy:
        faults = Faults(proxy, server, direct, random.Random(seed))
        dsn = proxy.dsn(direct)
        async with aio.client_of(main=dsn, **LIMITS) as client:
            with sync.client_of(main=dsn, **LIMITS) as blocking:
                threads = _threads(blocking["main"], book, seed, over)
                tasks = _tasks(client["main"], book, seed, over)
                await _strike(faults, book, seconds)
                over.set()
                proxy.heal()
                stuck = await _ended(tasks, threads)
                if not stuck:
                    await serves(client["main"])
                    await asyncio.to_thread(serves_blocking, blocking["main"])
    await settle(lambda: beyond(direct, 0))
    # What was on its way has arrived by now, or never will.
    return book, [*stuck, *book.violations(direct), *await _leaks(before, direct)]


def _threads(db: DB, book: Book, seed: int, over: threading.Event) -> list[threading.Thread]:
    threads = []
    for worker in range(THREADS):
        arguments = db, book, random.Random(f"{seed} thread {worker}"), TASKS + worker, over
        threads.append(threading.Thread(target=work_blocking, args=arguments, daemon=True))
        threads[-1].start()
    return threads


def _tasks(db: AsyncDB, book: Book, seed: int, over: threading.Event) -> list[asyncio.Task[None]]:
    chances = [random.Random(f"{seed} task {worker}") for worker in range(TASKS)]
    return [
        asyncio.create_task(work(db, book, chance, worker, over)) for worker, chance in enumerate(chances)
    ]


async def _strike(faults: Faults, book: Book, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(1.0)
        book.faults[await asyncio.to_thread(faults.strike)] += 1


async def _ended(tasks: list[asyncio.Task[None]], threads: list[threading.Thread]) -> list[str]:
    """Wait for the workers; return what is stuck."""
    _, pending = await asyncio.wait(tasks, timeout=15.0)
    for task in pending:
        task.cancel()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5.0)
    alive = sum(thread.is_alive() for thread in threads)
    told = [f"{len(pending)} tasks are stuck"] * bool(pending) + [f"{alive} threads are stuck"] * bool(alive)
    errors = [task.exception() for task in tasks if task not in pending]
    return told + [f"a worker ended in {error!r}" for error in errors if error is not None]


async def _leaks(before: Footprint, direct: str) -> list[str]:
    try:
        await settle(lambda: before.left(direct))
    except AssertionError as error:
        return [f"left behind: {error}"]
    return []


def main() -> int:
    """Run the ledger as the command line asks; return how many runs broke the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many runs, each with a seed of its own")
    parser.add_argument("--first", type=int, help="the first seed; a random one otherwise")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each of them lasts")
    chosen = parser.parse_args()
    first = random.SystemRandom().randrange(1_000_000) if chosen.first is None else chosen.first
    broken = 0
    for seed in range(first, first + chosen.seeds):
        print(f"seed {seed}", flush=True)
        with Postgres() as server:
            book, violations = asyncio.run(
                run(server, server.create_database("ledger"), seed, chosen.seconds)
            )
        print(f"  {book}", *violations, sep="\n  ", flush=True)
        broken += bool(violations)
    return broken


if __name__ == "__main__":
    sys.exit(main())
