"""When calls are refused at once because the server is known not to answer (B1, B2).

A transition table: CLOSED lets everything through and counts incidents in a row; OPEN refuses until its
time is over; HALF_OPEN lets one probe through, whose answer closes it and whose failure opens it anew. A
connection that could be made closes it from any state. Nothing here reads a clock: callers bring `now`.

What is lost together is one incident. When a connection is lost, others made before it may be gone as well,
and say so a moment later; those that say so only long after are calls that got no answer, each for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import inf

# How long after an incident what is lost of older connections belongs to it. Source: a server that ends, or a
# network that is cut, takes all of them within milliseconds; a second is also the time to be back (B1).
TOGETHER = 1.0  # seconds


class State(StrEnum):
    """What the breaker does with a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """The breaker of one database.

    Args:
        threshold: Incidents in a row that open it.
        seconds: How long it stays open before a probe is let through.
    """

    def __init__(self, threshold: int, seconds: float) -> None:
        self.threshold = threshold
        self.seconds = seconds
        self.is_closed: bool = True  # all that a call looks at while nothing is wrong
        self.failures: int = 0  # incidents since the last answer
        self.openings: int = 0
        self._until = 0.0
        self._probe: object | None = None  # who is on its way while it is half open
        self.generation: int = 0  # B2: of the wires that are made now; it goes on with each that was lost
        self._lost_at = -inf  # when the last incident was a wire's
        self._was_lost = False  # whether the last incident was a wire's, not an attempt's to connect

    def state(self, now: float) -> State:
        """Return its state at *now*."""
        if self.is_closed:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    def left(self, now: float) -> float:
        """Return the seconds until a probe is let through; 0.0 unless it is open."""
        return 0.0 if self.is_closed else max(self._until - now, 0.0)

    def admit(self, now: float, caller: object) -> float:
        """Return 0.0 if *caller* may go on, or the seconds until it is worth trying again.

        Who is let through while it is half open is the probe: it ends in `succeed`, `fail` or `withdraw`.
        """
        if self.is_closed:
            return 0.0
        if now < self._until:
            return self._until - now
        if self._probe is None or self._probe is caller:
            self._probe = caller
            return 0.0
        return self.seconds

    def withdraw(self, caller: object) -> None:
        """Free the probe's place if it is *caller*'s: it was cancelled, or failed on its own account."""
        if self._probe is caller:
            self._probe = None

    def succeed(self) -> None:
        """Count an answer of the server: to a call, or to what a new connection is asked first."""
        self.failures = 0
        self.is_closed = True
        self._probe = None
        self._until = 0.0

    def reach(self) -> None:
        """Count a connection that was made and asked nothing: it proves that connecting works, no more."""
        if not self._was_lost:
            self.succeed()

    def fail(self, now: float, generation: int | None = None) -> bool:
        """Count an incident; return True if it opened the breaker.

        Args:
            generation: Of the wire that was lost, None for an attempt to connect. What was made before an
                incident and is lost within TOGETHER of it belongs to it.
        """
        if generation is not None:
            if generation < self.generation and now < self._lost_at + TOGETHER:
                return False
            self.generation += 1
            self._lost_at = now
        self._was_lost = generation is not None
        self.failures += 1
        is_open = not self.is_closed and now < self._until
        if is_open or (self.is_closed and self.failures < self.threshold):
            return False  # what fails while it is open does not keep it open for longer
        self.is_closed = False
        self._probe = None
        self._until = now + self.seconds
        self.openings += 1
        return True


class CircuitBreaker:
    """A database's breaker as its users see it."""

    def __init__(self, breaker: Breaker, clock: Callable[[], float]) -> None:
        self._breaker = breaker
        self._clock = clock

    @property
    def state(self) -> str:
        """ "closed", "open" or "half-open"."""
        return self._breaker.state(self._clock()).value

    @property
    def failures(self) -> int:
        """Incidents in a row: connections lost in flight, deadlines without an answer, failed attempts."""
        return self._breaker.failures

    @property
    def retry_after(self) -> float:
        """Seconds until a probe is let through; 0.0 unless it is open."""
        return self._breaker.left(self._clock())

    def reset(self) -> None:
        """Close it now, whatever the server does."""
        self._breaker.succeed()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state} failures={self.failures}>"
