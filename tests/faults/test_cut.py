"""D4: Ctrl-C at each point of a block's beginning and end, and of a call, leaves nothing behind."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from pgdual.errors import TransactionFailedError
from pgdual.sync import DB
from tests._sync.clients import client_of, is_at_rest, outside
from tests._sync.runtime import wait_until

from .cut import Cut
from .leaks import beyond, settle_blocking

ADD = "insert into t values ($1)"
AFTER, AROUND = 100_000, 200_000  # the keys of what the program does afterwards, and around an inner block
MOST = 400  # points that any of it may have


class UndoError(Exception):
    """Raised in a block, which is to undo it."""


def call(db: DB, key: int) -> None:
    db.execute(ADD, key)


def many(db: DB, key: int) -> None:
    db.executemany(ADD, [(key,)])


def block(db: DB, key: int) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, key)


def repeated(db: DB, key: int) -> None:
    for attempt in db.attempts():
        with attempt as tx:
            tx.execute(ADD, key)


def undone(db: DB, key: int) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, key)
        raise UndoError


def inner(db: DB, key: int) -> None:
    with db.transaction() as tx:
        tx.execute(ADD, key + AROUND)
        try:
            with db.transaction() as savepoint:
                savepoint.execute(ADD, key)
                raise UndoError
        except (UndoError, KeyboardInterrupt):
            pass


def loan(db: DB, key: int) -> None:
    with db.connection() as connection:
        connection.execute("insert into t values (%s)", (key,))


def done(db: DB, deed: Callable[[DB, int], None], name: str, key: int) -> tuple[bool, bool]:
    """Interrupt *deed* at point *key*, and go on; return whether that was met, and the deed done."""
    is_done = False
    cut = Cut(name, key)
    try:
        with cut:
            deed(db, key)
        is_done = True
    except (KeyboardInterrupt, UndoError, TransactionFailedError):
        db.execute(ADD, key + AFTER)  # while what was raised is still alive, and its frames with it
    assert db.fetchval("select count(*) from t where id = $1", key + AFTER) == (not is_done)
    return cut.is_done, is_done


@pytest.mark.parametrize(
    ("deed", "name", "step"),
    [
        (block, "Transaction.__exit__", 5),
        (undone, "Transaction.__exit__", 5),
        (inner, "Transaction.__exit__", 5),
        (block, "Transaction.__enter__", 1),
        (block, "Transaction._run", 7),
        (repeated, "Attempt.__exit__", 7),
        (loan, "Borrowed.__exit__", 1),
        (loan, "Borrowed.__enter__", 5),
        (call, "DB._run", 3),
        (many, "DB._run_many", 7),
    ],
)
@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_at_each_point(
    direct: str, deed: Callable[[DB, int], None], name: str, step: int, is_whole: bool
) -> None:
    """D4, T1: wherever it strikes, later calls are outside of the block, and the one wire there is serves."""
    with client_of(main=direct, pool_max_size=1, pool_timeout=2.0, command_timeout=1.0) as client:
        db = client["main"]
        deed_of_all = contextvars.Context()  # what it would leave behind is what the next one would find
        deed_of_all.run(warm, db, deed)
        for key in range(1, MOST, 1 if is_whole else step):
            is_met, is_done = deed_of_all.run(done, db, deed, name, key)
            wait_until(lambda: is_at_rest(db))
            settle_blocking(lambda: beyond(direct, 1))
            assert not fleet_of(db).lock._is_owned()
            if is_done and deed not in (undone, inner):
                assert outside(direct, "select 1 from t where id = %s", key)
            if deed in (undone, inner):
                assert not outside(direct, "select 1 from t where id = %s", key)
            if not is_met:
                break
        assert not is_met


def warm(db: DB, deed: Callable[[DB, int], None]) -> None:
    """Have everything described, so that each run is the same as the one before."""
    try:
        deed(db, 0)
    except UndoError:
        call(db, 0)


def fleet_of(db: DB) -> Any:
    """Return the wires of *db*."""
    return db._fleet
