"""How long the server takes for a text: learned from when its answers came (L4).

A client that is busy hears an answer late. Were that counted as the server's time, a hundred tasks would
seem to need ten wires, each with wake-ups and sends of its own, which keep the client so busy that it goes
on to seem so: two thirds of the calls a second that a lane or two give. Source: bench row 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from pgdual.core.lanes import SLOW

# Between two readers, or what is sent and a reader, that an event loop calls without a wait in between, at
# most. At 50 us reads of 2 ms on sixty wires were taken for quick ones.
REST = 2e-5  # seconds
LEAST = 1e-6  # seconds that a READ takes, whatever was measured


class Pulse:
    """The turns of one event loop, as its readers see them: it looks at the sockets, calls who can read."""

    def __init__(self) -> None:
        self.rested = 0.0  # when the last reader was done, or something was sent since
        self._turn = 0
        self._woke = 0.0  # when the first reader of this turn was called
        self._absent = 0.0  # what is found in this turn was not there before then

    def wake(self, turn: int, moment: float) -> int:
        """Return the number of this turn, to a reader that was called in *turn* before and is at *moment*.

        The loop does not say where a turn begins. One does if no reader was called for a while, or the same
        one is called again; turns without a reader in common are taken for one.
        """
        has_waited = moment - self.rested > REST
        if has_waited or turn == self._turn:
            self._turn += 1
            self._absent = moment if has_waited else self._woke
            self._woke = moment
        return self._turn

    def spent(self, begun: float) -> float:
        """Return the seconds that an answer which *begun* then, and is read in this turn, surely took."""
        return max(self._absent - begun, LEAST)


def learn(service: float, seconds: float) -> float:
    """Return the service time of a text after another answer took *seconds* (a moving average)."""
    return seconds if service == inf else service + (seconds - service) * 0.1


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
