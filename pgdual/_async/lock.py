"""Locks for tasks, one of which costs no coroutine where it is free (by hand; threads have their own)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

F = TypeVar("F", bound=Callable[..., Any])


class Lock:
    """A lock for the tasks of one event loop; who waits for it gets it in turn."""

    def __init__(self) -> None:
        self.is_taken: bool = False
        self._line: deque[asyncio.Future[None]] | None = None  # of those that wait, made for the first

    def locked(self) -> bool:
        """Return whether somebody has it."""
        return self.is_taken

    async def acquire(self) -> None:
        """Wait for it and take it."""
        if grab(self):
            return
        if self._line is None:
            self._line = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was this one's already
                self.release()
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def release(self) -> None:
        """Let the next one have it."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return  # it stays taken, or another could pass the line
        self.is_taken = False


def grab(lock: Lock) -> bool:
    """Take *lock* if that needs no waiting."""
    if lock.is_taken:
        return False
    lock.is_taken = True
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
