"""One connection driven by its pipeline: the async way of waiting (by hand; the twin is `_sync/wire.py`).

One reader is registered for the connection's whole life and completes the futures of its jobs: asyncio's
add_reader and remove_reader for each wait are what makes other drivers slow. The same reader notices at once
when the server closes an idle connection (O3). A standing writer is added only while the socket does not take
all there is to send, or a large parameter would hang (L6).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from time import monotonic as now
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg

from pgdual.core.job import COMMAND, STATUS, Job
from pgdual.core.lanes import Lanes
from pgdual.core.meter import Meter
from pgdual.core.pipeline import Pipeline, check_returned, in_parts, is_incident
from pgdual.core.results import IDLE
from pgdual.core.service import FRESH, Floor, Pulse, expect, learn, split
from pgdual.core.statement import READ, Statement
from pgdual.errors import QueryTimeoutError

from .answer import Answer, give
from .deadlines import Deadlines
from .runtime import GRACE, within

# How many calls leave a lane together at most. Source: bench rows 3 and 14.
HELD: Final = 16
_PULSES: WeakKeyDictionary[Any, Pulse] = WeakKeyDictionary()


class Wire(Deadlines):
    """A connection and the jobs on it; what `core.lanes` calls a lane."""

    __slots__ = (
        "_fd", "_floor", "_held", "_lanes", "_last", "_meter", "_poll", "_pulse", "_reading", "_turn",
        "_writing", "charged", "generation",
    )  # fmt: skip

    def __init__(self, connection: Any, fleet: Any, retire_at: float) -> None:
        super().__init__(connection)
        self.pipeline = Pipeline(connection, fleet.types, unnamed=fleet.unnamed, pooled=fleet.pooled)
        self.retire_at = retire_at
        self.generation = fleet.breaker.generation
        self._held, self._last = 0, 0.0
        self.charged: bool = False
        self._fleet: Any = fleet
        self._floor: Floor = fleet.floor
        self._lanes: Lanes = fleet.lanes
        self._meter: Meter = fleet.meter
        self._loop = asyncio.get_running_loop()
        self._fd = connection.pgconn.socket
        self.quarantined, self.settling = -1.0, None
        self._watch, self._timer = inf, None
        self._reading = self._writing = False
        self._pulse, self._turn = _pulse_of(self._loop), 0
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._watch_socket()

    def is_sound(self) -> bool:
        """Return whether its session is as it should be between two calls."""
        return self.pipeline.is_sound(self.read_only)

    # -- sending ---------------------------------------------------------------------------------

    def answer(self, job: Job) -> Awaitable[Any]:
        """Send *job* and return what to await for its value.

        Raises:
            psycopg.OperationalError: The connection is gone; the job was not sent.
        """
        pipeline = self.pipeline
        try:
            # A READ on a lane may be sent again, a transaction that was lost is undone: they do not look. Nor
            # does COMMIT just after an answer, or anybody while one is owed: it would wake its task in here.
            if self.alone and not pipeline.owed:
                if job.want == COMMAND:
                    is_idle = not 0 < job.sent - self._last < FRESH
                else:
                    is_idle = pipeline.pgconn.transaction_status == IDLE
                if is_idle:
                    self._look()
            # What its tasks send as a lane's answers are handed out leaves together (`_hand_out`).
            joined = self._fleet.joined
            pipeline.holds = joined is not None
            pipeline.send(job)
            future = job.future = Answer(self._loop)
            if joined is not None:
                self._held += 1
                if self._held == 1:
                    joined.append(self)
                elif self._held == HELD:
                    self.flush()
            else:
                self._pulse.rested = job.sent  # the loop was with its tasks, and did not wait
                if pipeline.pgconn.flush():
                    pipeline.weigh(job.buffers or ())
                    self._flush()
        except psycopg.OperationalError as error:
            self.lose(error, raised=job)
            raise
        self.backlog += job.service
        if job.deadline < self._watch:  # what `_arm` asks first, without its call
            self._arm(job.deadline)
        return future

    def flush(self) -> None:
        """Send what was held back."""
        if self.dead:
            return
        held, self._held = self._held, 0
        try:
            if self.pipeline.pgconn.flush():
                for job in islice(reversed(self.pipeline.owed), held):
                    self.pipeline.weigh(job.buffers or ())
                self._flush()
        except psycopg.OperationalError as error:
            self.lose(error)

    def _look(self) -> None:
        # O3: what the server said of an idle connection may lie in the socket while the loop is busy.
        while self._poll.poll(0):  # the reason comes first, and then the end
            self._on_readable()
            if self.pipeline.lost is not None:
                raise self.pipeline.lost

    async def answer_many(
        self, job: Job, rows: Iterable[Sequence[Any]], end: Sequence[bytes], undo: Sequence[bytes]
    ) -> Any:
        """Send one statement for each of *rows*, then *end*, in one group; return the rows touched.

        Where *rows* itself fails, *undo* is sent in place of *end* and its error raised.
        """
        self._look()
        future = job.future = self._loop.create_future()
        self.pipeline.send(job)
        self._arm(job.deadline)
        try:
            await self._feed(job, rows)
        except BaseException:
            job.abandoned = True
            if self.dead:
                future.cancel()
            else:
                self._end_many(undo)
            raise
        if not self.dead:
            self._end_many(end)
        return await future

    def _end_many(self, texts: Sequence[bytes]) -> None:
        self.pipeline.end_many(texts)
        self._flush()

    async def _feed(self, job: Job, rows: Iterable[Sequence[Any]]) -> None:
        pipeline, number = self.pipeline, 1
        for most, part in in_parts(rows):
            following = pipeline.send_rows(job, part, number)
            if following - number < most:
                return
            number = following
            self._flush()
            await self._drain()
            if job.error is not None or self.dead:
                return

    def _flush(self) -> None:
        if self.pipeline.pgconn.flush() and not self._writing:
            self._write_on()

    async def _drain(self) -> None:
        # Answers are taken in between, so that neither side's buffers grow without bound.
        await asyncio.sleep(0)
        while self._writing and not self.dead:
            await asyncio.sleep(0.001)

    def _write_on(self) -> None:
        self._writing = True
        self._loop.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        try:
            if not self.pipeline.pgconn.flush():
                self._writing = False
                self._loop.remove_writer(self._fd)
        except psycopg.OperationalError as error:
            self.lose(error)

    # -- receiving -------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        pipeline, pulse = self.pipeline, self._pulse
        self._turn = pulse.wake(self._turn, now())
        self._lanes.window = pulse.window
        finished = pipeline.receive()
        if finished:
            self._tell(finished)
            owed = pipeline.owed
            if owed and owed[0].abandoned and owed[0].deadline <= self._last and not owed[0].expired:
                self._start_cancel(owed[0])  # nobody wants what has its turn now
        if pipeline.lost is not None:
            self.lose(pipeline.lost)
        pulse.rested = now()

    def _tell(self, finished: list[Job]) -> None:
        moment, last, fleet = now(), self._last, self._fleet
        self._last = moment
        first, count = finished[0], len(finished)
        is_lone = first.sent >= last
        begun = first.sent if is_lone else last
        spent, taken = moment - begun, self._pulse.spent(begun)
        if is_lone:
            is_read = first.want <= STATUS and first.statement.kind is READ
            taken = self._floor.beyond(spent, taken, is_read)
        if count == 1:
            if first.want <= STATUS:
                self._measure(first, begun, spent, taken)
            elif first.want > COMMAND:
                fleet.watch.look_at_many(first, moment - first.sent)
            placed: int = first.placed
            if placed:
                first.placed = False
        else:
            placed = self._tell_many(finished, begun, split(finished, spent), split(finished, taken))
        if fleet.breaker.failures:
            fleet.breaker.succeed()
        if placed and self._lanes.give_back(self, placed, moment, fleet):
            fleet.mend(self)
        # Last of all: the tasks that wait go on at once, and use this wire again.
        if count == 1:
            give(first)
        else:
            self._hand_out(iter(finished))

    def _tell_many(
        self, finished: list[Job], begun: float, parts: tuple[float, float], takes: tuple[float, float]
    ) -> int:
        placed, (spent, step), (taken, other) = 0, parts, takes
        for job in finished:
            placed += job.placed
            job.placed = False
            if job.want <= STATUS:
                self._measure(job, begun, spent, taken)
            elif job.want > COMMAND:
                self._fleet.watch.look_at_many(job, self._last - job.sent)
            begun, spent, taken = begun + spent, step, other
        return placed

    def _measure(self, job: Job, begun: float, spent: float, taken: float) -> None:
        # Its turn began at *begun* and took *spent*; of that the server had *taken*, as far as that is known.
        statement: Statement = job.statement
        fleet = self._fleet
        is_read = statement.kind is READ
        wait = begun - job.started
        self._meter.tell(wait, spent, job.rows, is_read)
        if wait + spent > fleet.look_after or job.label is not None:
            fleet.watch.look(job, wait, spent)
        statement.average = learn(statement.average, spent)
        if is_read:
            statement.service = expect(statement.service, taken)
            self.backlog -= job.service

    def _hand_out(self, finished: Iterator[Job]) -> None:
        fleet = self._fleet
        joined: list[Wire] = []
        try:
            fleet.joined = joined
            for job in finished:
                give(job)
        except BaseException:  # Ctrl-C in one of them: the others go on when the loop does
            for job in finished:
                self._loop.call_soon(self._hand_out, iter((job,)))
            raise
        finally:
            fleet.joined = None
            for wire in joined:
                wire.flush()

    # -- the end ---------------------------------------------------------------------------------

    def lose(self, error: Exception, cancelled: Any = None, raised: Any = None) -> None:
        """Close the connection and fail what is owed on it.

        Args:
            error: Why.
            cancelled: A job that ran out of its time.
            raised: One whose caller is told by an exception, and may be about to send it elsewhere.
        """
        if self.dead:
            return
        self.dead = True
        self.detach()
        self.pipeline.lost = error
        jobs = self.pipeline.lose()
        self.connection.pgconn.finish()
        self._fleet.lost(self, is_incident(error, jobs))
        if cancelled in jobs:
            cancelled.error = QueryTimeoutError("no answer within the time limit", "unknown")
        self._loop.call_soon(self._hand_out, iter([job for job in jobs if job is not raised]))

    def speaks(self) -> bool:
        """Return False: the reader hears what the server says of an idle connection (O3)."""
        return False

    def detach(self) -> None:
        """Stop watching the socket."""
        if self._reading:  # else its number may be another connection's by now
            self._reading = False
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._watch = None, inf

    def release(self) -> None:
        """Give the wire back: the call it was placed for is over, or was never sent."""
        if self._lanes.give_back(self, 1, now(), self._fleet):
            self._fleet.mend(self)

    async def lend(self) -> Any:
        """Return psycopg's own connection, out of pipeline mode."""
        self.detach()
        self.pipeline.leave()
        return self.connection

    async def take_back(self) -> None:
        """Take the connection back from a borrower; it is cleaned before anyone else has it (L7)."""
        if self.dead:
            return
        try:
            if not self.connection.closed:
                await within(GRACE, self.connection.rollback)
            self.attach()
        except (psycopg.Error, TimeoutError, asyncio.CancelledError) as error:
            self.lose(psycopg.OperationalError(f"the borrower left the connection unusable: {error}"))
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        self.release()

    def attach(self, is_over: bool = True) -> None:
        """Go on in pipeline mode, on a connection that was lent and is ours again."""
        check_returned(self.connection, is_over)
        self.pipeline.enter(is_over)
        self._watch_socket()

    def _watch_socket(self) -> None:
        self._reading = True
        self._loop.add_reader(self._fd, self._on_readable)

    async def clean(self) -> None:
        """Make the session as new: nothing of the last caller stays (L7)."""
        # psycopg's own waits take the standing reader away; it is registered anew.
        await self._fleet.renew(await self.lend())
        self.read_only = self.dirty = False
        self.attach()


def _pulse_of(loop: Any) -> Pulse:
    pulse = _PULSES.get(loop)
    if pulse is None:
        pulse = _PULSES[loop] = Pulse()
    return pulse
