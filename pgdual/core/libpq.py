"""What psycopg does not offer of libpq: to look without handing the interpreter's lock over, to shut down.

psycopg's `is_busy` gives the lock away for a look at memory, twice a call, and a thread that others wait
beside loses its turn with it: eight of them served a third fewer calls (bench row 9). A call through
`ctypes.PyDLL` keeps the lock; on an event loop, where nobody waits, it would only be the dearer one. The
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
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, PGconn

from pgdual.errors import ClientClosedError

T = TypeVar("T")

IsBusy = Callable[[Any], Any]
CONNECTING: ContextVar[Any] = ContextVar("pgdual_connecting")  # the fleet that it is done for


def through_psycopg(pgconn: Any) -> Any:
    """Return whether a result of *pgconn* would have to be waited for."""
    return pgconn.is_busy()


def chosen(path: str) -> IsBusy:
    """Return what asks the libpq that the library at *path* was linked with, or `through_psycopg`."""
    if path.endswith(".py"):
        return through_psycopg
    try:
        function = ctypes.PyDLL(path).PQisBusy
    except (OSError, AttributeError):
        return through_psycopg
    function.argtypes = [ctypes.c_void_p]

    def is_busy(pgconn: Any) -> Any:
        # Read each time: once the connection is closed it is None, which libpq takes for "no".
        return function(pgconn.pgconn_ptr)

    return is_busy


is_busy: IsBusy = chosen(getattr(sys.modules[PGconn.__module__], "__file__", None) or ".py")


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
