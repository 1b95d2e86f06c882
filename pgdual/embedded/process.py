"""A private server as a process: its folder, its guard, its start, its end.

Three promises are kept here for both kinds of server:

- The server is a direct child, so its death is seen and reaped at once.
- `Process.wait` answers for the whole family: the server inherits a file lock, and so does every process
  it makes; when the lock can be had, none of them is left.
- Nothing survives this process: `guard.py` ends the server and removes its folder even after a SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pgdual.embedded import guard
from pgdual.errors import ConfigurationError, UsageError

LOOPBACK = "127.0.0.1"
# Below the range from which kernels number their clients (Linux 32768, macOS 49152): while a server is
# down no client can be given its port by chance, and none can connect to itself.
PORTS = range(15_000, 32_000)


def port_is_free(port: int) -> bool:
    """Return True if nothing holds this loopback port."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nothing holds now.

    Raises:
        ConfigurationError: A hundred ports tried at random were all taken.
    """
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if port_is_free(port):
            return port
    raise ConfigurationError("no free TCP port on the loopback address")


def tail(log: Path, lines: int = 20) -> str:
    """Return the last *lines* of a log file; empty if there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def children(pid: int) -> list[int]:
    """Return the ids of the processes whose parent is *pid*."""
    if Path("/proc/self/stat").exists():
        pairs = [(path.parent.name, _parent(path)) for path in Path("/proc").glob("[0-9]*/stat")]
    else:
        listing = subprocess.run(
            ["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        pairs = [(line.split()[0], line.split()[1]) for line in listing.stdout.splitlines()]
    return [int(child) for child, parent in pairs if parent == str(pid)]


def _parent(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[1]
    except OSError:  # it ended while we looked
        return ""


class Home:
    """A temporary folder that goes with its owner, even when the owner is killed.

    Args:
        number: The signal that ends the processes of this home's group when the owner is gone.
    """

    def __init__(self, number: signal.Signals = signal.SIGQUIT) -> None:
        self.path: Path = Path(tempfile.mkdtemp(prefix="pgdual-")).resolve()
        self._owner = os.getpid()
        program = [
            sys.executable,
            "-I",
            "-S",
            guard.__file__,
            str(self._owner),
            str(int(number)),
            str(self.path),
        ]
        self._guard = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            process_group=0,
        )

    @property
    def group(self) -> int:
        """The process group that servers of this home join."""
        return self._guard.pid

    @property
    def is_mine(self) -> bool:
        """False in a forked child, which must not end what its parent uses."""
        return os.getpid() == self._owner

    def close(self) -> None:
        """Remove the folder and release the guard."""
        guard.remove(self.path)
        self._guard.communicate(b".")


class Process:
    """One run of a server.

    Args:
        command: The program and its arguments; it must not fork into the background.
        home: Whose guard and lock it gets.
        log: A file that gets both outputs, appended.
        environment: All of its environment.
    """

    def __init__(self, command: Sequence[str], home: Home, log: Path, environment: dict[str, str]) -> None:
        self._lock = home.path / guard.LOCK
        with self._lock.open("wb") as held, log.open("ab") as output:
            fcntl.flock(held, fcntl.LOCK_EX)
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(held.fileno(),),
                process_group=home.group,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """True until the server's first process has ended."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server's first process, if it still runs."""
        self._popen.send_signal(number)

    def wait(self, patience: float) -> bool:
        """Return True once the server and all processes it made are gone, False after *patience* seconds."""
        if not guard.wait_until_free(self._lock, patience):
            return False
        self._popen.wait()
        return True

    def stop(self, *numbers: signal.Signals, patience: float) -> None:
        """Send the signals one after the other until all is gone, *patience* seconds apart; then SIGKILL."""
        for number in numbers:
            self.send(number)
            if self.wait(patience):
                return
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the server and to the processes it made, and wait for their end.

        Raises:
            TimeoutError: One of them was still there after 10 seconds.
        """
        self.send(signal.SIGSTOP)  # a stopped server makes no further children
        for child in children(self.pid) if self.is_running else ():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.send(signal.SIGKILL)
        if not self.wait(10.0):
            raise TimeoutError(f"processes of the server {self.pid} outlived SIGKILL")


class Server(ABC):
    """A private server: started, stopped and killed at will, gone with its owner.

    Use it as a context, or call `start` and, at the end, `close`. It listens on the loopback address
    alone, or on a unix socket alone.
    """

    NAME: str
    STOP: tuple[signal.Signals, ...]  # the polite way to end, then the quick one
    DISCARD: signal.Signals  # the quick end, when the data goes as well

    def __init__(self, *, port: int | None, socket: bool, start_timeout: float) -> None:
        self._may_move = port is None and not socket
        self._port = port or (0 if socket else free_port())
        self._socket = socket
        self._start_timeout = start_timeout
        self._home: Home | None = None
        self._process: Process | None = None

    @abstractmethod
    def _settle(self) -> None:
        """Prepare the folder; called once, before the first start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def _is_ready(self, pid: int) -> bool:
        """Return True if the process *pid*, and no other, answers."""

    @abstractmethod
    def _clear(self, pid: int) -> None:
        """Remove what the dead process *pid* left behind."""

    @property
    @abstractmethod
    def _log(self) -> Path:
        """The file that gets what the server says."""

    @property
    def home(self) -> Path:
        """The server's temporary folder.

        Raises:
            UsageError: It was never started, or is closed.
        """
        if self._home is None:
            raise UsageError(f"this {self.NAME} was never started, or is closed")
        return self._home.path

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            UsageError: It does not run.
        """
        if self._process is None or not self._process.is_running:
            raise UsageError(f"this {self.NAME} does not run")
        return self._process.pid

    @property
    def port(self) -> int:
        """The TCP port; 0 for a server on a unix socket. It stays the same over restarts."""
        return self._port

    @property
    def is_running(self) -> bool:
        """True while the server's process lives."""
        return self._process is not None and self._process.is_running

    def log_tail(self, lines: int = 20) -> str:
        """Return the last *lines* of what the server said; empty if it said nothing."""
        return tail(self._log, lines)

    def start(self) -> None:
        """Start the server and return when it answers; do nothing if it runs.

        Raises:
            ConfigurationError: The programs are missing, or the server ended or did not answer within
                the start timeout; the message has the end of its log.
        """
        if self.is_running:
            return
        self._reap()
        while not self._launch(self._home or self._move_in()):
            self._port = free_port()
        self._may_move = False

    def _move_in(self) -> Home:
        self._home = Home(self.DISCARD)
        try:
            self._settle()
        except BaseException:
            self.close()
            raise
        return self._home

    def _reap(self) -> None:
        """Wait for the last processes of an earlier run, however it ended, and clear up after it."""
        if self._process is not None:
            self._process.kill()
            self._clear(self._process.pid)
            self._process = None

    def _launch(self, home: Home) -> bool:
        """Start once; return False if it failed because another took a port that may be changed."""
        self._process = Process(self._command(), home, self._log, self._environment())
        deadline = time.monotonic() + self._start_timeout
        while self._process.is_running and time.monotonic() < deadline:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.005)
        how = "did not answer in time" if self._process.is_running else "ended at once"
        self._reap()
        if self._may_move and not port_is_free(self._port):
            return False
        raise ConfigurationError(f"{self.NAME} {how}; the end of its log:\n{self.log_tail()}")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return kept | {"LC_ALL": "C", "TZ": "UTC"}

    def stop(self, patience: float = 10.0) -> None:
        """Shut down in good order and keep the data; do nothing if it does not run.

        Args:
            patience: Seconds for the orderly end, and again for the quick one; then it is killed.
        """
        if self._process is not None:
            self._process.stop(*self.STOP, patience=patience)
            self._reap()

    def restart(self) -> None:
        """Stop in good order and start again, at the same address with the same data."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server and all its processes with SIGKILL; `start` then recovers from it."""
        self._reap()

    def close(self) -> None:
        """End the server and remove its folder; do nothing in a forked child."""
        if self._home is None or not self._home.is_mine:
            return
        self._end()
        self._home.close()
        self._home = None

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop(self.DISCARD, patience=5.0)
            self._reap()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"running as {self.pid}" if self.is_running else "not running"
        return f"<{type(self).__name__} port={self._port} {state}>"


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package without importing it, or None."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def program_folder(name: str) -> Path | None:
    """Return the folder that really holds a program of PATH, links followed, or None."""
    found = shutil.which(name)
    return Path(found).resolve().parent if found else None
