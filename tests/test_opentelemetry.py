"""W3: metrics and spans by the semantic conventions, through the SDK's own exporters, without values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pgdual.errors import PoolTimeoutError, UniqueViolation
from pgdual.observe._spans import without_literals
from pgdual.observe.opentelemetry import OpenTelemetry

from ._async import clients as aio
from ._sync import clients as sync

CUMULATIVE = AggregationTemporality.CUMULATIVE
SECRET = "h7unt3r2"
NINE = {
    f"db.client.connection.{name}"
    for name in (
        "count", "idle.max", "idle.min", "max", "pending_requests", "timeouts", "create_time", "wait_time",
        "use_time",
    )
}  # fmt: skip


class Kept(MetricExporter):
    """An exporter that keeps what it is given."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        super().__init__({metrics.Histogram: temporality})
        self.seen: list[Any] = []

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self.seen.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        pass


class Told:
    """A telemetry with its exporters, in memory."""

    def __init__(self, *clients: Any, temporality: Any = CUMULATIVE, **options: Any) -> None:
        self.telemetry = OpenTelemetry(*clients, **options)
        self._kept = Kept(temporality)
        self._spans = InMemorySpanExporter()
        reader = PeriodicExportingMetricReader(self.telemetry.exporter(self._kept), float("inf"))
        self.meters = MeterProvider([reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def points(self) -> dict[str, list[Any]]:
        """Return what is exported now, by metric."""
        self.meters.force_flush()
        found: dict[str, list[Any]] = {}
        for resource in self._kept.seen[-1].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = found.setdefault(metric.name, [])
                    points.extend(metric.data.data_points)
                    assert metric.unit
                    # Two points of one series would be one too many.
                    series = {frozenset(point.attributes.items()) for point in points}
                    assert len(series) == len(points), metric.name
        return found

    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())


@pytest.fixture
def told() -> Iterator[Any]:
    made: list[Told] = []

    def make(*clients: Any, metrics: bool = True, spans: bool = True, **options: Any) -> Told:
        one = Told(*clients, **options)
        made.append(one)
        one.telemetry.start(one.meters if metrics else None, one.tracers if spans else None)
        return one

    yield make
    for one in made:
        one.telemetry.stop()
        one.meters.shutdown()
        one.tracers.shutdown()


def named(points: list[Any], **attributes: Any) -> Any:
    (found,) = [
        point for point in points if all(point.attributes.get(key) == one for key, one in attributes.items())
    ]
    return found


async def worked(db: Any) -> None:
    await db.execute("create table t (id int primary key, name text)")
    await db.execute("insert into t values ($1, $2)", 1, SECRET)
    async with db.transaction() as tx:
        await tx.fetch("select id from t where name = $1", SECRET)
        await db.fetchval("select 1")
        await db.executemany("insert into t values ($1, $2)", [(2, SECRET), (3, SECRET)])
    await db.executemany("insert into t values ($1, $2)", [(4, SECRET)])
    with pytest.raises(UniqueViolation):
        await db.execute("insert into t values ($1, $2)", 1, SECRET)


async def test_metrics(main_dsn: str, told: Any) -> None:
    """W3: the stable duration and the nine of connections, by the convention's names and attributes."""
    async with aio.client_of(main=main_dsn) as client:
        seen = told(client, spans=False)
        await worked(client["main"])
        points = seen.points()
        stats = client["main"].stats()
    assert points.keys() == {"db.client.operation.duration"} | NINE
    durations = points["db.client.operation.duration"]
    ordinary = named(durations, **{"db.operation.name": "INSERT", "error.type": None})
    assert ordinary.count == 1
    assert named(durations, **{"db.operation.name": "BATCH INSERT"}).count == 2
    assert named(durations, **{"db.operation.name": "SELECT"}).count == 2
    failed = named(durations, **{"error.type": "23505"})
    assert (failed.count, failed.attributes["db.operation.name"]) == (1, "INSERT")
    assert sum(failed.bucket_counts) == 1
    assert len(failed.bucket_counts) == len(failed.explicit_bounds) + 1
    assert failed.sum <= failed.max * 1.0001
    where = {key: one for key, one in ordinary.attributes.items() if key != "db.operation.name"}
    assert where == {
        "db.system.name": "postgresql",
        "db.namespace": main_dsn.rpartition("/")[2],
        "server.address": "127.0.0.1",
        "server.port": int(main_dsn.rpartition(":")[2].partition("/")[0]),
        "pgdual.database": "main",
        "pgdual.face": "async",
    }
    pool = {"db.client.connection.pool.name": "main"}
    assert named(points["db.client.connection.max"], **pool).value == 4
    assert named(points["db.client.connection.idle.min"], **pool).value == 1
    states = {
        point.attributes["db.client.connection.state"] for point in points["db.client.connection.count"]
    }
    assert states == {"idle", "used"}
    assert named(points["db.client.connection.wait_time"], **pool).count == stats["calls"]
    assert named(points["db.client.connection.create_time"], **pool).count >= 1
    assert SECRET not in str(points)


def test_metrics_of_the_blocking_face(main_dsn: str, told: Any) -> None:
    """W3: the other face is told of too, timeouts among it; a failure has its class where no code came."""
    with sync.client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.2) as client:
        seen = told(client)
        client["main"].execute("select 1")
        with client["main"].connection(), pytest.raises(PoolTimeoutError):
            client["main"].fetch("select 1")
        points = seen.points()
    assert named(points["db.client.connection.timeouts"]).value == 1
    named(points["db.client.operation.duration"], **{"error.type": "PoolTimeoutError"})
    assert [span.attributes.get("error.type") for span in seen.spans()] == [None, "PoolTimeoutError"]


async def test_both_faces_of_one_database(main_dsn: str, told: Any) -> None:
    """W3: two faces are two series of each metric; two clients of one face are one, added up."""
    with sync.client_of(main=main_dsn) as one, sync.client_of(main=main_dsn) as two:
        async with aio.client_of(main=main_dsn) as client:
            seen = told(client, one, two, spans=False)
            await client["main"].fetch("select 1")
            for each in (one, two):
                each["main"].fetch("select 1")
            points = seen.points()
    for name, counts in (
        ("db.client.operation.duration", [1, 2]),
        ("db.client.connection.wait_time", [1, 2]),
    ):
        found = {point.attributes["pgdual.face"]: point.count for point in points[name]}
        assert [found["async"], found["sync"]] == counts
    assert named(points["db.client.connection.max"], **{"pgdual.face": "sync"}).value == 8
    assert named(points["db.client.connection.max"], **{"pgdual.face": "async"}).value == 4


async def test_what_is_new_since_the_last_export(main_dsn: str, told: Any) -> None:
    """W3: an exporter that prefers deltas is told what came since its last export, if anything did."""
    async with aio.client_of(main=main_dsn) as client:
        db, name = client["main"], "db.client.operation.duration"
        seen = told(client, spans=False, temporality=AggregationTemporality.DELTA)
        await db.fetch("select pg_sleep(0.05)")
        await db.fetch("select 1")
        first = named(seen.points()[name])
        await db.fetch("select 1")
        later = seen.points()
        second = named(later[name])
        assert (first.count, second.count) == (2, 1)
        assert (sum(first.bucket_counts), sum(second.bucket_counts)) == (2, 1)
        assert first.start_time_unix_nano < first.time_unix_nano == second.start_time_unix_nano
        assert first.min < 0.05 < first.max
        assert 0 < second.min <= second.sum <= second.max * 1.0001 < 0.05
        assert named(later["db.client.connection.wait_time"]).count == 1
        assert "db.client.connection.create_time" not in later
        assert name not in seen.points()


async def test_spans(main_dsn: str, told: Any) -> None:
    """W3: one span a call, a child of the caller's, also in a transaction; no argument, no literal."""
    async with aio.client_of(main=main_dsn) as client:
        seen = told(client)
        with seen.tracers.get_tracer("app").start_as_current_span("request") as parent:
            await worked(client["main"])
            await client["main"].fetchval(f"select '{SECRET}' || 42 -- {SECRET}")
    *spans, request = seen.spans()
    assert request.name == "request"
    assert {span.parent.span_id for span in spans} == {parent.get_span_context().span_id}
    name = main_dsn.rpartition("/")[2]
    assert [span.name.removesuffix(f" {name}") for span in spans] == [
        "CREATE", "INSERT", "SELECT", "SELECT", "BATCH INSERT", "BATCH INSERT", "INSERT", "SELECT",
    ]  # fmt: skip
    assert {span.kind for span in spans} == {trace.SpanKind.CLIENT}
    assert spans[-1].attributes["db.query.text"] == "select ? || ?"
    failed = spans[-2]
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.attributes["db.response.status_code"] == failed.attributes["error.type"] == "23505"
    assert failed.attributes["db.query.text"] == "insert into t values ($1, $2)"
    assert not any(SECRET in span.to_json() for span in spans)


async def test_no_tracer_no_span_and_nothing_left(main_dsn: str, told: Any) -> None:
    """W3: spans only where a tracer is set up; after `stop` the faces are what they were."""
    from pgdual._async.db import AsyncDB
    from pgdual._sync.transaction import Transaction

    before = AsyncDB._run, Transaction._run_many
    async with aio.client_of(main=main_dsn) as client:
        seen = told(client, spans=False)
        assert AsyncDB._run is not before[0]
        await client["main"].fetch("select 1")
        assert seen.spans() == []
        seen.telemetry.stop()
    assert (AsyncDB._run, Transaction._run_many) == before


SHOW = "select $1::int, query from pg_stat_activity where pid = pg_backend_pid()"


async def test_the_context_travels_as_a_comment(main_dsn: str, told: Any) -> None:
    """W3: where it is asked for, the server sees each call's own context, under one statement's name."""
    async with aio.client_of(main=main_dsn) as client:
        seen = told(client, sql_comments=True)
        db = client["main"]
        for number in range(3):
            assert (await db.fetchrow(SHOW, number))[0] == number
        async with db.transaction() as tx:
            row = await tx.fetchrow(SHOW + " -- a note", 7)
        texts = [(await db.fetchrow(SHOW, number))[1] for number in range(2)]
        names = await db.fetchval(
            "select count(*) from pg_prepared_statements where statement like $1", "%traceparent=%"
        )
    spans = {f"{span.context.span_id:016x}" for span in seen.spans()}
    for text in (*texts, row[1]):
        beginning, _, end = text.rpartition("/*traceparent='00-")
        assert beginning.strip() in (SHOW, SHOW + " -- a note")
        assert end.split("-")[1] in spans
    assert texts[0] != texts[1]
    assert names == 0  # it is outside of the digest, and of what is prepared


async def test_no_comment_unless_it_is_asked_for(main_dsn: str, told: Any) -> None:
    """W3: tracing alone changes no text."""
    async with aio.client_of(main=main_dsn) as client:
        told(client)
        assert (await client["main"].fetchrow(SHOW, 1))[1] == SHOW


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("select 'a', 'b''c', E'd\\'e', $1", "select ?, ?, ?, $1"),
        ("select 'a\\', 'secret'", "select ?, ?"),
        ("select $$x$$, $t$ 'y' $$ $t$, $12", "select ?, ?, $12"),
        ('select "it\'s", \'x\' from "t1"', 'select "it\'s", ? from "t1"'),
        ("select 1 -- it's\n, 'x' /* ' */ , 2.5e-3, t1.c2 from t1", "select ? , ? , ?, t1.c2 from t1"),
        ("select x'1f', b'01', 1_000, -7", "select ?, ?, ?, -?"),
        ("insert into t values (1, 'a')", "insert into t values (?, ?)"),
    ],
)
def test_literals_are_taken_out(sql: str, shown: str) -> None:
    """W3: whatever way a value is written, it is not in a span; names and parameters stay."""
    assert without_literals(sql) == shown


def test_it_costs_nothing_when_it_is_not_used() -> None:
    """W3: the faces import neither OpenTelemetry nor Prometheus nor anything of pgdual.observe."""
    code = "import sys, pgdual.aio, pgdual.sync; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert (
        not {"opentelemetry", "prometheus_client", "textual", "typer", "pgdual.observe", "pgdual.monitor"}
        & found
    )
