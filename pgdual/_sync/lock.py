"""What Ctrl-C may not break: the lock of a fleet, and the end of a block (by hand; tasks have other locks).

An interruption is raised in the main thread as a function begins, as a call has returned, or as a loop goes
round: also where no `try` is open yet. Nothing here costs a call anything: what was cut short is noticed,
and put right by who was interrupted or by who finds it (D4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any, TypeVar
from weakref import ref

__all__ = ["CUTS", "Guard", "Guarded", "Lock", "critical", "grab", "gripped", "milliseconds", "unlock"]

F = TypeVar("F", bound=Callable[..., Any])

CUTS = (KeyboardInterrupt, SystemExit, GeneratorExit)  # what may strike between any two lines
Guard, Lock = threading.RLock, threading.Lock
# How long poll() waits at most: what strikes just before it is called does not end it, and is heard after it.
LONGEST = 0.2  # seconds


def critical(method: F) -> F:
    """Let one thread at a time run *method* of the same object, which has the lock as `lock`.

    An interruption may come when it has returned and before its caller has what it returned; `cut_short` of
    the object is told what that was (D4).
    """

    # Written out by the number of arguments: a `*args` and a `with` more would double what every call goes
    # through, and after a call with `*args` CPython looks for signals before what it returned is kept.
    written = {1: _locked_none, 2: _locked_one, 3: _locked_two}
    wrapper = written.get(method.__code__.co_argcount, _locked)
    return wraps(method)(wrapper(method))  # type: ignore[return-value]


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    def locked(self: Any, *args: Any) -> Any:
        found = None
        try:
            with self.lock:
                found = method(self, *args)
        except CUTS:
            self.cut_short(found)
            raise
        return found

    return locked


def _locked_none(method: Callable[..., Any]) -> Callable[..., Any]:
    def locked(self: Any) -> Any:
        found, lock = None, self.lock
        try:
            lock.acquire()
            try:
                found = method(self)
            finally:
                lock.release()
        except CUTS:
            self.cut_short(found)
            raise
        return found

    return locked


def _locked_one(method: Callable[..., Any]) -> Callable[..., Any]:
    def locked(self: Any, one: Any) -> Any:
        found, lock = None, self.lock
        try:
            lock.acquire()
            try:
                found = method(self, one)
            finally:
                lock.release()
        except CUTS:
            self.cut_short(found)
            raise
        return found

    return locked


def _locked_two(method: Callable[..., Any]) -> Callable[..., Any]:
    def locked(self: Any, one: Any, two: Any) -> Any:
        found, lock = None, self.lock
        try:
            lock.acquire()
            try:
                found = method(self, one, two)
            finally:
                lock.release()
        except CUTS:
            self.cut_short(found)
            raise
        return found

    return locked


def grab(lock: threading.Lock) -> bool:
    """Acquire *lock* if that needs no waiting."""
    return lock.acquire(blocking=False)


class Guarded:
    """A base of what has methods that are `critical`, none of which hands out what must come back."""

    def __init__(self) -> None:
        self.lock = Guard()

    def cut_short(self, _: Any) -> None:
        """Let the next one in: this thread was interrupted in one of them (D4)."""
        unlock(self.lock)


def unlock(lock: Any) -> None:
    """Release *lock* if this thread was interrupted as it took it (D4)."""
    while lock._is_owned():
        lock.release()


def gripped(leave: F) -> F:
    """Have the `with` statement that *leave* ends keep a grip on its block (`core.scope`)."""
    return _Gripped(leave)  # type: ignore[return-value]


class _Gripped:
    """An `__exit__` that leaves on its block a weak reference to the bound method it was looked up as.

    The statement looks it up before it enters the block, holds it, and drops it as it calls it.
    """

    def __init__(self, leave: Callable[..., Any]) -> None:
        self._leave = leave

    def __get__(self, block: Any, kind: Any = None) -> Any:
        if block is None:
            return self._leave
        method = MethodType(self._leave, block)
        block.grip = ref(method)
        return method


def milliseconds(seconds: float) -> float:
    """Return how long poll() is to wait now, out of *seconds*; an interruption is raised here (D4).

    While it waits poll() hears of one by itself, but what is compiled (`wire`) hears of none before or after.
    """
    return min(seconds, LONGEST) * 1e3 if seconds > 0 else 0.0
