"""The broken network, and clients that have to live with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres
from pgdual.sync import DB
from tests._sync.clients import prepare

from .leaks import serving, serving_blocking
from .proxy import Proxy


@pytest.fixture
def proxy(main_server: Postgres) -> Iterator[Proxy]:
    """A network that is good until the test breaks it."""
    with Proxy(main_server.port) as made:
        yield made


@pytest.fixture
def direct(main_dsn: str) -> str:
    """The database with a table `t`, past the proxy."""
    prepare(main_dsn, "create table t (id int primary key)")
    return main_dsn


@pytest.fixture
def dsn(proxy: Proxy, direct: str) -> str:
    """The same database through the proxy."""
    return proxy.dsn(direct)


@pytest.fixture
async def db(proxy: Proxy, dsn: str, direct: str) -> AsyncIterator[AsyncDB]:
    """An async database behind the proxy, which afterwards has to serve and to leave nothing."""
    async with serving(dsn, direct) as client:
        yield client["main"]
        proxy.heal()


@pytest.fixture
def blocking(proxy: Proxy, dsn: str, direct: str) -> Iterator[DB]:
    """Its blocking twin."""
    with serving_blocking(dsn, direct) as client:
        yield client["main"]
        proxy.heal()
