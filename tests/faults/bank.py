"""The bank of issue 4: tasks and threads that move money in an order made for deadlocks.

Each transfer has a number of its own and leaves it in a table in the transaction that moves the money. What
its caller was told is held against that table: nothing that was said to be done is missing, nothing that
was said to have failed is there, nothing is there twice, and the sum of all accounts never changes.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg

from pgdual.errors import Error, OutcomeUnknownError, PgdualError, ReplayMismatchError
from tests._async import clients as aio
from tests._async.runtime import wait_until
from tests._sync import clients as sync

TASKS, THREADS, ACCOUNTS, EACH = 50, 8, 20, 1000
TOKENS = """
create table pgdual_commit (
    token uuid primary key, void boolean not null default false, made_at timestamptz not null default now()
)
"""
# The server looks for a deadlock sooner than after its second, so that there are many.
_SOON = """
do $$ begin execute format('alter database %I set deadlock_timeout = ''20ms''', current_database()); end $$
"""
SCHEMA = (
    "create table account (id int primary key, balance bigint not null)",
    f"insert into account select g, {EACH} from generate_series(1, {ACCOUNTS}) g",
    "create table transfer (id bigint not null)",  # no key: what stands twice must show
    TOKENS,
    _SOON,
)
MOVE = "update account set balance = balance + $2 where id = $1"
ENTER = "insert into transfer values ($1)"
SUM = "select sum(balance)::int from account"
CONFLICTS = ("40P01", "40001")


class Bank:
    """What became of every transfer."""

    def __init__(self, once: bool, parties: int = 2) -> None:
        self.once = once
        self.parties = parties  # the accounts of one transfer
        self.over = threading.Event()
        self.ok: set[int] = set()
        self.failed: set[int] = set()
        self.unknown: set[int] = set()
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.reached = 0  # deadlocks that callers were told of
        self.absorbed = 0  # replays that went through, some of them after several deadlocks
        self.met = 0  # deadlocks that the server has found
        self._numbers = count(1)

    def enter(self, number: int, error: BaseException | None) -> None:
        """Enter what the caller of transfer *number* was told."""
        cause = error.__cause__ if isinstance(error, ReplayMismatchError) else error
        state = getattr(cause, "sqlstate", None)
        self.kinds["ok" if error is None else f"{type(error).__name__} {state or ''}".strip()] += 1
        if state in CONFLICTS:
            self.reached += 1
        if error is None:
            self.ok.add(number)
        elif isinstance(error, OutcomeUnknownError):
            self.unknown.add(number)
        else:
            self.failed.add(number)
            if not isinstance(error, (Error, PgdualError)):
                self.wrong.append(f"transfer {number} ended in {error!r}")

    def violations(self, dsn: str) -> list[str]:
        """Return what must not be, by what stands in the tables."""
        rows = Counter(row[0] for row in sync.outside(dsn, "select id from transfer"))
        found = [
            ("done, but not there", self.ok - rows.keys()),
            ("failed, but there", self.failed & rows.keys()),
            ("there, but nobody's", rows.keys() - self.ok - self.unknown),
            ("there twice", {number for number, times in rows.items() if times > 1}),
        ]
        total = sync.first(dsn, SUM)
        wrong = [f"{what}: {sorted(ids)}" for what, ids in found if ids]
        return wrong + self.wrong + ([] if total == ACCOUNTS * EACH else [f"the sum is {total}"])

    @property
    def share(self) -> float:
        """The percentage of deadlocks that callers never heard of."""
        met = max(self.met, self.reached)
        return 100.0 * (met - self.reached) / met if met else 100.0

    def __repr__(self) -> str:
        return (
            f"once={self.once}, {self.parties} parties: "
            f"{len(self.ok)} done, {len(self.failed)} failed, {len(self.unknown)} unknown; "
            f"{self.met} deadlocks, {self.absorbed} replays, {self.reached} reached callers "
            f"({self.share:.2f} % absorbed); {dict(self.kinds)}"
        )

    def order(self, chance: random.Random) -> tuple[int, list[tuple[int, int]]]:
        """Return a transfer's number, and its moves in any order of the accounts."""
        giver, *others = chance.sample(range(1, ACCOUNTS + 1), self.parties)
        amount = chance.randint(1, 20)
        moves = [(giver, -amount * len(others)), *((other, amount) for other in others)]
        chance.shuffle(moves)
        return next(self._numbers), moves

    async def work(self, db: Any, chance: random.Random) -> None:
        """Move money until it is over."""
        while not self.over.is_set():
            number, moves = self.order(chance)
            try:
                async with db.transaction(once=self.once) as tx:
                    await tx.execute(ENTER, number)
                    for account, amount in moves:
                        await tx.execute(MOVE, account, amount)
            except Exception as error:
                self.enter(number, error)
            else:
                self.enter(number, None)
            await asyncio.sleep(chance.random() * 0.02)

    def work_blocking(self, db: Any, chance: random.Random) -> None:
        """Do the same in a thread."""
        while not self.over.is_set():
            number, moves = self.order(chance)
            try:
                with db.transaction(once=self.once) as tx:
                    tx.execute(ENTER, number)
                    for account, amount in moves:
                        tx.execute(MOVE, account, amount)
            except Exception as error:
                self.enter(number, error)
            else:
                self.enter(number, None)
            time.sleep(chance.random() * 0.02)

    async def watch(self, dsn: str) -> None:
        """Look at the sum from outside."""
        while not self.over.is_set():
            with suppress(psycopg.OperationalError):  # the server is away
                total = await asyncio.to_thread(sync.first, dsn, SUM)
                if total != ACCOUNTS * EACH:
                    self.wrong.append(f"the sum was {total}")
            await asyncio.sleep(0.05)


async def run(
    direct: str, dsn: str, seconds: float, once: bool, trouble: Any = None, parties: int = 2
) -> Bank:
    """Let all of them work for *seconds*, with *trouble* at *dsn*; return what became of it.

    Args:
        trouble: A function that breaks something and mends it, called in a thread again and again.
        parties: How many accounts a transfer has to do with.
    """
    bank, begun = Bank(once, parties), time.monotonic()
    sizes: dict[str, Any] = {"pool_max_size": 12, "command_timeout": 10.0, "pool_timeout": 10.0}
    async with aio.client_of(main=dsn, **sizes) as client:
        with sync.client_of(main=dsn, **sizes) as blocking:
            threads = [
                threading.Thread(
                    target=bank.work_blocking, args=(blocking["main"], random.Random(at)), daemon=True
                )
                for at in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            tasks = [
                asyncio.create_task(bank.work(client["main"], random.Random(100 + at))) for at in range(TASKS)
            ]
            tasks.append(asyncio.create_task(bank.watch(direct)))
            while time.monotonic() < begun + seconds:
                if trouble is not None:
                    await asyncio.to_thread(trouble)
                await asyncio.sleep(0.25)
            bank.over.set()
            _, stuck = await asyncio.wait(tasks, timeout=40.0)
            for thread in threads:
                await asyncio.to_thread(thread.join, 20.0)
            bank.wrong += ["tasks are stuck"] * bool(stuck)
            bank.wrong += ["threads are stuck"] * any(thread.is_alive() for thread in threads)
            bank.absorbed = client["main"].stats()["replays"] + blocking["main"].stats()["replays"]
    await wait_until(lambda: not aio.pids(direct))  # what they have counted is there when they are gone
    bank.met = sync.first(direct, "select deadlocks from pg_stat_database where datname = current_database()")
    return bank
