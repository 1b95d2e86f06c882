"""Names of hosts that can be made to resolve, to be unknown, or to keep who asks waiting."""

from __future__ import annotations

import socket
import threading
from typing import Any, Final

import pytest

__all__ = ["NAME", "Names"]

NAME: Final = "db.pgdual.test"  # RFC 6761: no resolver in the world knows it
_REASONS: Final = {
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_AGAIN: "Temporary failure in name resolution",
}


class Names:
    """The resolver as psycopg asks it, on both faces: by `socket.getaddrinfo`, in whichever thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address = "127.0.0.1"
        self.asked = 0  # how often
        self._error = 0
        self._answering = threading.Event()
        self._answering.set()
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def forget(self, error: int = socket.EAI_NONAME) -> None:
        """Do not know NAME any more, and answer with *error*."""
        self._error = error

    def hang(self) -> None:
        """Answer nobody who asks for NAME."""
        self._answering.clear()

    def know(self) -> None:
        """Know NAME again, and answer."""
        self._error = 0
        self._answering.set()

    def _look_up(self, host: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return self._resolve(host, *args, **options)
        self.asked += 1
        self._answering.wait(60.0)
        if self._error:
            raise socket.gaierror(self._error, _REASONS[self._error])
        return self._resolve(self.address, *args, **options)
