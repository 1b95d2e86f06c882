"""The network itself: what a control says is so when it returns."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pgdual.embedded import Postgres
from tests._sync.clients import outside
from tests._sync.runtime import wait_until

from .leaks import descriptors
from .proxy import DOWN, UP, Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it hears, one connection after the other."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # a reset ends one connection; the next may come
                    while data := connection.recv(65536):
                        if data == b"stop":
                            return
                        connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    yield port
    with socket.create_connection(("127.0.0.1", port)) as last:
        last.sendall(b"stop")
    thread.join(5)


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.sendall(b"hello")
    assert connection.recv(100) == b"hello"
    return connection


def test_freeze_and_thaw(echo: int) -> None:
    """A frozen network takes bytes and delivers none; a thawed one delivers them."""
    with Proxy(echo) as proxy, connect(proxy) as connection:
        proxy.freeze()
        connection.sendall(b"later")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as other:
            other.sendall(b"new")
            with pytest.raises(TimeoutError):
                other.recv(100)
        connection.settimeout(5)
        proxy.thaw()
        assert connection.recv(100) == b"later"


def test_reset(echo: int) -> None:
    """A reset ends a connection with a RST, also while the network is frozen."""
    with Proxy(echo) as proxy:
        for frozen in (False, True):
            with connect(proxy) as connection:
                if frozen:
                    proxy.freeze()
                proxy.reset()
                with pytest.raises(ConnectionResetError):
                    connection.recv(100)
                proxy.thaw()
        wait_until(lambda: proxy.connections() == 0)


def test_refuse_and_accept(echo: int) -> None:
    """Where nobody listens nobody connects, and who is connected stays."""
    with Proxy(echo) as proxy:
        with connect(proxy) as connection:
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
            connection.sendall(b"still")
            assert connection.recv(100) == b"still"
        proxy.accept()
        connect(proxy).close()


def test_cut(echo: int) -> None:
    """A connection ends behind the byte it was to end behind, in the direction asked for."""
    with Proxy(echo) as proxy:
        with connect(proxy) as connection:
            proxy.cut(7, DOWN)
            connection.sendall(b"abcd")
            assert connection.recv(100) == b"abcd"
            connection.sendall(b"efgh")
            assert connection.recv(100) == b"efg"
            assert connection.recv(100) == b""
            assert proxy.is_cut()
        with connect(proxy) as connection:
            proxy.cut(2, UP)
            connection.sendall(b"abcd")
            assert connection.recv(100) in {b"", b"ab"}


def test_cut_on_a_pattern(main_server: Postgres, main_dsn: str) -> None:
    """What has the pattern in it reaches the server, and its answer does not come."""
    import psycopg

    outside(main_dsn, "create table t (id int)")
    with Proxy(main_server.port) as proxy:
        with psycopg.connect(proxy.dsn(main_dsn)) as connection:
            connection.execute("insert into t values (1)")
            proxy.cut_on(b"COMMIT")
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
        wait_until(lambda: outside(main_dsn, "select id from t") == [(1,)])


def test_latency(echo: int) -> None:
    """Every byte is late by as much as was asked for, each way, and none is lost."""
    import time

    with Proxy(echo) as proxy, connect(proxy) as connection:
        proxy.latency(0.1)
        started = time.monotonic()
        connection.sendall(b"slow")
        assert connection.recv(100) == b"slow"
        assert 0.2 <= time.monotonic() - started < 2


def test_nothing_is_left(echo: int) -> None:
    """A proxy that has ended leaves no thread and no file open, whatever was on its way."""
    before = descriptors()
    with Proxy(echo) as proxy, connect(proxy) as connection:
        proxy.freeze()
        connection.sendall(b"held back")
    wait_until(lambda: descriptors() <= before)
    assert "proxy" not in {one.name for one in threading.enumerate()}
