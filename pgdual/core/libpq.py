"""What psycopg does not offer of libpq: a look that keeps the interpreter's lock, a Sync that waits, an end.

psycopg's `is_busy` gives the lock away for a look at memory, twice a call, and a thread that others wait
beside loses its turn with it: eight of them served a third fewer calls (bench row 9). A call through
`ctypes.PyDLL` keeps the lock; on an event loop, where nobody waits, it would only be the dearer one. And
its `pipeline_sync` flushes, where libpq 17 can leave that for the last of many calls (bench row 3). A
function is looked up through psycopg's own module, so it is of the libpq that made the connection; where it
cannot be had (psycopg in pure Python, Windows) psycopg's is used.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, PGconn

from pgdual.errors import ClientClosedError

T = TypeVar("T")

_OWN: WeakSet[Any] = WeakSet()

Ask = Callable[[Any], Any]
CONNECTING: ContextVar[Any] = ContextVar("pgdual_connecting")  # the fleet that it is done for


def through_psycopg(pgconn: Any) -> Any:
    """Return whether a result of *pgconn* would have to be waited for."""
    return pgconn.is_busy()


def synced_through_psycopg(pgconn: Any) -> Any:
    """Queue a Sync, flush, and return that it went well."""
    pgconn.pipeline_sync()
    return True


def chosen(path: str, name: str, instead: Ask) -> Ask:
    """Return what calls *name* of the libpq that the library at *path* was linked with, or *instead*."""
    if path.endswith(".py"):
        return instead
    try:
        function = getattr(ctypes.PyDLL(path), name)
    except (OSError, AttributeError):
        return instead
    function.argtypes = [ctypes.c_void_p]

    def ask(pgconn: Any) -> Any:
        # Read each time: once the connection is closed it is None, which libpq takes for "no".
        return function(pgconn.pgconn_ptr)

    return ask


_PATH = getattr(sys.modules[PGconn.__module__], "__file__", None) or ".py"
is_busy: Ask = chosen(_PATH, "PQisBusy", through_psycopg)
_sync: Ask = chosen(_PATH, "PQsendPipelineSync", synced_through_psycopg)  # libpq 17


def send_sync(pgconn: Any) -> None:
    """Queue a Sync, which leaves with the next flush: psycopg's `pipeline_sync` is a flush, too.

    Raises:
        psycopg.OperationalError: The connection is gone.
    """
    if not _sync(pgconn):
        raise psycopg.OperationalError("the connection is closed")


def unless_closed(connecting: Generator[T, int, Any]) -> Generator[T, int, Any]:
    """Go on with *connecting*, psycopg's steps of an attempt to connect, until its fleet is closed (P4).

    Each tenth of a second is a step, whatever the server does.

    Raises:
        ClientClosedError: It was closed; what there was of a connection is, too.
    """
    fleet = CONNECTING.get()
    step = next(connecting)
    while True:
        ready = yield step
        if fleet.is_closed:
            connecting.close()
            raise ClientClosedError("the client was closed as it connected")
        try:
            step = connecting.send(ready)
        except StopIteration as end:
            return end.value


def emptied(pgconn: Any) -> Generator[Any, int, None]:
    """End the COPY that is open on *pgconn*, and drop what the server still says; these are psycopg's steps.

    Raises:
        psycopg.Error: The connection is lost, or the server says how a COPY to here has ended.
    """
    yield from generators.send(pgconn)
    while (result := (yield from generators.fetch(pgconn))) is not None:
        if result.status == ExecStatus.COPY_IN:
            pgconn.put_copy_end(b"interrupted")
            yield from generators.send(pgconn)
        elif result.status == ExecStatus.COPY_OUT:
            while isinstance((yield from generators.copy_from(pgconn)), memoryview):
                pass


def is_news(record: logging.LogRecord) -> bool:
    """Return whether what the pool logs is no attempt to connect that its client has ended itself."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(argument, ClientClosedError) for argument in arguments)


def shut_down(pgconn: Any) -> None:
    """Shut the socket of *pgconn* down: whoever waits for it, in any thread or task, hears that it ended.

    Closing it would wake nobody, and its number could be another connection's while it is still watched.
    """
    try:
        with socket.socket(fileno=os.dup(pgconn.socket)) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.OperationalError):
        return  # it is closed already


def own(connection: Any) -> None:
    """Count *connection* among those of this process, which a forked child takes its hands off (P1)."""
    _OWN.add(connection)


def _unplug() -> None:
    # P1: in a child its parent's connections are closed; but first their sockets are made such that lead
    # nowhere, or the server would be told. Each at its first fork only: its number may be another's later.
    connections = list(_OWN)
    _OWN.clear()
    for connection in connections:
        with suppress(OSError, psycopg.OperationalError):  # it is closed already
            number = connection.pgconn.socket
            os.close(number)  # before another is opened: there may be no more to be had
            nowhere = socket.socket(socket.AF_UNIX).detach()
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=False)
                os.close(nowhere)
            connection.pgconn.finish()


os.register_at_fork(after_in_child=_unplug)
