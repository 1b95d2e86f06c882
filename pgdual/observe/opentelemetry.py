"""OpenTelemetry by its semantic conventions for database clients (W3): metrics, spans, trace context.

    telemetry = OpenTelemetry(client)
    reader = PeriodicExportingMetricReader(telemetry.exporter(OTLPMetricExporter()))
    telemetry.start(MeterProvider([reader]), tracer_provider)

The SDK takes 10 us to record one duration (seen with 1.45). So durations are kept here, in buckets of the
meters' kind, and join what the SDK exports when it exports; that is what `exporter` is for. They are
cumulative. The other figures are the SDK's own observable instruments, read when it asks.

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

from pgdual.core import meter
from pgdual.errors import PgdualError
from pgdual.observe import _spans
from pgdual.observe._faces import Faces

__all__ = ["OpenTelemetry"]

SCOPE = InstrumentationScope("pgdual", schema_url="https://opentelemetry.io/schemas/1.34.0")
_DURATION = "db.client.operation.duration"
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
        self._since = time_ns()
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

    def metrics(self) -> ScopeMetrics:
        """Return the durations as the SDK's own objects."""
        found = [
            _metric(_DURATION, "Duration of database client operations.", self._operation_points()),
            *self._connection_metrics(),
        ]
        return ScopeMetrics(SCOPE, [one for one in found if one.data.data_points], SCOPE.schema_url or "")

    def _operation_points(self) -> Iterator[HistogramDataPoint]:
        for (database, _, operation, error), histogram in list(self._operations.items()):
            attributes = dict(self._place(database))
            if operation:
                attributes["db.operation.name"] = operation
            if error:
                attributes["error.type"] = error
            yield self._point(attributes, histogram)

    def _connection_metrics(self) -> Iterator[Metric]:
        create, wait, use = [], [], []
        for database in self._databases():
            own = database._meter
            attributes = _pool(database.name)
            create.append(self._point(attributes, own.creation))
            wait.append(self._point(attributes, own.acquire))
            used = meter.Histogram()
            for one in (own.read, own.write, own.transaction):
                used.add(one)
            use.append(self._point(attributes, used))
        name = "db.client.connection"
        yield _metric(f"{name}.create_time", "The time it took to create a new connection.", create)
        yield _metric(f"{name}.wait_time", "The time it took to obtain a connection from the pool.", wait)
        yield _metric(f"{name}.use_time", "How long statements and transactions used a connection.", use)

    def _point(self, attributes: dict[str, Any], histogram: meter.Histogram) -> HistogramDataPoint:
        ends = [0, *(bound + 1 for bound in _BOUNDS), meter.BUCKETS]
        counts = [sum(histogram.buckets[start:end]) for start, end in pairwise(ends)]
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._since,
            time_unix_nano=time_ns(),
            count=sum(counts),
            sum=histogram.total,
            bucket_counts=counts,
            explicit_bounds=[meter.upper(bound) for bound in _BOUNDS],
            min=0.0,
            max=histogram.highest,
        )

    # -- what is read when it is asked for -------------------------------------------------------

    def _databases(self) -> Iterator[Any]:
        for client in self._clients:
            yield from list(client._databases.values())

    def _observe(self, otel: Any) -> None:
        up_down = otel.create_observable_up_down_counter
        name = "db.client.connection"
        up_down(f"{name}.count", [self._counts], unit="{connection}")
        for suffix, key, unit in (
            ("idle.max", "max_size", "{connection}"),
            ("idle.min", "min_size", "{connection}"),
            ("max", "max_size", "{connection}"),
            ("pending_requests", "waiting", "{request}"),
        ):
            up_down(f"{name}.{suffix}", [self._figure(key)], unit=unit)
        otel.create_observable_counter(f"{name}.timeouts", [self._timeouts], unit="{timeout}")

    def _figure(self, key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for database in self._databases():
                yield Observation(database._figures().get(key, 0), _pool(database.name))

        return observe

    def _counts(self, _: CallbackOptions) -> Iterator[Observation]:
        for database in self._databases():
            figures = database._figures()
            for state, key in (("idle", "idle"), ("used", "active")):
                attributes = {**_pool(database.name), "db.client.connection.state": state}
                yield Observation(figures.get(key, 0), attributes)

    def _timeouts(self, _: CallbackOptions) -> Iterator[Observation]:
        for database in self._databases():
            yield Observation(database._meter.timeouts, _pool(database.name))

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


def _pool(name: str) -> dict[str, Any]:
    return {"db.client.connection.pool.name": name}


def _metric(name: str, description: str, points: Iterable[HistogramDataPoint]) -> Metric:
    data = Histogram(list(points), AggregationTemporality.CUMULATIVE)
    return Metric(name, description, "s", data)


class _Joined(MetricExporter):
    """An exporter that adds the durations to what it is given."""

    def __init__(self, exporter: MetricExporter, telemetry: OpenTelemetry) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._telemetry = telemetry

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export *metrics_data* and the durations."""
        mine = self._telemetry.metrics()
        first, *rest = metrics_data.resource_metrics
        joined = ResourceMetrics(first.resource, [*first.scope_metrics, mine], first.schema_url)
        return self._exporter.export(MetricsData([joined, *rest]), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Pass it on."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Pass it on."""
        self._exporter.shutdown(timeout_millis, **kwargs)
