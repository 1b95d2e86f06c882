"""Counters and histograms: how long calls waited and ran, per database (W1).

A histogram has buckets whose bounds grow by a fixed factor, so a quantile is off by at most half a
bucket (under 5 %), a record costs one logarithm and two additions, and two histograms add up bucket
by bucket. Nothing here reads a clock: callers bring seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp, inf, log
from typing import Any, Final

# Half the logarithm of the growth is the largest relative error of a quantile: exp(0.045) - 1 < 5 %.
GROWTH: Final = 0.09
LOWEST: Final = 1e-6  # seconds; anything shorter is counted in the first bucket
HIGHEST: Final = 1e4  # seconds; anything longer in the last
_SCALE: Final = 1 / GROWTH
_SHIFT: Final = 1.5 - log(LOWEST) / GROWTH
BUCKETS: Final = int((log(HIGHEST) - log(LOWEST)) / GROWTH) + 3
LABELS: Final = 100  # that are counted apart (N3); a label made of a user's id would have no end
COUNTERS = ("errors", "lost", "refused", "replays", "resent", "rows", "timeouts")
_SHARES = ("events", "inline", "unprojected")
_HISTOGRAMS = ("_waits", "creation", "read", "transaction", "write")


class Histogram:
    """Durations in seconds, counted in buckets of equal width on a logarithmic scale."""

    __slots__ = ("buckets", "highest", "total")

    buckets: list[int]
    highest: float
    total: float

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0.0
        self.highest = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration, in seconds."""
        self.total += seconds
        if seconds > self.highest:
            self.highest = seconds
        if seconds <= LOWEST:
            self.buckets[0] += 1
        elif seconds < HIGHEST:
            self.buckets[int(log(seconds) * _SCALE + _SHIFT)] += 1
        else:
            self.buckets[-1] += 1

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """Return the seconds that *share* (0 to 1) of the records do not exceed; 0.0 if there are none."""
        wanted = share * self.count
        seen = 0
        for index, count in enumerate(self.buckets):
            seen += count
            if count and seen >= wanted:
                return min(middle(index), self.highest)
        return 0.0

    def add(self, other: Histogram) -> None:
        """Count everything that *other* counted too."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was recorded after it was as *earlier*; after a reset that is nothing."""
        later = Histogram()
        later.buckets = [max(new - old, 0) for new, old in zip(self.buckets, earlier.buckets, strict=True)]
        later.total = max(self.total - earlier.total, 0.0)
        last = max((index for index, count in enumerate(later.buckets) if count), default=None)
        later.highest = 0.0 if last is None else min(self.highest, upper(last))
        return later

    @property
    def lowest(self) -> float:
        """Seconds that no record is below, to a bucket; 0.0 if there are none."""
        first = next((index for index, count in enumerate(self.buckets) if count), 0)
        return upper(first - 1) if first else 0.0

    def state(self) -> dict[str, Any]:
        """Return it as plain values, which `of` takes back: in another process they can be added up."""
        filled = {str(index): count for index, count in enumerate(self.buckets) if count}
        return {"total": self.total, "highest": self.highest, "buckets": filled}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Histogram:
        """Return the histogram whose `state` this is."""
        histogram = cls()
        histogram.total, histogram.highest = state["total"], state["highest"]
        for index, count in state["buckets"].items():
            histogram.buckets[int(index)] = count
        return histogram

    def reset(self) -> None:
        """Forget everything."""
        self.buckets = [0] * BUCKETS
        self.total = self.highest = 0.0

    def summary(self) -> dict[str, float]:
        """Return count, mean, p50, p95, p99 and max; durations in milliseconds."""
        count = self.count
        return {
            "count": count,
            "mean": self.total / count * 1e3 if count else 0.0,
            "p50": self.quantile(0.50) * 1e3,
            "p95": self.quantile(0.95) * 1e3,
            "p99": self.quantile(0.99) * 1e3,
            "max": self.highest * 1e3,
        }


def middle(index: int) -> float:
    """Return the seconds that stand for bucket *index*: the geometric middle of its bounds."""
    return LOWEST if index == 0 else exp((index + 0.5 - _SHIFT) * GROWTH)


def upper(index: int) -> float:
    """Return the seconds that a duration counted in bucket *index* is below; the last has no bound."""
    return inf if index == BUCKETS - 1 else max(exp((index + 1 - _SHIFT) * GROWTH), LOWEST)


class Meter:
    """What one database did: calls by outcome, rows, and the time spent waiting and running.

    What the user gave a label is counted in a meter of that label as well.
    """

    __slots__ = (*COUNTERS, *_HISTOGRAMS, "labels")

    errors: int
    refused: int
    rows: int
    resent: int
    lost: int
    timeouts: int
    replays: int
    _waits: Histogram
    read: Histogram
    write: Histogram
    transaction: Histogram
    creation: Histogram

    def __init__(self) -> None:
        self.labels: dict[str, Meter] = {}
        self.reset()

    def reset(self) -> None:
        """Start again from zero."""
        self._waits = Histogram()  # of those that did wait
        self.read = Histogram()
        self.write = Histogram()
        self.transaction = Histogram()
        self.creation = Histogram()  # of connections
        self.errors = self.refused = self.rows = self.resent = self.lost = self.timeouts = self.replays = 0
        self.labels.clear()

    def labelled(self, label: str) -> Meter:
        """Return the meter of *label*; past LABELS of them, that of "other" (N3)."""
        found = self.labels.get(label)
        if found is None:
            name = label if len(self.labels) < LABELS else "other"
            found = self.labels.setdefault(name, Meter())
        return found

    def add(self, other: Meter) -> None:
        """Count everything that *other* counted too."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).add(getattr(other, name))
        for label, meter in other.labels.items():
            self.labelled(label).add(meter)

    def state(self) -> dict[str, Any]:
        """Return it as plain values, which `of` takes back: in another process they can be added up."""
        return {
            **{name: getattr(self, name) for name in COUNTERS},
            **{name: getattr(self, name).state() for name in _HISTOGRAMS},
            "labels": {label: meter.state() for label, meter in list(self.labels.items())},
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Meter:
        """Return the meter whose `state` this is."""
        meter = cls()
        for name in COUNTERS:
            setattr(meter, name, state[name])
        for name in _HISTOGRAMS:
            setattr(meter, name, Histogram.of(state[name]))
        meter.labels = {label: cls.of(one) for label, one in state["labels"].items()}
        return meter

    def tell(self, wait: float, run: float, rows: int, is_read: bool) -> None:
        """Count one answered call: *wait* seconds until its turn on a connection, *run* seconds there."""
        if rows:
            self.rows += rows
        if wait > LOWEST:
            self._waits.record(wait)
        query = self.read if is_read else self.write
        if LOWEST < run < query.highest < HIGHEST:  # the common case of `record`, without its call
            query.total += run
            query.buckets[int(log(run) * _SCALE + _SHIFT)] += 1
        else:
            query.record(run)

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return self.read.count + self.write.count

    @property
    def acquire(self) -> Histogram:
        """How long they waited for their turn; most did not."""
        histogram = Histogram()
        histogram.add(self._waits)
        histogram.buckets[0] += self.calls - histogram.count
        return histogram

    def summary(self) -> dict[str, Any]:
        """Return plain values; durations in milliseconds."""
        query = Histogram()
        query.add(self.read)
        query.add(self.write)
        return {
            "calls": self.calls,
            "rows": self.rows,
            "errors": self.errors,
            "refused": self.refused,
            "resent": self.resent,
            "lost": self.lost,
            "replays": self.replays,
            "timeouts": self.timeouts,
            "transactions": self.transaction.count,
            "acquire": self.acquire.summary(),
            "query": query.summary(),
            "read": self.read.summary(),
            "write": self.write.summary(),
            "transaction": self.transaction.summary(),
        }


class ProjectionMeter:
    """What one projection did: `took` is seconds a transaction, `lag` from an event's time to its rows."""

    def __init__(self) -> None:
        self.events: int = 0
        self.failures: int = 0
        self.took: Histogram = Histogram()
        self.lag: Histogram = Histogram()

    def add(self, other: ProjectionMeter) -> None:
        """Count everything that *other* counted too."""
        self.events += other.events
        self.failures += other.failures
        self.took.add(other.took)
        self.lag.add(other.lag)

    def state(self) -> dict[str, Any]:
        """Return it as plain values, which `of` takes back."""
        return {
            "events": self.events,
            "failures": self.failures,
            "took": self.took.state(),
            "lag": self.lag.state(),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> ProjectionMeter:
        """Return the meter whose `state` this is."""
        meter = cls()
        meter.events, meter.failures = state["events"], state["failures"]
        meter.took, meter.lag = Histogram.of(state["took"]), Histogram.of(state["lag"])
        return meter

    def summary(self) -> dict[str, Any]:
        """Return plain values; durations in milliseconds."""
        return {
            "events": self.events,
            "failures": self.failures,
            "took": self.took.summary(),
            "lag": self.lag.summary(),
        }


class ProjectionMeters:
    """What all projections of a database did, and the share of SYNC events (J5)."""

    def __init__(self) -> None:
        self.events: int = 0  # that were given to `project`
        self.inline: int = 0  # of them, with a SYNC projector
        self.unprojected: int = 0  # of them, with none at all
        self._own: dict[str, ProjectionMeter] = {}

    def of(self, projection: str) -> ProjectionMeter:
        """Return the meter of one projection."""
        return self._own.setdefault(projection, ProjectionMeter())

    def count(self, is_inline: bool, is_projected: bool) -> None:
        """Count an event that was given to `project`."""
        self.events += 1
        self.inline += is_inline
        self.unprojected += not is_projected

    def add(self, state: Mapping[str, Any]) -> None:
        """Count everything that another has counted, whose `state` this is."""
        for name in _SHARES:
            setattr(self, name, getattr(self, name) + state[name])
        for projection, one in state["projections"].items():
            self.of(projection).add(ProjectionMeter.of(one))

    def __iter__(self) -> Iterator[tuple[str, ProjectionMeter]]:
        return iter(list(self._own.items()))

    def state(self) -> dict[str, Any]:
        """Return it as plain values, which `add` takes back: in another process they can be added up."""
        own = {name: one.state() for name, one in self}
        return {**{name: getattr(self, name) for name in _SHARES}, "projections": own}

    def summary(self) -> dict[str, Any]:
        """Return plain values; durations in milliseconds."""
        return {
            **{name: getattr(self, name) for name in _SHARES},
            "sync_share": self.inline / self.events if self.events else 0.0,
            "projections": {name: one.summary() for name, one in self},
        }
