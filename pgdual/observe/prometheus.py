"""Figures for Prometheus: a collector that reads the meters when it is asked, and costs nothing before.

    from prometheus_client import REGISTRY
    REGISTRY.register(PgdualCollector(client))

Where several workers answer behind one port a scrape reaches any of them. Set PGDUAL_MONITOR and give
the folder as `workers=`: then each of them tells of all, added up. (prometheus_client's own
multi-process mode keeps values in files and has no place for a collector.)

No argument and no text of a statement is in a metric; a label is what `db.labelled()` was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pgdual.core.meter import BUCKETS, Histogram, Meter, ProjectionMeters, upper
from pgdual.monitor import read

__all__ = ["PgdualCollector"]

# Every eighth bound of the meters' own, from 50 us to 100 s: each twice the last, and exact.
BOUNDS = [index for index in range(7, BUCKETS - 1, 8) if 5e-5 < upper(index) < 100]
_COUNTERS = {
    "rows": "Rows that came back.",
    "errors": "Calls that failed with an error of the server's or of the connection.",
    "refused": "Calls that the breaker refused.",
    "resent": "Tries after the first.",
    "lost": "Statements that write and whose outcome is not known.",
    "timeouts": "Calls that got no connection in time.",
}
_EVENTS = {  # J5
    "events": "Events that were given to project().",
    "inline": "Of them, those with a SYNC projector.",
    "unprojected": "Of them, those that nobody projects.",
}
_go: Callable[[float], str] = floatToGoString
_STATES = ("closed", "open", "half-open")


class PgdualCollector(Collector):
    """Collects from clients of either face, or from all workers of a host.

    Args:
        clients: `AsyncClient` and `Client` objects, such as `pgdual.aio.client`.
        workers: The folder that PGDUAL_MONITOR names: what all processes with a socket there did, added up.
    """

    def __init__(self, *clients: Any, workers: str | None = None) -> None:
        self._clients = clients
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; the client's registry calls it."""
        found = _merged(self._snapshots())
        yield from _histograms(found)
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"pgdual_{name}", text, labels=["database", "face"])
            for key, one in found.items():
                family.add_metric(key, getattr(one.meter, name))
            yield family
        yield from _gauges(found)
        yield from _projections(found)

    def describe(self) -> list[Metric]:
        """Return nothing: the names are known without a look at the databases."""
        return []

    def _snapshots(self) -> Iterator[dict[str, Any]]:
        if self._workers is not None:
            for process in read(self._workers):
                yield from process["databases"]
            return
        for client in self._clients:
            for database in list(client._databases.values()):
                yield database._snapshot()


class _Sum:
    """What several pools of one database and face are together."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.projections = ProjectionMeters()
        self.pool: dict[str, int] = {}
        self.states = dict.fromkeys(_STATES, 0)

    def add(self, snapshot: dict[str, Any]) -> None:
        self.meter.add(Meter.of(snapshot["meter"]))
        self.projections.add(snapshot["projections"])
        for name, count in snapshot["pool"].items():
            self.pool[name] = self.pool.get(name, 0) + count
        self.states[snapshot["breaker"]] += 1


def _merged(snapshots: Iterable[dict[str, Any]]) -> dict[tuple[str, str], _Sum]:
    found: dict[tuple[str, str], _Sum] = {}
    for snapshot in snapshots:
        found.setdefault((snapshot["database"], snapshot["face"]), _Sum()).add(snapshot)
    return found


def _histograms(found: dict[tuple[str, str], _Sum]) -> Iterator[Metric]:
    both = ["database", "face"]
    query = HistogramMetricFamily(
        "pgdual_query_duration_seconds", "How long statements ran.", labels=[*both, "kind"]
    )
    acquire = HistogramMetricFamily(
        "pgdual_acquire_duration_seconds", "How long they waited for their turn on a connection.", labels=both
    )
    transaction = HistogramMetricFamily(
        "pgdual_transaction_duration_seconds", "How long transactions were open.", labels=both
    )
    creation = HistogramMetricFamily(
        "pgdual_connection_create_seconds", "How long connections took to be made.", labels=both
    )
    labelled = HistogramMetricFamily(
        "pgdual_label_duration_seconds", "How long labelled statements ran.", labels=[*both, "label", "kind"]
    )
    for key, one in found.items():
        meter = one.meter
        for kind, histogram in (("read", meter.read), ("write", meter.write)):
            _put(query, [*key, kind], histogram)
        _put(acquire, key, meter.acquire)
        _put(transaction, key, meter.transaction)
        _put(creation, key, meter.creation)
        for label, own in meter.labels.items():
            for kind, histogram in (("read", own.read), ("write", own.write)):
                _put(labelled, [*key, label, kind], histogram)
    yield from (query, acquire, transaction, creation, labelled)


def _put(family: HistogramMetricFamily, labels: Iterable[str], histogram: Histogram) -> None:
    buckets = [(_go(upper(bound)), sum(histogram.buckets[: bound + 1])) for bound in BOUNDS]
    family.add_metric(list(labels), [*buckets, ("+Inf", histogram.count)], histogram.total)


def _gauges(found: dict[tuple[str, str], _Sum]) -> Iterator[Metric]:
    both = ["database", "face"]
    connections = GaugeMetricFamily(
        "pgdual_pool_connections", "Connections by what they do.", labels=[*both, "state"]
    )
    least = GaugeMetricFamily("pgdual_pool_min_connections", "The least that are kept.", labels=both)
    most = GaugeMetricFamily("pgdual_pool_max_connections", "The most that may be open.", labels=both)
    waiting = GaugeMetricFamily("pgdual_pool_waiting_calls", "Calls in line for a connection.", labels=both)
    breaker = GaugeMetricFamily(
        "pgdual_breaker_state", "How many breakers are in each state.", labels=[*both, "state"]
    )
    for key, one in found.items():
        for state in ("active", "idle", "connecting"):
            connections.add_metric([*key, state], one.pool.get(state, 0))
        least.add_metric(key, one.pool["min_size"])
        most.add_metric(key, one.pool["max_size"])
        waiting.add_metric(key, one.pool.get("waiting", 0))
        for state, count in one.states.items():
            breaker.add_metric([*key, state], count)
    yield from (connections, least, most, waiting, breaker)


def _projections(found: dict[tuple[str, str], _Sum]) -> Iterator[Metric]:
    own = ["database", "face", "projection"]
    for name, text in _EVENTS.items():
        family = CounterMetricFamily(f"pgdual_project_{name}", text, labels=own[:2])
        for key, one in found.items():
            family.add_metric(key, getattr(one.projections, name))
        yield family
    events = CounterMetricFamily("pgdual_projected_events", "Events that were projected.", labels=own)
    failures = CounterMetricFamily("pgdual_projection_failures", "Tries of events that failed.", labels=own)
    took = HistogramMetricFamily(
        "pgdual_projection_duration_seconds", "How long transactions of projections took.", labels=own
    )
    lag = HistogramMetricFamily(
        "pgdual_projection_lag_seconds", "From an event's time to its rows, behind the log.", labels=own
    )
    for key, one in found.items():
        for name, meter in one.projections:
            events.add_metric([*key, name], meter.events)
            failures.add_metric([*key, name], meter.failures)
            _put(took, [*key, name], meter.took)
            _put(lag, [*key, name], meter.lag)
    yield from (events, failures, took, lag)
