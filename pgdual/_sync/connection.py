# Generated from pgdual/_async/connection.py by _generate.py. Do not edit.
"""psycopg's connection: how it is made, how long it waits, and what an interruption leaves of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from math import inf
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus

from pgdual.core.libpq import CONNECTING, emptied, own, unless_closed

from .runtime import INTERRUPTS, now, wait_on

_TICK = 0.1  # seconds between two looks for Ctrl-C, as psycopg has it
_PATIENCE = 0.1  # seconds that the server has to take a cancel
_HURRY = 0.5  # seconds that it has once the caller was interrupted, and for what comes then


class Bounded(psycopg.Connection[Any]):
    """psycopg's connection, which waits for so long only."""

    seconds = inf  # for each part of what is done on it (D1)
    until = inf  # when what psycopg waits for must have come
    is_late = False  # it had not, and the connection is closed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own(self)

    def wait(
        self, gen: Generator[Any, int, Any], interval: float = _TICK, timeout: float | None = None
    ) -> Any:
        """Wait as psycopg does, but past `until` have the server cancel and close the connection (D2)."""
        if timeout is not None or self.until == inf:
            return super().wait(gen, interval, timeout)
        try:
            return wait_on(gen, self.pgconn.socket, interval, max(self.until - now(), 0))
        except psycopg.errors._WaitTimeout:
            self.is_late = True
            self._cancel_soon(_PATIENCE)
            self.pgconn.finish()
            raise
        except INTERRUPTS:
            self._end_soon(gen)
            raise

    def _end_soon(self, gen: Generator[Any, int, Any]) -> None:
        # D4: as psycopg does, but it would wait for ten seconds.
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        try:
            self._cancel_soon(_HURRY)
            wait_on(gen, self.pgconn.socket, _TICK, _HURRY)
        except psycopg.errors.QueryCanceled:
            return
        except BaseException as error:  # it did not end, or the caller is interrupted once more
            self.pgconn.finish()
            if not isinstance(error, Exception):
                raise

    def begin(self) -> None:
        """Give the next part of what is done here its seconds."""
        self.until = now() + self.seconds

    def settle(self, seconds: float = _HURRY) -> None:
        """End a COPY that is left open, or what else has not been answered; a wait has no limit from here.

        Past *seconds* the connection is closed. Ctrl-C may strike in psycopg as a COPY has begun and nobody
        there ends it yet (D4).
        """
        self.until = inf
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self._cancel_soon(_PATIENCE)
            with suppress(psycopg.Error):  # whoever takes it back looks at what has become of it
                bounded(seconds, self, self.wait, emptied(self.pgconn))

    def _cancel_soon(self, seconds: float) -> None:
        with suppress(psycopg.Error, OSError):
            self.cancel_safe(timeout=seconds)


class Connection(Bounded):
    """A connection of a pool's, which tells its fleet why it could not be made."""

    backend: tuple[int, str] | None = None  # the server's process: its number, and when it began

    @classmethod
    def connect(cls, conninfo: str = "", *, fleet: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Connect as psycopg does; *fleet* hears of it, or of why it failed before the pool tries again."""
        started = now()
        CONNECTING.set(fleet)
        try:
            connection = super().connect(conninfo, **kwargs)
        except Exception as error:
            fleet.not_connected(error)
            raise error.with_traceback(None)  # noqa: B904 - psycopg's frames would keep the socket open
        fleet.connected(connection, now() - started)
        return connection

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        return unless_closed(super()._connect_gen(conninfo))

    def renew(self, context: Any) -> None:
        """Be as newly connected, in autocommit, with the adapters of *context*: nothing lent stays (L7).

        psycopg has no way to say so; what a connection is besides the session is set in its __init__.
        """
        base: Any = psycopg.Connection
        base.__init__(self, self.pgconn)
        self._adapters = AdaptersMap(context.adapters)
        self._autocommit = True

    def __del__(self, _: Any = None) -> None:
        """Say nothing: one that is open at the interpreter's exit, or of a dead loop, is no mistake (P4)."""


def bounded(seconds: float, connection: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Run *function*, which talks on *connection*: past *seconds* that is closed (psycopg.Error)."""
    connection.until = now() + seconds
    try:
        return function(*args)
    finally:
        connection.until = inf
