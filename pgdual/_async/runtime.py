"""What the async body stands on: asyncio, the clock, psycopg's async connection and pool.

`pgdual/_sync/runtime.py` has the same names for the blocking body; both are written by hand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from math import inf
from threading import get_ident
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

from psycopg.waiting import wait_async
from psycopg_pool import AsyncConnectionPool
from psycopg_pool._acompat import AEvent
from psycopg_pool.abc import ACT
from psycopg_pool.pool_async import AddConnection

from pgdual.core.scope import Scope
from pgdual.errors import UsageError

from . import lock

T = TypeVar("T")

Deed = Callable[..., Awaitable[T]]  # what a transaction is run for
now = monotonic
FACE = "async"
SCOPE = Scope("pgdual_async")
# How many reads share a lane (L5). Source: one socket buffer's worth of answers; deeper gains nothing.
DEPTH = 64
INTERRUPTS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
CUTS: tuple[type[BaseException], ...] = ()  # a task is not interrupted between any two lines
Guard = object  # nothing to guard: see `critical`
sleep = asyncio.sleep
wait_on = wait_async
Lock, Once, grab = lock.Lock, lock.Once, lock.grab
Guarded = lock.Guarded
critical, gripped, unlock = lock.critical, lock.gripped, lock.unlock
_TASKS: set[asyncio.Task[Any]] = set()
_FLEETS: WeakSet[Any] = WeakSet()
# How long an attempt to connect waits for the next. Source: B1, service within 1 s of the server.
PAUSE = 0.5  # seconds
_ABANDONED: list[Any] = []
# How long what must not be left half done may go on after the caller was cancelled (D4).
GRACE = 5.0  # seconds


class Pool(AsyncConnectionPool[ACT]):
    """psycopg's pool, whose limit is its fleet's to say."""

    def __init__(self, fleet: Any, *args: Any, **kwargs: Any) -> None:
        self._fleet = fleet
        super().__init__(*args, **kwargs)

    async def getconn(self, timeout: float | None = None) -> Any:
        """Lend a connection to somebody who asks the pool itself; the fleet may have to give one up."""
        if not self._pool:
            self._fleet.lend_out()
        return await super().getconn(timeout)

    async def take(self, timeout: float) -> Any:
        """Lend a connection to the fleet."""
        return await super().getconn(timeout)

    async def discard(self, connection: Any) -> None:
        """Close a connection that was lent, and make no other in its place."""
        async with self._lock:
            self._nconns -= 1
            if self._waiting:
                self._maybe_grow_pool()
        connection._pool = None
        await connection.close()

    @property
    def size(self) -> int:
        """How many connections there are, or are being made."""
        return self._nconns

    @property
    def wanted(self) -> int:
        """How many wait for a connection, the fleet among them; psycopg leaves in line who has given up."""
        for one in [one for one in self._waiting if one.error is not None]:
            self._waiting.remove(one)
        return len(self._waiting)

    def limit(self, most: int) -> None:
        """Make no more than *most* connections."""
        self._min_size, self._max_size = 0, most
        if self._waiting:
            self._maybe_grow_pool()

    async def schedule_task(self, task: Any, delay: float) -> None:
        """Run *task* later; an attempt to connect after PAUSE at most, for the server may be back."""
        await super().schedule_task(task, min(delay, PAUSE) if isinstance(task, AddConnection) else delay)

    def _start_workers(self) -> None:
        self._sched._event = _Alarm()
        super()._start_workers()

    @classmethod
    async def worker(cls, q: Any) -> None:
        """Run the pool's tasks, and end when cancelled.

        psycopg's workers take a cancellation for a failed attempt to connect and go on; `asyncio.run`,
        which cancels once and waits, would never return.
        """
        with suppress(asyncio.CancelledError):  # else what waited for its end would report it (P4)
            await super().worker(_Tasks(q))  # type: ignore[arg-type]


class _Alarm(AEvent):
    """What a pool's scheduler waits for, which ends it when cancelled.

    On Python 3.11 `asyncio.wait_for` loses a cancellation that comes together with what it waits for;
    `asyncio.run` would never return here either.
    """

    async def wait_timeout(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds; False if it was not set."""
        is_set = await super().wait_timeout(timeout)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return bool(is_set)


class _Tasks:
    """The queue of a pool's worker, which has nothing more for one that was cancelled."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    async def get(self) -> Any:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return await self._queue.get()


def _is_news(record: logging.LogRecord) -> bool:
    # An attempt to connect that the event loop's end cancelled is no failure to report (P4).
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(argument, asyncio.CancelledError) for argument in arguments)


logging.getLogger("psycopg.pool").addFilter(_is_news)


def here() -> asyncio.AbstractEventLoop:
    """Return what pools belong to: the running event loop.

    Raises:
        UsageError: There is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "the async face needs a running asyncio event loop; in a script without one use pgdual.sync"
        ) from None


def at_home(fleet: Any) -> bool:
    """True if the running event loop is that of *fleet*.

    Who asks asyncio for it asks the kernel, too, which before Python 3.12 looks for a fork (bench row 3); its
    loops know their thread while they run.
    """
    home = fleet.home
    thread = getattr(home, "_thread_id", None)
    if thread is None:  # another's loop, uvloop say, or none any more: this is a forked child
        return home is here()
    return bool(thread == get_ident())


def check_home(loop: Any) -> None:
    """Raise UsageError if *loop* cannot watch sockets."""
    # Windows' proactor loop is one: it leaves the method as the abstract class has it.
    if getattr(type(loop), "add_reader", None) in {None, asyncio.AbstractEventLoop.add_reader}:
        raise UsageError(
            f"{type(loop).__name__} cannot watch sockets (it has no add_reader); use "
            "asyncio.SelectorEventLoop (asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))"
        )


def is_over(home: Any) -> bool:
    """True if the event loop *home* was closed: nothing of it will run again."""
    return bool(home.is_closed())


def owner() -> Any:
    """Return what a transaction belongs to: the running task.

    Raises:
        UsageError: There is no event loop.
    """
    try:
        return asyncio.current_task()
    except RuntimeError:
        return here()


def owner_in(fleet: Any) -> Any:
    """Return the same, quicker, where the loop of *fleet* is known to run; None if none is."""
    return owner() if fleet is None else asyncio.current_task(fleet.home)


class Turn:
    """A call's place in line: `give` hands it a wire, `wait` takes it."""

    __slots__ = ("_future", "alone", "slow")

    def __init__(self, alone: bool, slow: bool) -> None:
        self.alone = alone
        self.slow = slow
        self._future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, wire: Any) -> bool:
        """Hand *wire* over; False if the call has given up."""
        if self._future.done():
            return False
        self._future.set_result(wire)
        return True

    def fail(self, error: Exception) -> None:
        """End the wait with *error*."""
        if not self._future.done():
            self._future.set_exception(error)

    async def wait(self, seconds: float) -> Any:
        """Return the wire, or None when *seconds* have passed."""
        handle = asyncio.get_running_loop().call_later(max(seconds, 0), self._give_up)
        try:
            return await self._future
        finally:
            handle.cancel()

    def _give_up(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    @property
    def given(self) -> Any:
        """The wire that was handed over although the call has given up meanwhile, or None."""
        future = self._future
        if not future.done() or future.cancelled() or future.exception() is not None:
            return None
        return future.result()


def background(function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
    """Run *function* beside the caller."""
    task = asyncio.get_running_loop().create_task(function(*args))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


soon = background


def elsewhere(home: Any, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
    """Run *function* in the event loop *home*, which belongs to another thread."""
    home.call_soon_threadsafe(background, function, *args)


async def within(seconds: float, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run *function* to its end although the task is cancelled meanwhile, *seconds* at most.

    A cancellation is raised afterwards, and GRACE later at the latest. For what must not be left half
    done: COMMIT, ROLLBACK.

    Raises:
        TimeoutError: It did not end in time.
    """
    task = asyncio.get_running_loop().create_task(function(*args))
    try:
        await asyncio.wait((task,), timeout=seconds)
    except asyncio.CancelledError as interrupt:
        raise await _outlast(task, min(seconds, GRACE), interrupt) from None
    if not task.done():
        task.cancel()
        raise TimeoutError(f"no answer within {seconds} s")
    return task.result()


async def limited(seconds: float, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run *function* in this task; past *seconds* it is cancelled, and TimeoutError raised."""
    async with asyncio.timeout(max(seconds, 0)):
        return await function(*args)


async def together(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Make *calls* at the same time and return their results in order."""
    return await asyncio.gather(*(call() for call in calls))


async def outlast(wire: Any, job: Any, interrupt: BaseException) -> BaseException:
    """Wait until *job* is answered, GRACE at most, though its caller was cancelled; return what to raise."""
    answer = wire.renewed(job)
    return interrupt if answer is None else await _outlast(answer, GRACE, interrupt)


async def _outlast(task: asyncio.Future[Any], seconds: float, interrupt: BaseException) -> BaseException:
    """Wait for *task* whatever else comes; return the interruption that is to be raised."""
    anyio = sys.modules.get("anyio")
    limit = now() + seconds
    # anyio cancels a task of a cancelled scope again and again, unless it is shielded.
    with anyio.CancelScope(shield=True) if anyio is not None else nullcontext():
        while not task.done() and now() < limit:
            try:
                await asyncio.wait((task,), timeout=limit - now())
            except asyncio.CancelledError as another:
                interrupt = another
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()  # the cancellation is what the caller sees
    return interrupt


async def redis(url: str, seconds: float, *command: str | int) -> Any:
    """Return Redis' answer to one command, on a connection of its own.

    Raises:
        TimeoutError: It did not come within *seconds*.
    """
    # To its end, though the caller is cancelled: the client would leave its connection open.
    return await within(seconds + GRACE, _asked, url, seconds, *command)


async def _asked(url: str, seconds: float, *command: str | int) -> Any:
    from redis.asyncio import Redis  # noqa: PLC0415 - few need it, and it takes long to import
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    once = Retry(NoBackoff(), 0)
    async with asyncio.timeout(seconds), Redis.from_url(url, retry=once, socket_timeout=seconds) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]


class Keeper:
    """Calls a function every so often until it is stopped."""

    def __init__(self, seconds: float, function: Callable[[], Any]) -> None:
        self._seconds = seconds
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._seconds, self._tick)
        self._function()

    def stop(self) -> None:
        """Call no more."""
        self._handle.cancel()


async def hold(gate: lock.Lock, seconds: float) -> bool:
    """Take *gate*; False if it was not free within *seconds*."""
    if grab(gate):
        return True
    try:
        async with asyncio.timeout(None if seconds == inf else seconds):
            await gate.acquire()
    except TimeoutError:
        return False
    return True


def watch_fork(fleet: Any) -> None:
    """Have `fleet.abandon()` called in every child that is forked from here on (P1)."""
    _FLEETS.add(fleet)


def _forked() -> None:
    # Kept for ever: what cleans up after them as garbage would speak to the parent's loops and threads.
    fleets = list(_FLEETS)
    _FLEETS.clear()
    _ABANDONED.extend(fleets)
    for fleet in fleets:
        fleet.abandon()


os.register_at_fork(after_in_child=_forked)
