"""How fast is a backfill of a million rows that is killed ten times? Row 24.

kill -9 strikes after each eleventh of the rows, wherever in a batch that is, and another process goes on. A
trigger notes every write: one that is missing, wrong or done twice is a miss. Else the figure is the rows a
second from the first start to the end, held against the bounds. One round says enough, for it is long; in a
shorter plan it has a share of the rows.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from bench import fresh
from bench.database import SCHEMA
from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise

ROWS = 1_000_000
KILLS = 10
PATIENCE = 120.0  # seconds until a process that does not get on ends the row
TABLES = """
DROP TABLE IF EXISTS source, target, touched, pgdual_backfill;
CREATE TABLE source (id int PRIMARY KEY, n int);
CREATE TABLE target (id int PRIMARY KEY, twice int);
CREATE TABLE touched (id int);
CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO touched VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON target FOR EACH ROW EXECUTE FUNCTION note()
"""
FILL = "INSERT INTO source SELECT n * 3, n FROM generate_series(1, {}) AS n"
DONE = "SELECT coalesce(sum(rows), 0) FROM pgdual_backfill"
ANSWER = """
SELECT (SELECT count(*) FROM source JOIN target USING (id) WHERE twice = n * 2),
    (SELECT count(*) FROM target), count(*), count(DISTINCT id) FROM touched
"""
PROGRAM = """
import sys
from pgdual.sync import Client, DatabaseSettings, Settings
def double(rows):
    return [{"id": row["id"], "twice": row["n"] * 2} for row in rows]
one = DatabaseSettings(dsn=sys.argv[1], pool_min_size=1, search_path=sys.argv[2])
with Client(Settings(databases={"main": one})) as client:
    client["main"].backfill("source", double, "target", key="id", checkpoint="double")
"""


def _contest(stage: Stage) -> tuple[Side, None]:
    def round_of(amount: float) -> Sample:
        rows = int(amount)
        with psycopg.connect(stage.dsn, autocommit=True, options=f"-c search_path={SCHEMA}") as own:
            own.execute(TABLES)
            own.execute(FILL.format(rows))
            start, cpu = time.perf_counter(), fresh.children_cpu()
            for kill in range(1, KILLS + 1):
                _killed(stage.dsn, own, rows * kill // (KILLS + 1))
            fresh.run(PROGRAM, stage.dsn, SCHEMA)
            spent = time.perf_counter() - start
            found = own.execute(ANSWER).fetchone()
        if found != (rows,) * 4:
            raise AssertionError(f"{rows} rows: right, there, writes, rows written: {found}")
        return Sample(rows / spent, (fresh.children_cpu() - cpu) / rows)

    return Side(lambda: None, round_of), None


def _killed(dsn: str, own: psycopg.Connection[Any], until: int) -> None:
    """Have a process go on with the backfill, and kill it when so many rows are done."""
    limit = time.perf_counter() + PATIENCE
    with fresh.begun(PROGRAM, dsn, SCHEMA) as process:
        try:
            while process.poll() is None and _done(own) < until:
                if time.perf_counter() > limit:
                    raise TimeoutError(f"{until} rows were not done within {PATIENCE:g} s")
                time.sleep(0.005)
        finally:
            process.kill()
    if process.returncode != -9:
        raise AssertionError(f"the backfill ended before it was killed, with {process.returncode}")


def _done(own: psycopg.Connection[Any]) -> int:
    try:
        row = own.execute(DONE).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0  # the first process has yet to make it
    assert row is not None
    return int(row[0])


PROMISE = Promise(
    "24",
    f"backfill of {{rows}} rows, {KILLS} kill -9",
    "the bound",
    20_000,
    5_000,
    "rows/s",
    is_difference=True,
)
QUESTIONS = [Question(PROMISE, _contest, is_async=False, rows=ROWS)]
