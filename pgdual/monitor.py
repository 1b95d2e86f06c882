"""A local socket that tells what runs in this process: for `pgdual top`, and for a collector next door.

It exists only where PGDUAL_MONITOR names a folder: each process has `<pid>.sock` in it, which its own user
alone may open. Whoever connects gets one JSON object and the end; nothing that is sent is read. A thread
answers, so a process whose event loop is stuck still does. No argument of any call is in it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["Monitor", "attend", "read"]

PATIENCE = 1.0  # seconds that either end waits for the other
_logger = logging.getLogger("pgdual.pool")


class Source(Protocol):
    """What has something to tell."""

    def _snapshot(self) -> dict[str, Any]: ...


class Monitor:
    """The socket of this process in one folder."""

    def __init__(self, folder: str) -> None:
        self._sources: WeakSet[Any] = WeakSet()
        self._pid = os.getpid()
        self._path = Path(folder) / f"{self._pid}.sock"
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # of a process that had this number before
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(os.fspath(self._path))
            self._path.chmod(0o600)
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise
        atexit.register(self.close)
        threading.Thread(target=self._serve, name="pgdual-monitor", daemon=True).start()

    def add(self, source: Source) -> None:
        """Tell of *source*, too, as long as it lives."""
        self._sources.add(source)

    def state(self) -> dict[str, Any]:
        """Return what whoever connects is told."""
        program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
        databases = [source._snapshot() for source in list(self._sources)]
        return {"pid": self._pid, "program": program, "databases": databases}

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                visitor, _ = self._socket.accept()
                with visitor, suppress(OSError, RuntimeError):  # gone, or what it reads changed meanwhile
                    visitor.settimeout(PATIENCE)
                    visitor.sendall(json.dumps(self.state()).encode())

    def close(self) -> None:
        """Answer no more, and take the socket away."""
        if self._pid != os.getpid():
            return  # P1: it is the parent's
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # to close it would leave the thread in accept() for ever
        self._socket.close()
        self._path.unlink(missing_ok=True)


_MONITORS: dict[str, Monitor | None] = {}


def _forked() -> None:
    # P1: the parent's sockets would look alive for as long as the child is, with nobody to answer.
    for monitor in _MONITORS.values():
        if monitor is not None:
            monitor._socket.close()
    _MONITORS.clear()


os.register_at_fork(after_in_child=_forked)


def attend(folder: str, source: Source) -> None:
    """Have the socket in *folder* tell of *source*; a folder that cannot be used is logged, once."""
    if folder not in _MONITORS:
        try:
            _MONITORS[folder] = Monitor(folder)
        except OSError as error:
            _MONITORS[folder] = None
            _logger.warning("[MONITOR] PGDUAL_MONITOR=%s cannot be used: %s", folder, error)
    monitor = _MONITORS[folder]
    if monitor is not None:
        monitor.add(source)


def read(folder: str) -> Iterator[dict[str, Any]]:
    """Yield what each living process with a socket in *folder* tells; a dead one's socket is removed."""
    for path in sorted(Path(folder).glob("*.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(PATIENCE)
            try:
                end.connect(os.fspath(path))
                text = b"".join(iter(lambda: end.recv(65536), b""))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
                continue
            except OSError:
                continue
        with suppress(ValueError):
            yield json.loads(text)
