# Generated from tests/_async/test_attempts.py by _generate.py. Do not edit.
"""T7: whole blocks again."""

from __future__ import annotations

from typing import Any

import pytest

from pgdual.errors import ReplayMismatchError, SerializationFailure, UniqueViolation, UsageError

from .clients import client_of, first, outside, prepare

TABLE = "create table t (id int primary key, n int not null default 0); insert into t values (1), (2)"
CHANGE = "update t set n = n + 10 where id = 1"


def add(tx: Any, dsn: str, disturbances: list[int]) -> int:
    """Add one to a row in a way that a replay cannot save, while somebody else changes it."""
    n = tx.fetchval("select n from t where id = $1", 1)
    if disturbances:
        disturbances.pop()
        outside(dsn, CHANGE)
    tx.execute("update t set n = $2 where id = $1", 1, n + 1)
    return int(n)


def test_attempts(main_dsn: str) -> None:
    """A block that has seen what is no more runs again, and its attempts are counted from 1."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn, retry_initial_delay=0.001) as client:
        db, numbers, disturbances = client["main"], [], [1, 2, 3]
        for attempt in db.attempts(isolation="repeatable read"):
            with attempt as tx:
                numbers.append(attempt.number)
                add(tx, main_dsn, disturbances)
        assert numbers == [1, 2, 3, 4]
        assert first(main_dsn, "select n from t where id = 1") == 31


def test_run(main_dsn: str) -> None:
    """run() is the same for a function, and returns what it returns."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn, retry_initial_delay=0.001) as client:
        found = client["main"].run(add, main_dsn, [1, 2], isolation="repeatable read")
        assert found == 20
        assert first(main_dsn, "select n from t where id = 1") == 21


def test_the_last_attempt(main_dsn: str) -> None:
    """After PG_DEADLOCK_MAX_ATTEMPTS the error is the caller's, in both forms."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn, retry_initial_delay=0.001, deadlock_max_attempts=2) as client:
        db, numbers = client["main"], []
        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            for attempt in db.attempts(isolation="repeatable read"):
                with attempt as tx:
                    numbers.append(attempt.number)
                    add(tx, main_dsn, [1])
        assert numbers == [1, 2]
        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            db.run(add, main_dsn, [1, 2], isolation="repeatable read")
        assert first(main_dsn, "select n from t where id = 1") == 40


def test_other_errors_end_the_attempts(main_dsn: str) -> None:
    """What would fail again is raised at once, the block's own errors too."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db, numbers = client["main"], []

        def wrong(tx: Any) -> None:
            numbers.append(0)
            tx.execute("insert into t values (1)")

        with pytest.raises(UniqueViolation):
            db.run(wrong)
        for error in (UniqueViolation, ValueError):
            with pytest.raises(error):
                for attempt in db.attempts():
                    with attempt as tx:
                        numbers.append(attempt.number)
                        if error is ValueError:
                            raise ValueError("mine")
                        tx.execute("insert into t values (1)")
        assert numbers == [0, 1, 1]


def test_a_block_that_returns_is_done_when_it_returns(main_dsn: str) -> None:
    """What COMMIT raises is not swallowed: a function that returned from within would be taken for done."""
    prepare(main_dsn, TABLE)
    total = "select sum(n) from t"
    other = f"begin isolation level serializable; {total}; update t set n = n + 1 where id = 2; commit"
    with client_of(main=main_dsn) as client:
        db = client["main"]

        def returns() -> int:
            for attempt in db.attempts(isolation="serializable"):
                with attempt as tx:
                    tx.fetchval(total)
                    tx.execute("update t set n = n + 1 where id = 1")
                    outside(main_dsn, other)
                    return attempt.number
            return 0

        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            returns()
        assert first(main_dsn, "select array_agg(n order by id) from t") == [0, 1]


def test_wrong_use(main_dsn: str) -> None:
    """Inside of a transaction, or without entering the attempt: a UsageError that says so."""
    prepare(main_dsn, TABLE)
    with client_of(main=main_dsn) as client:
        db = client["main"]

        def nothing(tx: Any) -> None:
            tx.fetchval("select 1")

        with db.transaction():
            with pytest.raises(UsageError, match="call them outside of it"):
                db.run(nothing)
            with pytest.raises(UsageError, match="call them outside of it"):
                for _ in db.attempts():
                    pass
            with pytest.raises(UsageError, match="outermost"):
                db.execute("select 1", once=True)
            with pytest.raises(UsageError, match="outermost"):
                with db.transaction(once=True):
                    pass
        with pytest.raises(UsageError, match="is to be entered"):
            for _ in db.attempts():
                pass
