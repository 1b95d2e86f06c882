"""OpenTelemetry by its semantic conventions for database clients (W3): metrics, spans, trace context.

    telemetry = OpenTelemetry(client)
    reader = PeriodicExportingMetricReader(telemetry.exporter(OTLPMetricExporter()))
    telemetry.start(MeterProvider([reader]), tracer_provider)

The SDK takes 10 us to record one duration (seen with 1.45). So durations are kept here, in buckets of the
meters' kind, and join what the SDK exports when it exports, with the temporality that the exporter prefers;
that is what `exporter` is for. The other figures are the SDK's own observable instruments, read when it asks.

There is a span where a tracer provider was given, and never a parameter: of a text the literals are taken
out, of an error only its class and code are kept, for the server's message may quote a value. Nothing of
this module costs anything before `start`, which is for all clients of the process at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from time import time_ns
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from psycopg.conninfo import conninfo_to_dict

from pgdual._async.db import AsyncDB
from pgdual.core import meter
from pgdual.errors import PgdualError
from pgdual.observe import _spans
from pgdual.observe._faces import Faces

__all__ = ["OpenTelemetry"]

SCOPE = InstrumentationScope("pgdual", schema_url="https://opentelemetry.io/schemas/1.34.0")
_DURATION, _POOL = "db.client.operation.duration", "db.client.connection"
_DESCRIPTIONS = {
    _DURATION: "Duration of database client operations.",
    f"{_POOL}.create_time": "The time it took to create a new connection.",
    f"{_POOL}.wait_time": "The time it took to obtain a connection from the pool.",
    f"{_POOL}.use_time": "How long statements and transactions used a connection.",
}
# Every eighth bound of the meters' own: exact, and each twice the last.
_BOUNDS = [index for index in range(7, meter.BUCKETS - 1, 8) if 5e-5 < meter.upper(index) < 100]
Key = tuple[str, str, str, str]  # database, face, operation, type of the error


class OpenTelemetry:
    """What clients of either face do, told to OpenTelemetry.

    Args:
        clients: `AsyncClient` and `Client` objects whose pools are measured.
        sql_comments: Send the trace context to the server as a comment on each statement, which then is
            parsed each time; it needs a tracer provider, and is no part of the statement's name.
    """

    def __init__(self, *clients: Any, sql_comments: bool = False) -> None:
        self._clients = clients
        self._comments = sql_comments
        self._operations: dict[Key, meter.Histogram] = {}
        self._faces: Faces | None = None
        self._places: dict[str, dict[str, Any]] = {}

    def start(self, meter_provider: Any = None, tracer_provider: Any = None) -> None:
        """Begin; what is not given is not done."""
        self.stop()
        spans = (
            None if tracer_provider is None else _spans.Spans(tracer_provider, self._place, self._comments)
        )
        if meter_provider is not None:
            self._observe(meter_provider.get_meter("pgdual", schema_url=SCOPE.schema_url))
        self._faces = Faces(self._record if meter_provider is not None else None, spans)
        self._faces.patch()

    def stop(self) -> None:
        """End: calls cost what they did before."""
        if self._faces is not None:
            self._faces.restore()
            self._faces = None

    def exporter(self, exporter: MetricExporter) -> MetricExporter:
        """Return *exporter* with the durations added to whatever it exports."""
        return _Joined(exporter, self)

    # -- durations -------------------------------------------------------------------------------

    def _record(self, database: str, face: str, operation: str, seconds: float, error: str) -> None:
        key = database, face, operation, error
        histogram = self._operations.get(key)
        if histogram is None:
            histogram = self._operations.setdefault(key, meter.Histogram())
        histogram.record(seconds)

    def durations(self) -> Iterator[tuple[str, dict[str, Any], meter.Histogram]]:
        """Yield the metric, the attributes and a copy of each histogram of durations, of all time."""
        for (database, face, operation, error), histogram in list(self._operations.items()):
            attributes = {**self._place(database), "pgdual.face": face}
            if operation:
                attributes["db.operation.name"] = operation
            if error:
                attributes["error.type"] = error
            yield _DURATION, attributes, _sum(histogram)
        for attributes, databases in self._pools():
            own = [database._meter for database in databases]
            yield f"{_POOL}.create_time", attributes, _sum(*(one.creation for one in own))
            yield f"{_POOL}.wait_time", attributes, _sum(*(one.acquire for one in own))
            used = [histogram for one in own for histogram in (one.read, one.write, one.transaction)]
            yield f"{_POOL}.use_time", attributes, _sum(*used)

    # -- what is read when it is asked for -------------------------------------------------------

    def _pools(self) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Yield the attributes of pools, and the databases that have these: of several clients, perhaps."""
        found: dict[tuple[str, str], list[Any]] = {}
        for client in self._clients:
            for database in list(client._databases.values()):
                face = "async" if isinstance(database, AsyncDB) else "sync"
                found.setdefault((database.name, face), []).append(database)
        for (name, face), databases in found.items():
            yield {f"{_POOL}.pool.name": name, "pgdual.face": face}, databases

    def _observe(self, otel: Any) -> None:
        up_down = otel.create_observable_up_down_counter
        up_down(f"{_POOL}.count", [self._counts], unit="{connection}")
        for suffix, key, unit in (
            ("idle.max", "max_size", "{connection}"),
            ("idle.min", "min_size", "{connection}"),
            ("max", "max_size", "{connection}"),
            ("pending_requests", "waiting", "{request}"),
        ):
            up_down(f"{_POOL}.{suffix}", [self._figure(key)], unit=unit)
        otel.create_observable_counter(f"{_POOL}.timeouts", [self._timeouts], unit="{timeout}")

    def _figure(self, key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for attributes, databases in self._pools():
                yield Observation(sum(one._figures().get(key, 0) for one in databases), attributes)

        return observe

    def _counts(self, _: CallbackOptions) -> Iterator[Observation]:
        for attributes, databases in self._pools():
            figures = [one._figures() for one in databases]
            for state, key in (("idle", "idle"), ("used", "active")):
                count = sum(one.get(key, 0) for one in figures)
                yield Observation(count, {**attributes, f"{_POOL}.state": state})

    def _timeouts(self, _: CallbackOptions) -> Iterator[Observation]:
        for attributes, databases in self._pools():
            yield Observation(sum(one._meter.timeouts for one in databases), attributes)

    def _place(self, name: str) -> dict[str, Any]:
        """Return the attributes of a database: what it is called and where it is, and no secret."""
        found = self._places.get(name)
        if found is None:
            found = {"db.system.name": "postgresql", "pgdual.database": name}
            for client in self._clients:
                if (settings := client.settings.databases.get(name)) is not None:
                    found |= _address(settings)
            self._places[name] = found
        return found


def _address(settings: Any) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(settings.conninfo())
    except PgdualError:
        return {}  # it has no DSN, or a function gave none: the call itself will say so
    found: dict[str, Any] = {"db.namespace": parts.get("dbname") or parts.get("user") or "postgres"}
    if host := parts.get("host") or parts.get("hostaddr"):
        found["server.address"] = str(host).partition(",")[0]
    if (port := str(parts.get("port") or "5432").partition(",")[0]).isdigit() and port != "5432":
        found["server.port"] = int(port)  # the convention: only where it is not the usual one
    return found


def _sum(*histograms: meter.Histogram) -> meter.Histogram:
    found = meter.Histogram()
    for histogram in histograms:
        found.add(histogram)
    return found


def _point(
    attributes: dict[str, Any], histogram: meter.Histogram, since: int, until: int
) -> HistogramDataPoint:
    ends = [0, *(bound + 1 for bound in _BOUNDS), meter.BUCKETS]
    counts = [sum(histogram.buckets[start:end]) for start, end in pairwise(ends)]
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=since,
        time_unix_nano=until,
        count=sum(counts),
        sum=histogram.total,
        bucket_counts=counts,
        explicit_bounds=[meter.upper(bound) for bound in _BOUNDS],
        min=histogram.lowest,
        max=histogram.highest,
    )


class _Joined(MetricExporter):
    """An exporter that adds the durations to what it is given, of all time or since the last export."""

    def __init__(self, exporter: MetricExporter, telemetry: OpenTelemetry) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._telemetry = telemetry
        preferred = (exporter._preferred_temporality or {}).get(metrics.Histogram)
        self._temporality = preferred or AggregationTemporality.CUMULATIVE
        self._since = time_ns()
        self._before: dict[Any, meter.Histogram] = {}  # as they were at the last export

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export *metrics_data* and the durations."""
        mine = ScopeMetrics(SCOPE, self._durations(), SCOPE.schema_url or "")
        first, *rest = metrics_data.resource_metrics
        joined = ResourceMetrics(first.resource, [*first.scope_metrics, mine], first.schema_url)
        return self._exporter.export(MetricsData([joined, *rest]), timeout_millis, **kwargs)

    def _durations(self) -> list[Metric]:
        points: dict[str, list[HistogramDataPoint]] = {}
        moment, is_delta = time_ns(), self._temporality is AggregationTemporality.DELTA
        for name, attributes, histogram in self._telemetry.durations():
            shown = histogram
            if is_delta:
                key = name, frozenset(attributes.items())
                shown = histogram.since(self._before.get(key, meter.Histogram()))
                self._before[key] = histogram
            if shown.count or not is_delta:
                points.setdefault(name, []).append(_point(attributes, shown, self._since, moment))
        if is_delta:
            self._since = moment
        return [
            Metric(name, _DESCRIPTIONS[name], "s", Histogram(found, self._temporality))
            for name, found in points.items()
        ]

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Pass it on."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Pass it on."""
        self._exporter.shutdown(timeout_millis, **kwargs)
