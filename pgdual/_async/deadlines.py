"""The deadlines of the jobs on one connection, and what cancels them (by hand; a thread waits by itself).

One watchdog a wire stands in for a timer a call. Only what runs is cancelled on the server, and nobody gets
the wire until a cancel can hit nothing more (D5).
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic as now
from typing import Any, Final

import psycopg

from pgdual.core.job import Job, command
from pgdual.core.lanes import Lane
from pgdual.core.pipeline import Pipeline
from pgdual.errors import QueryTimeoutError

# How long a cancelled statement may keep its caller past the deadline before the socket is closed (D2).
PATIENCE: Final = 0.15  # seconds


class Deadlines(Lane):
    """The half of a wire that ends what takes too long."""

    __slots__ = (
        "_fleet", "_loop", "_timer", "_watch", "pipeline", "quarantined", "settling",
    )  # fmt: skip

    _fleet: Any
    _loop: asyncio.AbstractEventLoop
    _timer: asyncio.TimerHandle | None
    _watch: float  # the earliest deadline, which the watchdog is set to
    pipeline: Pipeline
    quarantined: float  # what was sent before that may have been hit by a neighbour's cancel
    settling: asyncio.Future[None] | None  # done when a cancel is over and done with

    def answer(self, job: Job) -> Any:
        """Send *job* and return what to await for its value."""
        raise NotImplementedError

    def lose(self, error: Exception, cancelled: Any = None, raised: Any = None) -> None:
        """Close the connection and fail what is owed on it."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the wire back."""
        raise NotImplementedError

    def _arm(self, deadline: float) -> None:
        # One watchdog a wire, set to the earliest deadline, in place of a timer a call.
        if deadline >= self._watch:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._watch = deadline
        self._timer = self._loop.call_later(deadline - now(), self._on_deadline)

    def _on_deadline(self) -> None:
        self._watch, self._timer = inf, None
        moment, rest = now(), inf
        for job in list(self.pipeline.owed):
            if job.deadline <= moment:
                self._expire(job)
            elif job.deadline < rest:
                rest = job.deadline
        self._arm(rest)

    def _expire(self, job: Job) -> None:
        if job is self.pipeline.owed[0]:
            self._start_cancel(job)
        elif not job.abandoned:
            job.abandoned = True
            if not job.future.done():
                job.future.set_exception(QueryTimeoutError("no answer within the time limit", "unknown"))

    def renewed(self, job: Job) -> asyncio.Future[Any] | None:
        """Return another future for a job whose own was cancelled; None if it has been answered."""
        if self.dead or job not in self.pipeline.owed:
            return None
        answer: asyncio.Future[Any] = self._loop.create_future()
        job.future = answer
        return answer

    def forsake(self, job: Job) -> None:
        """Give *job* up: its caller was cancelled. A READ's answer is discarded, others are cancelled."""
        if self.dead or job not in self.pipeline.owed:
            return
        job.abandoned = True
        if not job.placed:
            job.placed = True  # whoever holds the wire gives it back; it stays ours until the answer
            self.load += 1
        if self.alone and job is self.pipeline.owed[0]:
            self._start_cancel(job)
        elif now() + PATIENCE < job.deadline:
            job.deadline = now() + PATIENCE
            self._arm(job.deadline)

    async def interrupt(self) -> None:
        """Have the server cancel what runs; whoever waits for its answer still gets one."""
        owed = self.pipeline.owed
        if owed and not self.dead and not owed[0].expired:
            owed[0].recalled = True
            self._start_cancel(owed[0])

    async def settle(self) -> None:
        """Return when a cancel that was sent can hit nothing more (D5)."""
        while self.settling is not None:
            await asyncio.shield(self.settling)

    def _start_cancel(self, job: Job) -> None:
        job.deadline, job.expired = inf, True
        self.load += 1
        self.quarantined = inf
        settling = self.settling = self._loop.create_future()
        self._fleet.keep(self)
        self._fleet.background(self._cancel, job, settling)

    async def _cancel(self, job: Job, settling: asyncio.Future[None]) -> None:
        # D5: only the head is cancelled, and nobody gets the wire until the cancel connection has closed
        # and one more Sync came back; a late cancel would hit the next caller.
        try:
            await self._cancel_head(job)
        finally:
            if self.settling is settling:
                self.settling, self.quarantined = None, now()
            if not settling.done():
                settling.set_result(None)
            if not self.dead:
                self.release()

    async def _cancel_head(self, job: Job) -> None:
        limit = now() + PATIENCE
        try:
            await self.connection.cancel_safe(timeout=PATIENCE)
        except (psycopg.Error, OSError):
            limit = 0.0
        while job in self.pipeline.owed and now() < limit and not self.dead:
            await asyncio.sleep(0.002)
        if job in self.pipeline.owed:
            self.lose(psycopg.OperationalError("the server did not answer a cancel request"), cancelled=job)
        while not self.dead:
            fence = command(b"")
            fence.aside = job.abandoned
            fence.deadline = now() + PATIENCE * 10
            try:
                await self.answer(fence)
                return
            except psycopg.errors.InFailedSqlTransaction:
                return  # answered, in a transaction that has failed
            except psycopg.errors.QueryCanceled:
                continue  # it came late and hit the fence, which is there for it
            except Exception:
                self.lose(psycopg.OperationalError("no answer after a cancel request"))
