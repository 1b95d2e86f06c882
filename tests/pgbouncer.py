"""A private PgBouncer in transaction mode, in front of a private PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdual.embedded.postgres import AS_SOMEBODY
from pgdual.embedded.process import LOOPBACK, Server

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
SETTINGS = """\
[databases]
* = host={host} port={behind} user=postgres
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


class PgBouncer(Server):
    """A pooler with *size* connections to the server on port *behind*."""

    NAME = "PgBouncer"
    STOP = (signal.SIGTERM,)
    DISCARD = signal.SIGTERM

    def __init__(self, behind: int, size: int) -> None:
        if PROGRAM is None:
            pytest.skip("PgBouncer is not installed (Debian's package pgbouncer)")
        super().__init__(port=None, socket=False, start_timeout=10.0)
        self._behind, self._size = behind, size

    def through(self, dsn: str) -> str:
        """Return *dsn* with the way through this pooler."""
        parts = conninfo_to_dict(dsn)
        parts["port"] = str(self.port)
        return make_conninfo("", **parts)

    @property
    def _log(self) -> Path:
        return self.home / "server.log"

    def _settle(self) -> None:
        """Nothing is needed before the start."""

    def _command(self) -> list[str]:
        settings = self.home / "pgbouncer.ini"
        settings.write_text(
            SETTINGS.format(host=LOOPBACK, behind=self._behind, port=self.port, size=self._size)
        )
        prefix = AS_SOMEBODY if os.getuid() == 0 else []  # it refuses to run as root
        return [*prefix, str(PROGRAM), str(settings)]

    def _is_ready(self, pid: int) -> bool:
        try:
            with psycopg.connect(
                host=LOOPBACK, port=self.port, user="postgres", dbname="postgres", connect_timeout=2
            ) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _clear(self, pid: int) -> None:
        """Nothing is left behind."""
