# Generated from pgdual/_async/statements.py by _generate.py. Do not edit.
"""The statements of one transaction, in turn, on its wire.

BEGIN and SAVEPOINT cost no round trip: they wait in `pending` for a statement to travel with (T2), so an
empty block says nothing. Who speaks in it, and when, `turns` decides; `replay` is what is done when it was
rolled back for another's sake or its wire was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import psycopg

from pgdual.core.backstops import TOTAL, raised, total
from pgdual.core.caused import caused
from pgdual.core.job import MANY, SCRIPT, STATUS, Job, command
from pgdual.core.pipeline import is_long
from pgdual.core.replay import Log
from pgdual.core.results import IDLE
from pgdual.core.statement import Kind, Statement, check_single
from pgdual.errors import (
    PgdualError,
    QueryTimeoutError,
    TransactionClosedError,
    TransactionFailedError,
    UsageError,
)

from .call import DEFAULT, explain, is_late, limit_of
from .lock import grab
from .replay import Replay
from .runtime import CUTS, INTERRUPTS, now, owner
from .turns import Turns
from .wire import Wire

_KEEP = b"RELEASE pgdual_many"
# What goes before and after the rows of an executemany in a user's transaction, and after those that failed.
_IN_BLOCK = ((b"SAVEPOINT pgdual_many",), (_KEEP,), (b"ROLLBACK TO pgdual_many", _KEEP))


class Statements:
    """One transaction on one wire, shared by the blocks inside of it.

    Args:
        begin: Makes the text of BEGIN; told whether the wire's session is read-only by default.
        log: What is kept for a replay.
    """

    def __init__(self, fleet: Any, begin: Callable[[bool], bytes], log: Log) -> None:
        self.fleet = fleet
        self.wire: Any = None
        self.failed: str | None = None  # the first statement that failed, and why
        self.is_over = False
        self.is_apart = False  # it is no block of a user's: what fails is undone whole
        self.log = log
        self.replays: Replay | None = None  # made for the first
        self._begin = begin
        self.begun = False
        self.pending: tuple[bytes, ...] = ()
        self._turns = Turns(fleet.name)
        self._opened = 0
        self.until = inf  # monotonic seconds: no statement of it goes on past this (J2)
        self._feeder: Any = None  # who is in the middle of an executemany
        self.grip: Any = None  # on the block, and the thread that it belongs to
        self.owner: Any = None

    @property
    def replay_count(self) -> int:
        """How often everything was said again."""
        return 0 if self.replays is None else self.replays.count

    @property
    def is_left(self) -> bool:
        """True if its `with` statement is over, and nobody has ended it (D4)."""
        return not self.is_over and self.grip is not None and self.grip() is None

    # -- statements ------------------------------------------------------------------------------

    def many(self, block: Any, job: Job, timeout: Any) -> int:
        """Run the statement of *job* for each row of its feed and return how many rows were touched."""
        if job.gathered is not None:
            self.log.turn_off("the rows that fetchmany returned are not kept")
        return int(self.perform(block, job, timeout, self.say_many))

    def perform(self, block: Any, job: Job, timeout: Any, act: Any = None) -> Any:
        """Run one statement for *block* in its turn, by `act(job)` if that is given; return its value."""
        fleet, turns = self.fleet, self._turns
        limit = fleet.command_timeout if timeout is DEFAULT else limit_of(fleet, timeout)
        moment = job.started = now()
        if self._feeder is not None:
            self._check_feeder()
        if self.until < inf:
            limit = min(limit, self._left())
        if turns.blocks or not grab(turns.lock):
            turns.take(block, limit)
            moment = now()
        try:
            if self.is_over:
                self._check_over()
            while True:
                pending, fresh = self.pending, not self.begun
                found: Wire | None = self.wire
                if found is None:
                    found = self._take_wire(job.started)
                    moment = now()
                wire: Wire = found
                if not job.tries:  # D1: the command clock begins when there is a wire, and all tries have one
                    job.deadline = moment + limit
                try:
                    if wire.settling is not None:
                        wire.settle()
                    is_over = not fresh and wire.pipeline.pgconn.transaction_status == IDLE
                    if is_over or wire.dead or fleet.home is None or self.wire is not wire:
                        self._check_wire()
                    if act is None and job.statement.types is not None:  # `_one` without its call
                        value = self.say(job)
                    else:
                        value = (act or self._one)(job)
                    if self.log.off is None:
                        self.log.add(job)
                    return value
                except INTERRUPTS:
                    wire.forsake(job)
                    self._note(job, "given up by its caller")
                    self.log.turn_off("a statement in it was given up")
                    raise
                except (UsageError, TransactionClosedError, TransactionFailedError):
                    if job.future is not None and job.want != MANY:  # what is undone is not missed
                        self.log.turn_off("what a statement in it returned could not be given")
                    raise
                except Exception as error:
                    job.tries += 1
                    is_lost = wire.dead and isinstance(error, psycopg.OperationalError)
                    is_unsent = fresh and is_lost and job.future is None and job.tries <= fleet.max_size
                    failure = error
                if not is_unsent:
                    return self._again(job, failure, act or self._one)
                # The wire was found dead before a byte was sent: before BEGIN another will do.
                self.wire, self.begun, self.pending = None, False, pending
                self.log.clear()
        finally:
            turns.lock.release()

    def _again(self, job: Job, error: Exception, act: Any) -> Any:
        """Run everything again and then *job*, if that is what *error* asks for and it can be (T5)."""
        try:
            value = self.replayed(job, error, act)
        except Exception as last:
            explained = self._explained(job, last)
            self._keep_failed(job, last)
            raise caused(explained, explained.__cause__)
        if self.log.off is None:
            self.log.add(job)
        return value

    def replayed(self, job: Job, error: Exception, act: Any) -> Any:
        """Return the value of *job*, which ended in *error*, after a replay."""
        if self.replays is None:
            self.replays = Replay(self)
        return self.replays.run(job, error, act)

    def is_in_doubt(self, job: Job, error: BaseException) -> bool:
        """Return whether *job* is a COMMIT that was sent and, as *error* says, not answered."""
        is_silent = isinstance(error, (psycopg.OperationalError, TimeoutError))
        is_sent = job.text == b"COMMIT" and job.future is not None
        return is_sent and is_silent and (job.lost or isinstance(error, TimeoutError))

    def _keep_failed(self, job: Job, error: Exception) -> None:
        # An inner block may be undone and the transaction go on: the failure is a part of what was seen.
        is_answer = job.error is error and isinstance(error, psycopg.Error) and not job.expired
        if not is_answer or job.lost or job.want == MANY:
            self.log.turn_off("a statement in it failed without an answer")
        elif self.log.off is None:
            self.log.add(job)

    def _left(self) -> float:
        left = self.until - now()
        if left <= 0:
            raise QueryTimeoutError(f"{self.fleet.name}: the block is past its time limit", "not sent")
        return left

    def _check_feeder(self) -> None:
        if self._feeder == owner():
            raise UsageError(
                f"{self.fleet.name}: rows are on their way in this transaction, which can run nothing else "
                "in between; if they come from a query in it, fetch them first"
            )

    def _take_wire(self, started: float) -> Wire:
        fleet = self.fleet
        if not fleet.breaker.is_closed:
            fleet.admit(self)  # B3: a transaction that has its wire goes on
        try:
            wire: Wire = fleet.place_alone() or fleet.acquire(None, started, self.until)
            self.wire = wire
        except CUTS:
            fleet.recover(self)
            raise
        wire.holder = self
        return wire

    def _one(self, job: Job) -> Any:
        return self._first(job) if job.statement.types is None else self.say(job)

    def _first(self, job: Job) -> Any:
        statement = job.statement
        if job.want != SCRIPT:
            check_single(statement)
        if statement.kind is Kind.SCRIPT:
            self._flush(job.deadline)
            for text in self._more_time(job):
                self.fleet.step(self.wire, command(text), job.deadline)
        else:
            self.fleet.describe(self.wire, statement, job.deadline, self.take_pending())
        return self.say(job)

    def say(self, job: Job) -> Any:
        """Send one statement, which is described, and return what to for its value."""
        fleet = self.fleet
        wire: Wire = self.wire
        statement: Statement = job.statement
        if job.arguments:
            job.encode(fleet.types)
        if statement.leaves_traces:
            wire.dirty = True
        job.keeps = self.log.off is None
        moment = job.sent = now()
        if self.begun:
            job.started = moment  # W1: the first one alone waited for a connection
        if self.pending or not self.begun:
            job.prelude = self.take_pending()
        if job.deadline - moment > fleet.command_timeout and job.want != SCRIPT:
            job.prelude = (*job.prelude, *self._more_time(job))
        return wire.answer(job)

    def _more_time(self, job: Job) -> tuple[bytes, ...]:
        # D3: the server is to allow as much as the caller does, here until the transaction ends.
        limit = job.deadline - now()
        return (raised(limit),) if limit > self.fleet.command_timeout else ()

    def _limits(self, job: Job) -> tuple[bytes, ...]:
        # D3: a limit of all rows costs the server less than one of each, which is a timer a row.
        fleet, limit = self.fleet, job.deadline - job.sent
        is_old = self.wire.pipeline.pgconn.server_version < TOTAL
        if is_old or fleet.pooled or limit == inf or not is_long(job.feed):
            return ()
        return (total(limit, fleet.command_timeout),)

    def say_many(self, job: Job) -> Any:
        """Send an executemany and return how many rows were touched."""
        wire, statement = self.wire, job.statement
        if statement.types is None:
            self.fleet.describe(wire, statement, job.deadline, self.take_pending())
        if statement.leaves_traces:
            wire.dirty = True
        job.sent = now()
        if self.begun:
            job.started = job.sent  # W1
        start, end, undo = (self._limits(job), (), ()) if self.is_apart else _IN_BLOCK
        job.prelude = (*self.take_pending(), *self._more_time(job), *start)
        rows = job.feed if self.log.off is not None else self.log.copied(job)
        self._feeder = owner()
        try:
            return wire.answer_many(job, rows, end, undo)
        finally:
            self._feeder = None

    def lent(self, block: Any, statement: Statement, work: Any, is_limited: bool, timeout: Any) -> Any:
        """Return what `work(connection)` does on psycopg's connection, in turn; replay is off then.

        Args:
            statement: What it says there.
            is_limited: The server's limit for a statement stays; else it is off until the end.
            timeout: Seconds for each part of it, which `connection.begin()` begins.
        """
        self.log.turn_off(f"what {statement.verb} says is not kept")
        limit = limit_of(self.fleet, timeout)

        def act(job: Job) -> Any:
            self.say_before(job, is_limited)
            wire, job.deadline, self._feeder = self.wire, inf, owner()
            connection = wire.connection
            value, failure = None, None
            try:
                wire.lend()
                connection.seconds = limit
                connection.begin()
                value = work(connection)
            except BaseException as error:
                failure = error
            self._feeder = None
            is_late = connection.is_late and isinstance(failure, psycopg.Error)  # to regain it may be, too
            regain(wire)
            if failure is None:
                return value
            if is_late:
                raise QueryTimeoutError("a part of it was not answered within the time limit", "rolled back")
            raise failure

        return self.perform(block, Job(STATUS, statement), DEFAULT, act)

    def say_before(self, job: Job, is_limited: bool) -> None:
        """Send what goes before the connection is lent: BEGIN, and where its limit is lifted, that."""
        if not self.begun:  # W2: nothing that is said on it tells of the wait
            self.fleet.watch.waited(now() - job.started)
        self._flush(job.deadline)
        if not is_limited and not self.fleet.pooled:
            self.fleet.step(self.wire, command(raised(inf)), job.deadline)

    def take_pending(self) -> tuple[bytes, ...]:
        """Return the texts that go before what is sent next: BEGIN, SAVEPOINT."""
        pending, self.pending = self.pending, ()
        if pending:
            self.log.say(pending)
        if not self.begun:
            self.begun = True
            return (self._begin(self.wire.read_only and not self.wire.pipeline.in_standby), *pending)
        return pending

    def _flush(self, deadline: float) -> None:
        for text in self.take_pending():
            self.fleet.step(self.wire, command(text), deadline)

    # -- errors ----------------------------------------------------------------------------------

    def _check_over(self) -> None:
        if self.is_over:
            raise TransactionClosedError(
                f"the transaction on {self.fleet.name!r} ended before this statement had its turn; await "
                "what works in it before its block ends"
            )

    def _check_wire(self) -> None:
        name = self.fleet.name
        wire: Any = self.wire
        if wire is None:
            self._check_over()
        if self.fleet.home is None:
            raise TransactionClosedError(
                f"this process was forked inside a transaction on {name!r}, which is its parent's; fork "
                "outside of the block, or open one of its own here"
            )
        if wire is not None and wire.dead:
            raise psycopg.OperationalError(
                f"the connection of this transaction on {name!r} was lost; it was rolled back"
            )
        if self._has_ended():
            raise TransactionFailedError(
                f"{name}: the transaction did not begin, or has ended by itself; the first statement to "
                f"fail: {self.failed}"
            )

    def _has_ended(self) -> bool:
        """True if the server has no transaction any more, and nothing can bring it back."""
        wire = self.wire
        return self.begun and wire is not None and not wire.dead and bool(wire.pipeline.is_idle)

    def _note(self, job: Job, reason: object) -> None:
        if self.failed is None and job.statement is not None:
            self.failed = f"{' '.join(job.statement.sql.split())}: {reason}"

    def _explained(self, job: Job, error: Exception) -> Exception:
        """Return what the caller is to see of *error*."""
        if not isinstance(error, (psycopg.Error, PgdualError)):
            return error  # of the rows that the caller gave, or of what was made of an answer
        name = self.fleet.name
        self.fleet.meter.errors += 1
        if self.failed is not None and isinstance(error, psycopg.errors.InFailedSqlTransaction):
            error.add_note(f"the first to fail: {self.failed}")
        self._note(job, error)
        explain(name, job, error)
        if getattr(error, "in_standby", False):
            self.fleet.evict(self.wire)
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


def regain(wire: Any) -> None:
    """Go on with *wire*, whose connection was lent inside of a transaction; lose it if it is unusable."""
    if wire.connection.is_late:
        wire.lose(psycopg.OperationalError("the connection was closed at a time limit"))
    if wire.dead:
        return
    try:
        wire.connection.settle()
        wire.attach(is_over=False)
    except psycopg.Error as error:
        wire.lose(psycopg.OperationalError(f"the connection was left unusable: {error}"))
