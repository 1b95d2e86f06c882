"""A psycopg connection on loan."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class AsyncBorrowed:
    """A psycopg connection on loan from the pool."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._wire: Any = None
        self._hold: Any = None  # of the watch over leaks

    async def __aenter__(self) -> Any:
        fleet = await self._database._ready_fleet()
        wire = self._wire = await fleet.borrow()
        try:
            if fleet.leak_after is not None:
                self._hold = fleet.watch.hold("connection")
            return await wire.lend()
        except BaseException:
            await wire.take_back()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wire, self._wire = self._wire, None
        if self._hold is not None:
            wire._fleet.watch.let_go(self._hold)
        await wire.take_back()
