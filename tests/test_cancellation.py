"""D4, D5: a cancelled task leaves nothing behind; Ctrl-C interrupts a blocking call and leaves it usable."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import TransactionFailedError

from ._async import clients as aio
from ._async.clients import pids
from ._async.runtime import wait_until


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    aio.outside(main_dsn, "create table t (id int primary key)")
    async with aio.client_of(main=main_dsn) as made:
        yield made
        await aio.at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


async def running(dsn: str, words: str) -> None:
    """Return once a statement with *words* runs."""
    await wait_until(lambda: any(words in (row[2] or "") for row in aio.left_open(dsn)))


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel *task* and see it end soon, and by that."""
    task.cancel()
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 2


async def warm(db: AsyncDB, dsn: str) -> set[int]:
    """Open all of the pool's connections and return their processes."""
    await asyncio.gather(*(db.execute("select pg_sleep(0.05) for update") for _ in range(4)))
    await aio.at_rest(db, dsn)
    assert len(pids(dsn)) == 4
    return pids(dsn)


SLEEPERS = {
    "read": "select pg_sleep(30)",
    "write": "insert into t select 1 from pg_sleep(30)",
    "script": "insert into t values (1); select pg_sleep(30)",
}


@pytest.mark.parametrize("kind", SLEEPERS)
async def test_in_the_middle_of_a_statement(db: AsyncDB, main_dsn: str, kind: str) -> None:
    """D4: a cancelled statement ends on the server too; no connection is lost, nothing stays open."""
    before = await warm(db, main_dsn)
    task = asyncio.create_task(db.execute(SLEEPERS[kind]))
    await running(main_dsn, "pg_sleep(30)")
    await cancelled(task)
    await aio.at_rest(db, main_dsn)
    assert pids(main_dsn) == before
    assert await db.fetchval("select count(*) from t") == 0


async def test_neighbours_on_a_lane(db: AsyncDB, main_dsn: str) -> None:
    """D5: of many reads on few lanes some are cancelled at random times; the others are answered."""
    await warm(db, main_dsn)
    chance = random.Random(1)

    async def read(number: int) -> int:
        return int(await db.fetchval("select $1::int from pg_sleep(0.002)", number))

    for _ in range(20):
        tasks = [asyncio.create_task(read(number)) for number in range(60)]
        victims = chance.sample(range(60), 20)
        for victim in victims:
            asyncio.get_running_loop().call_later(chance.random() * 0.03, tasks[victim].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(results):
            assert result == number or (number in victims and isinstance(result, asyncio.CancelledError))


async def test_expired_neighbours_on_a_lane(db: AsyncDB, main_dsn: str) -> None:
    """D1, D5: reads that run out of their time at the head of a lane do not take those behind along."""
    await db.fetchval("select 1 from pg_sleep($1)", 0.0)
    statement = db._statements.get("select 1 from pg_sleep($1)")
    for _ in range(30):
        statement.service = 1e-6  # learned when it was quick: the lane takes them in company
        calls = [db.fetchval("select 1 from pg_sleep($1)", 0.3, timeout=0.02)]
        calls += [db.fetchval("select 1 from pg_sleep($1)", 0.0) for _ in range(8)]
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, TimeoutError)
        assert others == [1] * 8


async def test_no_ghost_hits_the_next_caller(main_dsn: str) -> None:
    """D5: on a pool of one, after a few hundred cancelled statements the next one is never hit."""
    async with aio.client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        pid = await db.fetchval("select pg_backend_pid()")
        for number in range(300):
            task = asyncio.create_task(db.fetch("select pg_sleep(0.003)"))
            await asyncio.sleep(0.001 + number % 30 * 0.0001)
            task.cancel()
            assert await db.fetchval("select 7") == 7
            await asyncio.wait([task])
        await aio.at_rest(db, main_dsn)
        assert await db.fetchval("select pg_backend_pid()") == pid


async def test_no_ghost_inside_a_transaction(main_dsn: str) -> None:
    """D5: a statement that ran out of its time, or just did not, never has the next one of its block hit."""
    async with aio.client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        pid = await db.fetchval("select pg_backend_pid()")
        late = 0
        for number in range(200):
            async with db.transaction() as tx:
                await tx.execute("select set_config('a.b', '1', true)")
                try:
                    async with tx.transaction():
                        await tx.fetch("select pg_sleep(0.003)", timeout=0.002 + number % 20 * 0.0001)
                except TimeoutError:
                    late += 1
                assert await tx.fetchval("select 7") == 7
        assert late, "none was cancelled"
        await aio.at_rest(db, main_dsn)
        assert await db.fetchval("select pg_backend_pid()") == pid


async def test_waiting_for_a_connection(main_dsn: str) -> None:
    """D4: a call that is cancelled in line leaves the line, also when its turn comes at that moment."""
    async with aio.client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for delay in (0, 0.001, 0.003, 0.005) * 20:
            async with db.transaction() as tx:
                await tx.execute("select 1 for update")
                tasks = [asyncio.create_task(db.execute("select 1 for update")) for _ in range(5)]
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_later(delay, lambda tasks=tasks: [t.cancel() for t in tasks])
            await asyncio.wait(tasks)
            assert await db.fetchval("select 1", timeout=5) == 1
        await aio.at_rest(db, main_dsn)


async def test_describing_a_new_text(db: AsyncDB, main_dsn: str) -> None:
    """D4: a cancellation that arrives while a new text is described, or a mode is changed, loses nothing."""
    before = await warm(db, main_dsn)
    for number in range(60):
        sql = f"select {number} as a" + (" for update" if number % 2 else "")
        task = asyncio.create_task(db.fetchval(sql))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await db.fetchval(sql) == number
    await aio.at_rest(db, main_dsn)
    assert pids(main_dsn) == before


async def test_in_a_transaction(db: AsyncDB, main_dsn: str) -> None:
    """D4, T1: a block whose statement is cancelled is rolled back; no lock and no connection is left."""
    before = await warm(db, main_dsn)

    async def block() -> None:
        async with db.transaction():
            await db.execute("insert into t values (1)")
            async with db.transaction():
                await db.execute("lock table t")
                await db.execute("select pg_sleep(30)")

    task = asyncio.create_task(block())
    await running(main_dsn, "pg_sleep")
    await cancelled(task)
    assert aio.left_open(main_dsn) == []
    assert pids(main_dsn) == before
    assert await db.fetchval("select count(*) from t") == 0


async def test_anywhere_in_a_transaction(db: AsyncDB, main_dsn: str) -> None:
    """D4, T1: wherever a cancellation arrives, the block is whole or undone, and the pool is as before."""
    before = await warm(db, main_dsn)
    chance = random.Random(2)
    done = set()

    async def block(number: int) -> None:
        async with db.transaction():
            await db.execute("insert into t values ($1)", number)
            async with db.transaction():
                await db.execute("insert into t values ($1)", -number)
        done.add(number)

    for number in range(1, 301):
        task = asyncio.create_task(block(number))
        asyncio.get_running_loop().call_later(chance.random() * 0.003, task.cancel)
        await asyncio.wait([task])
    await aio.at_rest(db, main_dsn)
    rows = {row[0] for row in await db.fetch("select id from t")}
    assert rows == {-row for row in rows}
    assert done <= rows
    assert pids(main_dsn) == before


async def test_commit_is_waited_for(db: AsyncDB, main_dsn: str) -> None:
    """D4: a cancellation during COMMIT waits for its answer: here all is kept, and then it is raised."""
    await db.execute(
        "create function slow() returns trigger language plpgsql as "
        "'begin perform pg_sleep(0.3); return null; end'"
    )
    await db.execute(
        "create constraint trigger late after insert on t deferrable initially deferred "
        "for each row execute function slow()"
    )

    async def block() -> None:
        async with db.transaction():
            await db.execute("insert into t values (1)")

    for cancel in (1, 3):
        task = asyncio.create_task(block())
        await running(main_dsn, "COMMIT")
        for _ in range(cancel):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await db.execute("delete from t") == "DELETE 1"


async def test_a_time_limit_of_asyncio(db: AsyncDB, main_dsn: str) -> None:
    """T3: `asyncio.timeout` works inside a block, which is undone; if swallowed it is named."""
    with pytest.raises(TimeoutError):
        async with db.transaction():
            await db.execute("insert into t values (1)")
            async with asyncio.timeout(0.05):
                await db.execute("select pg_sleep(30)")
    with pytest.raises(TransactionFailedError, match=r"pg_sleep\(31\): given up"):
        async with db.transaction():
            await db.execute("insert into t values (1)")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await db.execute("select pg_sleep(31)")
    async with db.transaction():
        try:
            async with asyncio.timeout(0.05), db.transaction():
                await db.execute("select pg_sleep(32)")
        except TimeoutError:
            await db.execute("insert into t values (2)")
    assert aio.outside(main_dsn, "select id from t") == [(2,)]


async def test_anyio_scopes(db: AsyncDB, main_dsn: str) -> None:
    """D4: anyio's scopes and task groups, which cancel again and again, leave nothing behind either."""
    before = await warm(db, main_dsn)
    with anyio.move_on_after(0.05) as scope:
        await db.execute("select pg_sleep(30)")
    assert scope.cancelled_caught
    with anyio.move_on_after(0.05) as scope:
        async with db.transaction():
            await db.execute("insert into t values (1)")
            async with db.transaction():
                await db.execute("select pg_sleep(30)")
    assert scope.cancelled_caught
    assert aio.left_open(main_dsn) == []
    with pytest.raises(ExceptionGroup) as caught:
        async with db.transaction() as tx, anyio.create_task_group() as group:
            await db.execute("insert into t values (1)")
            group.start_soon(tx.fetch, "select pg_sleep(30)")
            await running(main_dsn, "pg_sleep")
            raise LookupError
    assert caught.group_contains(LookupError)
    await aio.at_rest(db, main_dsn)
    assert pids(main_dsn) == before
    assert await db.fetchval("select count(*) from t") == 0


async def test_executemany(db: AsyncDB, main_dsn: str) -> None:
    """D4, T1: an executemany that is cancelled, while it is fed or while it runs, has done nothing."""
    before = await warm(db, main_dsn)
    for delay in (0.001, 0.005, 0.02, 0.05):
        rows = ((number,) for number in range(50_000))
        task = asyncio.create_task(db.executemany("insert into t values ($1)", rows))
        asyncio.get_running_loop().call_later(delay, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
    task = asyncio.create_task(db.executemany("select pg_sleep($1)", [(0,), (30,), (0,)]))
    await running(main_dsn, "pg_sleep")
    await cancelled(task)
    await aio.at_rest(db, main_dsn)
    assert await db.fetchval("select count(*) from t") == 0
    assert pids(main_dsn) == before


def left() -> list[str]:
    """Return what of a client's pools still works in this event loop."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks() - {asyncio.current_task()}]
    return [name for name in names if "Pool" in name or "Supply" in name or "cheduler" in name]


async def test_entering_a_borrowed_connection(main_dsn: str) -> None:
    """D4: whenever a task is cancelled on its way into `db.connection()`, the connection comes back."""
    async with aio.client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for step in range(40):

            async def borrow() -> None:
                async with db.connection() as connection:
                    await connection.execute("select 1")

            task = asyncio.create_task(borrow())
            for _ in range(step):
                await asyncio.sleep(0)
            await asyncio.sleep(step * 0.0001)
            task.cancel()
            await asyncio.wait([task])
            assert await db.fetchval("select 1", timeout=5) == 1
        await aio.at_rest(db, main_dsn)


async def test_opening(main_dsn: str) -> None:
    """D4: whenever open() is cancelled, the client can be opened again, and closed."""
    for step in range(20):
        client = aio.client_of(main=main_dsn)
        task = asyncio.create_task(client.open())
        await asyncio.sleep(step * 0.001)
        task.cancel()
        await asyncio.wait([task])
        await client.open()
        assert await client["main"].fetchval("select 1") == 1
        await client.close()
    await wait_until(lambda: not left() and not pids(main_dsn))


@pytest.mark.parametrize("then", ["close", "open"])
async def test_closing(main_dsn: str, then: str) -> None:
    """D4, P4: a close() that was cancelled can be finished, by another or by opening anew."""
    client = aio.client_of(main=main_dsn, close_grace=5.0)
    await client.open()
    db = client["main"]
    call = asyncio.create_task(db.fetchval("select 7 from pg_sleep(0.5)"))
    await running(main_dsn, "pg_sleep")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.close()
    if then == "open":
        await client.open()
        assert await db.fetchval("select 1") == 1
    await client.close()
    assert await call == 7
    await wait_until(lambda: not left() and not pids(main_dsn))


async def test_closing_twice_at_a_time(main_dsn: str) -> None:
    """P4: whoever closes a client that closes waits for its end, too."""
    client = aio.client_of(main=main_dsn)
    await client.open()
    await asyncio.gather(client.close(), client.close())
    await client.open()
    assert await client["main"].fetchval("select 1") == 1
    await client.close()
    await wait_until(lambda: not left() and not pids(main_dsn))


async def test_leaving_a_client_in_a_cancelled_scope(main_dsn: str) -> None:
    """D4, P4: anyio cancels again and again; the client is closed all the same, entered or half entered."""
    with anyio.move_on_after(0.3) as scope:
        async with aio.client_of(main=main_dsn) as client:
            await client["main"].execute("select pg_sleep(30)")
    assert scope.cancelled_caught
    await wait_until(lambda: not left() and not pids(main_dsn))
    with anyio.move_on_after(0.003):
        async with aio.client_of(main=main_dsn, pool_min_size=4):
            await anyio.sleep(30)
    await wait_until(lambda: not left() and not pids(main_dsn))


async def test_shielded_and_nested_scopes(db: AsyncDB, main_dsn: str) -> None:
    """D4: a shielded call runs to its end in a cancelled scope; an inner scope's limit is its own."""
    before = await warm(db, main_dsn)
    with anyio.move_on_after(0.05) as outer:
        with anyio.CancelScope(shield=True):
            assert await db.fetchval("select 7 from pg_sleep(0.2)") == 7
            async with db.transaction():
                await db.execute("insert into t values (1)")
        await db.execute("insert into t values (2)")
    assert outer.cancelled_caught
    with anyio.move_on_after(5) as outer:
        with anyio.move_on_after(0.05) as inner:
            await db.execute("select pg_sleep(30)")
        assert inner.cancelled_caught
        async with db.transaction():
            await db.execute("insert into t values (3)")
            with anyio.move_on_after(0.05) as inner:
                async with db.transaction():
                    await db.execute("insert into t values (4)")
                    await db.execute("select pg_sleep(30)")
            assert inner.cancelled_caught
    assert not outer.cancelled_caught
    await aio.at_rest(db, main_dsn)
    assert [row[0] for row in await db.fetch("select id from t order by id")] == [1, 3]
    assert pids(main_dsn) == before


async def test_in_a_replay(db: AsyncDB, main_dsn: str) -> None:
    """D4, T5: cancelled wherever a replay has come to, a block leaves nothing done, open or in use."""

    async def work(steps: int) -> int:
        async with db.transaction() as tx:
            await tx.execute("insert into t values ($1)", steps)
            await tx.fetchval("select count(*) from t")
            aio.terminate(main_dsn)
            canceller = asyncio.create_task(later(asyncio.current_task(), steps))
            await tx.execute("insert into t values ($1)", 1000 + steps)
        canceller.cancel()
        return int(tx.replays)

    steps, done = 0, False
    while not done:  # from the first moment of a replay to behind its end
        task = asyncio.create_task(work(steps))
        await asyncio.wait([task])
        await aio.at_rest(db, main_dsn)
        kept = aio.first(main_dsn, "select count(*) from t where id in (%s, %s)", steps, 1000 + steps)
        if task.cancelled():
            assert kept in (0, 2)  # COMMIT was on its way
        else:
            assert (task.result(), kept) == (1, 2)
            done = True
        steps = steps * 3 // 2 + 1
    assert steps > 5
    assert await db.fetchval("select 1") == 1


async def later(task: Any, steps: int) -> None:
    """Cancel *task* after so many turns of the event loop."""
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
