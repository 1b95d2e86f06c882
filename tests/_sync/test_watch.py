# Generated from tests/_async/test_watch.py by _generate.py. Do not edit.
"""W1, W2: what is slow, long, used up or leaked is said once, in the guide's words; labels are counted."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pgdual.sync import Client, DB
from pgdual.core import thresholds
from pgdual.errors import PoolTimeoutError, QueryTimeoutError
from pgdual.settings import DatabaseSettings, Settings

from .clients import at_rest, outside
from .runtime import gather, spawn, wait_until

SLEEP = "select $1::text from pg_sleep(0.12)"


def watched(dsn: str, pool: int = 4, **settings: Any) -> Client:
    """Return a client whose thresholds are low; *settings* are those of Settings."""
    low = {
        "slow_query_threshold_ms": 100, "slow_acquire_threshold_ms": 100,
        "long_transaction_threshold_ms": 100, "pool_exhaustion_threshold": 1.0, "log_query_args": True,
    }  # fmt: skip
    database = DatabaseSettings(dsn=dsn, pool_min_size=pool, pool_max_size=pool)
    return Client(Settings(databases={"main": database}, close_grace=1.0, **{**low, **settings}))


@pytest.fixture
def db(main_dsn: str) -> Iterator[DB]:
    with watched(main_dsn) as client:
        yield client["main"]
        at_rest(client["main"], main_dsn)


def said(caplog: pytest.LogCaptureFixture, tag: str) -> list[logging.LogRecord]:
    """Return the records whose message begins with [*tag*]."""
    return [record for record in caplog.records if record.getMessage().startswith(f"[{tag}]")]


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record has beyond logging's own attributes."""
    own = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    return {key: value for key, value in vars(record).items() if key not in own}


def test_a_slow_query(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """W2: a statement past the threshold is named with its time, text and arguments; a quick one is not."""
    db.fetch("select $1::text", "quick")
    db.fetch(SLEEP, "active")
    (record,) = said(caplog, "SLOW QUERY")
    assert record.name == "pgdual.query"
    assert record.levelno == logging.WARNING
    found = fields(record)
    assert 120 <= found["duration_ms"] < 5000
    assert record.getMessage() == (
        f"[SLOW QUERY] main FETCH took {found['duration_ms']:.0f}ms: {SLEEP} | args: 'active'"
    )
    assert found["arguments"] == ["'active'"]
    assert found["threshold_ms"] == 100


def test_hidden_arguments(main_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """W2: with DB_LOG_QUERY_ARGS=false no argument is in any record, only their number."""
    with watched(main_dsn, log_query_args=False) as client:
        client["main"].fetchval(SLEEP, "h7unt3r2")
    (record,) = said(caplog, "SLOW QUERY")
    assert record.getMessage().endswith("| args: 1 hidden (DB_LOG_QUERY_ARGS)")
    assert not any("h7unt3r2" in repr(vars(each)) for each in caplog.records)


CALLS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("FETCHROW", "fetchrow", (SLEEP, "a")),
    ("EXECUTE", "execute", ("insert into t select 1 from pg_sleep(0.12)",)),
    ("EXECUTE", "execute", ("select 1; select pg_sleep(0.12)",)),
    ("EXECUTEMANY", "executemany", ("insert into t select $1::int from pg_sleep(0.12)", [(1,)])),
]


def test_every_way_to_be_slow(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """W2: whatever the call, in a transaction or not, one line is said of it."""
    db.execute("create table t (id int)")
    for operation, method, arguments in CALLS:
        caplog.clear()
        getattr(db, method)(*arguments)
        with db.transaction() as tx:
            getattr(tx, method)(*arguments)
        records = said(caplog, "SLOW QUERY")
        assert [record.getMessage().partition(" took")[0] for record in records] == [
            f"[SLOW QUERY] main {operation}"
        ] * 2
        assert all(120 <= fields(record)["duration_ms"] < 5000 for record in records)


def test_a_statement_at_its_time_limit_is_slow(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """W2: what was cancelled at its deadline is said as well."""
    with pytest.raises(QueryTimeoutError):
        db.fetch("select pg_sleep(30)", timeout=0.3)
    (record,) = said(caplog, "SLOW QUERY")
    assert "select pg_sleep(30)" in record.getMessage()


def test_a_slow_acquire(main_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """W2: who waited for a connection past the threshold is told of, and the holder is not."""
    with watched(main_dsn, pool=1, slow_query_threshold_ms=5000) as client:
        db = client["main"]
        with spawn(lambda: db.execute("select pg_sleep(0.25)")):
            wait_until(lambda: db.stats()["pool"]["active"] == 1)
            db.execute("select 1")
        (record,) = said(caplog, "SLOW ACQUIRE")
        caplog.clear()
        with spawn(lambda: db.execute("select pg_sleep(0.25)")):
            wait_until(lambda: db.stats()["pool"]["active"] == 1)
            with db.connection() as connection:
                connection.execute("select 1")
        (loan,) = said(caplog, "SLOW ACQUIRE")
        caplog.clear()
        wait_until(lambda: db.stats()["pool"]["idle"] == 1)  # it was cleaned after the loan
        with spawn(lambda: db.execute("select pg_sleep(0.25)")):
            wait_until(lambda: db.stats()["pool"]["active"] == 1)
            db.copy_out("select 1", io.BytesIO())
        (copy,) = said(caplog, "SLOW ACQUIRE")
    for each in (record, loan, copy):
        found = fields(each)
        assert each.name == "pgdual.pool"
        assert 100 < found["duration_ms"] < 5000
        assert each.getMessage() == (
            f"[SLOW ACQUIRE] main took {found['duration_ms']:.0f}ms to get a connection (threshold: 100ms)"
        )


ONCE = """
create sequence tries;
create function once() returns int language plpgsql as $$ begin
    if nextval('tries') = 1 then
        perform pg_sleep(0.12);
        raise exception 'conflict' using errcode = '40001';
    end if;
    return 7;
end $$
"""


def test_a_retried_call_did_not_wait_for_the_pool(
    db: DB, main_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """W1, W2: the time that a call spent on a first run which was rolled back is not blamed on the pool."""
    outside(main_dsn, ONCE)
    assert db.fetchval("select once()") == 7
    assert db.stats()["resent"] == 1
    assert db.stats()["acquire"]["max"] < 100
    assert len(said(caplog, "SLOW QUERY")) == 1
    assert said(caplog, "SLOW ACQUIRE") == []


def test_a_replay_did_not_wait_for_the_pool(
    db: DB, main_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """W1, W2: what is said again in a replay has its label and its own times, and waited for nobody."""
    outside(main_dsn, "create table t (id int, n int); insert into t values (1, 0), (2, 0)")
    labelled = db.labelled("replayed")
    with labelled.transaction("repeatable read") as tx:
        assert tx.fetchval("select n from t where id = $1", 1) == 0
        outside(main_dsn, "update t set n = 1 where id = 2")
        tx.execute("update t set n = n + 1 where id = $1", 2)
        tx.executemany("update t set n = n + $1 where id = $2", [(1, 1), (1, 2)])
    assert tx.replays == 1
    assert said(caplog, "SLOW ACQUIRE") == []
    assert db.stats()["acquire"]["max"] < 5000
    # The update that failed and what was said again are calls of their own.
    assert labelled.stats()["calls"] == db.stats()["calls"] == 5


def test_a_breaker_that_opens(caplog: pytest.LogCaptureFixture) -> None:
    """B1, W2: the line about an open breaker is said once, with its figures as fields."""
    database = DatabaseSettings(
        dsn="postgresql://nobody@127.0.0.1:9/nothing", pool_min_size=1, pool_max_size=1, pool_timeout=2,
        breaker_failure_threshold=2,
    )  # fmt: skip
    client = Client(Settings(databases={"main": database}, close_grace=0.1))
    with spawn(client["main"].open):
        wait_until(lambda: said(caplog, "CIRCUIT OPEN"))
        client.close()
    (record,) = said(caplog, "CIRCUIT OPEN")
    assert record.getMessage() == "[CIRCUIT OPEN] main after 2 failures; next probe in 30.0s"
    assert record.name == "pgdual.breaker"
    assert fields(record) == {"database": "main", "failures": 2, "retry_after_ms": 30000.0}


def test_a_long_transaction(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """W2: a transaction past the threshold is told of once, whatever became of it; savepoints are not."""
    with db.transaction() as tx:
        tx.execute("select 1")
    assert said(caplog, "LONG TRANSACTION") == []
    with pytest.raises(ZeroDivisionError):
        with db.transaction():
            with db.transaction():
                db.execute("select pg_sleep(0.12)")
            raise ZeroDivisionError
    (record,) = said(caplog, "LONG TRANSACTION")
    found = fields(record)
    assert record.name == "pgdual.transaction"
    assert 120 <= found["duration_ms"] < 5000
    assert record.getMessage() == (
        f"[LONG TRANSACTION] main transaction took {found['duration_ms']:.0f}ms (threshold: 100ms)"
    )


def test_exhaustion_is_said_once_a_crossing(
    main_dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: a pool that is used up says so once, however many calls wait, and again at the next crossing."""
    monkeypatch.setattr(thresholds, "QUIET", 0.0)
    with watched(main_dsn, pool=4, pool_exhaustion_threshold=0.5) as client:
        db = client["main"]
        wait_until(lambda: db.stats()["pool"]["idle"] == 4)
        with db.connection():
            assert said(caplog, "POOL EXHAUSTION") == []
            for crossing in (1, 2):
                wait_until(lambda: db.stats()["pool"]["idle"] == 3)
                with db.connection():
                    wait_until(lambda: said(caplog, "POOL EXHAUSTION"))
                    gather(*[lambda: db.execute("select pg_sleep(0.02)") for _ in range(20)])
                    assert len(said(caplog, "POOL EXHAUSTION")) == 1, crossing
                    (record,) = said(caplog, "POOL EXHAUSTION")
                    assert record.getMessage() == (
                        "[POOL EXHAUSTION] main pool at 2/4 active connections (50% usage, 2 free)"
                    )
                    assert (fields(record)["active"], fields(record)["max_size"]) == (2, 4)
                caplog.clear()


def test_one_call_is_no_exhaustion(main_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """W2: while connections are idle calls cross no threshold, and timeouts are counted."""
    with watched(main_dsn, pool=2) as client:
        db = client["main"]
        wait_until(lambda: db.stats()["pool"]["idle"] == 2)
        for number in range(50):
            db.fetchval("select $1::int", number)
        assert said(caplog, "POOL EXHAUSTION") == []
        assert db.stats()["timeouts"] == 0


def test_acquire_timeouts_are_counted(main_dsn: str) -> None:
    """W1: a call that got no connection in time is counted."""
    database = DatabaseSettings(dsn=main_dsn, pool_min_size=1, pool_max_size=1, pool_timeout=0.2)
    with Client(Settings(databases={"main": database})) as client:
        with client["main"].connection():
            with pytest.raises(PoolTimeoutError):
                client["main"].fetch("select 1")
        assert client["main"].stats()["timeouts"] == 1


def take_and_keep(context: Any) -> Any:
    """Enter *context*: the function that a stack is to name."""
    return context.__enter__()


def test_leaks_are_reported_with_their_stack(main_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """W2: a transaction and a connection held beyond the limit are told of once, with who took them."""
    with watched(main_dsn, leak_threshold=0.2) as client:
        db = client["main"]
        for what, logger, context in (
            ("transaction", "pgdual.transaction", db.transaction()),
            ("connection", "pgdual.pool", db.connection()),
        ):
            take_and_keep(context)
            wait_until(lambda: said(caplog, "LEAK"))
            wait_until(lambda: not db._fleet.watch._held)  # type: ignore[union-attr]
            (record,) = said(caplog, "LEAK")
            assert record.name == logger
            assert record.getMessage().startswith(f"[LEAK] main {what} held for ")
            assert "in take_and_keep" in fields(record)["stack"]
            assert fields(record)["stack"].rstrip().endswith("context.__enter__()")
            context.__exit__(None, None, None)
            caplog.clear()
        with db.transaction() as tx, db.connection():
            tx.execute("select 1")
        assert db._fleet.watch._held == {}  # type: ignore[union-attr]


def test_no_leak_threshold_costs_no_stack(db: DB) -> None:
    """W2: without DB_LEAK_THRESHOLD_SEC nothing is remembered of who holds what."""
    with db.transaction() as tx:
        tx.execute("select 1")
        assert db._fleet.watch._held == {}  # type: ignore[union-attr]


def test_labels(db: DB) -> None:
    """W1: what goes through a label is counted under it and in the whole; the rest is not under it."""
    orders = db.labelled("place_order")
    db.execute("create table t (id int)")
    orders.execute("insert into t values ($1)", 1)
    assert orders.fetch("select id from t") == [(1,)]
    assert orders.executemany("insert into t values ($1)", [(2,), (3,)]) == 2
    with orders.transaction() as tx:
        assert orders.fetchval("select count(*) from t") == 3  # it is the same database, and joins
        tx.fetchrow("select id from t")
        db.fetchval("select 1")
    stats = orders.stats()
    assert (stats["label"], stats["calls"], stats["transactions"]) == ("place_order", 5, 1)
    assert db.stats()["calls"] == 7
    assert db.stats()["transactions"] == 1
    assert db.stats()["labels"]["place_order"]["rows"] == stats["rows"] == 5
    assert (stats["read"]["count"], stats["write"]["count"]) == (3, 2)
    assert repr(orders).endswith(" place_order of main>")


def test_many_rows_and_scripts_are_one_call_each(db: DB) -> None:
    """W1: an executemany, a fetchmany and a script are one write each, also under their label."""
    jobs = db.labelled("batch")
    jobs.execute("create table t (id int); create table u (id int)")
    rows = [(number,) for number in range(1, 1201)]
    slow = "insert into t select $1::int from pg_sleep(case $1::int when 7 then 0.05 else 0 end)"
    jobs.executemany(slow, rows)
    with jobs.transaction() as tx:
        assert len(tx.fetchmany("insert into u values ($1) returning id", rows)) == 1200
        tx.execute("select 1; select 2")
    for stats in (jobs.stats(), db.stats()):
        assert (stats["calls"], stats["write"]["count"], stats["acquire"]["count"]) == (4, 4, 4)
        assert stats["rows"] == 1200  # that came back
        assert stats["write"]["max"] >= 50
        assert stats["acquire"]["max"] < 5000


def test_a_label_is_in_the_line(db: DB, caplog: pytest.LogCaptureFixture) -> None:
    """W2: lines about what has a label say so in their fields."""
    with db.labelled("report").transaction() as tx:
        tx.fetch(SLEEP, "x")
    assert fields(said(caplog, "SLOW QUERY")[0])["label"] == "report"
    assert fields(said(caplog, "LONG TRANSACTION")[0])["label"] == "report"


def test_structlog_takes_the_fields(db: DB) -> None:
    """W2: structlog's formatter turns a line and its fields into one JSON object, with nothing to do."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processor=structlog.processors.JSONRenderer(),
        )
    )
    logger = logging.getLogger("pgdual.query")
    logger.addHandler(handler)
    try:
        db.fetch(SLEEP, "active")
    finally:
        logger.removeHandler(handler)
    (line,) = [json.loads(line) for line in lines]
    assert line["event"].startswith("[SLOW QUERY] main FETCH took")
    assert line["database"] == "main"
    assert line["arguments"] == ["'active'"]
