"""The way of events to their read models (J3): slices, waves, what is the server's fault, and meters (J5)."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.meter import ProjectionMeters
from pgdual.core.projection import START, Event, Position
from pgdual.core.track import (
    FEW,
    SLICES,
    GoneError,
    Pace,
    behind,
    is_broken,
    is_conflict,
    is_trouble,
    parts_of,
    slice_of,
    waves,
)
from pgdual.errors import CheckViolation, PoolTimeoutError, QueryTimeoutError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def event(aggregate: str, kind: str, number: int) -> Event:
    return Event(uuid4(), kind, aggregate, number + 1, NOW, {}, Position(1, number))


def events_of(pairs: list[tuple[str, str]]) -> list[Event]:
    return [event(aggregate, kind, number) for number, (aggregate, kind) in enumerate(pairs)]


PAIRS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["tick", "tock", "tack"])))


@given(PAIRS)
def test_waves_keep_each_aggregates_order(pairs: list[tuple[str, str]]) -> None:
    """J3: waves are of one type each, and hold every event once, those of an aggregate in order."""
    events = events_of(pairs)
    found = list(waves(events))
    assert all(len({one.event_type for one in wave}) == 1 for wave in found)
    spread = [one for wave in found for one in wave]
    for aggregate in "abcdef":
        theirs = [one for one in spread if one.aggregate_id == aggregate]
        assert theirs == [one for one in events if one.aggregate_id == aggregate]


def test_waves_are_few() -> None:
    """Aggregates that go through the same types make as many waves as there are types."""
    assert [len(wave) for wave in waves(events_of([(a, k) for a in "abc" for k in ("tick", "tock")]))] == [
        3,
        3,
    ]


@given(PAIRS, st.integers(0, 20), st.integers(1, 9), st.integers(1, SLICES))
def test_parts(pairs: list[tuple[str, str]], done: int, times: int, most: int) -> None:
    """J3: an aggregate is in one part, in order, and what its slice has done by its position is left out."""
    positions = [Position(1, done) if number % 2 else START for number in range(SLICES)]
    events = events_of(pairs * times)
    found = parts_of(events, positions, most)
    slices = [number for numbers, _ in found for number in numbers]
    assert len(slices) == len(set(slices))
    for numbers, part in found:
        assert part == [
            one
            for one in events
            if slice_of(one.aggregate_id) in numbers and one.position > positions[slice_of(one.aggregate_id)]
        ]
    left = [one for one in events if one.position > positions[slice_of(one.aggregate_id)]]
    assert sum(len(part) for _, part in found) == len(left)
    assert len(found) <= min(max(len(left) // FEW, 1), most)
    assert behind(events, positions) == left


def test_slices_are_for_ever() -> None:
    """Checkpoints are kept by slice, so an aggregate is in the same one in every process and release."""
    assert [slice_of(name) for name in ("a", "b", "order-1", "ä")] == [3, 1, 7, 3]


@pytest.mark.parametrize(
    ("error", "trouble", "conflict"),
    [
        (psycopg.OperationalError("the connection was lost"), True, False),
        (GoneError("was rebuilt by somebody else"), True, False),
        (psycopg.errors.AdminShutdown(), True, False),
        (psycopg.errors.DiskFull(), True, False),
        (psycopg.errors.ReadOnlySqlTransaction(), True, False),
        (psycopg.errors.DeadlockDetected(), False, True),
        (psycopg.errors.SerializationFailure(), False, True),
        (psycopg.errors.QueryCanceled(), False, False),
        (psycopg.InterfaceError("no state"), False, False),
        (CheckViolation(), False, False),
        (PoolTimeoutError("full"), True, False),
        (QueryTimeoutError("late", "rolled back"), False, False),
        (KeyError("x"), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whose_fault(error: Exception, trouble: bool, conflict: bool) -> None:
    """J3: an event is parked for what it does itself, not for what the server is in."""
    assert (is_trouble(error), is_conflict(error)) == (trouble, conflict)


def test_a_broken_projector() -> None:
    """J3: what every event would fail with is no event's fault."""
    assert is_broken(psycopg.errors.UndefinedTable())
    assert not is_broken(CheckViolation())
    assert not is_broken(KeyError())


def test_pace() -> None:
    """What an earlier run did counts as done and not for the rate; without a rate nothing is foretold."""
    pace = Pace(10.0, 100)
    assert (pace.rate(12.0), pace.left(12.0)) == (0.0, inf)
    pace.before = pace.done = 20
    pace.done += 40
    assert (pace.rate(12.0), pace.left(12.0)) == (20.0, 2.0)
    pace.done = 120  # more were appended meanwhile
    assert pace.left(12.0) == 0.0


def test_projection_meters() -> None:
    """J5: the share of SYNC events, and each projection's figures, add up over processes."""
    meters, other = ProjectionMeters(), ProjectionMeters()
    assert meters.summary()["sync_share"] == 0.0
    for is_inline in (True, False, False, False):
        meters.count(is_inline, True)
    other.count(False, False)
    for one in (meters, other):
        own = one.of("orders")
        own.events += 3
        own.failures += 1
        own.took.record(0.01)
        own.lag.record(0.02)
    meters.add(other.state())
    found = meters.summary()
    assert (found["events"], found["inline"], found["unprojected"], found["sync_share"]) == (5, 1, 1, 0.2)
    orders = found["projections"]["orders"]
    assert (orders["events"], orders["failures"], orders["took"]["count"], orders["lag"]["count"]) == (
        6,
        2,
        2,
        2,
    )
    assert [name for name, _ in meters] == ["orders"]
