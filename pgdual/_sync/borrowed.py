# Generated from pgdual/_async/borrowed.py by _generate.py. Do not edit.
"""A psycopg connection on loan."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .runtime import CUTS, gripped, owner


class Borrowed:
    """A psycopg connection on loan from the pool."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._wire: Any = None
        self._hold: Any = None  # of the watch over leaks
        self.grip: Any = None  # on the block of a thread's (`core.scope`)
        self.owner: Any = None

    @property
    def is_left(self) -> bool:
        """True if its `with` statement is over, and nobody has given the connection back (D4)."""
        return self._wire is not None and self.grip is not None and self.grip() is None

    def __enter__(self) -> Any:
        if self.grip is not None and self.grip() is None:
            self.grip = None  # somebody has looked `__exit__` up who does not hold it
        self.owner = owner()
        fleet = self._database._ready_fleet()
        try:
            wire = self._wire = fleet.borrow(self)
            try:
                if fleet.leak_after is not None:
                    self._hold = fleet.watch.hold("connection")
                return wire.lend()
            except BaseException:
                wire.take_back()
                raise
        except CUTS:
            self._cut_off(fleet)
            raise

    @gripped
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wire = self._wire
        try:
            self._wire = None
            if self._hold is not None:
                wire._fleet.watch.let_go(self._hold)
            wire.take_back()
        except CUTS:
            self._cut_off(wire._fleet)
            raise

    def _cut_off(self, fleet: Any) -> None:
        if self._hold is not None:
            fleet.watch.let_go(self._hold)
        fleet.recover(self)
