"""T3 on the async face: a transaction belongs to the task that opened it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import (
    TransactionClosedError,
    TransactionFailedError,
    TransactionOwnerError,
    UsageError,
)

from ._async.clients import at_rest, client_of, left_open, outside
from ._sync import clients as sync


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    outside(main_dsn, "create table t (id int primary key)")
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


def ids(dsn: str) -> list[int]:
    return [row[0] for row in outside(dsn, "select id from t order by id")]


async def test_children_are_told(db: AsyncDB, main_dsn: str) -> None:
    """T3: in a child task `db` is refused before a byte is sent, with the remedy, however it was started."""
    calls: list[Any] = [
        lambda: db.fetch("select 1"),
        lambda: db.execute("insert into t values (1)"),
        lambda: db.executemany("insert into t values ($1)", [(1,)]),
        lambda: db.transaction().__aenter__(),
    ]
    async with db.transaction() as tx:
        await tx.execute("insert into t values (0)")
        for call in calls:
            with pytest.raises(
                TransactionOwnerError, match=r"'main' .*tx\.fetch.*asyncio\.timeout"
            ) as caught:
                await asyncio.gather(call())
            assert len(str(caught.value)) < 400
            with pytest.raises(TransactionOwnerError):
                await asyncio.create_task(call())
        with pytest.raises(ExceptionGroup) as group:
            async with anyio.create_task_group() as children:
                children.start_soon(db.fetch, "select 1")
        assert group.group_contains(TransactionOwnerError)
    assert ids(main_dsn) == [0]


async def test_children_with_tx(db: AsyncDB, main_dsn: str) -> None:
    """T3: children that are handed `tx` work in it; their calls and their inner blocks take turns."""

    async def work(tx: Any, number: int) -> None:
        await tx.execute("insert into t values ($1)", number)
        with contextlib.suppress(LookupError):
            async with tx.transaction() as inner:
                await inner.execute("insert into t values ($1)", 100 + number)
                await inner.fetch("select pg_sleep(0.001)")
                async with inner.transaction() as deeper:
                    await deeper.executemany("insert into t values ($1)", [(200 + number,)])
                if number % 2:
                    raise LookupError
        await tx.execute("insert into t values ($1)", 300 + number)

    async with db.transaction() as tx:
        await asyncio.gather(*(work(tx, number) for number in range(10)))
        async with anyio.create_task_group() as children:
            for number in range(10, 20):
                children.start_soon(work, tx, number)
    even = [number for number in range(20) if not number % 2]
    kept = [
        *range(20),
        *range(300, 320),
        *(100 + number for number in even),
        *(200 + number for number in even),
    ]
    assert ids(main_dsn) == sorted(kept)


async def test_children_do_not_end_it(db: AsyncDB, main_dsn: str) -> None:
    """T3, Q4: COMMIT by hand is refused before it is sent, in a child task as anywhere, with what to use."""
    async with db.transaction() as tx:
        await tx.execute("insert into t values (1)")
        for sql in ("commit", "rollback", "select 1; commit"):
            with pytest.raises(UsageError, match=r"db\.transaction\(\)"):
                await asyncio.create_task(tx.execute(sql))
        assert ids(main_dsn) == []
    assert ids(main_dsn) == [1]


async def test_a_child_opens_its_own_elsewhere(db: AsyncDB, main_dsn: str) -> None:
    """T3: started in a fresh context a task is outside of its parent's block."""

    async def child() -> None:
        async with db.transaction():
            await db.execute("insert into t values (1)")

    with pytest.raises(LookupError):
        async with db.transaction():
            await db.execute("insert into t values (2)")
            await contextvars.Context().run(asyncio.create_task, child())
            raise LookupError
    assert ids(main_dsn) == [1]


async def test_a_child_that_outlives_the_block(db: AsyncDB, main_dsn: str) -> None:
    """T3: a task started inside of a block is told so after its end; one started after it is free."""
    go = asyncio.Event()

    async def child(tx: Any) -> None:
        await go.wait()
        with pytest.raises(TransactionClosedError, match="started inside a transaction"):
            await db.execute("insert into t values (1)")
        with pytest.raises(TransactionClosedError, match="started inside a transaction"):
            async with db.transaction():
                pass
        with pytest.raises(TransactionClosedError, match="inside the with block"):
            await tx.execute("insert into t values (2)")

    async with db.transaction() as tx:
        task = asyncio.create_task(child(tx))
        await tx.execute("insert into t values (0)")
    go.set()
    await task
    await asyncio.create_task(db.execute("insert into t values (3)"))
    assert ids(main_dsn) == [0, 3]


async def test_wait_for(db: AsyncDB, main_dsn: str) -> None:
    """T3: `asyncio.wait_for` makes a child task on Python 3.11, and the error says what to use."""
    async with db.transaction():
        await db.execute("insert into t values (1)")
        if sys.version_info < (3, 12):
            with pytest.raises(TransactionOwnerError, match="wait_for"):
                await asyncio.wait_for(db.execute("insert into t values (2)"), 5)
        else:
            await asyncio.wait_for(db.execute("insert into t values (2)"), 5)
        async with asyncio.timeout(5):
            await db.execute("insert into t values (3)")


async def test_a_generator_that_another_task_ends(db: AsyncDB, main_dsn: str) -> None:
    """T3: a block that ends in another context than it began in ends well, and leaves nothing in either."""

    async def dependency() -> AsyncIterator[Any]:
        async with db.transaction() as tx:
            yield tx

    for number in range(3):
        generator = dependency()
        tx = await anext(generator)
        await tx.execute("insert into t values ($1)", number)
        with pytest.raises(StopAsyncIteration):
            await asyncio.create_task(anext(generator))
        assert ids(main_dsn) == list(range(number + 1))
        await db.execute("select 1")
        await asyncio.create_task(db.execute("select 1"))
    generator = dependency()
    tx = await asyncio.create_task(anext(generator))
    await tx.execute("insert into t values (9)")
    await db.execute("insert into t values (10)")  # this task never entered the block
    await generator.aclose()
    assert ids(main_dsn) == [0, 1, 2, 10]


async def test_a_generator_in_the_same_task(db: AsyncDB, main_dsn: str) -> None:
    """T3: while a generator stands in its block, `db` in who reads it joins; its end is the block's."""

    async def numbers(ids: list[int]) -> AsyncIterator[int]:
        async with db.transaction() as tx:
            for number in ids:
                await tx.execute("insert into t values ($1)", number)
                yield number

    async for number in numbers([1, 2]):
        await db.execute("insert into t values ($1)", 10 + number)
        assert ids(main_dsn) == []
    assert ids(main_dsn) == [1, 2, 11, 12]
    generator = numbers([3, 4])
    async for _ in generator:
        await db.execute("insert into t values (13)")
        break
    await generator.aclose()  # type: ignore[attr-defined]
    await db.execute("insert into t values (20)")
    assert ids(main_dsn) == [1, 2, 11, 12, 20]


async def test_a_generator_that_ends_before_what_is_inside(db: AsyncDB, main_dsn: str) -> None:
    """T1, T3: two blocks of one task that end in the wrong order: all is undone, and both say so."""

    async def block() -> AsyncIterator[Any]:
        async with db.transaction() as tx:
            yield tx

    outer, inner = block(), block()
    await (await anext(outer)).execute("insert into t values (1)")
    await (await anext(inner)).execute("insert into t values (2)")
    with pytest.raises(TransactionFailedError, match="a block inside of it was still open"):
        await anext(outer)
    with pytest.raises(TransactionClosedError):
        await anext(inner)
    await db.execute("insert into t values (3)")
    assert ids(main_dsn) == [3]


async def test_to_thread(db: AsyncDB, main_dsn: str) -> None:
    """T3: a thread that inherits a blocking block is told so, may use `tx`, and is outside of async ones."""
    with sync.client_of(main=main_dsn) as client:
        blocking = client["main"]
        with blocking.transaction() as tx:
            with pytest.raises(TransactionOwnerError, match=r"tx\.fetch"):
                await asyncio.to_thread(blocking.execute, "insert into t values (1)")
            await asyncio.to_thread(tx.execute, "insert into t values (2)")
        with pytest.raises(LookupError):
            async with db.transaction():
                await asyncio.to_thread(blocking.execute, "insert into t values (3)")
                raise LookupError
    assert ids(main_dsn) == [2, 3]


async def test_a_block_ends_while_a_child_has_one_inside(db: AsyncDB, main_dsn: str) -> None:
    """T1, T3: half of a child's inner block is never committed: the outer block is undone and says so."""
    inside, go = asyncio.Event(), asyncio.Event()

    async def child(tx: Any) -> None:
        async with tx.transaction() as inner:
            await inner.execute("insert into t values (1)")
            inside.set()
            await go.wait()

    with pytest.raises(Exception, match="still open in another task"):
        async with db.transaction() as tx:
            await tx.execute("insert into t values (0)")
            task = asyncio.create_task(child(tx))
            await inside.wait()
    go.set()
    with pytest.raises(TransactionClosedError):
        await task
    assert ids(main_dsn) == []
    assert left_open(main_dsn) == []


async def test_the_faces_do_not_mix(db: AsyncDB, main_dsn: str) -> None:
    """T3: the blocking face, in a thread or on the spot, does not join the async transaction."""
    with sync.client_of(main=main_dsn) as blocking:
        other = blocking["main"]
        async with db.transaction():
            await db.execute("insert into t values (1)")
            pid = await db.fetchval("select pg_backend_pid()")
            for ask in (asyncio.to_thread(other.fetchval, "select count(*) from t"),):
                assert await ask == 0
            assert other.fetchval("select pg_backend_pid()") != pid
            with other.transaction():
                other.execute("insert into t values (2)")
                assert await db.fetchval("select pg_backend_pid()") == pid
        assert ids(main_dsn) == [1, 2]


def test_without_an_event_loop(client_dsn: str) -> None:
    """The async face without a loop says so, and names the other face."""
    db = client_of(main=client_dsn)["main"]
    for call in (
        db.fetch("select 1"),
        db.executemany("select $1::int", [(1,)]),
        db.transaction().__aenter__(),
        db.open(),
    ):
        with pytest.raises(UsageError, match=r"pgdual\.sync"):
            call.send(None)


@pytest.fixture
def client_dsn() -> str:
    return "postgresql://nobody@127.0.0.1:9/nothing"


def test_an_event_loop_that_cannot_watch_sockets(client_dsn: str) -> None:
    """A loop without add_reader, as Windows' proactor loop, is refused with the one to use."""

    class Proactor(asyncio.SelectorEventLoop):
        add_reader = asyncio.AbstractEventLoop.add_reader

    async def ask() -> None:
        with pytest.raises(UsageError, match=r"Proactor cannot watch sockets.*SelectorEventLoop"):
            await client_of(main=client_dsn)["main"].fetch("select 1")

    loop = asyncio.SelectorEventLoop()
    loop.__class__ = Proactor
    try:
        loop.run_until_complete(ask())
    finally:
        loop.close()
