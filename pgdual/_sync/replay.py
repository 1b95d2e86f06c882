# Generated from pgdual/_async/replay.py by _generate.py. Do not edit.
"""A transaction that begins anew: what was said is said again, and every answer held against the log (T5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import random
from typing import Any

import psycopg

from pgdual.core.job import MANY, Job, command
from pgdual.core.replay import Log, again, difference
from pgdual.core.verdict import Failure, reason_to_replay
from pgdual.errors import ReplayMismatchError

from .runtime import GRACE, INTERRUPTS, hold, now, sleep, within

# How long a transaction that was rolled back for another's sake waits for one that was so before it to end.
# It holds no lock meanwhile, and who has the turn meets fewer. Source: the bank with three accounts a
# transfer, where 1 in 2,800 deadlocks reaches a caller in place of 1 in 90, at twice the throughput.
TURN = 1.0  # seconds

REASONS: tuple[Failure, ...] = (Failure.CONFLICT, Failure.UNPREPARED, Failure.LOST, Failure.STANDBY)

_logger = logging.getLogger("pgdual.transaction")


class Replay:
    """The runs of one transaction after its first.

    Args:
        session: The transaction.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.count = 0  # of the replays that went through
        self.is_running = False
        self.is_stopped = False  # the transaction is undone meanwhile
        self._has_turn = False
        self._begun = now()
        self._runs: dict[Failure, int] = dict.fromkeys(REASONS, 1)

    def run(self, job: Job, error: Exception, act: Callable[[Job], Any]) -> Any:
        """Run everything again that was said before *job*, which ended in *error*, and then `act(job)`.

        The loss of a COMMIT is raised: nothing is run again before it is known what became of it (O1).

        Raises:
            ReplayMismatchError: An answer was another than the first time; all is rolled back.
            Exception: *error*, where it is no reason to, or what ended the last run.
        """
        session = self.session
        log, pending, self._begun = session.log, session.pending, now()
        cause = self._cause(job, error, log)
        if cause is None:
            raise error
        self.is_running = True
        try:
            while True:
                session.wire.pipeline.again(job)
                try:
                    self._begin_anew(cause, job.deadline)
                    self._rerun(log, job.deadline, error)
                    session.pending = (*session.pending, *pending)
                    job.prelude, job.started = (), now()
                    value = act(job)
                    break
                except Exception as another:
                    following = None if session.is_in_doubt(job, another) else self._cause(job, another, log)
                    if following is None:
                        if self._is_through(job, another):
                            self._tell(error)
                        raise
                    error, cause = another, following
        except BaseException as last:
            if last is not error and last.__context__ is None:
                last.__context__ = error  # nobody handles it any more, but a traceback is to show it
            self._give_up(job, last)
            raise
        finally:
            self.is_running = False
        self._tell(error)
        return value

    # -- whether ---------------------------------------------------------------------------------

    def _cause(self, job: Job, error: Exception, log: Log) -> Failure | None:
        """Return for what there is to be another run, None if there is none."""
        session = self.session
        if log.off is not None or session.failed is not None or session.fleet.home is None:
            return None
        if self.is_stopped:
            return None
        if not isinstance(job.feed, Sequence):
            return None  # of the rows that it came to nobody knows
        cause = reason_to_replay(error, lost=self._is_lost(error))
        if cause is None or (cause is Failure.LOST and log.locks):
            return None
        self._runs[cause] += 1
        return cause if self._is_allowed(cause) else None

    def _is_lost(self, error: Exception) -> bool:
        wire = self.session.wire
        return wire.dead and isinstance(error, psycopg.OperationalError)

    def _is_allowed(self, cause: Failure) -> bool:
        fleet, runs = self.session.fleet, self._runs[cause]
        if cause is Failure.CONFLICT:
            return runs <= int(fleet.settings.deadlock_max_attempts)
        if cause is Failure.UNPREPARED:
            return runs <= 2
        return bool(now() < self._begun + fleet.acquire_timeout)

    # -- how -------------------------------------------------------------------------------------

    def _begin_anew(self, cause: Failure, deadline: float) -> None:
        session, fleet, old = self.session, self.session.fleet, self.session.wire
        session.begun, session.pending, session.log = False, (), Log()
        if cause is Failure.CONFLICT or cause is Failure.UNPREPARED:
            fleet.step(old, command(b"ROLLBACK"), deadline)
            sleep(min(self._pause(self._runs[cause]), max(deadline - now(), 0.0)))
            if not self._has_turn:
                self._has_turn = hold(fleet.replaying, min(TURN, deadline - now()))
            self._check_stopped()
            return
        if cause is Failure.STANDBY:
            fleet.evict(old)
            old.lose(psycopg.OperationalError("the server is a standby now"))
        wire = fleet.place_alone() or fleet.acquire(None, now(), deadline)
        if self.is_stopped:
            wire.release()
        self._check_stopped()
        session.wire, wire.holder = wire, session
        if cause is Failure.LOST:
            fleet.put_down(wire, old, deadline)  # it may hold locks against its own replay

    def _check_stopped(self) -> None:
        if self.is_stopped:
            raise psycopg.OperationalError("the transaction was undone while it was run again")

    def _pause(self, runs: int) -> float:
        backoff = self.session.fleet.backoff
        return 0.0 if runs == 2 else float(backoff.delay(runs, random()))  # noqa: S311 - jitter

    def _rerun(self, log: Log, deadline: float, error: Exception) -> None:
        session = self.session
        for step in log.steps:
            if isinstance(step, bytes):
                session.pending = (*session.pending, step)
                continue
            self._check_stopped()
            twin = again(step)
            twin.deadline, twin.started = deadline, now()
            found = self._differs(step, twin)
            if found is not None:
                sql = " ".join(step.statement.sql.split())
                name, reason = session.fleet.name, _named(error)
                raise ReplayMismatchError(
                    f"{name}: the transaction was run again after {reason}, and was told something else: "
                    f"{sql}: {found}. It was rolled back; db.attempts() runs the block again"
                ) from error
            session.log.add(twin)

    def _differs(self, step: Job, twin: Job) -> str | None:
        session = self.session
        if step.prepared is None or step.prepared.plans is not step.statement.plans:
            return "it was described anew meanwhile"
        try:
            (session.say_many(twin) if step.want == MANY else session.say(twin))
        except INTERRUPTS:
            session.wire.forsake(twin)
            raise
        except Exception as error:
            is_answer = twin.error is error and not twin.lost and not twin.expired
            is_called_off = isinstance(error, psycopg.errors.QueryCanceled) and step.error is None
            if not is_answer or is_called_off or reason_to_replay(error, lost=False) is not None:
                raise
        return difference(step, twin)

    # -- the end of it ---------------------------------------------------------------------------

    def end(self) -> None:
        """Let others have their turn: the transaction is over."""
        if self._has_turn:
            self._has_turn = False
            self.session.fleet.replaying.release()

    def _give_up(self, job: Job, error: BaseException) -> None:
        # The server must not be left with a part of it, which the block could go on from.
        session, wire = self.session, self.session.wire
        if self._is_through(job, error):
            return
        session.begun = True
        session.log.turn_off("a replay of it failed")
        if wire is None or wire.dead:
            return
        try:
            if not isinstance(error, Exception):
                raise psycopg.OperationalError("a replay was interrupted")
            within(GRACE, self._roll_back, wire)
        except (psycopg.Error, TimeoutError) as failure:
            wire.lose(psycopg.OperationalError(f"a replay was not finished: {failure}"))

    def _roll_back(self, wire: Any) -> None:
        if wire.settling is not None:
            wire.settle()  # D5: a cancel of what was run again may be on its way
        self.session.fleet.step(wire, command(b"ROLLBACK"), now() + GRACE)

    def _is_through(self, job: Job, error: BaseException) -> bool:
        """Return whether all was said again, and *error* is what *job* itself came to."""
        session = self.session
        return session.is_in_doubt(job, error) or (job.error is error and not session.wire.dead)

    def _tell(self, error: Exception) -> None:
        fleet = self.session.fleet
        self.count += 1
        fleet.meter.replays += 1
        _logger.info(
            "[REPLAY] %s: a transaction was run again after %s, and goes on", fleet.name, _named(error)
        )


def _named(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or "its connection was lost"
