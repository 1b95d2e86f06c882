"""What the blocking body stands on: threads, the clock, psycopg's connection and pool.

`pgdual/_async/runtime.py` has the same names for the async body; both are written by hand.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, TypeVar
from weakref import WeakSet

from psycopg.waiting import wait
from psycopg_pool import ConnectionPool
from psycopg_pool.abc import CT
from psycopg_pool.pool import AddConnection

from pgdual.core.scope import Scope

from . import lock

__all__ = [
    "CUTS",
    "DEPTH",
    "FACE",
    "GRACE",
    "INTERRUPTS",
    "SCOPE",
    "Guard",
    "Guarded",
    "Keeper",
    "Lock",
    "Once",
    "Pool",
    "Turn",
    "at_home",
    "background",
    "check_home",
    "critical",
    "elsewhere",
    "gripped",
    "here",
    "hold",
    "is_over",
    "now",
    "outlast",
    "owner",
    "owner_in",
    "redis",
    "sleep",
    "soon",
    "together",
    "unlock",
    "wait_on",
    "watch_fork",
    "within",
]

T = TypeVar("T")

Deed = Callable[..., T]  # what a transaction is run for
now = monotonic
FACE = "sync"
SCOPE = Scope("pgdual_sync")
DEPTH = 1  # a thread has its wire to itself: lanes are not shared
CUTS = INTERRUPTS = lock.CUTS
Lock = lock.Lock
wait_on = wait
critical, gripped, unlock = lock.critical, lock.gripped, lock.unlock
Guard = lock.Guard
Guarded = lock.Guarded
_FLEETS: WeakSet[Any] = WeakSet()
# How long an attempt to connect waits for the next. Source: B1, service within 1 s of the server.
PAUSE = 0.5  # seconds
_ABANDONED: list[Any] = []
# How long what must not be left half done may take.
GRACE = 5.0  # seconds


class Pool(ConnectionPool[CT]):
    """psycopg's pool, whose limit is its fleet's to say."""

    def __init__(self, fleet: Any, *args: Any, **kwargs: Any) -> None:
        self._fleet = fleet
        super().__init__(*args, **kwargs)

    def getconn(self, timeout: float | None = None) -> Any:
        """Lend a connection to somebody who asks the pool itself; the fleet may have to give one up."""
        if not self._pool:
            self._fleet.lend_out()
        return super().getconn(timeout)

    def take(self, timeout: float) -> Any:
        """Lend a connection to the fleet."""
        return super().getconn(timeout)

    def discard(self, connection: Any) -> None:
        """Close a connection that was lent, and make no other in its place."""
        with self._lock:
            self._nconns -= 1
            if self._waiting:
                self._maybe_grow_pool()
        connection._pool = None
        connection.close()

    @property
    def size(self) -> int:
        """How many connections there are, or are being made."""
        return self._nconns

    @property
    def wanted(self) -> int:
        """How many wait for a connection, the fleet among them; psycopg leaves in line who has given up."""
        with self._lock:
            for one in [one for one in self._waiting if one.error is not None]:
                self._waiting.remove(one)
            return len(self._waiting)

    def limit(self, most: int) -> None:
        """Make no more than *most* connections."""
        with self._lock:
            self._min_size, self._max_size = 0, most
            if self._waiting:
                self._maybe_grow_pool()

    def schedule_task(self, task: Any, delay: float) -> None:
        """Run *task* later; an attempt to connect after PAUSE at most, for the server may be back."""
        super().schedule_task(task, min(delay, PAUSE) if isinstance(task, AddConnection) else delay)


_HERE = object()


def here() -> Any:
    """Return what pools belong to: the process, here."""
    return _HERE


def at_home(fleet: Any) -> bool:
    """True if *fleet* is this process' own, and no parent's."""
    return fleet.home is _HERE


def check_home(home: Any) -> None:
    """Accept any thread."""


def is_over(home: Any) -> bool:
    """Return False: a process lives as long as its threads."""
    return False


owner = threading.get_ident  # what a transaction belongs to: the running thread


def owner_in(_: Any) -> int:
    """Return the same."""
    return owner()


class Turn:
    """A call's place in line: `give` hands it a wire, `wait` takes it."""

    __slots__ = ("_closed", "_error", "_ready", "_wire", "alone", "slow")

    def __init__(self, alone: bool, slow: bool) -> None:
        self.alone = alone
        self.slow = slow
        self._ready = threading.Lock()
        self._ready.acquire()
        self._closed = False
        self._wire: Any = None
        self._error: Exception | None = None

    def give(self, wire: Any) -> bool:
        """Hand *wire* over; False if the call has given up. The fleet's lock is held."""
        if self._closed:
            return False
        self._closed = True
        self._wire = wire
        self._ready.release()
        return True

    def fail(self, error: Exception) -> None:
        """End the wait with *error*."""
        if not self._closed:
            self._closed = True
            self._error = error
            self._ready.release()

    def wait(self, seconds: float) -> Any:
        """Return the wire, or None when *seconds* have passed."""
        self._ready.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX))
        if self._error is not None:
            raise self._error
        return self._wire

    @property
    def given(self) -> Any:
        """The wire that was handed over although the call has given up meanwhile, or None."""
        self._closed = True
        return self._wire


def background(function: Callable[..., Any], *args: Any) -> None:
    """Run *function* beside the caller."""
    threading.Thread(target=function, args=args, name=f"pgdual-{function.__name__}", daemon=True).start()


# What a call leaves to be done is done beside it: the caller's deadline is not another's to use up (D2).
soon = background


def elsewhere(home: Any, function: Callable[..., Any], *args: Any) -> None:
    """Run *function* beside the caller: there is one home on this face."""
    background(function, *args)


def outlast(wire: Any, job: Any, interrupt: BaseException) -> BaseException:
    """Wait until *job* is answered, GRACE at most, though it was interrupted; return what to raise."""
    wire.forsake(job)
    return interrupt


def within(seconds: float, function: Callable[..., T], *args: Any) -> T:
    """Run *function* to its end; its jobs have *seconds* as their deadline, which bounds it here."""
    return function(*args)


def limited(seconds: float, function: Callable[..., T], *args: Any) -> T:
    """Run *function* to its end; its statements have a deadline, and a thread cannot be interrupted."""
    return function(*args)


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make *calls*, none of which raises, at the same time, and return their results in order."""
    results: dict[int, T] = {}

    def make(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=make, args=(index,), daemon=True) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[index] for index in range(len(calls))]


def hold(lock: threading.Lock, seconds: float) -> bool:
    """Acquire *lock*; False if it was not free within *seconds*."""
    return lock.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX))


def redis(url: str, seconds: float, *command: str | int) -> Any:
    """Return Redis' answer to one command, on a connection of its own.

    Raises:
        TimeoutError: It did not come within *seconds*.
    """
    from concurrent.futures import Future  # noqa: PLC0415 - few need it, and it takes long to import

    from redis import Redis  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    answer: Future[Any] = Future()

    def ask() -> None:
        # Each of its steps may take *seconds*: to find the host, to connect, to be let in, to ask.
        once = Retry(NoBackoff(), 0)
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        try:
            with Redis.from_url(url, retry=once, **limits) as client:
                answer.set_result(client.execute_command(*command))
        except Exception as error:
            answer.set_exception(error)

    background(ask)
    return answer.result(seconds)


class Keeper:
    """Calls a function every so often until it is stopped."""

    def __init__(self, seconds: float, function: Callable[[], Any]) -> None:
        self._stopped = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(seconds, function), name="pgdual-keeper", daemon=True
        )
        thread.start()

    def _run(self, seconds: float, function: Callable[[], Any]) -> None:
        while not self._stopped.wait(seconds):
            function()

    def stop(self) -> None:
        """Call no more."""
        self._stopped.set()


class Once:
    """A lock for opening a pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def of(self, home: Any) -> threading.Lock:
        """Return the lock; a new one after a fork, for the thread that held it may not exist here."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock


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


def _at_exit() -> None:
    # P4: psycopg's pool has worker threads, which must not outlive the interpreter's own, and it would say
    # that one did not end in time. Daemon threads at work are left alone: to fail now helps nobody.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    for fleet in list(_FLEETS):
        if fleet.home is not None and not fleet.is_closed:
            fleet.pool.close(0.1)


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)
