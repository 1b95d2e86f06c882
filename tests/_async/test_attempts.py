"""T7: whole blocks again."""

from __future__ import annotations

from typing import Any

import pytest

from pgdual.errors import ReplayMismatchError, SerializationFailure, UniqueViolation, UsageError

from .clients import client_of, first, outside, prepare

TABLE = "create table t (id int primary key, n int not null default 0); insert into t values (1), (2)"
CHANGE = "update t set n = n + 10 where id = 1"


async def add(tx: Any, dsn: str, disturbances: list[int]) -> int:
    """Add one to a row in a way that a replay cannot save, while somebody else changes it."""
    n = await tx.fetchval("select n from t where id = $1", 1)
    if disturbances:
        disturbances.pop()
        outside(dsn, CHANGE)
    await tx.execute("update t set n = $2 where id = $1", 1, n + 1)
    return int(n)


async def test_attempts(main_dsn: str) -> None:
    """A block that has seen what is no more runs again, and its attempts are counted from 1."""
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn, retry_initial_delay=0.001) as client:
        db, numbers, disturbances = client["main"], [], [1, 2, 3]
        async for attempt in db.attempts(isolation="repeatable read"):
            async with attempt as tx:
                numbers.append(attempt.number)
                await add(tx, main_dsn, disturbances)
        assert numbers == [1, 2, 3, 4]
        assert first(main_dsn, "select n from t where id = 1") == 31


async def test_run(main_dsn: str) -> None:
    """run() is the same for a function, and returns what it returns."""
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn, retry_initial_delay=0.001) as client:
        found = await client["main"].run(add, main_dsn, [1, 2], isolation="repeatable read")
        assert found == 20
        assert first(main_dsn, "select n from t where id = 1") == 21


async def test_the_last_attempt(main_dsn: str) -> None:
    """After PG_DEADLOCK_MAX_ATTEMPTS the error is the caller's, in both forms."""
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn, retry_initial_delay=0.001, deadlock_max_attempts=2) as client:
        db, numbers = client["main"], []
        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            async for attempt in db.attempts(isolation="repeatable read"):
                async with attempt as tx:
                    numbers.append(attempt.number)
                    await add(tx, main_dsn, [1])
        assert numbers == [1, 2]
        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            await db.run(add, main_dsn, [1, 2], isolation="repeatable read")
        assert first(main_dsn, "select n from t where id = 1") == 40


async def test_other_errors_end_the_attempts(main_dsn: str) -> None:
    """What would fail again is raised at once, the block's own errors too."""
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn) as client:
        db, numbers = client["main"], []

        async def wrong(tx: Any) -> None:
            numbers.append(0)
            await tx.execute("insert into t values (1)")

        with pytest.raises(UniqueViolation):
            await db.run(wrong)
        for error in (UniqueViolation, ValueError):
            with pytest.raises(error):
                async for attempt in db.attempts():
                    async with attempt as tx:
                        numbers.append(attempt.number)
                        if error is ValueError:
                            raise ValueError("mine")
                        await tx.execute("insert into t values (1)")
        assert numbers == [0, 1, 1]


async def test_a_block_that_returns_is_done_when_it_returns(main_dsn: str) -> None:
    """What COMMIT raises is not swallowed: a function that returned from within would be taken for done."""
    prepare(main_dsn, TABLE)
    total = "select sum(n) from t"
    other = f"begin isolation level serializable; {total}; update t set n = n + 1 where id = 2; commit"
    async with client_of(main=main_dsn) as client:
        db = client["main"]

        async def returns() -> int:
            async for attempt in db.attempts(isolation="serializable"):
                async with attempt as tx:
                    await tx.fetchval(total)
                    await tx.execute("update t set n = n + 1 where id = 1")
                    outside(main_dsn, other)
                    return attempt.number
            return 0

        with pytest.raises((ReplayMismatchError, SerializationFailure)):
            await returns()
        assert first(main_dsn, "select array_agg(n order by id) from t") == [0, 1]


async def test_wrong_use(main_dsn: str) -> None:
    """Inside of a transaction, or without entering the attempt: a UsageError that says so."""
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn) as client:
        db = client["main"]

        async def nothing(tx: Any) -> None:
            await tx.fetchval("select 1")

        async with db.transaction():
            with pytest.raises(UsageError, match="call them outside of it"):
                await db.run(nothing)
            with pytest.raises(UsageError, match="call them outside of it"):
                async for _ in db.attempts():
                    pass
            with pytest.raises(UsageError, match="outermost"):
                await db.execute("select 1", once=True)
            with pytest.raises(UsageError, match="outermost"):
                async with db.transaction(once=True):
                    pass
        with pytest.raises(UsageError, match="is to be entered"):
            async for _ in db.attempts():
                pass
