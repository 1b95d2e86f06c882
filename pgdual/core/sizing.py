"""How many connections one process, and each of its pools, may hold (P2).

A `Share` is a stock of permits. Taking one is a single `list.pop` and giving it back a single
`append`, each atomic by itself, so two threads can never hold more than the limit between them
and no lock is needed. A permit on its way counts as held: the figures err on the safe side.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final
from weakref import ref

from pgdual.errors import ConfigurationError, UsageError
from pgdual.settings import worker_share

__all__ = ["Share", "share_for", "worker_share"]


class Share:
    """The connections that all pools of one process may hold to one database, async and blocking.

    A pool is known by its token, an int of its own choosing.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self._free: list[None] = [None] * limit
        self._held: dict[int, list[None]] = {}

    def take(self, token: int) -> bool:
        """Reserve one more connection for the pool *token*; False where the limit is reached."""
        try:
            permit = self._free.pop()
        except IndexError:
            return False
        self._held.setdefault(token, []).append(permit)
        return True

    def give(self, token: int, n: int = 1) -> None:
        """Return *n* connections of the pool *token*.

        Raises:
            UsageError: The pool does not hold so many; those that it held are returned.
        """
        held = self._held.get(token, [])
        for _ in range(n):
            try:
                permit = held.pop()
            except IndexError:
                raise UsageError(f"Pool {token} gave back more connections than it had taken.") from None
            self._free.append(permit)

    def forget(self, token: int) -> None:
        """Return all that the pool *token* holds; the pool must be at rest, and is over."""
        self._free.extend(self._held.pop(token, []))

    def held(self, token: int) -> int:
        """Return how many connections the pool *token* holds."""
        return len(self._held.get(token, []))

    def total(self) -> int:
        """Return how many connections all pools hold; never more than `limit`."""
        return self.limit - len(self._free)

    def __repr__(self) -> str:
        return f"<Share {self.total()}/{self.limit}>"


_SHARES: Final[dict[Hashable, list[ref[Share]]]] = {}


def share_for(key: Hashable, limit: int) -> Share:
    """Return the one living share of *key*, made where there is none; it lives while someone holds it.

    Raises:
        ConfigurationError: It lives with another limit.
    """
    living = _SHARES.setdefault(key, [])
    share = _first(living)
    if share is None:
        fresh = Share(limit)
        living.append(ref(fresh, living.remove))
        # Two threads may both have come here: the first in the list that lives is everyone's.
        share = _first(living) or fresh
    if share.limit != limit:
        raise ConfigurationError(
            f"One process sizes the pool of one database as {share.limit} and as {limit}. "
            "Give both faces the same pool_max_size."
        )
    return share


def _first(living: list[ref[Share]]) -> Share | None:
    return next((share for each in tuple(living) if (share := each()) is not None), None)
