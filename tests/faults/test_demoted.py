"""Connections that lead to a standby: the first write that it refuses has them all given up (retry table)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres, Template
from pgdual.errors import ReadOnlySqlTransaction
from pgdual.sync import DB
from pgdual.testing import fresh_database
from tests._async.runtime import wait_until
from tests._sync import runtime as threads
from tests._sync.clients import outside, pids, prepare

from .leaks import serving, serving_blocking
from .proxy import Proxy
from .standby import Standby, caught_up, missing

ADD = "insert into t values ($1)"


class Address:
    """One address, behind which is the primary or its standby: what a name or a virtual IP is to a client."""

    def __init__(self, proxy: Proxy, primary: Postgres, standby: Standby, direct: str) -> None:
        self._proxy, self._primary, self._standby = proxy, primary, standby
        self.dsn = proxy.dsn(direct)
        self.direct = direct
        self.replica = direct.replace(f":{primary.port}/", f":{standby.port}/")

    def demote(self) -> None:
        """Have the primary be a standby from now on, with all connections of before gone."""
        caught_up(self._primary, self._standby)
        self._proxy.target = self._standby.port
        self._proxy.reset()

    def restore(self) -> None:
        """Lead new connections to the primary; those to the standby stay."""
        self._proxy.target = self._primary.port


@pytest.fixture(scope="module")
def servers(template: Template) -> Iterator[tuple[Postgres, Standby]]:
    if missing():
        pytest.skip(missing())
    with template.postgres() as primary, Standby(primary) as standby:
        yield primary, standby


@pytest.fixture
def address(servers: tuple[Postgres, Standby]) -> Iterator[Address]:
    primary, standby = servers
    with Proxy(primary.port) as proxy:
        for direct in fresh_database(primary):
            prepare(direct, "create table t (id int primary key)")
            yield Address(proxy, primary, standby, direct)


@pytest.fixture
async def db(address: Address) -> AsyncIterator[AsyncDB]:
    async with serving(address.dsn, address.direct) as client:
        yield client["main"]
        address.restore()


@pytest.fixture
def blocking(address: Address) -> Iterator[DB]:
    with serving_blocking(address.dsn, address.direct) as client:
        yield client["main"]
        address.restore()


async def led_astray(db: AsyncDB, address: Address) -> None:
    """Have all four connections of *db* lead to the standby, which is well and refuses to write."""
    await db.execute(ADD, 1)
    address.demote()
    await asyncio.gather(*(db.fetchval("select pg_sleep(0.02)") for _ in range(8)))
    await wait_until(lambda: len(pids(address.replica)) == 4)


def led_astray_blocking(db: DB, address: Address) -> None:
    """Do what `led_astray` does, with threads."""
    db.execute(ADD, 1)
    address.demote()
    threads.gather(*[lambda: db.fetchval("select pg_sleep(0.02)")] * 8)
    threads.wait_until(lambda: len(pids(address.replica)) == 4)


async def test_writes_find_the_primary(db: AsyncDB, address: Address) -> None:
    """25006 of a standby: it was refused, so every write is sent again, and done on the primary once."""
    await led_astray(db, address)
    address.restore()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*(db.execute(ADD, n) for n in range(2, 22))) == ["INSERT 0 1"] * 20
    await wait_until(lambda: not pids(address.replica))
    assert await db.fetchval("select count(*) from t") == 21
    assert db.circuit_breaker.failures == 0  # B2: the server has answered


def test_writes_find_the_primary_blocking(blocking: DB, address: Address) -> None:
    """25006 of a standby: the same on the blocking face."""
    db = blocking
    led_astray_blocking(db, address)
    address.restore()
    calls = [lambda number=number: db.execute(ADD, number) for number in range(2, 22)]
    assert threads.gather(*calls, timeout=5.0) == ["INSERT 0 1"] * 20
    threads.wait_until(lambda: not pids(address.replica))
    assert db.fetchval("select count(*) from t") == 21
    assert db.circuit_breaker.failures == 0


async def test_while_there_is_no_primary(db: AsyncDB, address: Address) -> None:
    """O2: where all that is there is a standby its refusal is what the caller sees; READs are answered."""
    await led_astray(db, address)
    before = pids(address.replica)
    with pytest.raises(ReadOnlySqlTransaction):
        await db.execute(ADD, 2)
    await wait_until(lambda: not before & pids(address.replica))
    assert await db.fetchval("select count(*) from t") == 1
    assert db.circuit_breaker.failures == 0
    address.restore()
    assert await db.execute(ADD, 2) == "INSERT 0 1"


def test_while_there_is_no_primary_blocking(blocking: DB, address: Address) -> None:
    """O2: the same on the blocking face."""
    db = blocking
    led_astray_blocking(db, address)
    before = pids(address.replica)
    with pytest.raises(ReadOnlySqlTransaction):
        db.execute(ADD, 2)
    threads.wait_until(lambda: not before & pids(address.replica))
    assert db.fetchval("select count(*) from t") == 1
    assert db.circuit_breaker.failures == 0
    address.restore()
    assert db.execute(ADD, 2) == "INSERT 0 1"


async def test_a_transaction_on_a_standby(db: AsyncDB, address: Address) -> None:
    """25006 of a standby, in a block (T5): all of it is said again on the primary."""
    await led_astray(db, address)
    address.restore()
    async with db.transaction() as tx:
        await tx.execute(ADD, 2)
    assert tx.replays == 1
    assert outside(address.direct, "select id from t order by id") == [(1,), (2,)]


async def test_a_transaction_on_a_standby_that_is_not_said_again(db: AsyncDB, address: Address) -> None:
    """25006 of a standby, in a block: without a replay its caller is told; the next is on the primary."""
    await led_astray(db, address)
    address.restore()
    with pytest.raises(ReadOnlySqlTransaction):
        async with db.transaction(replay=False) as tx:
            await tx.execute(ADD, 2)
    async with db.transaction() as tx:
        await tx.execute(ADD, 3)
    await wait_until(lambda: not pids(address.replica))
    assert outside(address.direct, "select id from t order by id") == [(1,), (3,)]


def test_a_transaction_on_a_standby_blocking(blocking: DB, address: Address) -> None:
    """25006 of a standby, in a block: the same on the blocking face."""
    led_astray_blocking(blocking, address)
    address.restore()
    with blocking.transaction() as tx:
        tx.execute(ADD, 2)
    assert tx.replays == 1
    threads.wait_until(lambda: not pids(address.replica))
    assert outside(address.direct, "select id from t order by id") == [(1,), (2,)]


async def test_many_rows_on_a_standby(db: AsyncDB, address: Address) -> None:
    """25006 of a standby: of many rows none is taken, which is said; the next ones are on the primary."""
    await led_astray(db, address)
    address.restore()
    with pytest.raises(ReadOnlySqlTransaction):
        await db.executemany(ADD, [(2,), (3,)])
    assert await db.executemany(ADD, [(4,), (5,)]) == 2
    assert outside(address.direct, "select id from t order by id") == [(1,), (4,), (5,)]


async def test_a_block_that_reads_on_a_standby(db: AsyncDB, address: Address) -> None:
    """Q2, T1: a block that only reads is well on a standby, whatever ran on its connection before."""
    await led_astray(db, address)
    before = pids(address.replica)
    for readonly in (False, True, False):
        async with db.transaction("repeatable read", readonly=readonly) as tx:
            assert await tx.fetchval("select count(*) from t") == 1
        assert await db.fetchval("select pg_is_in_recovery()")
    assert pids(address.replica) == before


async def test_a_block_that_may_only_read(db: AsyncDB, address: Address) -> None:
    """25006 otherwise: a READ ONLY block, or a READ that wrote, costs nobody a connection."""
    await asyncio.gather(*(db.execute("select pg_sleep(0.02) for update") for _ in range(4)))
    before = pids(address.direct)
    with pytest.raises(ReadOnlySqlTransaction):
        async with db.transaction(readonly=True) as tx:
            await tx.execute(ADD, 2)
    outside(
        address.direct,
        "create function add() returns int language sql as 'insert into t values (3) returning id'",
    )
    db.pure("add")
    assert await db.fetchval("select add()") == 3
    assert pids(address.direct) == before


def test_a_block_that_may_only_read_blocking(blocking: DB, address: Address) -> None:
    """25006 otherwise: the same on the blocking face."""
    threads.gather(*[lambda: blocking.execute("select pg_sleep(0.02) for update")] * 4)
    before = pids(address.direct)
    with pytest.raises(ReadOnlySqlTransaction), blocking.transaction(readonly=True) as tx:
        tx.execute(ADD, 2)
    assert blocking.execute(ADD, 3) == "INSERT 0 1"
    assert pids(address.direct) == before
