"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ._sync.clients import outside, prepare
from .commands import pgdual

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def test_total_spent(main_dsn: str) -> None:
    """Every user's figures are those of his orders, of who has none as well."""
    outside(main_dsn, (ROOT / "schemas" / "tradecore.sql").read_text())
    prepare(
        main_dsn,
        "insert into users (id, email, total_spent) select gen_random_uuid(), n || '@x', 5"
        " from generate_series(1, 50) n",
        "insert into orders (id, user_id, symbol, quantity, price)"
        " select gen_random_uuid(), id, 'X', n, 1.25 from users, generate_series(1, 3) n where email > '2'",
    )
    done = pgdual("backfill", "run", f"{EXAMPLES / 'total_spent.py'}:TOTAL_SPENT", POSTGRES_DSN=main_dsn)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "TOTAL_SPENT: done, 50 rows in this run, 50 in all\n"
    found = outside(
        main_dsn,
        "select email > '2', total_orders, total_spent::text, last_order_at is null, count(*)"
        " from users group by 1, 2, 3, 4 order by 1",
    )
    assert found == [(False, 0, "0.00", True, 11), (True, 3, "7.50", False, 39)]


def test_move_table(main_dsn: str, vb_dsn: str) -> None:
    """The rows are at vb and not at main; where vb has some already, or takes none, they stay."""
    table = "create table t (id int primary key, name text, x numeric, at timestamptz default now())"
    prepare(
        main_dsn,
        table,
        "insert into t select n, repeat('é', n % 99), n / 7.0 from generate_series(1, 9000) n",
    )
    prepare(vb_dsn, table, "alter table t add check (id < 8000)")
    rows = outside(main_dsn, "select * from t order by id")
    code, said = moved(main_dsn, vb_dsn)
    assert (code, "violates check" in said) == (1, True)
    assert (outside(main_dsn, "select count(*) from t"), outside(vb_dsn, "select * from t")) == (
        [(9000,)],
        [],
    )
    prepare(vb_dsn, "alter table t drop constraint t_id_check")
    assert moved(main_dsn, vb_dsn) == (0, "9000 rows moved, counts and checksums are the same\n")
    assert (outside(main_dsn, "select * from t"), outside(vb_dsn, "select * from t order by id")) == (
        [],
        rows,
    )
    code, said = moved(main_dsn, vb_dsn)
    assert (code, "t is not empty at vb" in said) == (1, True)


def moved(main_dsn: str, vb_dsn: str) -> tuple[int, str]:
    """Return how moving table t ended, and what it said."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "move_table.py", "t"],
        env={**os.environ, "POSTGRES_DSN": main_dsn, "VB_POSTGRES_DSN": vb_dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
