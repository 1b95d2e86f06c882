"""How is each client opened, and with which settings?

The peers run as their documentation advises and never weaker than pgdual: the same server, TCP
loopback, loop and number of connections. `settings` is what the report prints about them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from typing import Any

import asyncpg
import psycopg
import psycopg2
import psycopg2.extensions
from psycopg_pool import ConnectionPool

from bench.harness import POOL
from bench.peers import defaults, pgdual_sized, sized, told
from pgdual.aio import AsyncClient, AsyncDB
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import DB, Client

THREADS = 8

AUTOCOMMIT = {"autocommit": True}


def settings() -> dict[str, str]:
    """Return how each client that is opened here is set."""
    cache = told(defaults(asyncpg.connect, "statement_cache_size"))
    prepares = told(AUTOCOMMIT | defaults(psycopg.Connection.connect, "prepare_threshold"))
    return {
        "with pgdual": f"default settings, everything on, {told(pgdual_sized(POOL))} ({THREADS} for threads, "
        "1 for row 8)",
        "with asyncpg pool": f"{told(sized(POOL))}, {cache}; no reset: reset= does nothing",
        "with asyncpg bare": f"one connection, {cache}; row 13 with a jsonb codec of the same JSON library",
        "with psycopg2": f"one bare connection, {told(AUTOCOMMIT)}, one cursor used again and again",
        "with psycopg_pool": f"{told(sized(THREADS))}, {prepares}",
        "with pgbench": f"-M prepared, {POOL} connections, one thread, whole seconds, a process of its own",
        "rows 17 and 18": "fresh interpreters on both sides; row 18 with pools of 1 connection",
    }


def _settings(dsn: str, size: int) -> Settings:
    return Settings(databases={"main": DatabaseSettings(dsn=dsn, **pgdual_sized(size))})


@asynccontextmanager
async def pgdual_async(dsn: str, size: int = POOL) -> AsyncIterator[AsyncDB]:
    """Open pgdual's async face."""
    async with AsyncClient(_settings(dsn, size)) as client:
        yield client["main"]


@contextmanager
def pgdual_blocking(dsn: str, size: int) -> Iterator[DB]:
    """Open pgdual's blocking face."""
    with Client(_settings(dsn, size)) as client:
        yield client["main"]


@asynccontextmanager
async def asyncpg_pool(dsn: str, *, reset: bool = True) -> AsyncIterator[asyncpg.Pool]:
    """Open asyncpg's pool; without *reset* a returned connection costs no round trip."""
    extra: dict[str, Any] = {} if reset else {"reset": _no_reset}
    async with asyncpg.create_pool(dsn, **sized(POOL), **extra) as pool:
        yield pool


async def _no_reset(connection: object) -> None:
    pass


@asynccontextmanager
async def asyncpg_connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open one bare asyncpg connection."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def psycopg2_connection(dsn: str) -> AbstractContextManager[psycopg2.extensions.connection]:
    """Return one bare psycopg2 connection in autocommit."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = AUTOCOMMIT["autocommit"]
    # psycopg2's own context manager ends a transaction; it does not close.
    return closing(connection)


def psycopg_pool(dsn: str, options: dict[str, Any] = AUTOCOMMIT) -> ConnectionPool:
    """Return psycopg's blocking pool, to be entered."""
    return ConnectionPool(dsn, **sized(THREADS), kwargs=options, open=False)
