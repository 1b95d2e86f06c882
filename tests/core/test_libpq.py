"""What psycopg does not offer of libpq: a look that keeps the interpreter's lock, a socket shut down."""

import logging
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import psycopg
import psycopg_pool
import pytest
from psycopg import pq

from pgdual.core import libpq
from pgdual.core.libpq import CONNECTING, is_news, unless_closed
from pgdual.errors import ClientClosedError

SHARED_LIBRARY = sys.modules[pq.PGconn.__module__].__file__ or ""


def test_psycopgs_own_libpq_is_asked() -> None:
    assert pq.__impl__ == "binary", "the test extra installs psycopg[binary]"
    assert libpq.is_busy is not libpq.through_psycopg


def test_a_closed_connection_is_not_busy() -> None:
    assert not libpq.is_busy(SimpleNamespace(pgconn_ptr=None))


def test_psycopg_is_asked_where_its_library_cannot_be() -> None:
    name, instead = "PQisBusy", libpq.through_psycopg
    for path in (psycopg_pool.__file__, str(Path(SHARED_LIBRARY).with_name("nowhere.so"))):
        assert libpq.chosen(path, name, instead) is instead
    assert libpq.chosen(sys.modules["_ctypes"].__file__ or "", name, instead) is instead


def test_psycopg_answers_the_same_question() -> None:
    for answer in (True, False):
        assert libpq.through_psycopg(SimpleNamespace(is_busy=lambda answer=answer: answer)) is answer


def test_a_sync_through_psycopg_is_a_flush_too() -> None:
    log = []
    assert libpq.synced_through_psycopg(SimpleNamespace(pipeline_sync=lambda: log.append("sent")))
    assert log == ["sent"]


def test_a_sync_on_a_closed_connection_is_an_error() -> None:
    with pytest.raises(psycopg.OperationalError, match="closed"):
        libpq.send_sync(SimpleNamespace(pgconn_ptr=None))


def test_whoever_waits_for_a_socket_that_is_shut_down_hears_its_end() -> None:
    """D4: the socket reads as ended, and keeps its number; to shut down one that is closed is nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        libpq.shut_down(SimpleNamespace(socket=ours.fileno()))
        assert ours.recv(1) == b""
        assert theirs.recv(1) == b""
    libpq.shut_down(SimpleNamespace(socket=-1))


class Fleet:
    is_closed = False


def steps(log):
    """Take two steps, as an attempt to connect does, and end with what was heard."""
    try:
        heard = [(yield "read"), (yield "write")]
    finally:
        log.append("over")
    return heard


def test_an_attempt_goes_on_while_its_fleet_is_open():
    """P4: psycopg's steps are taken one by one, and their end is the attempt's."""
    CONNECTING.set(Fleet())
    log = []
    attempt = unless_closed(steps(log))
    assert (next(attempt), attempt.send(1)) == ("read", "write")
    with pytest.raises(StopIteration) as end:
        attempt.send(2)
    assert (end.value.value, log) == ([1, 2], ["over"])


def test_an_attempt_ends_with_its_fleet():
    """P4: at the next step after the fleet was closed there is no connection, and nothing left of one."""
    fleet, log = Fleet(), []
    CONNECTING.set(fleet)
    attempt = unless_closed(steps(log))
    next(attempt)
    fleet.is_closed = True
    with pytest.raises(ClientClosedError, match="closed") as caught:
        attempt.send(1)
    assert log == ["over"]
    assert [is_news(record(error)) for error in (caught.value, OSError())] == [False, True]
    assert is_news(record({"name": "one"}))


def record(argument):
    return logging.LogRecord("psycopg.pool", logging.WARNING, "", 0, "%s", (argument,), None)


def played(results):
    """Stand in for psycopg's steps, which take nothing but a connection: *results* is what comes."""

    def step(_):
        yield "look"
        return results.pop(0)

    return SimpleNamespace(send=step, fetch=step, copy_from=step)


@pytest.mark.parametrize(
    ("results", "ended"),
    [
        ([None, None], []),
        ([None, SimpleNamespace(status=pq.ExecStatus.COPY_IN), None, None], [b"interrupted"]),
        ([None, SimpleNamespace(status=pq.ExecStatus.COPY_OUT), memoryview(b"row"), "the end", None], []),
        ([None, SimpleNamespace(status=pq.ExecStatus.TUPLES_OK), None], []),
    ],
    ids=["sent", "in", "out", "answered"],
)
def test_what_an_interruption_left_is_ended(monkeypatch, results, ended) -> None:
    """D4: whatever had begun as Ctrl-C struck, all that the server says of it is read, and no more."""
    heard = []
    monkeypatch.setattr(libpq, "generators", played(results))
    for _ in libpq.emptied(SimpleNamespace(put_copy_end=heard.append)):
        pass
    assert heard == ended
    assert not results
