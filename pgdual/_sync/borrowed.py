# Generated from pgdual/_async/borrowed.py by _generate.py. Do not edit.
"""A psycopg connection on loan."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Borrowed:
    """A psycopg connection on loan from the pool."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._wire: Any = None
        self._hold: Any = None  # of the watch over leaks

    def __enter__(self) -> Any:
        fleet = self._database._ready_fleet()
        wire = self._wire = fleet.borrow()
        try:
            if fleet.leak_after is not None:
                self._hold = fleet.watch.hold("connection")
            return wire.lend()
        except BaseException:
            wire.take_back()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wire, self._wire = self._wire, None
        if self._hold is not None:
            wire._fleet.watch.let_go(self._hold)
        wire.take_back()
