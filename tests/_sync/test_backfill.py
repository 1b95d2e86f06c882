# Generated from tests/_async/test_backfill.py by _generate.py. Do not edit.
"""backfill: batches with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import CheckViolation, UndefinedColumn, UndefinedTable, UsageError

from .clients import at_rest, client_of, outside, prepare


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    prepare(
        main_dsn,
        "create table source (id int primary key, n int)",
        "insert into source select n * 3, n from generate_series(1, 500) n",
        "create table target (id int primary key, n int check (n <> 400))",
    )
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


def half(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": row["id"], "n": row["n"] + 1000} for row in rows if row["n"] % 2]


def test_all_of_it_once(db: DB, main_dsn: str) -> None:
    """Every row is read once in the key's order, and the same call again does nothing."""
    seen: list[int] = []

    def noted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        seen.extend(row["id"] for row in rows)
        return half(rows)

    steps: list[Any] = []
    done = db.backfill(
        "source", noted, "target", key="id", checkpoint="b", batch=30, progress=steps.append
    )
    assert seen == [n * 3 for n in range(1, 501)]
    assert (done.rows, done.now, done.last_key, done.done) == (500, 500, "1500", True)
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    found = outside(main_dsn, "select count(*), min(n), max(n) from target")
    assert found == [(250, 1001, 1499)]
    again = db.backfill("source", noted, "target", key="id", checkpoint="b", batch=30)
    assert (again.rows, again.now, again.done, len(seen)) == (500, 0, True, 500)


def test_batches_adapt(db: DB) -> None:
    """A batch that took longer than it should is followed by a smaller one, a quick one by a larger one."""
    for seconds, is_larger in ((1e-6, False), (10.0, True)):
        steps: list[Any] = []
        db.backfill(
            "source", half, "target", key="id", checkpoint=f"b{seconds}", batch=40, seconds=seconds,
            progress=steps.append,
        )  # fmt: skip
        assert steps[0].batch == (80 if is_larger else 20)


def test_it_goes_on_after_an_error(db: DB, main_dsn: str) -> None:
    """A batch that fails is undone with its checkpoint; those before it stay, and the next run goes on."""
    with pytest.raises(CheckViolation):
        db.backfill("source", None, "target", key="id", checkpoint="b", batch=50, seconds=1e-6)
    ((rows, last),) = outside(main_dsn, "select rows, last_key from pgdual_backfill")
    assert outside(main_dsn, "select count(*), max(id)::text from target") == [(rows, last)]
    assert 50 <= rows < 400
    prepare(main_dsn, "alter table target drop constraint target_n_check")
    done = db.backfill("source", None, "target", key="id", checkpoint="b", batch=50)
    assert (done.rows, done.now) == (500, 500 - rows)
    assert outside(main_dsn, "select * from source except select * from target") == []


def test_parts_at_the_same_time(db: DB, main_dsn: str) -> None:
    """In parts each row is read once as well, also where a run goes on with other ideas of how many parts."""
    seen: list[int] = []
    steps: list[Any] = []

    def noted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(seen) > 250 and len(steps) < 1000:
            steps.extend([None] * 1000)
            raise BrokenError
        seen.extend(row["id"] for row in rows)
        return half(rows)

    def run(parallel: int) -> Any:
        return db.backfill(
            "source", noted, "target", key="id", checkpoint="b", batch=30, seconds=1e-3, parallel=parallel,
            progress=steps.append,
        )  # fmt: skip

    prepare(main_dsn, "analyze source")
    with pytest.raises(BrokenError):
        run(4)
    assert outside(main_dsn, "select count(*) from pgdual_backfill") == [(4,)]
    done = run(2)
    assert (done.rows, done.done) == (500, True)
    assert sorted(seen) == [n * 3 for n in range(1, 501)]
    assert (steps[-1].rows, steps[-1].done, steps[-1].total) == (500, True, 500)
    assert outside(main_dsn, "select count(*), min(n), max(n) from target") == [(250, 1001, 1499)]
    found = outside(main_dsn, "select last_key, until_key, rows from pgdual_backfill order by part")
    assert found == [("375", "375", 125), ("750", "750", 125), ("1125", "1125", 125), ("1500", None, 125)]
    assert (run(3)).now == 0
    prepare(main_dsn, "create table nothing (id int)")
    empty = db.backfill("nothing", None, "target", key="id", checkpoint="empty", parallel=4)
    assert (empty.rows, empty.done) == (0, True)


class BrokenError(Exception):
    pass


def test_how_long_it_takes(db: DB, main_dsn: str) -> None:
    """The progress has an estimate of all rows, and with the rate of the seconds that are left."""
    prepare(main_dsn, "analyze source")
    steps: list[Any] = []
    db.backfill("source", half, "target", key="id", checkpoint="b", batch=30, progress=steps.append)
    assert (steps[0].total, steps[-1].left) == (500, 0.0)
    assert steps[0].left == pytest.approx(470 / steps[0].rate)
    assert steps[0]._replace(total=0).left is None


def test_a_query_and_a_function(db: DB, main_dsn: str) -> None:
    """The source may be a query, with a key of any type, and the target a function in the transaction."""
    prepare(main_dsn, "create table total (day date primary key, sum int)")

    def write(tx: Any, rows: Any) -> None:
        tx.insert_many("total", [(row["day"], row["sum"]) for row in rows])

    query = "select date '2024-01-01' + n / 10 as day, sum(n)::int as sum from source group by 1; -- by day;"
    done = db.backfill(query, None, write, key="day", checkpoint="days", batch=7)
    assert (done.rows, done.last_key) == (51, "2024-02-20")
    assert outside(main_dsn, "select count(*), sum(sum) from total") == [(51, 125250)]


def test_a_dry_run(db: DB, main_dsn: str) -> None:
    """A dry run reads and transforms all of it and writes nothing, no checkpoint either."""
    done = db.backfill("source", half, "target", key="id", checkpoint="b", batch=30, dry_run=True)
    assert (done.rows, done.done) == (500, True)
    assert outside(main_dsn, "select count(*) from target") == [(0,)]
    with pytest.raises(UndefinedTable):
        db.fetchval("select count(*) from pgdual_backfill")


def test_calls_that_are_wrong(db: DB) -> None:
    """What cannot be meant is refused; a key that is not unique is seen."""
    good: dict[str, Any] = {"key": "id", "checkpoint": "b"}
    for source, target, more, words in (
        ("source; select 1", "target", {}, "source is neither"),
        ("delete from source", "target", {}, "source is neither"),
        ("select $1::int as id", "target", {}, "source is neither"),
        ("source", "target;", {}, "not the name of a table"),
        ("source", "target", {"batch": 0}, "batch=0"),
        ("source", "target", {"seconds": 0}, "seconds=0"),
        ("source", "target", {"parallel": 0}, "parallel=0"),
        ("source", "target", {"max_lag": -1}, "max_lag=-1"),
        ("source", "target", {"checkpoint": ""}, "checkpoint=''"),
        ("select id / 2 * 0 as id, n from source", "target", {}, "stands twice"),
        ("select null::int as id", "target", {}, "is NULL"),
    ):
        with pytest.raises(UsageError, match=words):
            db.backfill(source, None, target, **{**good, **more})
    with pytest.raises(UndefinedColumn):
        db.backfill("source", None, "target", key="nam", checkpoint="b")
    with db.transaction():
        with pytest.raises(UsageError):
            db.backfill("source", None, "target", **good)
