# Generated from pgdual/_async/listen.py by _generate.py. Do not edit.
"""Notifications, on a connection of its own.

What is sent while the connection is down is lost for good: PostgreSQL keeps notifications for nobody. So a
reconnect is told as a `Gap`, and whoever listens looks again at what the notifications were about.
"""

from __future__ import annotations

import logging
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import sql

from pgdual.core.verdict import is_final
from pgdual.errors import ClientClosedError, UsageError

from .runtime import PAUSE, now, sleep

# Source: NAMEDATALEN - 1; the server would cut a longer one off and listen to another channel.
LONGEST = 63  # bytes
_BEAT = 10.0  # seconds between looks at whether the listener was closed
_logger = logging.getLogger("pgdual.listen")


class Notification(NamedTuple):
    """What somebody sent with NOTIFY or `pg_notify`."""

    channel: str
    payload: str
    pid: int  # the server's process that sent it


class Gap(NamedTuple):
    """The connection was lost and is back: notifications of the time between are lost."""

    seconds: float  # how long nobody listened


class Listener:
    """An iterator of notifications: `Notification`, or `Gap` after a reconnect."""

    def __init__(self, database: Any, channels: tuple[str, ...]) -> None:
        if not channels:
            raise UsageError("listen() needs a channel")
        for channel in channels:
            is_name = isinstance(channel, str) and 0 < len(channel.encode()) <= LONGEST
            if not is_name or "\0" in channel:
                raise UsageError(f"{channel!r:.80} is no channel: give a name of up to {LONGEST} bytes")
        self._database = database
        self._channels = channels
        self._loan: Any = None
        self._connection: Any = None
        self._lost: float | None = None  # when the connection went
        self._heard: deque[Notification] = deque()
        self._is_closed = False

    def next(self, timeout: float | None = None) -> Notification | Gap | None:
        """Return the next notification, or None if none came within *timeout* seconds.

        Raises:
            ClientClosedError: The listener was closed.
            psycopg.Error: The connection cannot be made, and never will be; or not at first.
        """
        limit = None if timeout is None else now() + timeout
        while not self._heard:
            if self._connection is None:
                gap = self._connect(limit)
                if gap is not None:
                    return gap
            left = _BEAT if limit is None else min(max(limit - now(), 0), _BEAT)
            if self._connection is not None:
                self._hear(left)
            if not self._heard and limit is not None and now() >= limit:
                return None
        return self._heard.popleft()

    def _hear(self, seconds: float) -> None:
        connection = self._connection
        try:
            arriving = connection.notifies(timeout=seconds, stop_after=1)
            heard = [Notification(one.channel, one.payload, one.pid) for one in arriving]
        except psycopg.OperationalError as error:
            if self._is_closed:
                raise self._closed() from None
            _logger.warning("[LISTEN] %s: the connection was lost: %s", self._database.name, error)
            self._lost = now()
            self._drop()
            return
        self._heard.extend(heard)

    def open(self) -> None:
        """Listen from now on; without it the first `next` does."""
        if self._connection is None:
            self._connect(None)

    def _connect(self, limit: float | None) -> Gap | None:
        from .schema_lock import Direct  # noqa: PLC0415 - it stands on the database, as this does

        while True:
            if self._is_closed:
                raise self._closed()
            loan = Direct(self._database, self._database._database_settings())
            try:
                connection = loan.__enter__()
                self._loan = loan
                for channel in self._channels:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                self._connection = connection
            except psycopg.OperationalError as error:
                self._drop()
                if self._lost is None or is_final(error):
                    raise
            except BaseException:
                self._drop()
                raise
            else:
                gap = None if self._lost is None else Gap(now() - self._lost)
                self._lost = None
                return gap
            if limit is not None and now() >= limit:
                return None
            sleep(PAUSE)

    def _drop(self) -> None:
        loan, self._loan, self._connection = self._loan, None, None
        if loan is not None:
            loan.__exit__(None, None, None)

    def close(self) -> None:
        """Listen no more."""
        self._is_closed = True
        self._drop()

    def _closed(self) -> ClientClosedError:
        return ClientClosedError(f"the listener on {self._database.name!r} was closed")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notification | Gap:
        found = self.next()
        assert found is not None  # without a time limit it waits
        return found

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "lost" if self._connection is None else "open"
        return f"<{type(self).__name__} {self._database.name} {', '.join(self._channels)} {state}>"
