"""A physical standby of a private server: it streams, answers reads, and takes over when promoted."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Final

from pgdual.embedded import Postgres
from pgdual.embedded.postgres import find_postgres
from pgdual.embedded.process import LOOPBACK
from tests._sync.clients import first, outside
from tests._sync.runtime import wait_until

__all__ = ["Standby", "both", "caught_up", "lost_at_once", "missing", "promote", "synchronous"]

_NAME: Final = "standby"
_COPY: Final = "pg_basebackup"


class Standby(Postgres):
    """A streaming copy of *primary*, made at its first start."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__(primary.settings)
        self._primary = primary

    def _settle(self) -> None:
        source = f"host={LOOPBACK} port={self._primary.port} user=postgres"
        options = ["-X", "stream", "-c", "fast", "--no-sync"]
        subprocess.run(
            [find_postgres() / _COPY, "-D", self.data, "-d", source, *options],
            env=self._environment(),
            capture_output=True,
            check=True,
        )
        (self.data / "server.log").unlink()  # the primary's
        (self.data / "standby.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{source} application_name={_NAME}'\n")


def missing() -> str:
    """Return why no standby can be made here; "" if one can."""
    return "" if os.access(find_postgres() / _COPY, os.X_OK) else f"this PostgreSQL comes without {_COPY}"


def both(primary: Postgres, standby: Postgres, database: str) -> str:
    """Return the DSN that leads to whichever of the two takes writes."""
    hosts = f"{LOOPBACK}:{primary.port},{LOOPBACK}:{standby.port}"
    return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"


def synchronous(primary: Postgres) -> None:
    """Have *primary* acknowledge a commit once its standby has it, and not before."""
    outside(primary.dsn, f"alter system set synchronous_standby_names = '{_NAME}'")
    outside(primary.dsn, "select pg_reload_conf()")
    wait_until(lambda: first(primary.dsn, "select sync_state from pg_stat_replication") == "sync")


def caught_up(primary: Postgres, standby: Postgres) -> None:
    """Return once *standby* shows everything that *primary* has done."""
    position = first(primary.dsn, "select pg_current_wal_lsn()::text")
    replayed = f"select pg_last_wal_replay_lsn() >= '{position}'"
    wait_until(lambda: first(standby.dsn, replayed))


def lost_at_once(server: Postgres) -> None:
    """End *server* by its immediate shutdown: no backend says a word."""
    os.kill(server.pid, signal.SIGQUIT)
    server.stop()


def promote(standby: Postgres) -> None:
    """Have *standby* take over; return once it takes writes."""
    outside(standby.dsn, "select pg_promote(wait => false)")
    wait_until(lambda: writable(standby))


def writable(server: Postgres) -> bool:
    """Return whether *server* takes writes now."""
    return not first(server.dsn, "select pg_is_in_recovery()")
