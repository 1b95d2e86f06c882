# Generated from pgdual/_async/client.py by _generate.py. Do not edit.
"""Every configured database, opened and closed together."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from pgdual.settings import Database, Settings, get_config

from . import runtime
from .db import DB
from .runtime import GRACE, within


class Client:
    """The databases of one set of settings; `client["main"]` is one of them.

    A database without a DSN raises when it is used, not before.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        self._databases: dict[str, DB] = {}

    @property
    def settings(self) -> Settings:
        """The settings that were given, or those of the environment, read when they are first asked for."""
        return get_config() if self._given is None else self._given

    def __getitem__(self, database: Database | str) -> DB:
        """Return one database.

        Raises:
            UnknownDatabaseError: None has this name; the message lists those that there are.
        """
        name = str(database)
        if name not in self._databases:
            self.settings.database(name)
        return self.named(name)

    def named(self, name: str) -> DB:
        """Return one database without asking the settings, which say more when it is used."""
        found = self._databases.get(name)
        if found is None:
            found = self._databases[name] = DB(name, lambda: self.settings)
        return found

    def open(self) -> None:
        """Open the pools of all configured databases and wait for a connection of each."""
        for name in self.settings.configured:
            self[name].open()

    def close(self) -> None:
        """Close every pool, after the calls in flight or the grace period."""
        for database in self._databases.values():
            database.close()

    def health_check(self) -> dict[str, dict[str, Any]]:
        """Return the health of every configured database by its name; they are asked at the same time."""
        names = self.settings.configured
        reports = runtime.together([self[name].health_check for name in names])  # R1
        return dict(zip(names, reports, strict=True))

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self._shut()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()

    def _shut(self) -> None:
        # D4: in a scope of anyio's that is cancelled, whatever is not shielded is cancelled at once.
        if self._databases:
            within((self.settings.close_grace + GRACE) * len(self._databases), self.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._databases) or 'unused'}>"
