"""Move a table from main to vb with COPY, and prove it by counts and checksums.

    POSTGRES_DSN=... VB_POSTGRES_DSN=... python examples/move_table.py trades

The table is there on both sides, empty at vb. The rows flow from server to server, in little memory; a lock
keeps others from writing to them. What does not arrive as it left is rolled back at vb, and
the rows leave main only after vb has them for good: whatever happens in between, they are somewhere.
"""

from __future__ import annotations

import sys

from pgdual.errors import UsageError
from pgdual.sync import close_all, db, vb_db

ANY = "SELECT EXISTS (SELECT FROM {})"
CHECK = "SELECT count(*) AS rows, sum(hashtextextended(t::text, 0)::numeric) AS checksum FROM {} AS t"


def move(table: str) -> int:
    """Move the rows of *table* and return how many that were.

    Raises:
        UsageError: It is not empty at vb, or what arrived is not what left.
    """
    with db.transaction() as source:
        source.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        with vb_db.transaction() as target:
            if target.fetchval(ANY.format(table)):
                raise UsageError(f"{table} is not empty at vb")
            with source.copy_out(table, format="binary") as data:
                target.copy_in(table, data, format="binary")
            left, arrived = (side.fetchrow(CHECK.format(table), timeout=None) for side in (source, target))
            if left != arrived:
                raise UsageError(f"{table}: {left} left main, {arrived} arrived at vb")
        source.execute(f"TRUNCATE {table}")
    return int(left["rows"])


if __name__ == "__main__":
    try:
        print(f"{move(sys.argv[1])} rows moved, counts and checksums are the same")
    finally:
        close_all()
