"""T5 where it is hard: what else can happen while a transaction is said again, or before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import (
    OperationalError,
    PoolTimeoutError,
    QueryCanceled,
    QueryTimeoutError,
    TransactionClosedError,
    TransactionFailedError,
    UniqueViolation,
    UsageError,
)

from .clients import OURS, at_rest, client_of, first, outside, prepare, terminate
from .runtime import Event, gather, sleep, spawn, wait_until
from .test_replay import ADD, TABLE, cut


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


async def test_a_statement_whose_rows_were_refused(db: AsyncDB, main_dsn: str) -> None:
    """T5: what was done, although its caller was told of a mistake, is not left out of a replay."""
    try:
        async with db.transaction() as tx:
            with pytest.raises(UsageError):
                await tx.fetchval("insert into log (note) values ('x') returning id", column="nowhere")
            await cut(main_dsn)
            await tx.execute(ADD, 1, 1)
    except OperationalError:
        pass  # it may fail as a whole: what counts is that both are done, or neither
    assert first(main_dsn, "select count(*) from log") == first(main_dsn, "select n from t where id = 1")


async def test_the_deadline_passes_in_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """D1, T5: the statement that is replayed for has one deadline, and passing it is not another answer."""
    with pytest.raises(QueryTimeoutError) as caught:
        async with db.transaction() as tx:
            await tx.execute(ADD, 1, 1)
            await cut(main_dsn)
            holder = outside_holding(main_dsn)
            try:
                await tx.execute(ADD, 2, 1, timeout=0.3)
            finally:
                holder.close()
    assert caught.value.outcome == "rolled back"
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [0, 0]


def outside_holding(dsn: str) -> Any:
    """Return a connection that holds the first row's lock until it is closed."""
    import psycopg

    connection = psycopg.connect(dsn)
    connection.execute("update t set n = n where id = 1")
    return connection


async def test_a_child_waits_for_a_replay_at_release(db: AsyncDB, main_dsn: str) -> None:
    """T3, T5: while an inner block's end is replayed, a child's statement waits for its turn."""

    async def child(tx: Any, steps: int) -> None:
        for _ in range(steps):
            await sleep(0)
        await tx.execute(ADD, 3, 1)

    for steps in range(20):
        async with db.transaction() as tx:
            await tx.execute(ADD, 1, 1)
            async with db.transaction():
                await db.execute(ADD, 2, 1)
                await cut(main_dsn)
                spawned = spawn(lambda steps=steps, tx=tx: child(tx, steps))  # type: ignore[misc]
            await spawned.result()
        assert tx.replays == 1
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [20, 20, 20]


async def test_children_wait_for_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """T3, T5: statements that children have in line are sent after the replay, each once."""
    async with db.transaction() as tx:
        await tx.execute(ADD, 1, 1)
        await cut(main_dsn)
        await gather(*[lambda: tx.execute(ADD, 2, 1) for _ in range(6)])
        await tx.executemany(ADD, [(3, 1)] * 3)
    assert tx.replays == 1
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [1, 6, 3]


async def test_the_caller_changes_an_empty_list(db: AsyncDB, main_dsn: str) -> None:
    """T5: a list that was returned is the caller's, even if no row came."""
    async with db.transaction() as tx:
        rows = await tx.fetch("insert into log (note) values ('x')")
        rows.append("mine")
        none = await tx.fetch("select id from t where id > 100")
        none.append("mine")
        await cut(main_dsn)
        await tx.execute(ADD, 1, 1)
    assert tx.replays == 1


async def test_a_mismatch_in_an_inner_block(db: AsyncDB, main_dsn: str) -> None:
    """T1: after a replay that failed nothing goes on, and what is said names the statement."""
    with pytest.raises(TransactionFailedError, match="update t"):
        async with db.transaction(isolation="repeatable read") as tx:
            assert await tx.fetchval("select n from t where id = $1", 1) == 0
            outside(main_dsn, "update t set n = 10 where id = 1")
            with pytest.raises(Exception, match="something else"):
                async with db.transaction():
                    await tx.execute(ADD, 1, 1)
            await tx.execute(ADD, 2, 1)
    assert first(main_dsn, "select sum(n) from t") == 10


async def test_a_statement_that_fails_after_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """T4, T5: what it was replayed for fails by itself: that is its answer, and the outer block goes on."""
    async with db.transaction() as tx:
        await tx.execute(ADD, 1, 1)
        await cut(main_dsn)
        with pytest.raises(UniqueViolation):
            async with db.transaction():
                await db.execute("insert into t values (1)")
        await tx.execute(ADD, 2, 1)
        await cut(main_dsn)
    assert tx.replays == 2
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 3") == [1, 1]


async def test_what_a_replay_was_for_is_told(
    db: AsyncDB, main_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5: where it finds no connection that is raised, and the loss it was for is its context."""

    def refuse() -> None:
        raise PoolTimeoutError("none left")

    with pytest.raises(PoolTimeoutError) as caught, monkeypatch.context() as patched:
        async with db.transaction() as tx:
            await tx.execute(ADD, 1, 1)
            await cut(main_dsn)
            patched.setattr(db._fleet, "place_alone", refuse)
            await tx.execute(ADD, 2, 1)
    assert isinstance(caught.value.__context__, OperationalError)
    assert first(main_dsn, "select sum(n) from t") == 0


async def test_what_ends_late_was_not_late(
    db: AsyncDB, main_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2: what failed on a lent connection is raised, though that is closed at a time limit afterwards."""

    async def work(connection: Any) -> None:
        connection.pgconn.send_query(b"select pg_sleep(2)")
        monkeypatch.setattr(type(connection), "_cancel_soon", nothing)
        raise UniqueViolation("the original")

    async def nothing(connection: Any, seconds: float) -> None:
        pass

    with pytest.raises(UniqueViolation, match="the original"):
        async with db.transaction() as tx:
            await tx._lent(db._statements.get("select 1"), work, True, 30)


async def test_rows_that_were_half_read(db: AsyncDB, main_dsn: str) -> None:
    """T5: an iterator that was read in part cannot be sent again; a list can, and the block goes on."""
    async with db.transaction() as tx:
        await tx.execute(ADD, 1, 1)
        await cut(main_dsn)
        await tx.executemany(ADD, [(2, 1), (3, 1)])
    assert tx.replays == 1

    def rows(count: int) -> Any:
        for number in range(count):
            if number == count // 2:
                terminate(main_dsn)
            yield (2, 1)

    for count, kept in ((4, 1), (900, 0)):  # more than travel at once
        try:
            async with db.transaction() as tx:
                await tx.execute(ADD, 1, 1)
                await tx.executemany(ADD, rows(count))
        except OperationalError:
            assert not kept
        assert tx.replays == kept
    assert first(main_dsn, "select array_agg(n order by id) from t where id < 4") == [2, 5, 1]


async def test_the_block_fails_while_a_child_waits_for_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """T1, T5: a replay does not go on with a transaction that was undone, and leaves no connection taken."""
    begin, go = Event(), Event()
    taken: list[int] = []

    async def hold() -> None:
        await begin.wait()
        async with db.transaction() as tx:
            await tx.fetchval("select 1")
            taken.append(1)
            await go.wait()

    holders = [spawn(hold) for _ in range(4)]  # outside of the block; nothing is left for the replay
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.execute(ADD, 1, 1)
            await cut(main_dsn)
            begin.set()
            await wait_until(lambda: len(taken) >= 3)  # a thread learns of a loss when it looks
            child = spawn(lambda: tx.execute(ADD, 2, 1))
            await wait_until(lambda: len(taken) == 4 and db.stats()["pool"]["waiting"] == 1)
            raise LookupError
    go.set()
    for holder in holders:
        await holder.result()
    with pytest.raises((OperationalError, TransactionClosedError)):
        await child.result()
    await wait_until(lambda: db.stats()["pool"]["active"] == 0)
    assert first(main_dsn, "select sum(n) from t") == 0


async def test_everything_is_called_off_in_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """T1, T5: cancel_all() reaches a replay that waits for a lock; the block is undone and says why."""
    with pytest.raises(QueryCanceled):
        async with db.transaction() as tx:
            await tx.execute(ADD, 1, 1)
            await cut(main_dsn)
            holder = outside_holding(main_dsn)
            child = spawn(lambda: called_off(db, main_dsn))
            try:
                await tx.execute(ADD, 2, 1)
            finally:
                await child.result()
                holder.close()
    assert first(main_dsn, "select sum(n) from t") == 0
    assert await db.fetchval("select 1") == 1


async def called_off(db: AsyncDB, dsn: str) -> None:
    """Call everything off once something waits for a lock."""
    waits = f"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and {OURS}"
    await wait_until(lambda: first(dsn, waits) == 1)
    assert await db.cancel_all() == 1
