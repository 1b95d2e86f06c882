"""The way of events to their read models: who goes with whom, and how it is going.

A projection goes along the log in SLICES parts, each with a checkpoint of its own. An aggregate is in one of
them, so its events stay in order while others are projected at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import inf
from zlib import crc32

import psycopg

from pgdual.errors import (
    CircuitOpenError,
    ClientClosedError,
    OutcomeUnknownError,
    PoolTimeoutError,
    ProjectionError,
)

from .projection import Event, Position

OF = " @ "  # between a projection and a track of its source, in the name of their checkpoint
SLICES = 8  # for ever: checkpoints are kept by slice. Source: past 8 the client's core is the limit
FEW = 32  # events of a part
# Not the event's fault, but the server's state: connections, resources, operators, its own errors.
_TROUBLE = ("08", "25006", "53", "57P", "58", "XX")
# Nor this: rights, or tables, columns, functions or schemas that are not there. All events would fail so.
_BROKEN = ("42501", "42P01", "42703", "42883", "3F000")
_CONFLICTS = ("40001", "40P01")


@lru_cache(maxsize=1 << 14)
def slice_of(aggregate_id: str) -> int:
    """Return the slice that an aggregate is in."""
    return crc32(aggregate_id.encode()) % SLICES


def behind(events: list[Event], positions: list[Position]) -> list[Event]:
    """Return those of *events*, which are in order, that their slices have not done by their *positions*."""
    if not events or events[0].position > max(positions):
        return events
    return [event for event in events if event.position > positions[slice_of(event.aggregate_id)]]


def parts_of(
    events: list[Event], positions: list[Position], most: int = SLICES
) -> list[tuple[list[int], list[Event]]]:
    """Return slices with their *events*, without those that a slice has done by its position.

    Few events make few parts, for each is a transaction.
    """
    left = behind(events, positions)
    count = min(max(len(left) // FEW, 1), most)
    if count == 1:
        return [(list(range(SLICES)), left)] if left else []
    found: dict[int, list[Event]] = {}
    for event in left:
        found.setdefault(slice_of(event.aggregate_id) % count, []).append(event)
    return [(list(range(number, SLICES, count)), part) for number, part in found.items()]


def waves(events: list[Event]) -> Iterator[list[Event]]:
    """Yield *events* in lists of one type, each aggregate's in order, in about as few lists as it takes."""
    while events:
        event_type, taken, left = events[0].event_type, [], []
        held: set[str] = set()
        for event in events:
            if event.event_type == event_type and event.aggregate_id not in held:
                taken.append(event)
            else:
                held.add(event.aggregate_id)
                left.append(event)
        yield taken
        events = left


class GoneError(ProjectionError):
    """The tables that are written have been taken away by somebody else who rebuilds them."""


def is_trouble(error: Exception) -> bool:
    """True if *error* says nothing of the event: the same may go well when the server does."""
    if isinstance(
        error, (PoolTimeoutError, CircuitOpenError, ClientClosedError, OutcomeUnknownError, GoneError)
    ):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = getattr(error, "sqlstate", None)
    return isinstance(error, psycopg.OperationalError) if state is None else state.startswith(_TROUBLE)


def is_broken(error: Exception) -> bool:
    """True if the projector does not fit the database, whatever the event."""
    return getattr(error, "sqlstate", None) in _BROKEN


def is_conflict(error: Exception) -> bool:
    """True if it was rolled back for another's sake."""
    return getattr(error, "sqlstate", None) in _CONFLICTS


class Pace:
    """How fast something goes, and how long it will take yet.

    Args:
        begun: Monotonic seconds, from the caller's clock.
        total: How many there are in all, where that is known.
    """

    def __init__(self, begun: float, total: int) -> None:
        self._begun = begun
        self.total = total
        self.done = 0
        self.before = 0  # of an earlier run

    def rate(self, now: float) -> float:
        """Return how many are done a second."""
        return (self.done - self.before) / max(now - self._begun, 1e-9)

    def left(self, now: float) -> float:
        """Return the seconds that are left, inf if that cannot be said."""
        rate = self.rate(now)
        return max(self.total - self.done, 0) / rate if rate else inf
