"""A backfill that is killed again and again ends with the right rows, and touches none twice."""

import subprocess
import sys
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[1]


def test_kill_nine(main_dsn: str) -> None:
    """kill -9 loses nothing and repeats nothing: a trigger has counted how often each row was written."""
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute(
            "create table source (id int primary key, n int);"
            "insert into source select n * 3, n from generate_series(1, 20000) n;"
            "create table target (id int primary key, twice int);"
            "create table touched (id int);"
            "create function note() returns trigger language plpgsql as $$ begin"
            " insert into touched values (new.id); return new; end $$;"
            "create trigger note after insert or update on target for each row execute function note()"
        )
        kills = before = 0
        for _ in range(30):
            process = subprocess.Popen([sys.executable, "-m", "tests.backfill_run", main_dsn], cwd=ROOT)
            while process.poll() is None and (count := _count(own)) < before + 3000:
                time.sleep(0.005)
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            kills, before = kills + 1, count
        assert process.returncode == 0
        assert kills >= 3
        assert _count(own) == 20000
        assert own.execute("select count(*), count(distinct id) from touched").fetchone() == (20000, 20000)
        wrong = "select count(*) from source left join target using (id) where twice is distinct from n * 2"
        assert own.execute(wrong).fetchone() == (0,)
        state = own.execute("select rows, last_key, done from pgdual_backfill").fetchone()
        assert state == (20000, "60000", True)


def _count(own: "psycopg.Connection[tuple[int]]") -> int:
    row = own.execute("select count(*) from target").fetchone()
    assert row is not None
    return row[0]
