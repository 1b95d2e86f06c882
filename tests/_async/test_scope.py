"""R1, R2: two databases on two servers, each with a context of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import UniqueViolation

from .clients import at_rest, client_of, outside
from .runtime import gather, spawn


@pytest.fixture
async def client(main_dsn: str, vb_dsn: str) -> AsyncIterator[AsyncClient]:
    for dsn in (main_dsn, vb_dsn):
        outside(dsn, "create table t (id int primary key)")
    async with client_of(main=main_dsn, vb=vb_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)
        await at_rest(made["vb"], vb_dsn)


@pytest.fixture
def main(client: AsyncClient) -> AsyncDB:
    return client["main"]


@pytest.fixture
def vb(client: AsyncClient) -> AsyncDB:
    return client["vb"]


def ids(dsn: str) -> list[int]:
    return [row[0] for row in outside(dsn, "select id from t order by id")]


WHERE = "select current_setting('port') || ' ' || pg_backend_pid()"


async def test_the_other_database_does_not_join(main: AsyncDB, vb: AsyncDB) -> None:
    """R2: inside `main.transaction()` a call on vb asks vb's server, outside of any transaction."""
    async with main.transaction() as tx:
        mine = await tx.fetchval(WHERE)
        assert await main.fetchval(WHERE) == mine
        other = await vb.fetchval(WHERE)
        assert other.split()[0] != mine.split()[0]
        await vb.execute("insert into t values (1)")
        assert await vb.fetchval("select count(*) from t") == 1


async def test_a_rollback_of_one_leaves_the_other(
    main: AsyncDB, vb: AsyncDB, main_dsn: str, vb_dsn: str
) -> None:
    """R2: blocks of both databases nest in each other, and each keeps or loses only what is its own."""
    async with main.transaction():
        await main.execute("insert into t values (1)")
        with pytest.raises(LookupError):
            async with vb.transaction():
                await vb.execute("insert into t values (2)")
                await main.execute("insert into t values (3)")
                async with main.transaction():
                    await main.execute("insert into t values (4)")
                    await vb.execute("insert into t values (5)")
                raise LookupError
        async with vb.transaction():
            await vb.execute("insert into t values (6)")
    assert ids(main_dsn) == [1, 3, 4]
    assert ids(vb_dsn) == [6]


async def test_the_same_block_of_both_at_once(main: AsyncDB, vb: AsyncDB, main_dsn: str, vb_dsn: str) -> None:
    """R2: a main block inside a vb block inside a main block is a savepoint of main's own transaction."""
    async with main.transaction(), vb.transaction():
        first = await main.fetchval(WHERE), await vb.fetchval(WHERE)
        async with main.transaction() as inner, vb.transaction():
            assert (await inner.fetchval(WHERE), await vb.fetchval(WHERE)) == first
            await main.execute("insert into t values (1)")
            await vb.execute("insert into t values (1)")
            with pytest.raises(UniqueViolation):
                async with vb.transaction():
                    await vb.execute("insert into t values (1)")
    assert ids(main_dsn) == ids(vb_dsn) == [1]


async def test_blocks_side_by_side(main: AsyncDB, vb: AsyncDB, main_dsn: str, vb_dsn: str) -> None:
    """R1, R2: many blocks of both databases at once, each on its own connection, never mixed."""

    async def work(number: int) -> None:
        for step in range(5):
            one, other = (main, vb) if number % 2 else (vb, main)
            with pytest.raises(LookupError) if step == 3 else nullcontext():
                async with one.transaction():
                    pid = await one.fetchval(WHERE)
                    await one.execute("insert into t values ($1)", number * 100 + step)
                    async with other.transaction():
                        await other.execute("insert into t values ($1)", number * 100 + 50 + step)
                        assert await other.fetchval(WHERE) != pid
                    assert await one.fetchval(WHERE) == pid
                    if step == 3:
                        raise LookupError

    await gather(*[lambda number=number: work(number) for number in range(4)])  # type: ignore[misc]
    for parity, dsn in ((1, main_dsn), (0, vb_dsn)):
        own = [number * 100 + step for number in range(4) if number % 2 == parity for step in (0, 1, 2, 4)]
        other = [number * 100 + 50 + step for number in range(4) if number % 2 != parity for step in range(5)]
        assert ids(dsn) == sorted(own + other)


async def test_trouble_in_one_leaves_the_other_alone(main: AsyncDB, vb: AsyncDB) -> None:
    """R1: with every connection of vb taken, main answers, and inside of vb's blocks too."""

    async def hold() -> None:
        async with vb.transaction() as tx:
            await tx.fetch("select pg_sleep(0.3)")

    holders = [spawn(hold) for _ in range(6)]
    for _ in range(50):
        assert await main.fetchval("select 1", timeout=1) == 1
    for holder in holders:
        await holder.result()
