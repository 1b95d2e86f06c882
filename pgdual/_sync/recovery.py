# Generated from pgdual/_async/recovery.py by _generate.py. Do not edit.
"""Wires that an interruption has left in nobody's hands (D4).

In a thread Ctrl-C strikes between any two lines. A wire that is not idle has a `load`, and a block that has
one is its `holder`; what an interruption has left in another state is seen by that, and put right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import runtime
from .runtime import critical, now
from .supply import Supply
from .wire import Wire


class Recovery(Supply):
    """The wires of one database, each of which is idle, in somebody's hands, or to be mended."""

    is_left = False  # it is the holder of a wire that is to be mended, and no block
    _left: frozenset[Any] = frozenset()  # the blocks that were seen left a while ago

    def mend(self, wire: Any) -> None:
        """Clean a free wire, or close it."""
        raise NotImplementedError

    def cut_short(self, found: Any) -> None:
        """Give back the wire that a caller would have got, had he not been interrupted."""
        if isinstance(found, Wire):
            found.release()

    def recover(self, holder: Any) -> None:
        """Have every wire where it belongs, after an interruption in the midst of it.

        Args:
            holder: Who was interrupted; what he still has is closed.
        """
        runtime.unlock(self.lock)
        self._recover(holder)

    @critical
    def _recover(self, holder: Any) -> None:
        lanes = self.lanes
        for wire in list(lanes.wires):
            if wire.holder is holder and wire.load:
                wire.lose(InterruptedError("interrupted as it was given back"))
            elif wire.holder is self:
                self.mend(wire)
            elif not wire.load and wire not in lanes.idle:
                lanes.offer(wire, now())

    def end_left(self) -> None:
        """Close what blocks have that are left without an end now, and were when this was called last.

        For a moment any block is, on the way from its last line to its end.
        """
        self._left = self._end_left(self._left.__contains__)

    @critical
    def _end_left(self, is_sure: Callable[[Any], bool]) -> frozenset[Any]:
        holders = frozenset(wire.holder for wire in self.lanes.wires)
        left = frozenset(holder for holder in holders if holder is not None and holder.is_left)
        for holder in filter(is_sure, left):
            self._recover(holder)
        return left
