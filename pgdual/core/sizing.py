"""How many connections one process, and each of its pools, may hold, and whether a server has them (P2).

A `Share` is a stock of permits. Taking one is a single `list.pop` and giving it back a single
`append`, each atomic by itself, so two threads can never hold more than the limit between them
and no lock is needed. A permit on its way counts as held: the figures err on the safe side.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, NamedTuple
from weakref import ref

from pgdual.errors import ConfigurationError, UsageError
from pgdual.settings import worker_share

__all__ = ["Plan", "Pool", "Server", "Share", "plan", "share_for", "worker_share"]

# The guide: max_connections is twice what the pools take together.
BUFFER: Final = 2


class Share:
    """The connections that all pools of one process may hold to one database, async and blocking.

    A pool is known by its token, an int of its own choosing.
    """

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self._free: list[None] = [None] * limit
        self._held: dict[int, list[None]] = {}
        self._wanting: set[int] = set()

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
        self._wanting.discard(token)
        self._free.extend(self._held.pop(token, []))

    def want(self, token: int) -> None:
        """Hear that the pool *token* has callers who wait and may not grow."""
        self._wanting.add(token)

    def want_none(self, token: int) -> None:
        """Hear that nobody waits at the pool *token*."""
        self._wanting.discard(token)

    def may_take(self, token: int) -> bool:
        """True if one more connection for the pool *token* takes none from another that needs it more."""
        others = self._wanting - {token}
        held = self.held(token)
        if not others or not held:
            return True
        return all(map(self.held, others)) and held < self._part(others | {token})

    def is_wanted(self, token: int, has_idle: bool) -> bool:
        """True if the pool *token* is to give a connection up to another that may not grow.

        It is if the other has none at all, if it has an idle one, or if it holds more than its part.
        """
        others = self._wanting - {token}
        held = self.held(token)
        if not others or not held:
            return False
        if has_idle or not all(map(self.held, others)):
            return True
        return held > self._part(others)

    def _part(self, tokens: set[int]) -> int:
        """Return how many connections each pool may hold where all want more, rounded up."""
        return -(-self.limit // len(self._held.keys() | tokens))

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


class Server(NamedTuple):
    """What a server has to give: its limit, what of it is kept for superusers, what others hold now."""

    max_connections: int
    reserved: int
    others: int

    @property
    def left(self) -> int:
        """How many connections the pools can have."""
        return self.max_connections - self.reserved - self.others


class Pool(NamedTuple):
    """The pool of one database: of a host, of each of its workers, and of all of them."""

    database: str
    max_size: int
    each: int
    total: int
    variable: str


class Plan(NamedTuple):
    """Whether the pools of *workers* fit a server, by the guide's formula; *changes* say what to do."""

    pools: tuple[Pool, ...]
    workers: int
    server: Server
    changes: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many connections the workers may open."""
        return sum(pool.total for pool in self.pools)

    @property
    def wanted(self) -> int:
        """The `max_connections` that the guide asks for: twice the total."""
        return BUFFER * self.total


def plan(sizes: Mapping[str, int], variables: Mapping[str, str], workers: int, server: Server) -> Plan:
    """Hold the pools that share one server against it (P2).

    Args:
        sizes: The greatest size of each database's pool on a host.
        variables: How that is set, by database.
        workers: Processes on the host.
    """
    pools = tuple(
        Pool(name, size, size // workers, workers * (size // workers), variables[name])
        for name, size in sizes.items()
    )
    changes = [
        f"{pool.database}: {workers} workers cannot share {pool.max_size} connections: set "
        f"{pool.variable}={workers} or more, or start fewer workers"
        for pool in pools
        if not pool.each
    ]
    made = Plan(pools, workers, server, ())
    if not changes and made.total > server.left:
        changes.append(
            f"only {server.left} connections are left for {made.total}: {_smaller(made, server.left)}"
        )
    if not changes and made.wanted > server.max_connections:
        changes.append(
            f"max_connections = {server.max_connections} is below {BUFFER} x {made.total}: ALTER SYSTEM SET "
            f"max_connections = {made.wanted}; and restart the server, or "
            f"{_smaller(made, server.max_connections // BUFFER)}"
        )
    return Plan(pools, workers, server, tuple(changes))


def _smaller(made: Plan, most: int) -> str:
    """Return which sizes would make the pools *most* connections together, in the same proportion."""
    fitting = [(pool, pool.total * most // made.total // made.workers * made.workers) for pool in made.pools]
    if not all(size for _, size in fitting):
        return f"start fewer than {made.workers} workers, or give each database a server of its own"
    return "set " + ", ".join(f"{pool.variable}={size}" for pool, size in fitting)
