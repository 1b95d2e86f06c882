"""T5, T6: a transaction of all kinds of statements whose connection breaks behind any byte is done once."""

from __future__ import annotations

from typing import Any

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import UniqueViolation
from pgdual.sync import DB
from tests._sync.clients import outside, prepare

from .proxy import DOWN, UP, Direction, Proxy
from .test_once import tokens

__all__ = ["tokens"]
TABLE = "create table entry (block int, step text)"  # no key: what is done twice must show
ENTER = "insert into entry values ($1, $2)"
STEPS = ["after", "cursor", "inner", "many", "many", "many", "one"]
BYTES = 2600  # about what a block says, and is told


async def work(db: AsyncDB, number: int, proxy: Proxy, after: int, direction: Direction) -> int:
    """Do one of everything in a block that is cut off behind a byte; return how often it was replayed."""
    async with db.transaction(once=True) as tx:
        proxy.cut(after, direction)
        await tx.execute(ENTER, number, "one")
        with pytest.raises(UniqueViolation):
            async with db.transaction():
                await db.execute(ENTER, number, "never")
                await db.execute("insert into t values (0)")
        async with db.transaction():
            await db.execute(ENTER, number, "inner")
            assert await db.executemany(ENTER, [(number, "many")] * 3) == 3
        await tx.execute(f"declare c cursor for select step from entry where block = {number} order by step")
        assert [row[0] for row in await tx.fetch("fetch 2 from c")] == ["inner", "many"]
        await tx.execute(ENTER, number, "cursor")
        assert await tx.fetchval("select count(*) from entry where block = $1", number) == 6
        await tx.execute(ENTER, number, "after")
    return tx.replays


def work_blocking(db: DB, number: int, proxy: Proxy, after: int, direction: Direction) -> int:
    """Do the same on the blocking face."""
    with db.transaction(once=True) as tx:
        proxy.cut(after, direction)
        tx.execute(ENTER, number, "one")
        with pytest.raises(UniqueViolation), db.transaction():
            db.execute(ENTER, number, "never")
            db.execute("insert into t values (0)")
        with db.transaction():
            db.execute(ENTER, number, "inner")
            assert db.executemany(ENTER, [(number, "many")] * 3) == 3
        tx.execute(f"declare c cursor for select step from entry where block = {number} order by step")
        assert [row[0] for row in tx.fetch("fetch 2 from c")] == ["inner", "many"]
        tx.execute(ENTER, number, "cursor")
        assert tx.fetchval("select count(*) from entry where block = $1", number) == 6
        tx.execute(ENTER, number, "after")
    return tx.replays


def check(direct: str, number: int) -> None:
    """Hold what is there of a block against what it did."""
    found = outside(direct, "select step from entry where block = %s order by step", number)
    assert [row[0] for row in found] == STEPS, number


@pytest.fixture(params=[401, pytest.param(13, marks=pytest.mark.slow)])
def places(request: Any, direct: str) -> list[tuple[int, Direction]]:
    """Where to cut: behind which byte, in which direction."""
    prepare(direct, TABLE, "insert into t values (0)")
    return [(after, way) for after in range(1, BYTES, request.param) for way in (UP, DOWN)]


async def test_anywhere(
    db: AsyncDB, proxy: Proxy, direct: str, tokens: None, places: list[tuple[int, Direction]]
) -> None:
    """T5, T6: whatever byte is the last, the block is done once, and has not noticed anything."""
    replays = 0
    for number, place in enumerate(places, 1):
        replays += await work(db, number, proxy, *place)
        check(direct, number)
    assert replays > len(places) / 3


def test_anywhere_blocking(
    blocking: DB, proxy: Proxy, direct: str, tokens: None, places: list[tuple[int, Direction]]
) -> None:
    """T5, T6: the same on the blocking face."""
    replays = 0
    for number, place in enumerate(places, 1):
        replays += work_blocking(blocking, number, proxy, *place)
        check(direct, number)
    assert replays > len(places) / 3
