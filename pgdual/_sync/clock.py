# Generated from pgdual/_async/clock.py by _generate.py. Do not edit.
"""The time limit of work on psycopg's own connection, which waits without one."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any

import psycopg

from pgdual.core.libpq import shut_down

from . import runtime
from .runtime import critical, now, sleep

_TICK = 0.1  # seconds between two looks; D2: an error comes within 0.25 s of its deadline
_PATIENCE = 0.1  # seconds that the server has to take a cancel


class Clock:
    """So many seconds for each part of the work (D1); while the caller's own code runs it stands still.

    Past them the server is asked to cancel and the connection is shut down, so that the wait ends
    whatever the server does (D2): the connection is lost.
    """

    is_over = False
    _is_ending = False

    def __init__(self, connection: Any, seconds: float) -> None:
        self.lock = runtime.Guard()
        self._connection = connection
        self._seconds = seconds
        self._until = now() + seconds
        self._keeper = None if seconds == inf else runtime.Keeper(min(_TICK, seconds), self._look)

    @critical
    def begin(self) -> None:
        """Give the next part its seconds."""
        self._until = now() + self._seconds

    @critical
    def stand(self) -> None:
        """Stand still until the next part."""
        self._until = inf

    @critical
    def _look(self) -> None:
        if now() >= self._until:
            self._until = inf
            self.is_over = self._is_ending = True
            runtime.background(self._end)

    def _end(self) -> None:
        try:
            with suppress(psycopg.Error, OSError):
                self._connection.cancel_safe(timeout=_PATIENCE)
        finally:
            shut_down(self._connection.pgconn)
            self._is_ending = False

    def stop(self) -> None:
        """Look no more; nothing touches the connection after that."""
        self.stand()
        if self._keeper is not None:
            self._keeper.stop()
        while self._is_ending:
            sleep(0.002)
