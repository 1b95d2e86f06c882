"""Which transaction a call is in: one frame an open block, carried in a ContextVar.

A frame names its database, so `vb_db` inside `db.transaction()` does not see it (R2), and its owner, so
a child task that inherited the context is told instead of mixing its statements into the parent's
transaction (T3). Each face has a `Scope` of its own: neither leaks into the other.

A block may end in another context than it began in (a fixture, a yield dependency, a generator), where
the variable cannot be reset; so a frame also knows whether it is open, and closed frames are passed over.

In a thread Ctrl-C may strike as `__exit__` begins, before a line of it has run. So a frame has a *grip*: a
weak reference to what the `with` statement holds to leave the block by, and drops as it leaves it, in
whatever way. A frame that is open and has lost it was left like this, and who finds it ends it (D4).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from pgdual.errors import TransactionClosedError, TransactionOwnerError

Grip = Callable[[], object]  # returns None once the block was left


class Frame:
    """One open transaction block."""

    __slots__ = ("database", "grip", "is_open", "outer", "owner", "transaction")

    def __init__(
        self, database: Any, transaction: Any, owner: Any, outer: Frame | None, grip: Grip | None
    ) -> None:
        self.database: Any = database
        self.transaction: Any = transaction
        self.owner: Any = owner
        self.outer: Frame | None = outer
        self.grip: Grip | None = grip
        self.is_open: bool = True

    @property
    def is_left(self) -> bool:
        """True if its `with` statement is over, and nobody has ended it."""
        return self.is_open and self.grip is not None and self.grip() is None


class Scope:
    """The blocks that the running code is inside of."""

    def __init__(self, name: str) -> None:
        self._frames: ContextVar[Frame | None] = ContextVar(name, default=None)
        self.get: Callable[[], Frame | None] = self._frames.get

    def enter(self, database: Any, transaction: Any, owner: Any, grip: Grip | None = None) -> Frame:
        """Open a block of *transaction* on *database* that belongs to *owner*; see above for its *grip*."""
        frame = Frame(database, transaction, owner, self._innermost(owner), grip)
        self._frames.set(frame)
        return frame

    def _innermost(self, owner: Any) -> Frame | None:
        # Blocks of this owner that ended in another context are forgotten here.
        frame = self._frames.get()
        while frame is not None and not frame.is_open and frame.owner == owner:
            frame = frame.outer
        return frame

    def leave(self, frame: Frame) -> None:
        """Close the block, in whichever context it ends."""
        frame.is_open = False
        self._frames.set(self._innermost(frame.owner))

    def find(self, database: Any, owner: Any) -> Any:
        """Return the innermost open transaction on *database*, or None outside of one.

        Raises:
            TransactionOwnerError: It belongs to another task or thread.
            TransactionClosedError: It was inherited from another task or thread and has ended since.
        """
        frame = self._frames.get()
        if frame is not None and not frame.is_open:
            frame = self._innermost(owner)
            self._frames.set(frame)  # what is started from here on does not inherit it
        while frame is not None:
            if frame.database is database:
                if frame.owner != owner:
                    raise _foreign(frame)
                if frame.is_open:
                    grip = frame.grip
                    if grip is None or grip() is not None:
                        return frame.transaction
                    frame.is_open = False
                    frame.transaction.abandon()
            frame = frame.outer
        return None


def _foreign(frame: Frame) -> Exception:
    name = frame.database.name
    if not frame.is_open:
        return TransactionClosedError(
            f"this task or thread was started inside a transaction on {name!r} that has ended; start it "
            "outside of the block, or in a fresh context (contextvars.Context().run)"
        )
    return TransactionOwnerError(
        f"the transaction on {name!r} belongs to the task or thread that opened it. To work in it from "
        "another one, hand over the object of `with ... as tx` and call tx.fetch(...): its calls take turns. "
        "For a time limit use asyncio.timeout() (asyncio.wait_for makes a child task on Python 3.11)"
    )
