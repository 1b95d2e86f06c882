"""W3: what Prometheus is told: parsed by its own parser, exact sums, several workers as one, no arguments."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pgdual import monitor
from pgdual.observe.prometheus import BOUNDS, PgdualCollector
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client, EventLog, ProjectionType, ProjectionWorker, Registry, project, projector

from ._sync.runtime import wait_until

ROOT = Path(__file__).parents[1]
SECRET = "h7unt3r2"
EVENT = {"event_type": "tick", "aggregate_id": "a", "version": 1, "timestamp": "2026-01-02T03:04:05Z"}


def client_of(dsn: str, **settings: Any) -> Client:
    database = DatabaseSettings(dsn=dsn, pool_min_size=1, pool_max_size=3)
    return Client(Settings(databases={"main": database}, **settings))


def exposed(collector: PgdualCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values that a text exposes, by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(found: Any, name: str, **labels: str) -> float:
    return found[name][tuple(sorted({"database": "main", "face": "sync", **labels}.items()))]


def worked(client: Client) -> None:
    """Do some of everything, with an argument that must not come out."""
    db = client["main"]
    db.execute("create table if not exists t (id int, name text)")
    for number in range(5):
        db.execute("insert into t values ($1, $2)", number, SECRET)
    with db.transaction() as tx:
        tx.fetch("select id from t")
    db.labelled("place_order").fetchval("select $1::text", SECRET)


def test_the_text(main_dsn: str) -> None:
    """W3: names follow the rules, sums agree with the meters, buckets rise, and no argument is anywhere."""
    with client_of(main_dsn) as client:
        worked(client)
        text = exposed(PgdualCollector(client))
        stats = client["main"].stats()
    assert SECRET not in text
    found = samples(text)
    assert value(found, "pgdual_query_duration_seconds_count", kind="write") == stats["write"]["count"] == 6
    assert value(found, "pgdual_query_duration_seconds_count", kind="read") == stats["read"]["count"] == 2
    assert value(found, "pgdual_query_duration_seconds_sum", kind="read") == pytest.approx(
        stats["read"]["mean"] * 2 / 1e3
    )
    assert value(found, "pgdual_acquire_duration_seconds_count") == stats["calls"]
    assert value(found, "pgdual_transaction_duration_seconds_count") == 1
    assert value(found, "pgdual_connection_create_seconds_count") >= 1
    assert value(found, "pgdual_label_duration_seconds_count", label="place_order", kind="read") == 1
    assert value(found, "pgdual_rows_total") == stats["rows"]
    assert value(found, "pgdual_pool_max_connections") == 3
    assert value(found, "pgdual_breaker_state", state="closed") == 1
    assert value(found, "pgdual_breaker_state", state="open") == 0
    counts = [
        count
        for labels, count in found["pgdual_query_duration_seconds_bucket"].items()
        if ("kind", "write") in labels
    ]
    assert counts == sorted(counts)
    assert (len(counts), counts[-1]) == (len(BOUNDS) + 1, 6)
    for name in found:
        assert re.fullmatch(r"pgdual_[a-z_]+", name)


def test_every_counter_is_exposed(main_dsn: str) -> None:
    """W3: what the meters count beside durations is there under its own name."""
    with client_of(main_dsn) as client:
        meter = client["main"]._meter
        meter.errors, meter.refused, meter.resent, meter.lost, meter.timeouts, meter.rows = 1, 2, 3, 4, 5, 6
        found = samples(exposed(PgdualCollector(client)))
    for number, name in enumerate(("errors", "refused", "resent", "lost", "timeouts", "rows"), 1):
        assert value(found, f"pgdual_{name}_total") == number


def test_the_dashboard_asks_for_metrics_that_exist(main_dsn: str) -> None:
    """W3: every metric in the Grafana dashboard is one that the collector exposes."""
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [one["query"] for one in dashboard["templating"]["list"]]
    named = set(re.findall(r"pgdual_\w+", " ".join(queries)))
    with client_of(main_dsn) as client:
        worked(client)
        found = samples(exposed(PgdualCollector(client)))
    assert len(named) > 10
    assert named - found.keys() == set()
    used = {label for query in queries for label in re.findall(r"by \(([^)]*)\)", query)}
    labels = {label for per in found.values() for key in per for label, _ in key} | {"le"}
    assert {label for group in used for label in group.split(", ")} <= labels


WORKER = """
import sys
from pgdual.sync import db
db.execute("select 1")
print("ready", flush=True)
sys.stdin.readline()
"""


def test_several_workers_are_one(main_dsn: str, tmp_path: Path) -> None:
    """W3: with the folder of their sockets, any worker tells of all of them, added up; a dead one is gone."""
    folder = tmp_path / "monitor"
    environment = {
        **os.environ,
        "POSTGRES_DSN": main_dsn,
        "PGDUAL_MONITOR": str(folder),
        "PG_POOL_MAX_SIZE": "3",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 2
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        found = samples(exposed(PgdualCollector(workers=str(folder))))
        assert value(found, "pgdual_query_duration_seconds_count", kind="read") == 2
        assert value(found, "pgdual_pool_max_connections") == 6
        assert value(found, "pgdual_breaker_state", state="closed") == 2
        assert {one["pid"] for one in monitor.read(str(folder))} == {worker.pid for worker in workers}
        workers[0].kill()
        workers[0].wait(10)
        assert [one["pid"] for one in monitor.read(str(folder))] == [workers[1].pid]
        workers[1].communicate("end\n", timeout=20)
        assert workers[1].returncode == 0
        assert list(folder.iterdir()) == []  # the living one took its socket away, the dead one's is removed
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


FORKED = """
import os, sys
from pgdual.monitor import read
from pgdual.sync import db
db.execute("select 1")
child = os.fork()
if not child:
    db.execute("select 1")
    assert len(list(read(os.environ["PGDUAL_MONITOR"]))) == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert [one["pid"] for one in read(os.environ["PGDUAL_MONITOR"])] == [os.getpid()]
"""


def test_a_forked_worker_has_its_own(main_dsn: str, tmp_path: Path) -> None:
    """P1: a child tells of itself beside its parent, and does not keep the parent's socket open."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={
            **os.environ,
            "POSTGRES_DSN": main_dsn,
            "PGDUAL_MONITOR": str(tmp_path),
            "PG_POOL_MAX_SIZE": "3",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_monitor_without_the_setting(main_dsn: str, tmp_path: Path) -> None:
    """A socket is opened only where PGDUAL_MONITOR is set, and tells of what is alive; never of arguments."""
    before = set(threading.enumerate())  # a monitor of another test may still be on its way to its end
    with client_of(main_dsn) as client:
        worked(client)
        assert "pgdual-monitor" not in {thread.name for thread in set(threading.enumerate()) - before}
    folder = tmp_path / "m"
    with client_of(main_dsn, monitor=str(folder)) as client:
        worked(client)
        (process,) = monitor.read(str(folder))
        (database,) = process["databases"]
        assert (process["pid"], database["database"], database["face"]) == (os.getpid(), "main", "sync")
        assert SECRET not in json.dumps(process)
        assert any("insert into t" in one["statement"] for one in database["slowest"])
        assert max(one["ms"] for one in database["slowest"]) == database["slowest"][0]["ms"]
    made = monitor._MONITORS.pop(str(folder))
    assert made is not None
    made.close()
    wait_until(lambda: list(folder.iterdir()) == [])
    wait_until(lambda: "pgdual-monitor" not in {one.name for one in set(threading.enumerate()) - before})


def test_a_folder_that_cannot_be_used(
    main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A monitor that cannot be opened is one warning, and no call fails of it."""
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "folder")
    for _ in range(2):
        with client_of(main_dsn, monitor=folder) as client:
            assert client["main"].fetchval("select 1") == 1
    (record,) = [one for one in caplog.records if one.getMessage().startswith("[MONITOR]")]
    assert folder in record.getMessage()


def test_projections(main_dsn: str) -> None:
    """J5: the share of SYNC events, and what each projection did, how long it took and its lag."""
    registry = Registry("sync")
    inline = projector("tick", projection_type=ProjectionType.SYNC, name="now", registry=registry)
    behind = projector("tick", name="later", registry=registry)
    inline(behind(lambda one, db: db.execute("select 1")))
    with client_of(main_dsn) as client:
        log = EventLog(client["main"])
        log.create()
        for version in (1, 2):
            given = {**EVENT, "event_id": str(uuid4()), "version": version}
            log.append(given)
            project(given, client["main"], registry)
        project({**EVENT, "event_type": "tock", "event_id": str(uuid4())}, client["main"], registry)
        ProjectionWorker(client["main"], registry).catch_up()
        found = samples(exposed(PgdualCollector(client)))
    for name, count in (("events", 3), ("inline", 2), ("unprojected", 1)):
        assert value(found, f"pgdual_project_{name}_total") == count
    for projection in ("now", "later"):
        assert value(found, "pgdual_projected_events_total", projection=projection) == 2
        assert value(found, "pgdual_projection_failures_total", projection=projection) == 0
        assert value(found, "pgdual_projection_duration_seconds_count", projection=projection) > 0
    assert value(found, "pgdual_projection_lag_seconds_count", projection="later") == 1
