"""examples/tradecore_projectors.py runs as it stands, and its read models can be rebuilt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from .commands import pgdual

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "tradecore_projectors.py"
PRINTED = "orders: 3\ntraded: [('AAPL', 2), ('MSFT', 1)]\nevents: 3\nnotifications: 3\n"


def test_the_example(main_dsn: str) -> None:
    """J2, J3, J4: SYNC before the caller goes on, ASYNC behind it, and the same once rebuilt."""
    with psycopg.connect(main_dsn, autocommit=True) as own:
        own.execute((ROOT / "schemas" / "tradecore.sql").read_text(encoding="utf-8"))
        done = subprocess.run(
            [sys.executable, "-W", "error", EXAMPLE],
            env={**os.environ, "POSTGRES_DSN": main_dsn},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == (PRINTED, "")
        own.execute("update order_analytics set orders = 0")
        told = pgdual("projections", "rebuild", str(EXAMPLE), "analytics", POSTGRES_DSN=main_dsn)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.startswith("analytics: rebuilt from 3 events")
        assert own.execute("select * from order_analytics order by 1").fetchall() == [
            ("AAPL", 2),
            ("MSFT", 1),
        ]
