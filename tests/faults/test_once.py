"""T6: what is committed once is done once, whatever becomes of the answer to COMMIT."""

from __future__ import annotations

import asyncio

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import ConfigurationError, OutcomeUnknownError
from pgdual.sync import DB, create_commit_table
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import client_of, first, outside, terminate

from .proxy import UP, Proxy
from .test_lost import rows


def voids(dsn: str) -> int:
    """Return how many tokens were made void."""
    return int(first(dsn, "select count(*) from pgdual_commit where void"))


@pytest.fixture
def tokens(direct: str) -> None:
    """The table of commit tokens."""
    with client_of(main=direct) as client:
        assert create_commit_table(client["main"])


async def test_the_answer_is_lost(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: COMMIT arrives and its answer does not: it is found out that all is done."""
    async with db.transaction(once=True) as tx:
        await tx.execute("insert into t values (1)")
        proxy.cut_on(b"COMMIT")
    assert rows(direct) == 1
    assert tx.replays == voids(direct)  # 0, but on a server that is slower than the question


def test_the_answer_is_lost_blocking(blocking: DB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: the same on the blocking face."""
    with blocking.transaction(once=True) as tx:
        tx.execute("insert into t values (1)")
        proxy.cut_on(b"COMMIT")
    assert rows(direct) == 1
    assert tx.replays == voids(direct)  # 0, but on a server that is slower than the question


async def test_commit_is_lost(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: COMMIT does not arrive: its token is made void, and the transaction is said again."""
    async with db.transaction(once=True) as tx:
        await tx.execute("insert into t values (1)")
        proxy.cut(20, UP)
    assert tx.replays == 1
    assert rows(direct) == 1
    assert first(direct, "select array_agg(void order by void) from pgdual_commit") == [False, True]


def test_commit_is_lost_blocking(blocking: DB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: the same on the blocking face."""
    with blocking.transaction(once=True) as tx:
        tx.execute("insert into t values (1)")
        proxy.cut(20, UP)
    assert tx.replays == 1
    assert rows(direct) == 1


async def test_the_answer_to_a_replay_is_lost(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: COMMIT does not arrive, and when all was said again its answer is lost: nothing is done twice."""
    outside(direct, "create table entry (id int)")  # no key: what is done twice must show
    async with db.transaction(once=True) as tx:
        await tx.execute("insert into entry values (1)")
        proxy.cut_on(b"COMMIT")
        proxy.cut(20, UP)
    assert tx.replays - voids(direct) in (0, 1)
    assert first(direct, "select count(*) from entry") == 1


def test_the_answer_to_a_replay_is_lost_blocking(
    blocking: DB, proxy: Proxy, direct: str, tokens: None
) -> None:
    """T6: the same on the blocking face."""
    outside(direct, "create table entry (id int)")
    with blocking.transaction(once=True) as tx:
        tx.execute("insert into entry values (1)")
        proxy.cut_on(b"COMMIT")
        proxy.cut(20, UP)
    assert tx.replays - voids(direct) in (0, 1)
    assert first(direct, "select count(*) from entry") == 1


async def test_nobody_knows_of_a_replay(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """O1, T5: without a token the lost answer to a COMMIT that was replayed is an unknown outcome."""
    outside(direct, "create table entry (id int)")
    with pytest.raises(OutcomeUnknownError):
        async with db.transaction() as tx:
            await tx.execute("insert into entry values (1)")
            terminate(direct)
            proxy.cut_on(b"COMMIT")
    assert first(direct, "select count(*) from entry") <= 1
    assert tx.replays == 1


async def test_statements(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: execute() and executemany() by themselves."""
    proxy.cut_on(b"COMMIT")
    assert await db.execute("insert into t values ($1)", 1, once=True) == "INSERT 0 1"
    proxy.cut_on(b"COMMIT")
    assert await db.executemany("insert into t values ($1)", [(2,), (3,)], once=True) == 2
    assert rows(direct) == 3


async def test_the_server_is_slow_to_commit(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: the old server process is still at its COMMIT when it is asked for: the question waits for it."""
    outside(
        direct,
        "create function slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(1); return new; end $$;"
        "create constraint trigger slow after insert on t deferrable initially deferred "
        "for each row execute function slow()",
    )
    async with db.transaction(once=True) as tx:
        await tx.execute("insert into t values (1)")
        asyncio.get_running_loop().call_later(0.3, proxy.reset)
    assert rows(direct) == 1
    assert tx.replays in (0, 1)


async def test_no_table(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """T6: without its table nothing is done, and it is said how to make it."""
    with pytest.raises(ConfigurationError, match="create_commit_table"):
        async with db.transaction(once=True) as tx:
            await tx.execute("insert into t values (1)")
    assert rows(direct) == 0
    await wait_until(lambda: db.stats()["pool"]["active"] == 0)


@pytest.mark.slow
async def test_at_any_moment(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: connections that break around COMMIT, before, in and after it: every block is done once."""
    for number in range(250):
        moment = number % 50
        async with db.transaction(once=True) as tx:
            await tx.execute("insert into t values ($1)", number)
            if number % 2:
                proxy.cut(moment * 4 + 1, UP)
            else:
                asyncio.get_running_loop().call_later(moment * 0.0001, proxy.reset)
        assert rows(direct) == number + 1


@pytest.mark.slow
def test_at_any_moment_blocking(blocking: DB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: the same on the blocking face."""
    for number in range(250):
        with blocking.transaction(once=True) as tx:
            tx.execute("insert into t values ($1)", number)
            if number % 2:
                proxy.cut(number % 50 * 4 + 1, UP)
                continue
            late = threads.spawn(proxy.reset)
        late.result()
        assert rows(direct) == number + 1
