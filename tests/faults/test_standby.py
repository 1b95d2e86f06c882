"""A primary that is lost and a standby that takes over: the client finds it by itself (O1, B1, O3)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres, Template
from pgdual.errors import Error, PgdualError
from pgdual.sync import DB
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import prepare

from . import ledger
from .leaks import serving, serving_blocking
from .ledger import Book
from .standby import Standby, both, caught_up, lost_at_once, missing, promote, synchronous

SEED: Final = 3
WITHIN: Final = 1.0  # seconds from the first write that the new primary takes to the first one of ours (B1)
ADD: Final = "insert into found values ($1)"
# The retries of one call do not last until somebody promotes; the calls that come meanwhile do.
LIMITS: Final[dict[str, Any]] = {"pool_max_size": 6, "command_timeout": 5.0, "pool_timeout": 5.0}


def killed(server: Postgres) -> None:
    server.kill()


ENDS = [lost_at_once, pytest.param(killed, marks=pytest.mark.slow)]


class Pair:
    """A primary, its synchronous standby, and the addresses of one database on them."""

    def __init__(self, primary: Postgres, standby: Standby) -> None:
        self.primary, self.standby = primary, standby
        direct = primary.create_database("app")
        prepare(direct, *ledger.SCHEMA, "create table found (id int)")
        synchronous(primary)
        caught_up(primary, standby)
        self.dsn = both(primary, standby, "app")
        self.direct = direct.replace(f":{primary.port}/", f":{standby.port}/")  # of the one that will be left


@pytest.fixture
def pair(template: Template) -> Iterator[Pair]:
    if missing():
        pytest.skip(missing())
    with template.postgres() as primary, Standby(primary) as standby:
        yield Pair(primary, standby)


@pytest.fixture
async def db(pair: Pair) -> AsyncIterator[AsyncDB]:
    async with serving(pair.dsn, pair.direct, **LIMITS) as client:
        yield client["main"]


@pytest.fixture
def blocking(pair: Pair) -> Iterator[DB]:
    with serving_blocking(pair.dsn, pair.direct, **LIMITS) as client:
        yield client["main"]


def hand_over(pair: Pair, db: AsyncDB | DB, end: Callable[[Postgres], None]) -> float:
    """End the primary; promote the standby once the breaker is open; return when that took writes."""
    end(pair.primary)
    threads.wait_until(lambda: db.circuit_breaker.state == "open")
    promote(pair.standby)
    return time.monotonic()


@pytest.mark.parametrize("end", ENDS)
async def test_a_promotion_under_load(db: AsyncDB, pair: Pair, end: Callable[[Postgres], None]) -> None:
    """O1, B1: what was acknowledged is on the new primary, once, and calls are answered there at once."""
    book, over = Book(), threading.Event()
    tasks = ledger._tasks(db, book, SEED, over)
    await wait_until(lambda: len(book.ok) > 50)
    taking = await asyncio.to_thread(hand_over, pair, db, end)
    seconds = await first_answer(db) - taking
    known = len(book.ok)
    await wait_until(lambda: len(book.ok) > known + 50)
    over.set()
    stuck = await ledger._ended(tasks, [])
    print(f"first good answer {seconds:.3f} s after the promotion; {book}")  # noqa: T201
    assert stuck + book.violations(pair.direct) == []
    assert seconds < WITHIN


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_promotion_under_load_blocking(blocking: DB, pair: Pair, end: Callable[[Postgres], None]) -> None:
    """O1, B1: the same on the blocking face."""
    book, over = Book(), threading.Event()
    workers = ledger._threads(blocking, book, SEED, over)
    threads.wait_until(lambda: len(book.ok) > 50)
    taking = hand_over(pair, blocking, end)
    seconds = first_answer_blocking(blocking) - taking
    known = len(book.ok)
    threads.wait_until(lambda: len(book.ok) > known + 50)
    over.set()
    for worker in workers:
        worker.join(15.0)
    print(f"first good answer {seconds:.3f} s after the promotion; {book}")  # noqa: T201
    assert not any(worker.is_alive() for worker in workers)
    assert book.violations(pair.direct) == []
    assert seconds < WITHIN


async def first_answer(db: AsyncDB) -> float:
    """Return when *db* has taken a write, however often it refuses before."""
    async with asyncio.timeout(10.0):
        while True:
            try:
                await db.execute(ADD, 1)
            except (Error, PgdualError):
                await asyncio.sleep(0.005)
            else:
                return time.monotonic()


def first_answer_blocking(db: DB) -> float:
    """Do what `first_answer` does, in a thread."""
    deadline = time.monotonic() + 10.0
    while True:
        try:
            db.execute(ADD, 1)
        except (Error, PgdualError):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        else:
            return time.monotonic()
