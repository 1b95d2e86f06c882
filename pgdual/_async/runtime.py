"""What the async body stands on: asyncio, the clock, psycopg's async connection and pool.

`pgdual/_sync/runtime.py` has the same names for the blocking body; both are written by hand.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg_pool import AsyncConnectionPool

from pgdual.core.scope import Scope
from pgdual.errors import UsageError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

now = monotonic
Pool = AsyncConnectionPool
FACE = "async"
SCOPE = Scope("pgdual_async")
# How many reads share a lane (L5). Source: one socket buffer's worth of answers; deeper gains nothing.
DEPTH = 64
INTERRUPTS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
Lock = asyncio.Lock
Guard = object  # nothing to guard: see `critical`
sleep = asyncio.sleep
_TASKS: set[asyncio.Task[Any]] = set()
_FLEETS: WeakSet[Any] = WeakSet()


class Connection(psycopg.AsyncConnection[Any]):
    """psycopg's connection, which tells its fleet why it could not be made."""

    @classmethod
    async def connect(cls, conninfo: str = "", *, fleet: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Connect as psycopg does; *fleet* hears of it, or of why it failed before the pool tries again."""
        try:
            connection = await super().connect(conninfo, **kwargs)
        except Exception as error:
            fleet.not_connected(error)
            raise
        fleet.connected(connection)
        return connection

    def __del__(self, _: Any = None) -> None:
        """Say nothing: a connection that a dead loop leaves behind is no mistake of the user's (P4)."""


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


def check_home(loop: Any) -> None:
    """Raise UsageError if *loop* cannot watch sockets."""
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    if proactor is not None and isinstance(loop, proactor):
        raise UsageError(
            "the proactor event loop cannot watch sockets; use asyncio.SelectorEventLoop "
            "(asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))"
        )


def owner() -> Any:
    """Return what a transaction belongs to: the running task."""
    return asyncio.current_task()


def critical(method: F) -> F:
    """Leave *method* as it is: nothing runs in between on an event loop."""
    return method


class Turn:
    """A call's place in line: `give` hands it a wire, `wait` takes it."""

    __slots__ = ("_future", "alone")

    def __init__(self, alone: bool) -> None:
        self.alone = alone
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


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Wait for *awaitable* to its end although the task is cancelled meanwhile, *seconds* at most.

    The cancellation is raised afterwards. For what must not be left half done: COMMIT, ROLLBACK.

    Raises:
        TimeoutError: It did not end in time.
    """
    task = asyncio.ensure_future(awaitable)
    limit = now() + seconds
    cancelled: BaseException | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=limit - now())
        except asyncio.CancelledError as interrupt:
            cancelled = interrupt
        if not task.done() and now() >= limit:
            task.cancel()
            raise cancelled or TimeoutError(f"no answer within {seconds} s")
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()


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


def watch_fork(fleet: Any) -> None:
    """Have `fleet.abandon()` called in every child that is forked from here on (P1)."""
    _FLEETS.add(fleet)


def _forked() -> None:
    for fleet in list(_FLEETS):
        fleet.abandon()


os.register_at_fork(after_in_child=_forked)


class Once:
    """A lock for opening a pool: one an event loop, for a lock cannot serve two."""

    def __init__(self) -> None:
        self._lock: asyncio.Lock | None = None
        self._home: Any = None

    def of(self, home: Any) -> asyncio.Lock:
        """Return the lock of *home*."""
        if self._lock is None or self._home is not home:
            self._lock, self._home = asyncio.Lock(), home
        return self._lock
