"""What does a row promise, and did it keep it?

Pure arithmetic: no clock, no database. A ratio is always pgdual's figure over the peer's; whether
more or less of it is better is the row's affair.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a ratio amounts to."""

    GOAL = "goal"
    FLOOR = "floor"
    MISS = "MISS"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Promise:
    """One row: the work, the peer, and the ratios to reach."""

    row: str
    work: str
    peer: str
    goal: float
    floor: float
    unit: str = "calls/s"
    lower_is_better: bool = False
    is_difference: bool = False  # what counts is how much the figures differ, in the row's unit

    @property
    def number(self) -> int:
        """The row's number in the table; rows 12a and 12b both answer to 12."""
        return int(self.row.rstrip("ab"))


@dataclass(frozen=True, slots=True)
class Spread:
    """A median between its quartiles."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of *values*; a single value is its own quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return pgdual's figure over the peer's, pair by pair.

    Neighbours in time share the machine's mood, so their ratio is steadier than the ratio of two medians.
    """
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return pgdual's figure less the peer's, pair by pair."""
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]


def judge(promise: Promise, ratio: float) -> Verdict:
    """Say whether *ratio* reaches the row's goal, only its floor, or neither."""
    if _reaches(promise, ratio, promise.goal):
        return Verdict.GOAL
    return Verdict.FLOOR if _reaches(promise, ratio, promise.floor) else Verdict.MISS


def _reaches(promise: Promise, ratio: float, bound: float) -> bool:
    return ratio <= bound if promise.lower_is_better else ratio >= bound


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* (0 to 1) of *values* do not exceed.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
