"""Locks for tasks, one of which costs no coroutine where it is free (by hand; threads have their own)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

F = TypeVar("F", bound=Callable[..., Any])


class Lock:
    """A lock for the tasks of one event loop; who waits for it gets it in turn."""

    __slots__ = ("_freed", "_line", "is_taken", "waiting")

    def __init__(self) -> None:
        self.is_taken = False
        self.waiting = 0
        self._line: asyncio.Lock | None = None  # the first in it waits for `_freed`
        self._freed: asyncio.Event | None = None

    def locked(self) -> bool:
        """Return whether somebody has it."""
        return self.is_taken

    async def acquire(self) -> None:
        """Wait for it and take it."""
        if grab(self):
            return
        line = self._line = self._line or asyncio.Lock()
        self.waiting += 1
        try:
            async with line:
                while self.is_taken:
                    self._freed = asyncio.Event()
                    await self._freed.wait()
                self.is_taken = True
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Let the next one have it."""
        self.is_taken = False
        if self._freed is not None:
            self._freed.set()


def grab(lock: Lock) -> bool:
    """Take *lock* if that needs no waiting."""
    if lock.is_taken or lock.waiting:
        return False
    lock.is_taken = True
    return True


async def hold(lock: Lock, seconds: float) -> bool:
    """Take *lock*; False if it was not free within *seconds*."""
    if grab(lock):
        return True
    try:
        async with asyncio.timeout(None if seconds == inf else seconds):
            await lock.acquire()
    except TimeoutError:
        return False
    return True


class Once:
    """A lock for opening a pool: one an event loop, for a lock cannot serve two."""

    def __init__(self) -> None:
        self._locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    def of(self, home: Any) -> asyncio.Lock:
        """Return the lock of *home*."""
        return self._locks.setdefault(home, asyncio.Lock())


class Guarded:
    """A base of what has methods that are `critical`."""


def critical(method: F) -> F:
    """Leave *method* as it is: nothing runs in between on an event loop."""
    return method


def gripped(leave: F) -> F:
    """Leave *leave*, a block's `__aexit__`, as it is: a task is not interrupted as a function begins."""
    return leave


def unlock(lock: Any) -> None:
    """Leave *lock* as it is: nothing is locked."""
