"""`pgdual backfill`: run, resume, status."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import psycopg
import pytest

from pgdual._sync.bulk.plan import Progress
from pgdual.cli import progress

from .commands import pgdual

NEIGHBOUR = """
def double(rows):
    return [{"id": row["id"], "n": row["n"] * 2} for row in rows]
"""
TEXT = """
from neighbour import double

TWICE = {"source": "source", "transform": double, "target": "target", "key": "id", "batch": 7}
WRONG = {"source": "source", "to": "target"}
"""


def asked(dsn: str, *words: str) -> tuple[int, str, str]:
    """Return how `pgdual backfill` with these words ended, and what it said."""
    done = pgdual("backfill", *words, POSTGRES_DSN=dsn)
    return done.returncode, done.stdout, done.stderr


def test_a_file_that_defines_one(main_dsn: str, tmp_path: Path) -> None:
    """It runs what the file and its neighbour say, tells how far it came, and when done does nothing."""
    file = tmp_path / "totals.py"
    file.write_text(TEXT)
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute("create table source (id int primary key, n int); create table target (like source)")
        own.execute("insert into source select n, n from generate_series(1, 50) n")
        own.execute("alter table target add primary key (id)")
        assert asked(main_dsn, "status")[:2] == (0, "name  rows  done  last key  updated\n")
        code, _, error = asked(main_dsn, "resume", f"{file}:TWICE")
        assert (code, "no backfill 'TWICE' was begun" in error) == (1, True)
        dry = asked(main_dsn, "run", f"{file}:TWICE", "--dry-run")[1]
        assert dry == "TWICE: done, nothing written, 50 rows in this run, 50 in all\n"
        assert own.execute("select count(*) from target").fetchone() == (0,)
        code, out, error = asked(main_dsn, "run", f"{file}:TWICE")
        assert (code, out) == (0, "TWICE: done, 50 rows in this run, 50 in all\n")
        assert error == ""  # it took less than 10 seconds, and nobody watches
        assert own.execute("select count(*), sum(n) from target").fetchone() == (50, 2550)
        assert "done, 0 rows in this run, 50 in all" in asked(main_dsn, "resume", f"{file}:TWICE")[1]
        assert "TWICE  50    True  50" in asked(main_dsn, "status")[1]
        for place in (f"{file}:NOTHING", f"{file}:WRONG", "nowhere.py:X", "x"):
            code, _, error = asked(main_dsn, "run", place)
            assert (code, error.startswith("UsageError: ")) == (1, True)


def test_a_bar_on_a_terminal(main_dsn: str, tmp_path: Path) -> None:
    """On a terminal there is a bar with the rate; parts are one backfill in the status."""
    file = tmp_path / "totals.py"
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    file.write_text(TEXT.replace('"batch": 7', '"batch": 7, "parallel": 2'))
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute("create table source (id int primary key, n int); create table target (like source)")
        own.execute("insert into source select n, n from generate_series(1, 50) n; analyze source")
        own.execute("alter table target add primary key (id)")
        watcher, watched = pty.openpty()
        done = pgdual("backfill", "run", f"{file}:TWICE", POSTGRES_DSN=main_dsn, TERM="xterm", stderr=watched)
        os.close(watched)
        shown = os.read(watcher, 1 << 16).decode()
        os.close(watcher)
        assert done.stdout == "TWICE: done, 50 rows in this run, 50 in all\n"
        assert ("TWICE" in shown, "50 rows" in shown, "rows/s" in shown) == (True, True, True)
        assert "TWICE  50    True  25 50" in asked(main_dsn, "status")[1]
        assert own.execute("select count(*), sum(n) from target").fetchone() == (50, 2550)


def test_a_line_for_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody watches a plain line comes every so often, with the rate and the time left."""
    state = Progress("b", 30, 20, 2.0, 10, "30", False, 100)
    with progress.teller() as tell:
        tell(state)
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.teller() as tell:
        tell(state)
        tell(state._replace(rows=100, done=True))
    assert capsys.readouterr().err == (
        "b: 30 rows of about 100, 10 rows/s, 0:00:07 left, batches of 10\n"
        "b: 100 rows, 10 rows/s, 0:00:00 left, batches of 10\n"
    )
