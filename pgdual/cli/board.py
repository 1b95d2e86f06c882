"""What `pgdual top` shows: two looks at the processes, and what happened in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgdual.core.meter import Histogram, Meter

POOLS = (
    "process", "database", "face", "active", "idle", "max", "in line", "lanes", "calls/s", "p50 ms", "p95 ms",
    "p99 ms", "acquire p99", "errors/s", "breaker",
)  # fmt: skip
STATEMENTS = ("ms", "process", "database", "statement")
MOST = 10  # statements that are shown
Key = tuple[int, str, str]  # process, database, face


@dataclass(frozen=True, slots=True)
class Look:
    """What the processes told at one moment."""

    moment: float  # monotonic seconds
    programs: Mapping[int, str]
    databases: Mapping[Key, Mapping[str, Any]]

    @classmethod
    def at(cls, moment: float, processes: Sequence[Mapping[str, Any]]) -> Look:
        """Return what *processes* told at *moment*."""
        return cls(
            moment,
            {process["pid"]: process["program"] for process in processes},
            {
                (process["pid"], one["database"], one["face"]): one
                for process in processes
                for one in process["databases"]
            },
        )


def pools(before: Look | None, now: Look) -> list[tuple[str, ...]]:
    """Return a row for each pool: its figures now, and what it did since *before*, or ever."""
    return [_pool(key, now, before) for key in sorted(now.databases)]


def _pool(key: Key, now: Look, before: Look | None) -> tuple[str, ...]:
    pid, database, face = key
    one, pool = now.databases[key], now.databases[key]["pool"]
    meter = Meter.of(one["meter"])
    earlier = None if before is None else before.databases.get(key)
    seconds = 0.0 if before is None or earlier is None else now.moment - before.moment
    then = Meter() if earlier is None else Meter.of(earlier["meter"])
    ran, waited = _query(meter).since(_query(then)), meter.acquire.since(then.acquire)
    return (
        f"{pid} {now.programs[pid]}",
        database,
        face,
        str(pool.get("active", 0)),
        str(pool.get("idle", 0)),
        str(pool["max_size"]),
        str(pool.get("waiting", 0)),
        _lanes(one["lanes"]),
        _rate(ran.count, seconds),
        *(_ms(ran, share) for share in (0.5, 0.95, 0.99)),
        _ms(waited, 0.99),
        _rate(meter.errors - then.errors, seconds),
        one["breaker"],
    )


def _query(meter: Meter) -> Histogram:
    both = Histogram()
    both.add(meter.read)
    both.add(meter.write)
    return both


def _ms(histogram: Histogram, share: float) -> str:
    if not histogram.count:
        return "-"
    milliseconds = histogram.quantile(share) * 1e3
    return f"{milliseconds:.2f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:,.0f}" if seconds else "-"


def _lanes(loads: Sequence[int]) -> str:
    shared = [load for load in loads if load > 1]
    return f"{len(shared)} x {sum(shared) / len(shared):.0f}" if shared else "-"


def statements(look: Look) -> list[tuple[str, ...]]:
    """Return a row for each of the slowest statements, on average of late, of all processes."""
    found = [
        (one["ms"], f"{pid} {look.programs[pid]}", database, one["statement"])
        for (pid, database, _), snapshot in look.databases.items()
        for one in snapshot["slowest"]
    ]
    found.sort(key=lambda row: row[0], reverse=True)
    return [(f"{ms:.2f}", *rest) for ms, *rest in found[:MOST]]
