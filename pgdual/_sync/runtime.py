"""What the blocking body stands on: threads, the clock, psycopg's connection and pool.

`pgdual/_async/runtime.py` has the same names for the async body; both are written by hand.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import wraps
from time import monotonic, sleep
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg_pool import ConnectionPool

from pgdual.core.scope import Scope

__all__ = [
    "DEPTH",
    "FACE",
    "INTERRUPTS",
    "SCOPE",
    "Connection",
    "Guard",
    "Keeper",
    "Lock",
    "Once",
    "Pool",
    "Turn",
    "background",
    "check_home",
    "critical",
    "here",
    "now",
    "owner",
    "sleep",
    "soon",
    "watch_fork",
    "within",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

now = monotonic
Pool = ConnectionPool
FACE = "sync"
SCOPE = Scope("pgdual_sync")
DEPTH = 1  # a thread has its wire to itself: lanes are not shared
INTERRUPTS = (KeyboardInterrupt, SystemExit, GeneratorExit)
Lock = threading.Lock
Guard = threading.RLock
_FLEETS: WeakSet[Any] = WeakSet()


class Connection(psycopg.Connection[Any]):
    """psycopg's connection, which tells its fleet why it could not be made."""

    @classmethod
    def connect(cls, conninfo: str = "", *, fleet: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Connect as psycopg does; *fleet* hears of it, or of why it failed before the pool tries again."""
        try:
            connection = super().connect(conninfo, **kwargs)
        except Exception as error:
            fleet.not_connected(error)
            raise
        fleet.connected(connection)
        return connection

    def __del__(self, _: Any = None) -> None:
        """Say nothing: a connection that is open at the interpreter's exit is no mistake (P4)."""


_HERE = object()


def here() -> Any:
    """Return what pools belong to: the process, here."""
    return _HERE


def check_home(home: Any) -> None:
    """Accept any thread."""


owner = threading.get_ident  # what a transaction belongs to: the running thread


def critical(method: F) -> F:
    """Let one thread at a time run *method* of the same object, which has the lock as `lock`."""

    @wraps(method)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return method(self, *args, **kwargs)

    return locked  # type: ignore[return-value]


class Turn:
    """A call's place in line: `give` hands it a wire, `wait` takes it."""

    __slots__ = ("_closed", "_error", "_ready", "_wire", "alone")

    def __init__(self, alone: bool) -> None:
        self.alone = alone
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


def soon(function: Callable[..., Any], *args: Any) -> None:
    """Run *function* now: the caller has the time, and nobody else would."""
    function(*args)


def within(seconds: float, value: T) -> T:
    """Return *value*: on this face it has been waited for already, under its own time limit."""
    return value


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

    def of(self, home: Any) -> threading.Lock:
        """Return the lock."""
        return self._lock


def watch_fork(fleet: Any) -> None:
    """Have `fleet.abandon()` called in every child that is forked from here on (P1)."""
    _FLEETS.add(fleet)


def _forked() -> None:
    for fleet in list(_FLEETS):
        fleet.abandon()


def _at_exit() -> None:
    # P4: psycopg's pool has worker threads, which must not outlive the interpreter's own.
    for fleet in list(_FLEETS):
        if fleet.home is not None and not fleet.is_closed:
            fleet.close(0.0)


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)
