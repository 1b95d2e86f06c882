"""The program of `test_ctrl_c`: it does one thing with a blocking client until Ctrl-C, and goes on.

`python -m tests.faults.ctrl_c DEED DSN` prints when Ctrl-C came through, and then, as JSON, which rows there
are and whether the same connection serves on.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from pgdual.sync import DB
from tests._sync.clients import client_of, is_at_rest

from .leaks import serves_blocking, settle_blocking, stuck

__all__ = ["DEEDS", "LIMITS"]

ADD: Final = "insert into t values ($1)"


def read(db: DB) -> None:
    db.fetchval("select pg_sleep(30)")


def write(db: DB) -> None:
    db.execute("insert into t select 1 from pg_sleep(30)")


def many(db: DB) -> None:
    db.executemany("insert into t select $1::int from pg_sleep(30)", [(1,), (2,)])


def block(db: DB) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, 1)
        tx.execute("select pg_sleep(30)")


def commit(db: DB) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, 1)


def commit_many(db: DB) -> None:
    db.executemany(ADD, [(1,), (2,)])


DEEDS: Final[dict[str, Callable[[DB], None]]] = {
    deed.__name__: deed for deed in (read, write, many, block, commit, commit_many)
}


# The command clock: of those that are waited for it is what ends the wait.
LIMITS: Final = {commit: 1.5, commit_many: 1.5}  # seconds


def main() -> None:
    """Do what the command line says."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    deed, dsn = DEEDS[sys.argv[1]], sys.argv[2]
    with client_of(main=dsn, pool_max_size=2, command_timeout=LIMITS.get(deed, 60.0)) as client:
        db = client["main"]
        before = db.fetchval("select pg_backend_pid()")
        try:
            deed(db)
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)  # noqa: T201
        is_kept = is_at_rest(db) and db.stats()["pool"]["size"] == 1
        rows = db.fetchval("select count(*) from t")
        serves_blocking(db)
        settle_blocking(lambda: stuck(db))
        is_same = db.fetchval("select pg_backend_pid()") == before
        print(json.dumps({"rows": rows, "is_kept": is_kept and is_same}))  # noqa: T201


if __name__ == "__main__":
    main()
