"""How does each async client run the same SQL, written as its documentation writes it?

A peer turns SQL with `$1` into a call, once and before any clock runs: the translation to its own
placeholders costs no call anything. Every one holds a pool of the same size. A library is imported when its
peer is opened: the memory of a process with one peer holds no other.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from inspect import signature
from typing import Any, Protocol

from bench.harness import POOL, NotRunError

Fetch = Callable[..., Awaitable[Sequence[Any]]]
Many = Callable[[list[Any]], Awaitable[object]]
# Of psycopg's pools; results are binary, too, which is said with each query.
TUNED: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0}


def sized(size: int) -> dict[str, Any]:
    """Return the options of asyncpg's and psycopg's pools."""
    return {"min_size": size, "max_size": size}


def pgdual_sized(size: int) -> dict[str, Any]:
    """Return the same for pgdual."""
    return {"pool_min_size": size, "pool_max_size": size}


def _sqlalchemy_sized(size: int) -> dict[str, Any]:
    return {"pool_size": size, "max_overflow": 0}


def _psqlpy_sized(size: int) -> dict[str, Any]:
    return {"max_db_pool_size": size}


def told(options: Mapping[str, Any]) -> str:
    """Return *options* in words: what is printed of a client is what it was opened with."""
    return ", ".join(f"{name} = {value}" for name, value in options.items())


def defaults(function: Callable[..., object], *names: str) -> dict[str, Any]:
    """Return what *function* takes where nobody says otherwise, as it is installed here."""
    taken = signature(function).parameters
    return {name: taken[name].default for name in names}


class Peer(Protocol):
    """One client with its pool open."""

    def fetch(self, sql: str) -> Fetch:
        """Return a call that fetches all rows of *sql*."""

    def many(self, sql: str) -> Many:
        """Return a call that runs *sql* for each of its rows."""

    def copy(self, schema: str, table: str) -> Many:
        """Return a call that brings its rows in by COPY."""


class Pgdual:
    def __init__(self, db: Any) -> None:
        self._db = db

    def fetch(self, sql: str) -> Fetch:
        fetch = self._db.fetch
        return lambda *args: fetch(sql, *args)

    def many(self, sql: str) -> Many:
        return lambda rows: self._db.executemany(sql, rows)

    def copy(self, schema: str, table: str) -> Many:
        return lambda rows: self._db.copy_in(f"{schema}.{table}", rows)


class Asyncpg:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def fetch(self, sql: str) -> Fetch:
        fetch = self._pool.fetch
        return lambda *args: fetch(sql, *args)

    def many(self, sql: str) -> Many:
        return lambda rows: self._pool.executemany(sql, rows)

    def copy(self, schema: str, table: str) -> Many:
        copy = self._pool.copy_records_to_table
        return lambda rows: copy(table, records=rows, schema_name=schema)


class Psycopg:
    """psycopg's async pool as its documentation shows it: a transaction a block, rows as tuples."""

    def __init__(self, pool: Any, *, binary: bool = False) -> None:
        self._pool = pool
        self._binary = binary

    def fetch(self, sql: str) -> Fetch:
        text, binary = re.sub(r"\$\d+", "%s", sql), self._binary

        async def call(*args: object) -> Sequence[Any]:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(text, args or None, binary=binary)
                rows: list[Any] = await cursor.fetchall()
                return rows

        return call

    def many(self, sql: str) -> Many:
        text = re.sub(r"\$\d+", "%s", sql)

        async def call(rows: list[Any]) -> None:
            async with self._pool.connection() as connection, connection.cursor() as cursor:
                await cursor.executemany(text, rows)

        return call

    def copy(self, schema: str, table: str) -> Many:
        async def call(rows: list[Any]) -> None:
            async with self._pool.connection() as connection, connection.cursor() as cursor:  # noqa: SIM117
                async with cursor.copy(f"COPY {schema}.{table} FROM STDIN") as copy:
                    for row in rows:
                        await copy.write_row(row)

        return call


class SQLAlchemy:
    """SQLAlchemy 2 Core: `text()` made once, one transaction a call; it has no COPY of its own."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def fetch(self, sql: str) -> Fetch:
        from sqlalchemy import text  # noqa: PLC0415  # the extra bench

        statement = text(_named(sql))

        async def call(*args: object) -> Sequence[Any]:
            async with self._engine.connect() as connection:
                rows: list[Any] = (await connection.execute(statement, _by_name(args))).all()
                return rows

        return call

    def many(self, sql: str) -> Many:
        from sqlalchemy import text  # noqa: PLC0415

        statement = text(_named(sql))

        async def call(rows: list[Any]) -> None:
            async with self._engine.begin() as connection:
                await connection.execute(statement, [_by_name(row) for row in rows])

        return call

    def copy(self, schema: str, table: str) -> Many:
        raise NotRunError("SQLAlchemy Core has no COPY")


def _named(sql: str) -> str:
    return re.sub(r"\$(\d+)::(\w+)", r"CAST(:p\1 AS \2)", re.sub(r"\$(\d+)(?!\d*::)", r":p\1", sql))


def _by_name(args: Sequence[object]) -> dict[str, object]:
    return {f"p{number}": value for number, value in enumerate(args, 1)}


class Psqlpy:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def fetch(self, sql: str) -> Fetch:
        async def call(*args: object) -> Sequence[Any]:
            async with self._pool.acquire() as connection:
                answer = await connection.fetch(sql, list(args))
                rows: list[Any] = answer.result(as_tuple=True)
                return rows

        return call

    def many(self, sql: str) -> Many:
        async def call(rows: list[Any]) -> None:
            async with self._pool.acquire() as connection:
                await connection.execute_many(sql, rows)

        return call

    def copy(self, schema: str, table: str) -> Many:
        raise NotRunError("psqlpy's COPY wants its rows encoded already")


@asynccontextmanager
async def pgdual_over(dsns: Sequence[str], size: int = POOL) -> AsyncIterator[list[Peer]]:
    """Open one client of many databases."""
    from pgdual.aio import AsyncClient, DatabaseSettings, Settings  # noqa: PLC0415

    sizes = pgdual_sized(size)
    databases = {f"db{number}": DatabaseSettings(dsn=dsn, **sizes) for number, dsn in enumerate(dsns)}
    async with AsyncClient(Settings(databases=databases)) as client:
        yield [Pgdual(client[name]) for name in databases]


@asynccontextmanager
async def pgdual(dsn: str, size: int = POOL) -> AsyncIterator[Peer]:
    async with pgdual_over([dsn], size) as [only]:
        yield only


@asynccontextmanager
async def asyncpg(dsn: str, size: int = POOL) -> AsyncIterator[Peer]:
    import asyncpg  # noqa: PLC0415

    async with asyncpg.create_pool(dsn, **sized(size)) as pool:
        yield Asyncpg(pool)


@asynccontextmanager
async def psycopg(dsn: str, size: int = POOL, *, tuned: bool = False) -> AsyncIterator[Peer]:
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415

    how = TUNED if tuned else {}
    async with AsyncConnectionPool(dsn, **sized(size), kwargs=how, open=False) as pool:
        await pool.wait()
        yield Psycopg(pool, binary=tuned)


@asynccontextmanager
async def sqlalchemy(dsn: str, size: int = POOL, *, driver: str) -> AsyncIterator[Peer]:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    url = dsn.replace("postgresql://", f"postgresql+{driver}://", 1)
    engine = create_async_engine(url, **_sqlalchemy_sized(size))
    try:
        yield SQLAlchemy(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def psqlpy(dsn: str, size: int = POOL) -> AsyncIterator[Peer]:
    from psqlpy import ConnectionPool  # noqa: PLC0415

    pool = ConnectionPool(dsn=dsn, **_psqlpy_sized(size))
    try:
        yield Psqlpy(pool)
    finally:
        pool.close()


Opener = Callable[[str], AbstractAsyncContextManager[Peer]]
PEERS: dict[str, Opener] = {
    "pgdual": pgdual,
    "asyncpg pool": asyncpg,
    "psycopg pool": psycopg,
    "psycopg pool, tuned": lambda dsn: psycopg(dsn, tuned=True),
}
if find_spec("sqlalchemy"):
    PEERS["SQLAlchemy, asyncpg"] = lambda dsn: sqlalchemy(dsn, driver="asyncpg")
    PEERS["SQLAlchemy, psycopg"] = lambda dsn: sqlalchemy(dsn, driver="psycopg")
if find_spec("psqlpy"):
    PEERS["psqlpy"] = psqlpy


def settings() -> dict[str, str]:
    """Return how each client that is opened here is set."""
    from psycopg import AsyncConnection  # noqa: PLC0415

    documented = told(defaults(AsyncConnection.connect, *TUNED))
    return {
        "with psycopg pool": f"async, {told(sized(POOL))}; as documented: {documented}, a transaction "
        f"a block; tuned: {told(TUNED)}, binary results",
        "with SQLAlchemy": f"2 Core, text() made once, a transaction a call, {told(_sqlalchemy_sized(POOL))}",
        "with psqlpy": f"ConnectionPool, statements prepared, rows as tuples, {told(_psqlpy_sized(POOL))}",
    }
