"""`pgdual backfill`: run, resume, status."""

from __future__ import annotations

from pathlib import Path

import psycopg

from .commands import pgdual

TEXT = """
def double(rows):
    return [{"id": row["id"], "n": row["n"] * 2} for row in rows]

TWICE = {"source": "source", "transform": double, "target": "target", "key": "id", "batch": 7}
WRONG = {"source": "source", "to": "target"}
"""


def asked(dsn: str, *words: str) -> tuple[int, str, str]:
    """Return how `pgdual backfill` with these words ended, and what it said."""
    done = pgdual("backfill", *words, POSTGRES_DSN=dsn)
    return done.returncode, done.stdout, done.stderr


def test_a_file_that_defines_one(main_dsn: str, tmp_path: Path) -> None:
    """It runs what the file says, tells how far it came, and does nothing when it is done."""
    file = tmp_path / "totals.py"
    file.write_text(TEXT)
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute("create table source (id int primary key, n int); create table target (like source)")
        own.execute("insert into source select n, n from generate_series(1, 50) n")
        own.execute("alter table target add primary key (id)")
        assert asked(main_dsn, "status")[:2] == (0, "name  rows  done  last key  updated\n")
        code, _, error = asked(main_dsn, "resume", f"{file}:TWICE")
        assert (code, "no backfill 'TWICE' was begun" in error) == (1, True)
        assert "done, 50 rows in this run" in asked(main_dsn, "run", f"{file}:TWICE", "--dry-run")[1]
        assert own.execute("select count(*) from target").fetchone() == (0,)
        code, out, error = asked(main_dsn, "run", f"{file}:TWICE")
        assert (code, out) == (0, "TWICE: done, 50 rows in this run, 50 in all\n")
        assert "\r" not in error
        assert own.execute("select count(*), sum(n) from target").fetchone() == (50, 2550)
        assert "done, 0 rows in this run, 50 in all" in asked(main_dsn, "resume", f"{file}:TWICE")[1]
        assert "TWICE  50    True  50" in asked(main_dsn, "status")[1]
        for place in (f"{file}:NOTHING", f"{file}:WRONG", "nowhere.py:X", "x"):
            code, _, error = asked(main_dsn, "run", place)
            assert (code, error.startswith("UsageError: ")) == (1, True)
