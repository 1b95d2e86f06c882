"""Transactions and savepoints.

BEGIN costs no round trip: it travels in one Sync group with the first statement (T2). A block inside a
block is a savepoint (T4). The innermost block of the running task is found through `core.scope`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from types import TracebackType
from typing import Any, Literal, Self

import psycopg

from pgdual.core.pipeline import MANY, Job, command
from pgdual.core.statement import Kind, Statement, check_place
from pgdual.errors import (
    OutcomeUnknownError,
    QueryCanceled,
    QueryTimeoutError,
    TransactionClosedError,
    TransactionFailedError,
    UsageError,
)

from . import runtime
from .call import explain, limit_of
from .queries import AsyncQueries, Timeout
from .runtime import INTERRUPTS, SCOPE, now, owner

Isolation = Literal["read committed", "repeatable read", "serializable"]
_LEVELS = ("read committed", "repeatable read", "serializable")
# How long COMMIT or ROLLBACK may take after the caller was cancelled (D4).
GRACE = 5.0  # seconds


class _Session:
    """The wire of one transaction, shared by its savepoints."""

    def __init__(self, fleet: Any, begin: str) -> None:
        self.fleet = fleet
        self.begin = begin
        self.wire: Any = None
        self.lock = runtime.Lock()
        self.pending: tuple[bytes, ...] = ()
        self.begun = False
        self.failed: str | None = None
        self.savepoints = 0

    async def take_wire(self) -> None:
        fleet = self.fleet
        started = now()
        wire = fleet.place_alone() or await fleet.acquire(None, started)
        self.wire = wire
        if wire.read_only and "READ" not in self.begin:
            self.begin += " READ WRITE"
        self.pending = (self.begin.encode(), *self.pending)

    async def perform(self, job: Job, timeout: Timeout) -> Any:
        """Run one statement on the transaction's wire."""
        fleet = self.fleet
        job.started = now()
        limit = limit_of(fleet, timeout)
        async with self.lock:
            if self.wire is None:
                await self.take_wire()
            job.deadline = now() + limit
            return await self._send(job)

    async def _send(self, job: Job) -> Any:
        fleet, wire, statement = self.fleet, self.wire, job.statement
        self._check_wire()
        try:
            if statement.kind is Kind.SCRIPT:
                await self.flush(job.deadline)
            elif statement.types is None:
                prelude = self._take_pending()
                await fleet.describe(wire, statement, job.deadline, prelude)
            if job.arguments:
                job.encode(fleet.types)
            if statement.leaves_traces:
                wire.dirty = True
            job.prelude = self._take_pending()
            job.sent = now()
            return await wire.answer(job)
        except INTERRUPTS:
            wire.forsake(job)
            raise
        except UsageError:
            raise
        except Exception as error:
            raise self._noted(job, error) from None

    def _check_wire(self) -> None:
        if self.wire.dead:
            raise psycopg.OperationalError(
                f"the connection of this transaction on {self.fleet.name!r} was lost; it was rolled back"
            )

    def _take_pending(self) -> tuple[bytes, ...]:
        pending, self.pending = self.pending, ()
        self.begun = self.begun or bool(pending)
        return pending

    def _noted(self, job: Job, error: Exception) -> Exception:
        explain(self.fleet.name, job, error)
        self.fleet.meter.errors += 1
        if self.failed is None:
            self.failed = f"{job.statement.sql}: {error}"
        if isinstance(error, QueryCanceled) and job.expired:
            return QueryTimeoutError(
                f"{self.fleet.name}: {job.statement.sql}: cancelled at its time limit", "rolled back"
            )
        return error

    async def flush(self, deadline: float = inf) -> None:
        """Send what waits for a statement to travel with: BEGIN, SAVEPOINT."""
        pending = self._take_pending()
        for text in pending:
            await self.fleet.step(self.wire, command(text), deadline)

    async def many(self, statement: Statement, rows: Iterable[Sequence[Any]], timeout: Timeout) -> int:
        """Run one statement for each of *rows*."""
        fleet = self.fleet
        limit = limit_of(fleet, timeout)
        async with self.lock:
            if self.wire is None:
                await self.take_wire()
            self._check_wire()
            deadline = now() + limit
            if statement.types is None:
                await fleet.describe(self.wire, statement, deadline, self._take_pending())
            job = Job(MANY, statement)
            job.deadline = deadline
            job.value = 0
            job.prelude = (*self._take_pending(), b"SAVEPOINT pgdual_many")
            self.begun = True
            if statement.leaves_traces:
                self.wire.dirty = True
            try:
                return int(
                    await self.wire.answer_many(
                        job,
                        rows,
                        (b"RELEASE pgdual_many",),
                        (b"ROLLBACK TO pgdual_many", b"RELEASE pgdual_many"),
                    )
                )
            except INTERRUPTS:
                self.wire.forsake(job)
                raise
            except UsageError:
                raise
            except Exception as error:
                raise self._noted(job, error) from None

    async def savepoint(self) -> str:
        """Open a savepoint with the next statement and return its name."""
        self.savepoints += 1
        name = f"pgdual_{self.savepoints}"
        self.pending = (*self.pending, f"SAVEPOINT {name}".encode())
        return name

    def unsent(self, name: str) -> bool:
        """Take back a savepoint that no statement has needed; False if it was sent."""
        text = f"SAVEPOINT {name}".encode()
        if text not in self.pending:
            return False
        self.pending = tuple(item for item in self.pending if item != text)
        return True

    async def say(self, *texts: str) -> str:
        """Run commands of pgdual's own, one after the other; return the last one's status."""
        status = ""
        for text in texts:
            status = await self.fleet.step(
                self.wire, command(text.encode()), now() + self.fleet.command_timeout
            )
        return status

    async def commit(self) -> None:
        """End the transaction well.

        Raises:
            TransactionFailedError: A statement in it had failed: COMMIT answered ROLLBACK (T1).
            OutcomeUnknownError: The connection was lost before COMMIT was answered.
        """
        if self.wire is None or not self.begun:
            return
        self._check_wire()
        wire = self.wire
        job = command(b"COMMIT")
        try:
            status = await runtime.within(
                GRACE + self.fleet.command_timeout,
                self.fleet.step(wire, job, now() + self.fleet.command_timeout),
            )
        except (psycopg.OperationalError, QueryTimeoutError) as error:
            if not wire.dead:
                raise
            self.fleet.meter.lost += 1
            raise OutcomeUnknownError(
                f"{self.fleet.name}: the connection was lost while COMMIT ran; "
                "the transaction may have been done or not"
            ) from error
        if status == "ROLLBACK":
            raise TransactionFailedError(
                f"{self.fleet.name}: the block ended without an error, but a statement in it had failed and "
                f"everything was rolled back; the first to fail: {self.failed}"
            )

    async def rollback(self) -> None:
        """Undo the transaction; if the server does not answer, close its connection, which undoes it too."""
        if self.wire is None or not self.begun or self.wire.dead:
            return
        try:
            await runtime.within(GRACE, self.say("ROLLBACK"))
        except (psycopg.Error, TimeoutError) as error:
            self.wire.lose(psycopg.OperationalError(f"ROLLBACK failed: {error}"))

    def release(self) -> None:
        """Give the wire back."""
        wire, self.wire = self.wire, None
        if wire is not None and not wire.dead:
            wire.release()


class AsyncTransaction(AsyncQueries):
    """One block: a transaction, or a savepoint in the one that is open already.

    Its calls may be made from any task; they take turns. `db.fetch(...)` in the task that opened the
    block joins it.
    """

    def __init__(
        self,
        database: Any,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> None:
        self._database = database
        self._statements = database._statements
        self._begin = _begin(isolation, readonly, deferrable)
        self._plain = isolation is None and not readonly and not deferrable
        self._session: Any = None
        self._outer: AsyncTransaction | None = None
        self._savepoint: str | None = None
        self._frame: Any = None
        self._failed_before: str | None = None

    async def __aenter__(self) -> Self:
        if self._frame is not None:
            raise UsageError("a transaction object opens one block; call db.transaction() for another")
        outer = self._outer or SCOPE.find(self._database, owner())
        if outer is None:
            self._session = _Session(await self._database._ready_fleet(), self._begin)
        else:
            outer._check_open()
            if not self._plain:
                raise UsageError(
                    "isolation, readonly and deferrable belong to the outermost db.transaction()"
                )
            self._outer, self._session = outer, outer._session
            self._failed_before = self._session.failed
            self._savepoint = await self._session.savepoint()
        self._started = now()
        self._frame = SCOPE.enter(self._database, self, owner())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        SCOPE.leave(self._frame)
        if self._savepoint is not None:
            await self._leave_savepoint(error)
            return
        session = self._session
        try:
            if error is None:
                await session.commit()
            else:
                await session.rollback()
        except BaseException:
            await session.rollback()
            raise
        finally:
            session.release()
            self._database._meter.transactions += 1
            self._database._meter.transaction.record(now() - self._started)

    async def _leave_savepoint(self, error: BaseException | None) -> None:
        session, name = self._session, self._savepoint
        assert name is not None
        if session.unsent(name) or session.wire.dead:
            return
        if error is not None:
            await runtime.within(GRACE, session.say(f"ROLLBACK TO {name}", f"RELEASE {name}"))
            session.failed = self._failed_before
            return
        try:
            await session.say(f"RELEASE {name}")
        except psycopg.errors.InFailedSqlTransaction:
            failed, session.failed = session.failed, self._failed_before
            await session.say(f"ROLLBACK TO {name}", f"RELEASE {name}")
            raise TransactionFailedError(
                f"{self._database.name}: the inner block ended without an error, but a statement in it had "
                f"failed and it was rolled back; the first to fail: {failed}"
            ) from None

    def transaction(self) -> AsyncTransaction:
        """Return a savepoint in this transaction, to be entered with `with`."""
        inner = AsyncTransaction(self._database)
        inner._outer = self
        return inner

    def _check_open(self) -> None:
        if self._frame is None or not self._frame.is_open:
            raise TransactionClosedError(
                f"the transaction on {self._database.name!r} is not open; "
                "its statements belong inside the with block"
            )

    def _run(self, job: Job, timeout: Timeout) -> Any:
        self._check_open()
        statement = job.statement
        if statement.kind is not Kind.READ and statement.kind is not Kind.WRITE:
            check_place(statement, in_transaction=True)
        return self._session.perform(job, timeout)

    async def _run_many(self, statement: Statement, rows: Iterable[Sequence[Any]], timeout: Timeout) -> int:
        self._check_open()
        check_place(statement, in_transaction=True)
        return int(await self._session.many(statement, rows, timeout))

    def __repr__(self) -> str:
        state = "open" if self._frame is not None and self._frame.is_open else "closed"
        return f"<{type(self).__name__} {self._database.name} {state}>"


def _begin(isolation: str | None, readonly: bool, deferrable: bool) -> str:
    parts = ["BEGIN"]
    if isolation is not None:
        if isolation not in _LEVELS:
            raise UsageError(f"isolation={isolation!r}: give one of {', '.join(map(repr, _LEVELS))}")
        parts.append(f"ISOLATION LEVEL {isolation.upper()}")
    if readonly:
        parts.append("READ ONLY")
    if deferrable:
        parts.append("DEFERRABLE")
    return " ".join(parts)
