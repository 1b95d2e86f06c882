"""A backfill that is killed again and again ends with the right rows, and touches none twice."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdual._sync.bulk.plan import TABLE

ROOT = Path(__file__).parents[2]
TABLES = """
create table source (id int primary key, n int);
create table target (id int primary key, twice int);
create table touched (id int);
create function note() returns trigger language plpgsql as $$ begin
    insert into touched values (new.id); return new; end $$;
create trigger note after insert or update on target for each row execute function note()
"""


@pytest.mark.parametrize(
    ("count", "seconds", "parallel", "kills"),
    [(20_000, 0.005, 2, 3), pytest.param(1_000_000, 0.1, 1, 10, marks=pytest.mark.slow)],
)
def test_kill_nine(main_dsn: str, count: int, seconds: float, parallel: int, kills: int) -> None:
    """kill -9 loses nothing and repeats nothing: a trigger has counted how often each row was written."""
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute(TABLES + ";" + TABLE)
        own.execute(f"insert into source select n * 3, n from generate_series(1, {count}) n")
        for kill in range(1, kills + 1):
            process = begun(main_dsn, seconds, parallel)
            until = count * kill // (kills + 1)
            while one(own, "select coalesce(sum(rows), 0) from pgdual_backfill") < until:
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
            assert process.wait() == -9
        assert one(own, "select count(*) from target") < count
        assert begun(main_dsn, seconds, parallel).wait() == 0
        found = own.execute("select count(*), count(distinct id) from touched").fetchone()
        assert (one(own, "select count(*) from target"), found) == (count, (count, count))
        wrong = "select count(*) from source left join target using (id) where twice is distinct from n * 2"
        assert one(own, wrong) == 0
        state = own.execute("select sum(rows), bool_and(done), count(*) from pgdual_backfill").fetchone()
        assert state == (count, True, parallel)


def begun(dsn: str, seconds: float, parallel: int) -> "subprocess.Popen[bytes]":
    """Return a process in which the backfill runs."""
    words = [sys.executable, "-m", "tests.backfill_run", dsn, str(seconds), str(parallel)]
    return subprocess.Popen(words, cwd=ROOT)


def one(own: "psycopg.Connection[tuple[Any, ...]]", sql: str) -> Any:
    """Return the only value of a query."""
    row = own.execute(sql).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]
