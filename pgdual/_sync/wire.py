"""One connection driven by its pipeline: the blocking way of waiting (by hand; the twin is `_async/wire.py`).

A thread has its wire to itself. It sends, polls the socket for reading, and for writing too while not
all is sent (L6), and takes the answer. Before a wire that was idle is used, what the server has said on it
since is read, so that a connection which it has closed is noticed without a round trip (O3).
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterable, Sequence
from time import monotonic as now
from typing import Any, Final

import psycopg

from pgdual.core.job import COMMAND, STATUS, Job, command
from pgdual.core.lanes import Lane, Lanes
from pgdual.core.libpq import is_busy, shut_down
from pgdual.core.meter import Meter
from pgdual.core.pipeline import Pipeline, check_returned, in_parts, is_incident
from pgdual.core.results import IDLE
from pgdual.core.service import FRESH, learn
from pgdual.core.statement import READ, Statement
from pgdual.errors import QueryTimeoutError

from .connection import bounded
from .lock import milliseconds
from .runtime import GRACE

# How long a cancelled statement may keep its caller past the deadline before the socket is closed (D2).
PATIENCE: Final = 0.5  # seconds
# How long after Ctrl-C (D4).
HURRY: Final = 0.15  # seconds
COMMIT: Final = b"COMMIT"
_READABLE: Final = select.POLLIN | select.POLLERR | select.POLLHUP


class Wire(Lane):
    """A connection and the job on it; what `core.lanes` calls a lane."""

    __slots__ = (
        "_fleet", "_lanes", "_last", "_meter", "_poll", "_recalled", "_recalling", "charged", "generation",
        "pipeline",
    )  # fmt: skip

    # The async twin's: here a cancel is over and done with before the call ends.
    quarantined = -1.0
    settling = None

    def __init__(self, connection: Any, fleet: Any, retire_at: float) -> None:
        super().__init__(connection)
        self.pipeline = Pipeline(connection, fleet.types, unnamed=fleet.unnamed, pooled=fleet.pooled)
        self.pipeline.is_busy = is_busy  # it keeps the interpreter's lock while it looks
        self.retire_at = retire_at
        self.generation = fleet.breaker.generation
        self.charged: bool = False
        self._fleet: Any = fleet
        self._lanes: Lanes = fleet.lanes
        self._meter: Meter = fleet.meter
        self._last = 0.0
        self._recalled = False  # another thread has had the server cancel what runs here
        self._recalling = threading.Lock()  # held while it does
        self._poll = select.poll()
        self._poll.register(connection.pgconn.socket, _READABLE)

    def is_sound(self) -> bool:
        """Return whether its session is as it should be between two calls."""
        return self.pipeline.is_sound(self.read_only)

    # -- sending ---------------------------------------------------------------------------------

    def answer(self, job: Job) -> Any:
        """Send *job*, wait for its answer and return its value.

        Raises:
            psycopg.OperationalError: The connection is gone.
            Exception: Whatever the server or the deadline said.
        """
        pipeline = self.pipeline
        try:
            # A READ may be sent again, a transaction that was lost is undone; what COMMIT did is to be known.
            is_statement = job.want <= STATUS
            is_fresh = (
                is_statement and job.statement.kind is READ and job.sent - self._last < FRESH
            )
            is_inside = is_statement and pipeline.pgconn.transaction_status != IDLE
            if not (is_fresh or is_inside):
                self._look()
            pipeline.send(job)
            job.future = True  # from here on it may have been run
            if pipeline.pgconn.flush():
                pipeline.weigh(job.buffers or ())
                self._write(job.deadline)
        except psycopg.OperationalError as error:
            self.lose(error)
            raise
        self._receive(job)
        return self._tell(job)

    def _look(self) -> None:
        # O3: an idle wire that the server has closed says why first, and then that it ended. Reading twice
        # costs less than a poll, and keeps the interpreter's lock.
        pgconn = self.pipeline.pgconn
        pgconn.consume_input()
        pgconn.consume_input()

    def _write(self, deadline: float) -> None:
        pgconn = self.pipeline.pgconn
        self._poll.modify(pgconn.socket, _READABLE | select.POLLOUT)
        try:
            while pgconn.flush():
                events = self._poll.poll(milliseconds(deadline - now()))
                if events and events[0][1] & _READABLE:
                    pgconn.consume_input()
                if deadline <= now():
                    return
        finally:
            self._poll.modify(pgconn.socket, _READABLE)

    def answer_many(
        self, job: Job, rows: Iterable[Sequence[Any]], end: Sequence[bytes], undo: Sequence[bytes]
    ) -> Any:
        """Send one statement for each of *rows*, then *end*, in one group; return the rows touched.

        Where *rows* itself fails, *undo* is sent in place of *end* and its error raised.
        """
        try:
            self._look()
            self.pipeline.send(job)
            job.future = True
            try:
                self._feed(job, rows)
            except psycopg.OperationalError:
                raise
            except BaseException as error:
                job.abandoned = True
                self._undo_many(job, undo, isinstance(error, Exception))
                raise
            self._finish_many(job, end)
        except psycopg.OperationalError as error:
            self.lose(error)
            raise
        return self._tell(job)

    def _undo_many(self, job: Job, texts: Sequence[bytes], is_patient: bool) -> None:
        if self.dead:
            return
        if is_patient:
            self._finish_many(job, texts)
            return
        self.pipeline.end_many(texts)  # Ctrl-C
        self.pipeline.pgconn.flush()
        self._cancel(job, HURRY)

    def _finish_many(self, job: Job, texts: Sequence[bytes]) -> None:
        self.pipeline.end_many(texts)
        self._write(job.deadline)
        self._receive(job)

    def _feed(self, job: Job, rows: Iterable[Sequence[Any]]) -> None:
        pipeline, number = self.pipeline, 1
        for most, part in in_parts(rows):
            following = pipeline.send_rows(job, part, number)
            if following - number < most:
                return
            number = following
            self._write(job.deadline)
            pipeline.receive()
            if job.error is not None:
                return

    # -- receiving -------------------------------------------------------------------------------

    def _receive(self, job: Job) -> None:
        pipeline, owed = self.pipeline, self.pipeline.owed
        try:
            while owed and not self.dead:
                if self._is_readable(job.deadline):
                    pipeline.receive()
                    if pipeline.lost is not None:
                        self.lose(pipeline.lost)
                        return
                else:
                    self._expire(job)
        except BaseException:  # Ctrl-C: leave the wire usable, or closed (D4); `forsake` waits for COMMIT
            if not job.abandoned and job.text != COMMIT:
                job.abandoned = True
                self._cancel(job, HURRY)
            raise

    def _is_readable(self, deadline: float) -> bool:
        while not self._poll.poll(milliseconds(deadline - now())):
            if deadline <= now():
                return False
        return True

    def _expire(self, job: Job) -> None:
        if job.expired:
            self.lose(QueryTimeoutError("no answer within the time limit", "unknown"))
            return
        job.expired = True
        self._cancel(job, PATIENCE)

    def _cancel(self, job: Job, patience: float) -> None:
        # D5: the cancel connection has closed and one more Sync came back before anyone has the wire.
        if self.dead:
            return
        job.deadline = now() + patience
        owed = self.pipeline.owed
        try:
            self.connection.cancel_safe(timeout=patience)
            while owed and now() < job.deadline and self._is_readable(job.deadline):
                self.pipeline.receive()
                if self.pipeline.lost is not None:
                    break
            if not owed:
                self._fence(job.deadline + patience)
        except (psycopg.Error, OSError) as error:
            self.lose(QueryTimeoutError(f"no answer to a cancel request: {error}", "unknown"))
            return
        if owed or self.pipeline.lost is not None:
            self.lose(QueryTimeoutError("no answer within the time limit", "unknown"))

    def _fence(self, deadline: float) -> None:
        fence = command(b"")
        self.pipeline.send(fence)
        while self.pipeline.owed and self._is_readable(deadline):
            self.pipeline.receive()
            if self.pipeline.lost is not None:
                raise self.pipeline.lost

    def _tell(self, job: Job) -> Any:
        if self._recalled:
            self._outwait()
        moment = self._last = now()
        fleet = self._fleet
        if job.want <= STATUS:
            statement: Statement = job.statement
            run = moment - job.sent
            wait = job.sent - job.started
            self._meter.tell(wait, run, job.rows, statement.kind is READ)
            if wait + run > fleet.look_after or job.label is not None:
                fleet.watch.look(job, wait, run)
            statement.average = statement.service = learn(statement.average, run)
        elif job.want > COMMAND:
            fleet.watch.look_at_many(job, moment - job.sent)
        if fleet.breaker.failures and not job.lost:
            fleet.breaker.succeed()
        if job.placed:
            self.holder = job  # until it is given back (D4)
            job.placed = False
            self._give_back(moment)
        if job.error is not None:
            raise job.error
        return job.value

    def forsake(self, job: Job) -> None:
        """Give *job* up: cancel what was not cancelled where it waited, free the wire it was placed on."""
        if not self.dead and job in self.pipeline.owed and not job.abandoned:
            job.abandoned = True
            if job.text == COMMIT:
                self._outlast(job)
            else:
                self._cancel(job, HURRY)
        if job.placed and not self.dead:
            job.placed = False
            self.release()
        self._fleet.recover(job)

    def _outlast(self, job: Job) -> None:
        # D4: what COMMIT has done is to be known, so it is waited for; another Ctrl-C ends that.
        job.deadline = min(job.deadline, now() + GRACE)
        try:
            self.pipeline.receive()  # it may have been read, and not looked at
            self._receive(job)
        except BaseException:
            self._cancel(job, HURRY)
            raise

    def interrupt(self) -> None:
        """Have the server cancel what another thread runs here; that thread still gets an answer."""
        with self._recalling:
            # D5: said before the look. Either that thread sees it, or it is seen here that it is answered.
            before, self._recalled = self._recalled, True
            if self.dead or not self.pipeline.owed:
                self._recalled = before
                return
            try:
                self.connection.cancel_safe(timeout=PATIENCE)
            except (psycopg.Error, OSError):
                return  # it ends at its own time limit

    def _outwait(self) -> None:
        # D5: an answer came while another thread had the call cancelled, so that may hit what comes next.
        with self._recalling:  # until its cancel connection has closed
            self._recalled = False
        if self.dead:
            return
        try:
            self._fence(now() + PATIENCE)
        except psycopg.OperationalError as error:
            self.lose(error)
        if self.pipeline.owed:
            self.lose(psycopg.OperationalError("no answer after a cancel request"))

    def settle(self) -> None:
        """Return: no cancel is under way."""

    # -- the end ---------------------------------------------------------------------------------

    def lose(self, error: Exception) -> None:
        """Close the connection and fail what is owed on it."""
        if self.dead:
            return
        self.dead = True
        self.pipeline.lost = error
        jobs = self.pipeline.lose()
        shut_down(self.connection.pgconn)  # another thread may be polling the socket
        self.connection.pgconn.finish()
        self._fleet.lost(self, is_incident(error, jobs))

    def speaks(self) -> bool:
        """Return whether the server has said something to an idle connection, as a rule that it ends (O3)."""
        return bool(self._poll.poll(0))

    def detach(self) -> None:
        """Stop watching the socket: nothing watches it while no call is on."""

    def release(self) -> None:
        """Give the wire back: the call it was placed for is over, or was never sent."""
        self._give_back(now())

    def _give_back(self, moment: float) -> None:
        fleet = self._fleet
        fleet.lock.acquire()
        try:
            is_to_mend = self._lanes.give_back(self, 1, moment, fleet)
        finally:
            fleet.lock.release()
        if is_to_mend:
            fleet.mend(self)

    def lend(self) -> Any:
        """Return psycopg's own connection, out of pipeline mode."""
        self.pipeline.leave()
        return self.connection

    def take_back(self) -> None:
        """Take the connection back from a borrower; it is cleaned before anyone else has it (L7)."""
        if self.dead:
            return
        try:
            if not self.connection.closed:
                if self.connection.lock.locked():
                    raise psycopg.OperationalError("another thread is at it")
                bounded(GRACE, self.connection, self.connection.rollback)
            self.attach()
        except BaseException as error:  # Ctrl-C, too: what is not given back is lost for ever (D4)
            self.lose(psycopg.OperationalError(f"the borrower left the connection unusable: {error}"))
            if not isinstance(error, psycopg.Error):
                raise
            return
        self.release()

    def attach(self, is_over: bool = True) -> None:
        """Go on in pipeline mode, on a connection that was lent and is ours again."""
        check_returned(self.connection, is_over)
        self.pipeline.enter(is_over)

    def clean(self) -> None:
        """Make the session as new: nothing of the last caller stays (L7)."""
        bounded(GRACE, self.connection, self._fleet.renew, self.lend())
        self.read_only = self.dirty = False
        self.attach()
