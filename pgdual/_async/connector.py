"""What a connection is asked for, and what is done to its session before anyone has it.

Behind a transaction pooler nothing is: its sessions are other clients' too (N2).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo

from pgdual.core import backstops
from pgdual.core.libpq import is_news, shut_down
from pgdual.core.types import Types
from pgdual.errors import ClientClosedError, ConfigurationError
from pgdual.settings import DatabaseSettings

from .connection import bounded
from .runtime import GRACE, now

# Source: pg_split_opts() in PostgreSQL's postinit.c: options end at white space that has no backslash.
_SPLITS = r"[\\ \t\n\v\f\r]"
_logger = logging.getLogger("pgdual.pool")
logging.getLogger("psycopg.pool").addFilter(is_news)


class AsyncConnector:
    """How connections to one database are set up."""

    def __init__(
        self, name: str, settings: DatabaseSettings, types: Types, hooks: Sequence[Callable[[Any], Any]]
    ) -> None:
        self.name = name
        self.settings = settings
        self.types = types
        self.hooks = hooks
        self._has_hung_up = False
        self._unready: set[Any] = set()  # connections that are let in, and not ready yet
        self.pooled = settings.pooler == "transaction"
        self.unnamed = self.pooled or settings.prepared_statements == "off"
        if self.pooled and settings.search_path is not None:
            raise ConfigurationError(
                f"PG_SEARCH_PATH cannot be set for {name!r} through a transaction pooler, whose sessions are "
                "others' too; set it for the role (ALTER ROLE ... SET search_path), or write schema.table"
            )

    def configured(self) -> None:
        """Hear that a connection was made and is ready; a fleet does."""

    def not_connected(self, error: Exception) -> None:
        """Hear why a connection could not be made; a fleet does."""

    def hang_up(self) -> None:
        """End what is still waited for until a connection is ready (P4)."""
        self._has_hung_up = True
        for connection in list(self._unready):
            shut_down(connection.pgconn)

    def conninfo(self) -> str:
        """Return what to connect with now: a rotated password or DSN is taken up."""
        try:
            return self._conninfo()
        except Exception as error:  # a function of the user's, too
            self.not_connected(error)
            raise

    def _conninfo(self) -> str:
        conninfo = self.settings.conninfo()
        if self.settings.search_path is None:
            return conninfo
        # In the startup packet, so that DISCARD ALL brings it back (L7).
        parts = conninfo_to_dict(conninfo)
        path = re.sub(_SPLITS, r"\\\g<0>", self.settings.search_path)
        parts["options"] = f"{parts.get('options') or ''} -c search_path={path}".strip()
        return make_conninfo("", **parts)

    async def configure(self, connection: Any) -> None:
        """Make a new connection ready, within as long again as connecting itself may take."""
        patience = timeout_from_conninfo(connection.info.get_parameters())
        limit = now() + patience
        self._unready.add(connection)
        try:
            await bounded(patience, connection, self._configure, connection)
        except BaseException as error:
            await connection.close()
            if self._has_hung_up:
                raise ClientClosedError("the client was closed as it connected") from None
            if isinstance(error, psycopg.OperationalError) and now() >= limit:
                error = psycopg.OperationalError(f"no answer within {patience} s of being let in")
            if isinstance(error, Exception):
                self.not_connected(error)
            raise
        finally:
            self._unready.discard(connection)
        self.configured()

    async def _configure(self, connection: Any) -> None:
        if not self.pooled:
            await self._look_for_pooler(connection)
        await self._dress(connection)

    async def _dress(self, connection: Any) -> None:
        if self.pooled:
            connection.prepare_threshold = None
        else:
            await self._set_backstops(connection)
        for hook in self.hooks:
            await hook(connection)

    async def _set_backstops(self, connection: Any) -> None:
        # D3. Not in the startup packet: a pooler that nobody named would refuse it.
        everywhere, somewhere = backstops.session(self.settings.command_timeout)
        await connection.execute(everywhere)
        with suppress(psycopg.errors.InvalidParameterValue):  # of a system that cannot do it
            await connection.execute(somewhere)

    async def _look_for_pooler(self, connection: Any) -> None:
        # N2: what a pooler gives a client for its process id is not that of the server's process.
        cursor = await connection.execute(backstops.BACKEND)
        pid, begun = await cursor.fetchone()
        if pid == connection.pgconn.backend_pid:
            connection.backend = (pid, begun)
            return
        self.pooled = self.unnamed = True
        _logger.warning(
            "[POOLER] %s is reached through a pooler; its sessions are left as they are. "
            "Set PG_POOLER=transaction to say so, or give a DSN that leads past it",
            self.name,
        )

    async def reset(self, connection: Any) -> None:
        """Make a session as new that comes back from somebody who asked the pool itself."""
        await bounded(GRACE, connection, self.renew, connection)

    async def renew(self, connection: Any) -> None:
        """Make a session as new: nothing of its last user stays, on the server or in psycopg (L7)."""
        connection.renew(self.types)
        if not self.pooled:
            await connection.execute("DISCARD ALL")
        connection.renew(self.types)  # a notification may have come with the answer
        await self._dress(connection)
