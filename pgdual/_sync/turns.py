# Generated from pgdual/_async/turns.py by _generate.py. Do not edit.
"""Whose turn it is in one transaction.

Statements of several tasks take turns under one lock. A block that one task has opened inside of the
transaction keeps out the others until it ends, for its rollback would undo what they did meanwhile (T3).
"""

from __future__ import annotations

from math import inf
from typing import Any

from pgdual.errors import QueryTimeoutError

from . import runtime
from .lock import Lock
from .runtime import now, owner


class Turns:
    """The tasks that work in one transaction of *database*, one at a time."""

    def __init__(self, database: str) -> None:
        self.blocks: list[Any] = []  # the inner ones that are open, the innermost last
        self._database = database
        self.lock = Lock()  # whoever has it has the turn; free to be grabbed while no block is open

    @property
    def is_taken(self) -> bool:
        """True if somebody has the turn."""
        return self.lock.locked()

    def take(self, block: Any, seconds: float) -> None:
        """Wait for the turn of *block*, or of the transaction itself where it is None.

        Raises:
            QueryTimeoutError: It did not come within *seconds*.
        """
        limit = now() + seconds
        while True:
            other = self._stranger(block)
            lock = self.lock if other is None else other.gate
            if not runtime.hold(lock, limit - now()):
                raise QueryTimeoutError(
                    f"{self._database}: another task or thread kept the transaction past the time limit",
                    "not sent",
                )
            if other is None and self._stranger(block) is None:
                return
            lock.release()

    def _stranger(self, block: Any) -> Any:
        """The inner block that keeps *block*'s calls out: one that somebody else has opened beside it."""
        if not self.blocks or block is None:
            return None
        innermost = self.blocks[-1]
        if innermost is block or innermost.owner in (owner(), block.owner):
            return None  # ours, or around the block that we were handed
        return innermost

    def shut(self, block: Any) -> None:
        """Have *block* keep strangers out until it is opened; who opens it has the turn."""
        runtime.hold(block.gate, inf)
        self.blocks.append(block)

    def open(self, block: Any) -> None:
        """Have *block*, which has ended, keep nobody out any more."""
        self.blocks.remove(block)
        block.gate.release()
