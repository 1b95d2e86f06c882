"""Looks at what took too long or is used up, and logs it (W2); `core.thresholds` has the words."""

from __future__ import annotations

import logging
import sys
import traceback
from types import FrameType
from typing import Any

from pgdual.core.job import DESCRIBE, Job
from pgdual.core.statement import Kind
from pgdual.core.thresholds import Crossing, Line, Thresholds

from .runtime import background, now

_LOGGERS = {name: logging.getLogger(f"pgdual.{name}") for name in ("query", "pool", "transaction", "breaker")}
# Frames of pgdual's own at the end of a stack: `Hold`, `hold`, and the block's `enter`.
_OWN = 3
DEEPEST = 30  # frames that are kept of a stack


def say(line: Line) -> None:
    """Log *line*, with its fields as `extra`."""
    _LOGGERS[line.logger].warning(line.text, extra=line.fields)


class Hold:
    """A transaction or connection that somebody has, and where it was taken."""

    __slots__ = ("since", "stack", "what")

    def __init__(self, what: str, since: float) -> None:
        self.what = what
        self.since = since
        frames: list[tuple[FrameType, int]] = []
        frame: FrameType | None = sys._getframe(_OWN)
        while len(frames) < DEEPEST and frame is not None:
            frames.append((frame, frame.f_lineno))
            frame = frame.f_back
        # Its lines are read from the files when it is reported, not for every transaction.
        self.stack = traceback.StackSummary.extract(reversed(frames), lookup_lines=False)

    def told(self) -> str:
        """Return the stack as text, the place that took it last."""
        return "".join(self.stack.format()).rstrip()


class AsyncWatch:
    """What one fleet's calls, transactions and pool are held against.

    The fleet carries the limits itself, so that a call which keeps them costs one comparison.
    """

    def __init__(self, fleet: Any, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._fleet = fleet
        self._needed = thresholds.needed(fleet.max_size)
        self._crossing = Crossing()
        self._held: dict[int, Hold] = {}
        fleet.watch = self
        fleet.look_after = thresholds.least
        fleet.long_after = thresholds.transaction
        fleet.leak_after = thresholds.leak
        fleet.lanes.dwindled = self.dwindled

    # -- calls -----------------------------------------------------------------------------------

    def look(self, job: Job, wait: float, spent: float) -> None:
        """Look at a call that waited *wait* seconds and ran *spent*, and count it for its label."""
        if job.label is not None:
            is_read = job.statement.kind is Kind.READ
            self._fleet.meter.labelled(job.label).tell(wait, spent, job.rows, is_read)
        self._compare(job, wait, spent)

    def look_at_many(self, job: Job, spent: float) -> None:
        """Look at an executemany or a script, and count it: as one call that writes."""
        if job.want == DESCRIBE:
            return
        wait, rows, meter = job.sent - job.started, len(job.gathered or ()), self._fleet.meter
        meter.tell(wait, spent, rows, False)
        if job.label is not None:
            meter.labelled(job.label).tell(wait, spent, rows, False)
        self._compare(job, wait, spent)

    def _compare(self, job: Job, wait: float, spent: float) -> None:
        name, thresholds = self._fleet.name, self.thresholds
        if wait > thresholds.acquire:
            say(thresholds.slow_acquire(name, wait))
        if spent > thresholds.query:
            say(thresholds.slow_query(name, job, spent))

    def waited(self, seconds: float) -> None:
        """Look at how long somebody waited for a connection of his own."""
        if seconds > self.thresholds.acquire:
            say(self.thresholds.slow_acquire(self._fleet.name, seconds))

    def ended(self, seconds: float, label: str | None) -> None:
        """Look at a transaction that was open for *seconds*, and count it for its label."""
        fleet, thresholds = self._fleet, self.thresholds
        if label is not None:
            fleet.meter.labelled(label).transaction.record(seconds)
        if seconds > thresholds.transaction:
            say(thresholds.long_transaction(fleet.name, seconds, label))

    # -- the pool --------------------------------------------------------------------------------

    def resized(self) -> None:
        """Hear that there are more or fewer connections than before; the fleet's lock is held."""
        lanes = self._fleet.lanes
        # As many are active as are needed for a line exactly when fewer than so many are idle.
        lanes.few = max(len(lanes.wires) - self._needed + 1, 0)
        if len(lanes.idle) < lanes.few:
            self._reach()

    def dwindled(self) -> None:
        """Hear that one was taken and too few connections are left idle; the fleet's lock is held."""
        lanes = self._fleet.lanes
        if len(lanes.idle) == lanes.few - 1:
            self._crossing.fall()  # before that one was taken there were enough
        self._reach()

    def _reach(self) -> None:
        crossing = self._crossing
        if not crossing.is_over and crossing.rise(now()):
            background(self._say_exhausted, self._fleet.lanes.active)  # not while the lock is held

    async def _say_exhausted(self, active: int) -> None:
        say(self.thresholds.exhausted(self._fleet.name, active, self._fleet.max_size))

    def tick(self) -> None:
        """Look, every second or so, who holds something too long, and whether the pool has recovered."""
        self._fleet.end_left()
        if self._fleet.lanes.active < self._needed:
            self._crossing.fall()  # it may be used up again by a connection that is lost, too
        limit = self.thresholds.leak
        if limit is None:
            return
        moment = now()
        for key, hold in list(self._held.items()):
            if moment - hold.since > limit:
                self._held.pop(key, None)  # said once
                say(self.thresholds.leaked(self._fleet.name, hold.what, moment - hold.since, hold.told()))

    # -- leaks -----------------------------------------------------------------------------------

    def hold(self, what: str) -> Hold:
        """Remember who takes a transaction or a connection, by his stack."""
        hold = Hold(what, now())
        self._held[id(hold)] = hold
        return hold

    def let_go(self, hold: Hold) -> None:
        """Hear that it was given back."""
        self._held.pop(id(hold), None)
