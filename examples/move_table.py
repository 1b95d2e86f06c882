"""Move a table from main to vb with COPY, and prove it by counts and checksums.

    POSTGRES_DSN=... VB_POSTGRES_DSN=... python examples/move_table.py trades

The table is there on both sides, empty at vb. The rows flow from server to server through a pipe, in little
memory; a lock keeps others from writing to them. What does not arrive as it left is rolled back at vb, and
the rows leave main only after vb has them for good: whatever happens in between, they are somewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

from pgdual.errors import UsageError
from pgdual.sync import Transaction, close_all, db, vb_db

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
            with closing(parts(source, table)) as data:
                target.copy_in(table, data, format="binary")
            left, arrived = (side.fetchrow(CHECK.format(table), timeout=None) for side in (source, target))
            if left != arrived:
                raise UsageError(f"{table}: {left} left main, {arrived} arrived at vb")
        source.execute(f"TRUNCATE {table}")
    return int(left["rows"])


def parts(source: Transaction, table: str) -> Iterator[bytes]:
    """Yield what COPY gives of *table*, which is read in a thread, so that both servers work at a time."""
    reader, writer = os.pipe()
    errors: list[Exception] = []

    def read() -> None:
        try:
            with os.fdopen(writer, "wb") as file:
                source.copy_out(table, file, format="binary")
        except Exception as error:
            errors.append(error)

    thread = Thread(target=read)
    thread.start()
    try:
        with os.fdopen(reader, "rb") as file:
            while part := file.read(1 << 16):
                yield part
    finally:
        thread.join()  # where nobody reads on, it ends with a broken pipe
    if errors:
        raise errors[0]


if __name__ == "__main__":
    try:
        print(f"{move(sys.argv[1])} rows moved, counts and checksums are the same")
    finally:
        close_all()
