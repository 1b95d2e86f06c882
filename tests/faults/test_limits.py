"""A server that is full, a password that changes, a network that is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres, Template
from pgdual.errors import OperationalError, PoolTimeoutError, QueryTimeoutError
from pgdual.sync import DB
from pgdual.testing import fresh_database
from tests._sync import runtime as threads
from tests._sync.clients import first, outside, terminate

from .leaks import serves, serves_blocking, serving, serving_blocking
from .proxy import Proxy

pytestmark = pytest.mark.slow

MOST = 8


@pytest.fixture(scope="module")
def narrow(template: Template) -> Iterator[Postgres]:
    """A server with few connections, and a user `app` who needs a password."""
    with template.postgres({"max_connections": MOST, "autovacuum": False}) as server:
        outside(server.dsn, "create role app login password 'one'")
        rules = "host all app 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        (server.data / "pg_hba.conf").write_text(rules)
        outside(server.dsn, "select pg_reload_conf()")
        yield server


@pytest.fixture
def there(narrow: Postgres) -> Iterator[str]:
    """An empty database on it, as the superuser."""
    yield from fresh_database(narrow)


def taken(stack: ExitStack, dsn: str, leave: int) -> None:
    """Take all connections of the server but *leave*."""
    mine = [psycopg.connect(dsn) for _ in range(MOST - leave)]
    for one in mine:
        stack.callback(one.close)


async def test_a_full_server(there: str) -> None:
    """Retry table: 53300 while connecting is tried again; with two connections left all calls are served."""
    async with serving(there, there, pool_min_size=2, pool_max_size=6) as client:
        db = client["main"]
        with ExitStack() as stack:
            taken(stack, there, 2)
            calls = [db.execute("select pg_sleep(0.02) for update") for _ in range(40)]
            async with asyncio.timeout(10):
                assert await asyncio.gather(*calls) == ["SELECT 1"] * 40
            assert db.stats()["pool"]["size"] == 2


def test_a_full_server_blocking(there: str) -> None:
    """Retry table: the same on the blocking face."""
    with serving_blocking(there, there, pool_min_size=2, pool_max_size=6) as client:
        db = client["main"]
        with ExitStack() as stack:
            taken(stack, there, 2)
            calls = [lambda: db.execute("select pg_sleep(0.02) for update")] * 20
            assert threads.gather(*calls, timeout=10.0) == ["SELECT 1"] * 20
            assert db.stats()["pool"]["size"] == 2


async def test_a_server_without_room(there: str) -> None:
    """D1: where no connection is to be had the acquire clock ends the wait; afterwards it serves."""
    async with serving(there, there, pool_timeout=1.0) as client:
        db = client["main"]
        terminate(there)
        with ExitStack() as stack:
            taken(stack, there, 0)
            with pytest.raises(PoolTimeoutError, match=r"too many clients|slots are reserved"):
                await db.fetchval("select 1")
        await serves(db)


def test_a_server_without_room_blocking(there: str) -> None:
    """D1: the same on the blocking face."""
    with serving_blocking(there, there, pool_timeout=1.0) as client:
        db = client["main"]
        terminate(there)
        with ExitStack() as stack:
            taken(stack, there, 0)
            with pytest.raises(PoolTimeoutError, match=r"too many clients|slots are reserved"):
                db.fetchval("select 1")
        serves_blocking(db)


class Secret:
    """A password and a DSN that change, as functions return them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn.replace("postgres@", "app@")
        self.word = "one"

    def password(self) -> str:
        """Return what the password is now."""
        return self.word

    def dsn(self) -> str:
        """Return the DSN with the password of now."""
        return self._dsn.replace("app@", f"app:{self.word}@")

    def options(self, as_dsn: bool) -> dict[str, Any]:
        """Return the settings of a client that asks for the password, or for the whole DSN."""
        return {"main": self.dsn} if as_dsn else {"main": self._dsn, "password": self.password}


@pytest.fixture
def secret(narrow: Postgres, there: str) -> Iterator[Secret]:
    made = Secret(there)
    yield made
    rotate(there, made, "one")


def rotate(dsn: str, secret: Secret, word: str) -> None:
    """Change the password on the server and in the secret, and end all sessions that knew the old one."""
    outside(dsn, f"alter role app password '{word}'")
    secret.word = word
    terminate(dsn)


@pytest.mark.parametrize("as_dsn", [False, True], ids=["password", "dsn"])
async def test_a_password_that_changes(there: str, secret: Secret, as_dsn: bool) -> None:
    """O3: a password is asked for with each connection: after a rotation no call fails, not even a WRITE."""
    options = secret.options(as_dsn)
    async with serving(options.pop("main"), there, **options) as client:
        db = client["main"]
        await serves(db)
        rotate(there, secret, "two")
        assert await db.execute("select 1 for update") == "SELECT 1"
        assert await asyncio.gather(*(db.fetchval("select 1") for _ in range(20))) == [1] * 20


@pytest.mark.parametrize("as_dsn", [False, True], ids=["password", "dsn"])
def test_a_password_that_changes_blocking(there: str, secret: Secret, as_dsn: bool) -> None:
    """O3: the same on the blocking face."""
    options = secret.options(as_dsn)
    with serving_blocking(options.pop("main"), there, **options) as client:
        db = client["main"]
        serves_blocking(db)
        rotate(there, secret, "two")
        assert db.execute("select 1 for update") == "SELECT 1"
        assert threads.gather(*[lambda: db.fetchval("select 1")] * 8) == [1] * 8


async def test_a_password_that_is_wrong_for_a_while(there: str, secret: Secret) -> None:
    """D1: while the password is wrong callers are told so, and soon; once it is right the client serves."""
    options = secret.options(as_dsn=False)
    async with serving(options.pop("main"), there, **options) as client:
        db = client["main"]
        await serves(db)
        rotate(there, secret, "two")
        secret.word = "one"
        terminate(there)
        started = time.monotonic()
        with pytest.raises(OperationalError, match="password authentication failed"):
            await db.fetchval("select 1")
        assert time.monotonic() - started < 5
        secret.word = "two"


def test_a_password_that_is_wrong_for_a_while_blocking(there: str, secret: Secret) -> None:
    """D1: the same on the blocking face."""
    options = secret.options(as_dsn=False)
    with serving_blocking(options.pop("main"), there, **options) as client:
        db = client["main"]
        serves_blocking(db)
        rotate(there, secret, "two")
        secret.word = "one"
        terminate(there)
        started = time.monotonic()
        with pytest.raises(OperationalError, match="password authentication failed"):
            db.fetchval("select 1")
        assert time.monotonic() - started < 5
        secret.word = "two"


async def test_latency(db: AsyncDB, proxy: Proxy) -> None:
    """L1: on a slow network every call has its own answer, in a transaction and outside."""
    proxy.latency(0.05)

    async def move(number: int) -> None:
        async with db.transaction() as tx:
            await tx.execute("insert into t values ($1)", number)
            assert await tx.fetchval("select id from t where id = $1", number) == number

    async def read(number: int) -> None:
        assert await db.fetchval("select $1::int", number) == number

    async with asyncio.timeout(10):
        await asyncio.gather(*(move(number) for number in range(10)), *(read(n) for n in range(40)))
    proxy.latency(0.0)
    assert await db.fetchval("select count(*) from t") == 10


def test_latency_blocking(blocking: DB, proxy: Proxy) -> None:
    """L1: the same on the blocking face."""
    proxy.latency(0.05)

    def move(number: int) -> None:
        with blocking.transaction() as tx:
            tx.execute("insert into t values ($1)", number)
            assert tx.fetchval("select id from t where id = $1", number) == number

    threads.gather(*[lambda number=number: move(number) for number in range(8)])
    proxy.latency(0.0)
    assert blocking.fetchval("select count(*) from t") == 8


async def test_cancels_on_a_slow_network(dsn: str, direct: str, proxy: Proxy) -> None:
    """D5: on a slow network a cancel hits the statement that ran out of its time, and never the next."""
    async with serving(dsn, direct, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1 from pg_sleep($1)", 0.0)
        for number in range(15):
            proxy.latency(0.01 * (number % 5))
            with pytest.raises(QueryTimeoutError):
                await db.fetchval("select 1 from pg_sleep($1)", 0.3, timeout=0.05 + 0.005 * number)
            assert await db.fetchval("select 1 from pg_sleep($1)", 0.0) == 1
            assert await db.execute("select 1 for update") == "SELECT 1"
        proxy.latency(0.0)


def test_cancels_on_a_slow_network_blocking(dsn: str, direct: str, proxy: Proxy) -> None:
    """D5: the same on the blocking face."""
    with serving_blocking(dsn, direct, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1 from pg_sleep($1)", 0.0)
        for number in range(15):
            proxy.latency(0.01 * (number % 5))
            with pytest.raises(QueryTimeoutError):
                db.fetchval("select 1 from pg_sleep($1)", 0.3, timeout=0.05 + 0.005 * number)
            assert db.fetchval("select 1 from pg_sleep($1)", 0.0) == 1
            assert db.execute("select 1 for update") == "SELECT 1"
        proxy.latency(0.0)


SETTINGS = ["statement_timeout", "idle_in_transaction_session_timeout", "client_connection_check_interval"]


@pytest.mark.parametrize("setting", SETTINGS)
async def test_backstops(direct: str, setting: str) -> None:
    """D3: a session of pgdual's has its backstops, so that a server does not work for a caller that left."""
    async with serving(direct, direct) as client:
        assert await client["main"].fetchval(f"select current_setting('{setting}')") != "0"


@pytest.mark.xfail(reason="D3: the server keeps the locks of a client that nobody hears of", strict=True)
async def test_locks_of_a_caller_that_left(db: AsyncDB, proxy: Proxy, direct: str) -> None:
    """D3: a transaction cut off by the network does not hold its locks for ever."""
    with pytest.raises(QueryTimeoutError):
        async with db.transaction() as tx:
            await tx.execute("lock table t")
            proxy.freeze()
            await tx.execute("select 1", timeout=0.5)
    locks = "select count(*) from pg_locks where relation = 't'::regclass"
    deadline = time.monotonic() + 5
    while first(direct, locks):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
