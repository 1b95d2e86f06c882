"""One transaction: its statements, its savepoints, its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg

from pgdual.core.caused import caused
from pgdual.core.job import Job, command
from pgdual.core.replay import PLACE, given, question
from pgdual.core.results import IDLE
from pgdual.core.rows import ROW, VALUE
from pgdual.core.statement import Statements as Texts
from pgdual.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    OutcomeUnknownTimeoutError,
    PgdualError,
    QueryCanceled,
    QueryTimeoutError,
    TransactionFailedError,
)

from . import runtime
from .call import DEFAULT, run
from .runtime import CUTS, GRACE, INTERRUPTS, now
from .statements import AsyncStatements
from .wire import Wire


class AsyncSession(AsyncStatements):
    """One transaction on one wire at a time, shared by the blocks inside of it."""

    _asking: Texts | None = None
    _token: UUID | None = None  # of the last COMMIT

    def ask_with(self, statements: Texts) -> None:
        """Commit with tokens, and where an answer is lost ask what became of one (T6)."""
        self._asking = statements

    async def _take_wire(self, started: float) -> Wire:
        if self._asking is not None and self.fleet.tokens is None:
            self.fleet.tokens = await self._find_tokens(self._asking)
        return await super()._take_wire(started)

    async def _find_tokens(self, statements: Texts) -> str:
        row = await run(self.fleet, Job(ROW, statements.get(PLACE)), DEFAULT)
        if row is None:
            raise self._no_tokens()
        place, is_allowed = row
        if not is_allowed:
            raise ConfigurationError(
                f"{self.fleet.name}: once=True asks the table {place} what became of a COMMIT; "
                f"GRANT SELECT, INSERT, UPDATE ON {place} to the role"
            )
        return str(place)

    async def whole(self, act: Callable[..., Any], *args: Any) -> Any:
        """Return what `act(block, ...)`, a method of this session, does in a transaction of its own."""
        value, failure, self.is_apart = None, None, True
        try:
            value = await act(None, *args)
        except BaseException as error:
            failure = error
        if failure is not None:
            await self.end(failure)
            raise failure
        try:
            await self.end(None)
        except CUTS:
            self.cut_off(None)
            raise
        return value

    def cut_off(self, block: Any) -> None:
        """Close the connection unless it was given back: Ctrl-C came as *block*, or all of it, ended (D4).

        Args:
            block: One inside; None for all of it.
        """
        self.log.turn_off("a block in it was interrupted as it ended")
        self.failed = self.failed or "a block in it was interrupted as it ended"
        if block is None:
            self.is_over = True
        elif block in self._turns.blocks:
            self._turns.open(block)
        self.fleet.recover(self)

    # -- blocks inside of it ---------------------------------------------------------------------

    async def enter(self, block: Any, outer: Any) -> bytes:
        """Open a savepoint for *block*, to be sent with its first statement, and return its name."""
        if self._feeder is not None:
            self._check_feeder()
        await self._turns.take(outer, self.fleet.command_timeout)
        try:
            self._check_over()
            await self._turns.shut(block)
        finally:
            self._turns.lock.release()
        self._opened += 1
        name = f"pgdual_{self._opened}".encode()
        self.pending = (*self.pending, b"SAVEPOINT " + name)
        return name

    async def leave(self, block: Any, error: BaseException | None) -> None:
        """End *block*: keep what was done in it, or undo it after an *error*."""
        try:
            await self._leave(block.savepoint, block.failed_before, error)
        finally:
            self._turns.open(block)

    async def _leave(self, name: bytes, failed_before: str | None, error: BaseException | None) -> None:
        if b"SAVEPOINT " + name in self.pending:
            self.pending = tuple(text for text in self.pending if text != b"SAVEPOINT " + name)
            return
        undo = (b"ROLLBACK TO " + name, b"RELEASE " + name)
        if error is not None:
            await self._undo(*undo)
            self.log.say(undo)
            if not self._has_ended():
                self.failed = failed_before
            return
        self._check_over()
        job = command(undo[1])
        try:
            await self._release_savepoint(job)
            return
        except (QueryCanceled, TimeoutError) as failure:
            if isinstance(failure, QueryCanceled) and not job.expired:
                raise
            late = QueryTimeoutError(f"{self.fleet.name}: RELEASE: {failure}", "rolled back")
            raise caused(late, None)
        except psycopg.errors.InFailedSqlTransaction:
            failed, self.failed = self.failed, failed_before
        await self._undo(*undo)
        self.log.say(undo)
        swallowed = TransactionFailedError(
            f"{self.fleet.name}: the inner block ended without an error, but a statement in it had "
            f"failed and it was rolled back; the first to fail: {failed}"
        )
        raise caused(swallowed, None)

    async def _release_savepoint(self, job: Job) -> None:
        limit = self.fleet.command_timeout
        await runtime.within(limit + GRACE, self._say, limit, job, self._send, self.replayed)
        self.log.say((job.text,))

    def _send(self, job: Job) -> Any:
        if self.pending or not self.begun:  # of a replay
            job.prelude = self.take_pending()
        return self.wire.answer(job)

    async def _say(self, seconds: float, job: Job, act: Any, again: Any = None) -> str:
        """Run a command of pgdual's own in its turn, `again` if it fails, and return its status."""
        await self._turns.take(None, seconds)
        try:
            job.deadline = now() + seconds
            wire = self.wire
            try:
                if wire is not None and wire.settling is not None:
                    await wire.settle()
                self._check_wire()
                wire = self.wire  # which is taken away from who does not answer in time
                return str(await act(job))
            except INTERRUPTS:
                if wire is not None:
                    wire.forsake(job)
                raise
            except Exception as error:
                if again is None:
                    raise
                failure = error
            return str(await again(job, failure, act))
        finally:
            self._turns.lock.release()

    async def _undo(self, *texts: bytes) -> None:
        """Run *texts* in one group; if the server does not answer, close the connection, which undoes too."""
        replays = self.replays
        if replays is not None and replays.is_running and self.fleet.home is not None:
            replays.is_stopped = True
            await self._outwait_replay()
        wire = self.wire
        if wire is None or not self.begun or wire.dead or self.fleet.home is None or wire.pipeline.is_idle:
            return
        if self._turns.is_taken:
            await wire.interrupt()
        job = command(texts[-1])
        job.prelude = texts[:-1]
        try:
            await runtime.within(GRACE, self._say, GRACE, job, wire.answer)
        except (psycopg.Error, TransactionFailedError, TimeoutError) as error:
            loss = psycopg.OperationalError(f"{texts[0].decode()} failed: {error}")
            wire.lose(loss)

    async def _outwait_replay(self) -> None:
        # One of a child's statement was told to stop: it must not go on with a transaction that is undone.
        if self.wire.dead:
            return  # it has no other yet, and will take none
        await self.wire.interrupt()
        try:
            await runtime.within(GRACE, self._turns.take, None, GRACE)
        except (QueryTimeoutError, TimeoutError):
            self.wire.lose(psycopg.OperationalError("a replay did not stop in time"))
        else:
            self._turns.lock.release()

    # -- the end ---------------------------------------------------------------------------------

    async def end(self, error: BaseException | None) -> None:
        """Commit, or undo everything after an *error*, and give the wire back.

        Raises:
            TransactionFailedError: A statement in it had failed: COMMIT answered ROLLBACK (T1).
            OutcomeUnknownError: The connection was lost before COMMIT was answered.
        """
        self.is_over = True
        failure = error
        try:
            if error is None and self.begun:
                try:
                    await self._commit()
                except BaseException as caught:
                    failure = caught
            if failure is not None:
                await self._undo(b"ROLLBACK")
        finally:
            if not self.fleet.breaker.is_closed:
                self.fleet.breaker.withdraw(self)
            self._release()
        if error is None and failure is not None:
            raise failure

    async def _commit(self) -> None:
        name = self.fleet.name
        wire: Wire = self.wire
        if self._turns.blocks:
            raise TransactionFailedError(
                f"{name}: the block ended while a block inside of it was still open in another task or "
                "thread; everything was rolled back"
            )
        if wire.dead and self.failed is not None:
            raise TransactionFailedError(self._swallowed())
        job, limit = command(b"COMMIT"), self.fleet.command_timeout
        interrupt, failure, status = None, None, ""
        must_wait = self._turns.lock.locked() or wire.settling is not None
        try:
            try:
                if must_wait:
                    status = await runtime.within(limit + GRACE, self._say, limit, job, self._send_commit)
                else:  # the same without a task of its own
                    is_over = wire.pipeline.pgconn.transaction_status == IDLE
                    if is_over or wire.dead or self.fleet.home is None:
                        self._check_wire()
                    job.sent = now()
                    job.deadline = job.sent + limit
                    status = await self._send_commit(job)
            except INTERRUPTS as caught:
                if must_wait:
                    raise
                interrupt = caught
            except Exception as error:
                failure = error
            if interrupt is not None:
                raise await runtime.outlast(self.wire, job, interrupt)
            if failure is not None:
                status = await self._commit_again(job, failure, limit)
        except QueryCanceled as error:
            if not job.expired:
                raise
            late = QueryTimeoutError(f"{name}: COMMIT, at its time limit: {error}", "rolled back")
            raise caused(late, None)
        except psycopg.errors.InFailedSqlTransaction:  # in place of a status, if a token went before it
            raise caused(TransactionFailedError(self._swallowed()), None)
        except psycopg.errors.UndefinedTable:
            if not job.lead:
                raise  # a deferred trigger's, at COMMIT itself
            self.fleet.tokens = None
            raise caused(self._no_tokens(), None)
        if status == "ROLLBACK":
            raise TransactionFailedError(self._swallowed())

    async def _commit_again(self, job: Job, error: Exception, limit: float) -> str:
        """Have COMMIT answered, which ended in *error*, after as many replays as it takes and may take."""
        while True:
            reason = await self._judged(job, error)
            if reason is None:
                return "COMMIT"
            job.deadline = now() + limit
            try:
                return str(await runtime.within(limit + GRACE, self.replayed, job, reason, self._send_commit))
            except Exception as caught:
                if caught is reason:
                    raise
                error = caught

    def _send_commit(self, job: Job) -> Any:
        if self.pending or not self.begun:  # of a replay
            job.prelude = self.take_pending()
        if self._asking is not None:
            self._token = uuid4()
            job.prelude = (*job.prelude, given(self.fleet.tokens, self._token))
        wire: Wire = self.wire
        return wire.answer(job)

    async def _judged(self, job: Job, error: Exception) -> Exception | None:
        """Return why COMMIT failed, None if it did not; where its answer was lost, ask with the token (T6).

        Raises:
            OutcomeUnknownError: There is no token, or nobody to ask.
        """
        if not self.is_in_doubt(job, error):
            return error  # it was not sent, or the server has answered
        if self._asking is None:
            raise caused(self._unknown(error), error)
        asked = Job(VALUE, self._asking.get(question(self.fleet.tokens)), (self._token,))
        asked.idempotent = asked.admitted = True  # B3: it is a part of what was open already
        try:
            is_void = await runtime.within(self._patience(), run, self.fleet, asked, DEFAULT)
        except (psycopg.Error, PgdualError, TimeoutError) as failure:
            raise caused(self._unknown(error), failure)
        if not is_void:
            return None
        text = "the connection was lost while COMMIT ran; it was not done, and never will be"
        return caused(psycopg.OperationalError(f"{self.fleet.name}: {text}"), error)

    def _patience(self) -> float:
        return float(self.fleet.acquire_timeout + self.fleet.command_timeout + GRACE)

    def _no_tokens(self) -> Exception:
        return ConfigurationError(
            f"{self.fleet.name}: once=True needs the table pgdual_commit, which is not there; "
            "make it with create_commit_table()"
        )

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
        if self.replays is not None:
            self.replays.end()
        wire: Wire | None = self.wire
        if wire is not None and not wire.dead and self.fleet.home is not None:
            wire.release()
        self.wire = None
