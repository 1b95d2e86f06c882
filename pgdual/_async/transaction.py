"""Transactions and savepoints: the blocks.

A block inside a block is a savepoint (T4). The innermost block of the running task is found through
`core.scope`; what a block runs goes through its `session`, which has the wire.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Self

from pgdual.core.job import Job, begin
from pgdual.core.replay import Log
from pgdual.core.statement import Kind, Statement, check_place
from pgdual.errors import TransactionClosedError, UsageError

from . import runtime
from .bulk.calls import AsyncBulk
from .call import DEFAULT
from .queries import Timeout
from .runtime import CUTS, SCOPE, gripped, now, owner_in
from .session import AsyncSession

Isolation = Literal["read committed", "repeatable read", "serializable"]
_READ, _WRITE = Kind.READ, Kind.WRITE
_LEVELS = ("read committed", "repeatable read", "serializable")


class AsyncTransaction(AsyncBulk):
    """One block: a transaction, or a savepoint in the one that is open already.

    Its calls may be made from any task; they take turns. `db.fetch(...)` in the task that opened the
    block joins it.
    """

    # Defaults live on the class: an outermost block, which is most of them, sets few others.
    grip: Any = None  # on a block of a thread's (`core.scope`)
    _hold: Any = None  # of the watch over leaks
    _replays = 0
    _session: Any = None
    _outer: AsyncTransaction | None = None
    _frame: Any = None
    _started = 0.0
    owner: Any = None
    # What its session looks at, where it is a savepoint.
    gate: Any = None  # a lock that is held while it is open
    savepoint: bytes = b""
    failed_before: str | None = None

    def __init__(
        self,
        database: Any,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        replay: bool = True,
        once: bool = False,
    ) -> None:
        self._database = database
        self._statements = database._statements
        self._types = database._types
        # Most give neither, which costs no call.
        self._modes = "" if isolation is None and not deferrable else _modes(isolation, deferrable)
        self._readonly = readonly
        self._replay = replay
        self._once = once

    async def __aenter__(self) -> Self:
        if self.owner is not None:
            raise UsageError("a transaction object opens one block; call db.transaction() for another")
        database = self._database
        fleet = database._fleet_now()
        self._started, me = now(), owner_in(fleet)
        outer = self._outer or SCOPE.find(self._database, me)
        self.owner = me
        grip = self.grip
        if grip is not None and grip() is None:
            grip = self.grip = None  # somebody has looked `__exit__` up who does not hold it
        try:
            if outer is None:
                fleet = fleet or await database._ready_fleet()
                self._enter(fleet, grip)
                if fleet.leak_after is not None:
                    self._hold = fleet.watch.hold("transaction")
            else:
                await self._enter_inside(outer)
            self._frame = SCOPE.enter(self._database, self, me, grip)
        except CUTS:
            self._cut_off(self._session)
            raise
        return self

    def _enter(self, fleet: Any, grip: Any) -> None:
        log = Log(None if self._replay else "replay=False")
        session = self._session = AsyncSession(fleet, self._begin, log)
        session.grip, session.owner = grip, self.owner
        if self._once and not self._readonly:
            session.ask_with(self._statements)

    async def _enter_inside(self, outer: AsyncTransaction) -> None:
        outer._check_open()
        if self._modes or self._readonly or self._once or not self._replay:
            raise UsageError(
                "isolation, readonly, deferrable, replay and once belong to the outermost db.transaction()"
            )
        self._outer, self._session, self.gate = outer, outer._session, runtime.Lock()
        self.failed_before = self._session.failed
        self.savepoint = await self._session.enter(self, outer)

    @gripped
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        try:
            SCOPE.leave(self._frame)
            if self._outer is not None:
                await session.leave(self, error)
                return
            try:
                await session.end(error)
            finally:
                self._replays = session.replay_count
                self._measure(session.fleet, now() - self._started)
                self._frame = self._session = None  # it knows this block: no cycle for the collector
        except CUTS:
            self._cut_off(session)
            raise

    def _cut_off(self, session: Any) -> None:
        # D4: its beginning or its end was interrupted, so the rest of that will not be.
        frame = self._frame
        if frame is not None and frame.is_open:
            SCOPE.leave(frame)
        if session is not None:
            session.cut_off(None if self._outer is None else self)
            if self._hold is not None:
                session.fleet.watch.let_go(self._hold)

    async def abandon(self) -> None:
        """Undo a block that its `with` statement has left without a word (D4)."""
        if self._frame is not None:  # else it was not entered
            await self.__aexit__(None, TransactionClosedError("interrupted as the block ended"), None)

    def _measure(self, fleet: Any, seconds: float) -> None:
        fleet.meter.transaction.record(seconds)
        if seconds > fleet.long_after or self.label is not None:
            fleet.watch.ended(seconds, self.label)
        if self._hold is not None:
            fleet.watch.let_go(self._hold)

    def _begin(self, read_only: bool) -> bytes:
        return begin(read_only, self._modes, self._readonly)

    @property
    def replays(self) -> int:
        """How often everything that was said in it was said again (T5)."""
        return self._replays if self._session is None else int(self._session.replay_count)

    def transaction(
        self,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        replay: bool = True,
        once: bool = False,
    ) -> AsyncTransaction:
        """Return a savepoint in this transaction, to be entered with `with`.

        The arguments belong to the outermost block; here they are refused.
        """
        inner = AsyncTransaction(self._database, isolation, readonly, deferrable, replay, once)
        inner._outer = self
        return inner

    def _check_open(self) -> None:
        frame = self._frame
        if frame is None or not frame.is_open or self._session.is_over or frame.is_left:
            raise TransactionClosedError(
                f"the transaction on {self._database.name!r} is not open; "
                "its statements belong inside the with block"
            )

    def _run(self, job: Job, timeout: Timeout) -> Any:
        frame, session, kind = self._frame, self._session, job.statement.kind
        if frame is None or frame.grip is not None or not frame.is_open or session.is_over:
            self._check_open()
        if kind is not _READ and kind is not _WRITE:
            check_place(job.statement, in_transaction=True)
        return session.perform(self, job, timeout)

    async def _run_many(self, job: Job, timeout: Timeout) -> int:
        self._check_open()
        check_place(job.statement, in_transaction=True)
        return int(await self._session.many(self, job, timeout))

    async def _lent(
        self, statement: Statement, work: Any, is_limited: bool, timeout: Timeout = DEFAULT
    ) -> Any:
        self._check_open()
        return await self._session.lent(self, statement, work, is_limited, timeout)

    async def _session_for(self, reason: str) -> tuple[Any, AsyncTransaction]:
        self._check_open()
        return self._session, self

    def _only_once(self) -> Any:
        raise UsageError("once=True belongs to the outermost db.transaction(): its COMMIT is done once")

    def __repr__(self) -> str:
        state = "open" if self._frame is not None and self._frame.is_open else "closed"
        return f"<{type(self).__name__} {self._database.name} {state}>"


def _modes(isolation: str | None, deferrable: bool) -> str:
    if isolation is not None and isolation not in _LEVELS:
        raise UsageError(f"isolation={isolation!r}: give one of {', '.join(map(repr, _LEVELS))}")
    level = "" if isolation is None else f" ISOLATION LEVEL {isolation.upper()}"
    return level + (" DEFERRABLE" if deferrable else "")
