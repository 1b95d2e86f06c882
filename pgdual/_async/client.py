"""Every configured database, opened and closed together."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from ..settings import Database, Settings, get_config
from .db import AsyncDB


class AsyncClient:
    """The databases of one set of settings; `client["main"]` is one of them.

    A database without a DSN raises when it is used, not before.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or get_config()
        self._databases = {str(name): AsyncDB(str(name), self._settings) for name in self._settings.databases}

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings

    def __getitem__(self, database: Database | str) -> AsyncDB:
        """Return one database.

        Raises:
            UnknownDatabaseError: None has this name; the message lists those that there are.
        """
        found = self._databases.get(str(database))
        if found is None:
            self._settings.database(database)
            raise KeyError(database)
        return found

    async def open(self) -> None:
        """Open the pools of all configured databases and wait for a connection of each."""
        for name in self._settings.configured:
            await self[name].open()

    async def close(self) -> None:
        """Close every pool, after the calls in flight or the grace period."""
        for database in self._databases.values():
            await database.close()

    async def health_check(self) -> dict[str, dict[str, Any]]:
        """Return the health of every configured database by its name."""
        return {name: await self[name].health_check() for name in self._settings.configured}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._databases)}>"
