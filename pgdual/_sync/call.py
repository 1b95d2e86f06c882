# Generated from pgdual/_async/call.py by _generate.py. Do not edit.
"""The one loop of a call: take a wire, send, receive, and decide on what came."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from psycopg import OperationalError

from pgdual.core.caused import caused
from pgdual.core.job import Job
from pgdual.core.statement import READ, Statement, check_place
from pgdual.core.verdict import Verdict, judge
from pgdual.errors import (
    OutcomeUnknownError,
    OutcomeUnknownTimeoutError,
    PoolTimeoutError,
    QueryCanceled,
    QueryTimeoutError,
    UsageError,
)

from .fleet import Fleet
from .runtime import CUTS, INTERRUPTS, now, sleep
from .wire import Wire


class Default:
    """The type of DEFAULT."""

    def __repr__(self) -> str:
        return "DEFAULT"


LONGEST = 1e9  # seconds: as good as no limit, and no integer that is no float
DEFAULT: Final = Default()
"""A timeout that is not given: the database's own."""


def limit_of(fleet: Fleet, timeout: Any) -> float:
    """Return the command clock of a call in seconds; *timeout* is what the user gave, whatever it be.

    Raises:
        UsageError: *timeout* is not a number of seconds above zero.
    """
    if timeout is DEFAULT:
        return fleet.command_timeout
    if timeout is None:
        return inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise UsageError(f"timeout={timeout!r}: give seconds above 0, or None for no limit")
    return min(timeout, LONGEST) if timeout < inf else inf


def run(fleet: Fleet, job: Job, timeout: Any) -> Any:
    """Run *job* outside of a transaction and return its value.

    Raises:
        CircuitOpenError: The database is known not to answer.
        PoolTimeoutError: No wire came free within the acquire clock.
        QueryTimeoutError: No answer came within the command clock.
        OutcomeUnknownError: The connection was lost after a statement that writes was sent.
        psycopg.Error: What the server said.
    """
    job.started = job.sent = now()
    statement: Statement = job.statement
    limit = fleet.command_timeout if timeout is DEFAULT else limit_of(fleet, timeout)
    if statement.kind is not READ:
        check_place(statement, in_transaction=False)
    if not (fleet.breaker.is_closed or job.admitted):
        return _past_breaker(fleet, job, timeout)
    while True:
        is_read = statement.kind is READ  # a neighbour may demote it meanwhile (Q2)
        try:
            wire: Wire = fleet.place(statement) or _in_line(fleet, job)
        except CUTS:
            fleet.recover(job)
            raise
        if not job.tries:
            job.deadline = job.sent + limit
        job.placed = True
        try:
            is_other = statement.types is None or wire.read_only is not is_read
            if is_other or limit > fleet.command_timeout or job.victim is not None:
                _make_ready(fleet, wire, job, limit, is_read)
            if job.arguments:
                # On the wire, not before: while the call waited the statement may have been described anew.
                job.encode(fleet.types)
            if statement.leaves_traces:
                wire.dirty = True
            if not wire.alone:
                job.service = statement.service  # what a neighbour is to expect (L4)
            return wire.answer(job)
        except INTERRUPTS:
            wire.forsake(job)
            raise
        except Exception as error:
            failure = error
        _go_on(fleet, wire, job, failure, is_read)
        del failure  # it holds this call, and all that it was given


def _in_line(fleet: Fleet, job: Job) -> Any:
    # D1: another try has an acquire clock of its own, and all tries of the statement together have one.
    begun, until = (now(), job.deadline) if job.tries else (job.started, inf)
    try:
        wire = fleet.acquire(job.statement, begun, until)
    except PoolTimeoutError as error:
        if now() >= job.deadline:
            text = f"{_where(fleet.name, job)}: {error}, for another try within the time limit"
            raise caused(_final(fleet, job, QueryTimeoutError(text, "rolled back")), None)
        raise caused(_final(fleet, job, error), None)
    try:
        job.sent = now()
    except CUTS:
        wire.release()
        raise
    return wire


def _make_ready(fleet: Fleet, wire: Any, job: Job, limit: float, is_read: bool) -> None:
    if limit > fleet.command_timeout:
        fleet.raise_limit(wire, job, limit)
    if job.victim is not None:
        fleet.end_victim(wire, job)
    if job.statement.types is None or wire.read_only is not is_read:
        fleet.ready(wire, job, is_read)
        job.sent = now()


def _past_breaker(fleet: Fleet, job: Job, timeout: Any) -> Any:
    fleet.admit(job)
    job.admitted = True
    try:
        return run(fleet, job, timeout)
    finally:
        fleet.breaker.withdraw(job)  # B2: whatever became of it, the next one may be the probe


def _go_on(fleet: Fleet, wire: Any, job: Job, error: Exception, is_read: bool) -> None:
    """Prepare *job* for another try, or raise what the caller is to see."""
    try:
        _wait_for_next(fleet, job, error, _decide(fleet, wire, job, error, is_read))
    except Exception as final:
        if job.in_doubt:
            raise caused(_final(fleet, job, final), final)
        raise


def _final(fleet: Fleet, job: Job, error: Exception) -> Exception:
    if not job.in_doubt or isinstance(error, OutcomeUnknownError):
        return error
    fleet.meter.lost += 1
    return unknown(fleet.name, job, f"an earlier try was sent and never answered; the last one: {error}")


def _decide(fleet: Fleet, wire: Any, job: Job, error: Exception, is_read: bool) -> float:
    """Prepare *job* for another try and return the seconds before it, or raise what the caller is to see."""
    job.tries += 1
    if isinstance(error, UsageError):
        if job.placed:  # an argument does not fit: it was not sent
            job.placed = False
            wire.release()
        raise error
    explain(fleet.name, job, error)
    if is_late(job, error):
        raise caused(_late(fleet.name, job), None)
    if isinstance(error, QueryTimeoutError):
        raise caused(_timed_out(fleet.name, job, error), None)
    verdict = _judged(wire, job, error, is_read)
    if verdict is Verdict.UNKNOWN:
        fleet.meter.lost += 1
        text = "the connection was lost before the answer came; it may have been done or not"
        raise caused(unknown(fleet.name, job, text), error)
    delay = fleet.next_try(wire, job, verdict)
    if delay is None:
        fleet.meter.errors += 1
        raise error
    fleet.meter.resent += 1
    if verdict is Verdict.AFTER_LOSS and not is_read:
        job.in_doubt, job.victim = True, wire
    wire.pipeline.again(job)
    if verdict is Verdict.AS_WRITE:
        job.statement.demote()
    return delay


def is_late(job: Job, error: Exception) -> bool:
    """Return whether *error* is the server's answer to a cancel that came of the job's deadline."""
    return isinstance(error, QueryCanceled) and not job.recalled and (job.expired or now() >= job.deadline)


def _judged(wire: Any, job: Job, error: Exception, is_read: bool) -> Verdict:
    if isinstance(error, QueryCanceled) and job.sent <= wire.quarantined and is_read and not job.recalled:
        return Verdict.AGAIN  # D5: the cancel was meant for the one before it on the lane
    if job.future is None and isinstance(error, OperationalError) and wire.dead:
        return Verdict.AGAIN  # the wire was found dead before a byte was sent
    return judge(job, error, is_read)


def _wait_for_next(fleet: Fleet, job: Job, error: Exception, delay: float) -> None:
    if delay:
        if now() + delay >= job.deadline:  # D1: all tries of a statement have one clock
            fleet.meter.errors += 1
            raise error
        sleep(delay)
    # W1: what it has spent on earlier tries, it did not spend in line.
    job.started = job.sent = now()


def _late(database: str, job: Job) -> Exception:
    text = "cancelled at its time limit"
    if job.statement.may_commit:  # what it had committed until then stays
        return unknown(database, job, text, OutcomeUnknownTimeoutError)
    return QueryTimeoutError(f"{_where(database, job)}: {text}", "rolled back")


def _timed_out(database: str, job: Job, error: QueryTimeoutError) -> Exception:
    text = f"{_where(database, job)}: {error}"
    if job.future is None:
        return QueryTimeoutError(text, "not sent")  # while it was described
    if job.statement.kind is READ:
        return QueryTimeoutError(text, error.outcome)
    return unknown(database, job, str(error), OutcomeUnknownTimeoutError)


def unknown(
    database: str, job: Job, text: str, kind: type[OutcomeUnknownError] = OutcomeUnknownError
) -> OutcomeUnknownError:
    """Return the error that says that nobody knows what became of *job*."""
    error = kind(f"{_where(database, job)}: {text}")
    error.database, error.statement = database, job.statement.sql
    return error


def explain(database: str, job: Job, error: Exception) -> None:
    """Put the database and the statement on an error of the server's."""
    if getattr(error, "statement", None) is None and job.statement is not None:
        error.statement = job.statement.sql  # type: ignore[attr-defined]
        error.add_note(f"database: {database}; statement: {_short(job.statement.sql)}")


def _where(database: str, job: Job) -> str:
    return f"{database}: {_short(job.statement.sql)}"


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= 200 else line[:197] + "..."
