# Generated from pgdual/_async/session.py by _generate.py. Do not edit.
"""The wire of one transaction: BEGIN, its statements in turn, its savepoints, its end.

BEGIN and SAVEPOINT cost no round trip: they wait in `_pending` for a statement to travel with (T2), so an
empty block says nothing. Who speaks in it, and when, `turns` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from pgdual.core.backstops import raised
from pgdual.core.job import MANY, SCRIPT, Job, command
from pgdual.core.results import IDLE
from pgdual.core.statement import Kind, Statement, check_single
from pgdual.errors import (
    OutcomeUnknownError,
    OutcomeUnknownTimeoutError,
    PgdualError,
    QueryCanceled,
    QueryTimeoutError,
    TransactionClosedError,
    TransactionFailedError,
    UsageError,
)

from . import runtime
from .call import DEFAULT, explain, is_late, limit_of
from .queries import Timeout
from .runtime import GRACE, INTERRUPTS, now, owner
from .turns import Turns

_SAVE, _KEEP, _UNDO = b"SAVEPOINT pgdual_many", b"RELEASE pgdual_many", b"ROLLBACK TO pgdual_many"


class Session:
    """One transaction on one wire, shared by the blocks inside of it.

    Args:
        begin: Makes the text of BEGIN; told whether the wire's session is read-only by default.
    """

    def __init__(self, fleet: Any, begin: Callable[[bool], bytes]) -> None:
        self.fleet = fleet
        self.wire: Any = None
        self.failed: str | None = None  # the first statement that failed, and why
        self.is_over = False
        self._begin = begin
        self._begun = False
        self._pending: tuple[bytes, ...] = ()
        self._turns = Turns(fleet.name)
        self._opened = 0
        self._feeder: Any = None  # who is in the middle of an executemany

    # -- statements ------------------------------------------------------------------------------

    def perform(self, block: Any, job: Job, timeout: Timeout) -> Any:
        """Run one statement for *block*."""
        return self._in_turn(block, job, timeout, self._one)

    def many(
        self, block: Any, statement: Statement, rows: Iterable[Sequence[Any]], timeout: Timeout
    ) -> int:
        """Run one statement for each of *rows* and return how many rows were touched."""
        job = Job(MANY, statement)
        job.feed = rows
        return int(self._in_turn(block, job, timeout, self._rows))

    def whole(self, statement: Statement, rows: Iterable[Sequence[Any]], timeout: Timeout) -> int:
        """Run one statement for each of *rows* in a transaction of its own."""
        try:
            touched = self.many(None, statement, rows, timeout)
        except BaseException as error:
            self.end(error)
            raise
        self.end(None)
        return touched

    def _in_turn(self, block: Any, job: Job, timeout: Timeout, act: Any) -> Any:
        fleet, turns = self.fleet, self._turns
        limit = fleet.command_timeout if timeout is DEFAULT else limit_of(fleet, timeout)
        moment = job.started = now()
        if self._feeder is not None:
            self._check_feeder()
        if not turns.take_now():
            turns.take(block, limit)
            moment = now()
        try:
            if self.is_over:
                self._check_over()
            job.deadline = moment + limit
            while True:
                wire, pending, fresh = self.wire, self._pending, not self._begun
                if wire is None:
                    wire = self._take_wire(job.started)
                try:
                    if wire.settling is not None:
                        wire.settle()
                    is_over = not fresh and wire.pipeline.pgconn.transaction_status == IDLE
                    if is_over or wire.dead or fleet.home is None or self.wire is not wire:
                        self._check_wire()
                    return act(job)
                except INTERRUPTS:
                    wire.forsake(job)
                    self._note(job, "given up by its caller")
                    raise
                except (UsageError, TransactionClosedError, TransactionFailedError):
                    raise
                except Exception as error:
                    job.tries += 1
                    if not fresh or not self._is_unsent(job, error) or job.tries > fleet.max_size:
                        raise self._explained(job, error) from None
                    # The wire was found dead before a byte was sent: before BEGIN another will do.
                    self.wire, self._begun, self._pending = None, False, pending
        finally:
            turns.give_back()

    def _check_feeder(self) -> None:
        if self._feeder == owner():
            raise UsageError(
                f"{self.fleet.name}: the rows of an executemany come from a query in the same transaction, "
                "which cannot run in between; fetch them first"
            )

    def _is_unsent(self, job: Job, error: Exception) -> bool:
        return isinstance(error, psycopg.OperationalError) and job.future is None and bool(self.wire.dead)

    def _take_wire(self, started: float) -> Any:
        fleet = self.fleet
        if not fleet.breaker.is_closed:
            fleet.admit(self)  # B3: a transaction that has its wire goes on
        wire = self.wire = fleet.place_alone() or fleet.acquire(None, started)
        return wire

    def _one(self, job: Job) -> Any:
        return self._first(job) if job.statement.types is None else self._answer(job)

    def _first(self, job: Job) -> Any:
        statement = job.statement
        if job.want != SCRIPT:
            check_single(statement)
        if statement.kind is Kind.SCRIPT:
            self._flush(job.deadline)
            for text in self._more_time(job):
                self.fleet.step(self.wire, command(text), job.deadline)
        else:
            self.fleet.describe(self.wire, statement, job.deadline, self._take_pending())
        return self._answer(job)

    def _answer(self, job: Job) -> Any:
        fleet, wire = self.fleet, self.wire
        if job.arguments:
            job.encode(fleet.types)
        if job.statement.leaves_traces:
            wire.dirty = True
        moment = job.sent = now()
        if self._begun:
            job.started = moment  # W1: the first one alone waited for a connection
            if self._pending:
                job.prelude = self._take_pending()
        else:
            job.prelude = self._take_pending()
        if job.deadline - moment > fleet.command_timeout and job.want != SCRIPT:
            job.prelude = (*job.prelude, *self._more_time(job))
        return wire.answer(job)

    def _more_time(self, job: Job) -> tuple[bytes, ...]:
        # D3: the server is to allow as much as the caller does, here until the transaction ends.
        limit = job.deadline - now()
        return (raised(limit),) if limit > self.fleet.command_timeout else ()

    def _rows(self, job: Job) -> Any:
        wire, statement = self.wire, job.statement
        if statement.types is None:
            self.fleet.describe(wire, statement, job.deadline, self._take_pending())
        if statement.leaves_traces:
            wire.dirty = True
        job.sent, job.prelude = now(), (*self._take_pending(), *self._more_time(job), _SAVE)
        self._feeder = owner()
        try:
            return wire.answer_many(job, job.feed, (_KEEP,), (_UNDO, _KEEP))
        finally:
            self._feeder = None

    def _take_pending(self) -> tuple[bytes, ...]:
        pending, self._pending = self._pending, ()
        if not self._begun:
            self._begun = True
            return (self._begin(self.wire.read_only and not self.wire.pipeline.in_standby), *pending)
        return pending

    def _flush(self, deadline: float) -> None:
        for text in self._take_pending():
            self.fleet.step(self.wire, command(text), deadline)

    # -- errors ----------------------------------------------------------------------------------

    def _check_over(self) -> None:
        if self.is_over:
            raise TransactionClosedError(
                f"the transaction on {self.fleet.name!r} ended before this statement had its turn; await "
                "what works in it before its block ends"
            )

    def _check_wire(self) -> None:
        name, wire = self.fleet.name, self.wire
        if wire is None:
            self._check_over()
            assert wire is not None
        if self.fleet.home is None:
            raise TransactionClosedError(
                f"this process was forked inside a transaction on {name!r}, which is its parent's; fork "
                "outside of the block, or open one of its own here"
            )
        if wire.dead:
            raise psycopg.OperationalError(
                f"the connection of this transaction on {name!r} was lost; it was rolled back"
            )
        if self._begun and wire.pipeline.is_idle:
            raise TransactionFailedError(
                f"{name}: the transaction did not begin, or has ended by itself; the first statement to "
                f"fail: {self.failed}"
            )

    def _note(self, job: Job, reason: object) -> None:
        if self.failed is None and job.statement is not None:
            self.failed = f"{' '.join(job.statement.sql.split())}: {reason}"

    def _explained(self, job: Job, error: Exception) -> Exception:
        """Return what the caller is to see of *error*."""
        if not isinstance(error, (psycopg.Error, PgdualError)):
            return error  # of the rows that the caller gave, or of what was made of an answer
        name = self.fleet.name
        self.fleet.meter.errors += 1
        self._note(job, error)
        explain(name, job, error)
        if getattr(error, "in_standby", False):
            self.fleet.evict()
        if job.want == MANY and job.error is error and not job.lead and not job.lost:
            error.add_note(f"row: {job.rows + 1}")
        if self.is_over:
            return TransactionClosedError(f"the transaction on {name!r} ended while it ran: {error}")
        late = is_late(job, error)
        if late or isinstance(error, QueryTimeoutError):
            # COMMIT was not sent, so whatever became of the statement is undone.
            text = "cancelled at its time limit" if late else f"{error}; its connection was closed"
            return QueryTimeoutError(f"{name}: {job.statement.sql}: {text}", "rolled back")
        return error

    # -- blocks inside of it ---------------------------------------------------------------------

    def enter(self, block: Any, outer: Any) -> bytes:
        """Open a savepoint for *block*, to be sent with its first statement, and return its name."""
        self._turns.take(outer, self.fleet.command_timeout)
        try:
            self._check_over()
            self._turns.shut(block)
        finally:
            self._turns.give_back()
        self._opened += 1
        name = f"pgdual_{self._opened}".encode()
        self._pending = (*self._pending, b"SAVEPOINT " + name)
        return name

    def leave(self, block: Any, error: BaseException | None) -> None:
        """End *block*: keep what was done in it, or undo it after an *error*."""
        try:
            self._leave(block.savepoint, block.failed_before, error)
        finally:
            self._turns.open(block)

    def _leave(self, name: bytes, failed_before: str | None, error: BaseException | None) -> None:
        if b"SAVEPOINT " + name in self._pending:
            self._pending = tuple(text for text in self._pending if text != b"SAVEPOINT " + name)
            return
        undo = (b"ROLLBACK TO " + name, b"RELEASE " + name)
        if error is not None:
            self._undo(*undo)
            self.failed = failed_before
            return
        self._check_over()
        limit, job = self.fleet.command_timeout, command(b"RELEASE " + name)
        try:
            runtime.within(limit + GRACE, self._say, limit, job)
        except (QueryCanceled, TimeoutError) as error:
            if isinstance(error, QueryCanceled) and not job.expired:
                raise
            raise QueryTimeoutError(f"{self.fleet.name}: RELEASE: {error}", "rolled back") from None
        except psycopg.errors.InFailedSqlTransaction:
            failed, self.failed = self.failed, failed_before
            self._undo(*undo)
            raise TransactionFailedError(
                f"{self.fleet.name}: the inner block ended without an error, but a statement in it had "
                f"failed and it was rolled back; the first to fail: {failed}"
            ) from None

    def _say(self, seconds: float, job: Job) -> str:
        """Run a command of pgdual's own and return its status."""
        deadline = now() + seconds
        self._turns.take(None, seconds)
        try:
            if self.wire is not None and self.wire.settling is not None:
                self.wire.settle()
            self._check_wire()
            return str(self.fleet.step(self.wire, job, deadline))
        finally:
            self._turns.give_back()

    def _undo(self, *texts: bytes) -> None:
        """Run *texts* in one group; if the server does not answer, close the connection, which undoes too."""
        wire = self.wire
        if wire is None or not self._begun or wire.dead or self.fleet.home is None or wire.pipeline.is_idle:
            return
        if self._turns.is_taken:
            wire.interrupt()
        job = command(texts[-1])
        job.prelude = texts[:-1]
        try:
            runtime.within(GRACE, self._say, GRACE, job)
        except (psycopg.Error, TransactionFailedError, TimeoutError) as error:
            loss = psycopg.OperationalError(f"{texts[0].decode()} failed: {error}")
            wire.lose(loss)

    # -- the end ---------------------------------------------------------------------------------

    def end(self, error: BaseException | None) -> None:
        """Commit, or undo everything after an *error*, and give the wire back.

        Raises:
            TransactionFailedError: A statement in it had failed: COMMIT answered ROLLBACK (T1).
            OutcomeUnknownError: The connection was lost before COMMIT was answered.
        """
        self.is_over = True
        is_kept = error is None and not self._begun
        try:
            if error is None and self._begun:
                self._commit()
                is_kept = True
        finally:
            try:
                if not is_kept:
                    self._undo(b"ROLLBACK")
            finally:
                if not self.fleet.breaker.is_closed:
                    self.fleet.breaker.withdraw(self)
                self._release()

    def _commit(self) -> None:
        name, wire = self.fleet.name, self.wire
        if self._turns.blocks:
            raise TransactionFailedError(
                f"{name}: the block ended while a block inside of it was still open in another task or "
                "thread; everything was rolled back"
            )
        if wire.dead and self.failed is not None:
            raise TransactionFailedError(self._swallowed())
        limit = self.fleet.command_timeout
        job = command(b"COMMIT")
        try:
            if self._turns.is_taken or wire.settling is not None:
                status = runtime.within(limit + GRACE, self._say, limit, job)
            else:  # the same without a task of its own: nothing is to be waited for first
                self._check_wire()
                job.deadline = now() + limit
                try:
                    status = wire.answer(job)
                except INTERRUPTS as interrupt:
                    raise runtime.outlast(wire, job, interrupt) from None
        except QueryCanceled as error:
            if not job.expired:
                raise
            raise QueryTimeoutError(f"{name}: COMMIT, at its time limit: {error}", "rolled back") from None
        except (psycopg.OperationalError, TimeoutError) as error:
            if job.future is None or not (job.lost or isinstance(error, TimeoutError)):
                raise  # it was not sent, or the server has answered
            raise self._unknown(error) from error
        if status == "ROLLBACK":
            raise TransactionFailedError(self._swallowed())

    def _swallowed(self) -> str:
        return (
            f"{self.fleet.name}: the block ended without an error, but a statement in it had failed and "
            f"everything was rolled back; the first to fail: {self.failed}"
        )

    def _unknown(self, error: Exception) -> Exception:
        self.fleet.meter.lost += 1
        text = "the connection was lost while COMMIT ran; the transaction may have been done or not"
        kind = OutcomeUnknownTimeoutError if isinstance(error, TimeoutError) else OutcomeUnknownError
        lost = kind(f"{self.fleet.name}: {text}")
        lost.database, lost.statement = self.fleet.name, "COMMIT"
        return lost

    def _release(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None and not wire.dead and self.fleet.home is not None:
            wire.release()
