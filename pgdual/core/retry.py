"""Whether a call is tried again, and after how long (O2).

A try costs a token of the database's budget, which grows by a tenth of a token with every call that was
answered: a server in trouble is not drowned in tries. Delays grow by a factor and are drawn at random from
zero up ("full jitter"), so that callers that failed together do not come back together. Nothing here reads
a clock or draws lots by itself.
"""

from __future__ import annotations

# Source: Envoy's and gRPC's retry budgets are a tenth to a fifth of the calls.
SHARE = 0.1  # tokens that a call earns
BURST = 32.0  # tokens at most, and to begin with


class Budget:
    """The tokens of one database."""

    def __init__(self) -> None:
        self._tokens = BURST
        self._seen = 0

    def take(self, calls: int) -> bool:
        """Pay for one more try, after *calls* were answered in all; False if there is no token left."""
        earned = max(calls - self._seen, 0) * SHARE
        self._seen = calls
        self._tokens = min(self._tokens + earned, BURST)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Backoff:
    """The delays between tries, in seconds.

    Args:
        initial: The longest first delay.
        factor: By how much each is longer than the one before.
        highest: The longest of all.
    """

    def __init__(self, initial: float, factor: float, highest: float) -> None:
        self._initial = initial
        self._factor = factor
        self._highest = highest

    def delay(self, number: int, luck: float) -> float:
        """Return the delay before try *number* (the second is 2), with *luck* drawn from 0 to 1."""
        try:
            longest = self._initial * self._factor ** (number - 2)
        except OverflowError:
            longest = self._highest
        return min(longest, self._highest) * luck
