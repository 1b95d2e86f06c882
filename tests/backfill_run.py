"""A backfill to be killed: python -m tests.backfill_run DSN SECONDS PARALLEL."""

import sys
from typing import Any

from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client


def double(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the target."""
    return [{"id": row["id"], "twice": row["n"] * 2} for row in rows]


def main(dsn: str, seconds: float, parallel: int) -> None:
    """Run it to its end, with batches of so many seconds."""
    with Client(Settings(databases={"main": DatabaseSettings(dsn=dsn, pool_min_size=1)})) as client:
        client["main"].backfill(
            "source",
            double,
            "target",
            key="id",
            checkpoint="double",
            batch=50,
            seconds=seconds,
            parallel=parallel,
        )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
