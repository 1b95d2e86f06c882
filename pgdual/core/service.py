"""How long the server takes for a text: learned from when its answers came (L4).

A client that is busy hears an answer late. Were that counted as the server's time, a hundred tasks would
seem to need ten wires, each with wake-ups and sends of its own, which keep the client so busy that it goes
on to seem so: two thirds of the calls a second that a lane or two give. On a server whose processors are all
taken, too, an answer comes late by what stands before it: how long a text takes is rather what it took when
it was quick. Source: bench row 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from pgdual.core.lanes import SLOW, WIDE, WINDOW

# Between two readers, or what is sent and a reader, that an event loop calls without a wait in between, at
# most. At 50 us reads of 2 ms on sixty wires were taken for quick ones.
REST: Final = 2e-5  # seconds
LEAST: Final = 1e-6  # seconds that a READ takes, whatever was measured
# Seconds of a turn that count, at most: who had nothing to do for a while does not seem idle long after.
PAUSE: Final = 0.01
LATELY: Final = 0.95  # what a turn still counts in the next one: twenty turns are remembered
# How far an answer moves what is learned. Source: bench rows 3 and 16, on a machine half as quick.
FALL: Final = 0.1
RISE: Final = 0.02
# For how long an answer shows that the server is there, so that nobody looks before a READ, which may be sent
# again, or before the COMMIT of a task. Source: bench rows 7 to 9.
FRESH: Final = 0.001  # seconds


class Pulse:
    """The turns of one event loop, as its readers see them: it looks at the sockets, calls who can read."""

    def __init__(self) -> None:
        self.rested: float = 0.0  # when the last reader was done, or something was sent since
        self._turn = 0
        self._woke = 0.0  # when the first reader of this turn was called
        self._absent = 0.0  # what is found in this turn was not there before then
        self._waited = self._lasted = 0.0  # seconds of the turns lately, those that were waited and all
        self.window: float = WINDOW  # of queued work that a READ may join

    def wake(self, turn: int, moment: float) -> int:
        """Return the number of this turn, to a reader that was called in *turn* before and is at *moment*.

        The loop does not say where a turn begins. One does if no reader was called for a while, or the same
        one is called again; turns without a reader in common are taken for one.
        """
        has_waited = moment - self.rested > REST
        if has_waited or turn == self._turn:
            self._turn += 1
            self._waited = self._waited * LATELY + (min(moment - self.rested, PAUSE) if has_waited else 0.0)
            self._lasted = self._lasted * LATELY + min(moment - self._woke, PAUSE)
            # L4: a loop that computes more than it waits has no use for more wires, which cost it more.
            self.window = WINDOW if self._waited > self._lasted * 0.5 else WIDE
            self._absent = moment if has_waited else self._woke
            self._woke = moment
        return self._turn

    def spent(self, begun: float) -> float:
        """Return the seconds that an answer which *begun* then, and is read in this turn, surely took."""
        return max(self._absent - begun, LEAST)


class Floor:
    """How long the quickest answer of a database takes: the network's part, which is no text's own."""

    def __init__(self) -> None:
        self._seconds = 1.0

    def beyond(self, spent: float, taken: float, may_rise: bool) -> float:
        """Return what a lone answer that *spent* so long, of which the server had *taken*, took beyond it.

        Args:
            may_rise: The network may have become slower; what waits for locks says nothing of that.
        """
        self._seconds = min(spent, self._seconds * 1.001 if may_rise else self._seconds)
        return max(taken - self._seconds, LEAST)


def learn(average: float, seconds: float, rate: float = FALL) -> float:
    """Return a moving average after another answer took *seconds* and moved it by *rate*; inf: none yet."""
    return seconds if average == inf else average + (seconds - average) * rate


def expect(service: float, seconds: float) -> float:
    """Return what a text is expected to take after the server had *seconds* for it: a low average."""
    return learn(service, seconds, RISE if service < seconds < SLOW else FALL)


def split(jobs: Sequence[Any], spent: float) -> tuple[float, float]:
    """Return the seconds of the first of *jobs*, which took *spent* together, and of each other one (W1).

    They are two or more and were answered in one wake-up, so who took how long is not known: all have an
    equal part. Unless that would make slow ones of them all; then it was the first that was waited for, and
    the others, there with it, took what they usually do.
    """
    others = len(jobs) - 1
    part = spent / len(jobs)
    if part < SLOW:
        return part, part
    usual = min(sum(job.service for job in jobs[1:]) / others, part)
    return spent - others * usual, usual
