"""The default client, made from the environment, and the guide's functions over it."""

from __future__ import annotations

from os import PathLike
from types import TracebackType
from typing import Any

from pgdual.core.breaker import CircuitBreaker
from pgdual.core.schema import SchemaRun
from pgdual.settings import Database, DatabaseSettings, get_config

from . import schema
from .borrowed import AsyncBorrowed
from .client import AsyncClient
from .db import AsyncDB
from .runtime import Pool
from .transaction import AsyncTransaction, Isolation

client: AsyncClient = AsyncClient()
"""The client that `db`, `vb_db`, `reference_db` and the functions below belong to."""
db: AsyncDB = client.named(Database.MAIN.value)
vb_db: AsyncDB = client.named(Database.VB.value)
reference_db: AsyncDB = client.named(Database.REFERENCE.value)

Name = Database | str
_MAIN = Database.MAIN


async def open_all() -> None:
    """Open the pools of all configured databases; the first call would do it too."""
    await client.open()


async def close_all() -> None:
    """Close every pool of the default client. A later `open` or `init_...` opens them anew."""
    await client.close()


class AsyncLifespan:
    """Opens the default client with an ASGI application and closes it with it."""

    def __init__(self, app: Any = None) -> None:
        self.app = app

    async def __aenter__(self) -> None:
        await open_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await close_all()


def lifespan(app: Any = None) -> AsyncLifespan:
    """Return the context of an application's life, as ASGI frameworks take it: `lifespan=lifespan`."""
    return AsyncLifespan(app)


async def init_db_pool(**options: Any) -> Pool[Any]:
    """Open the pool of the main database; the options are those of `init_pool_for_db`."""
    return await init_pool_for_db(_MAIN, **options)


async def init_all() -> None:
    """Open the pools of all configured databases."""
    await open_all()


async def init_pool_for_db(
    database: Name = _MAIN,
    dsn_or_url: str | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    pool_acquire_timeout_sec: float | None = None,
    default_command_timeout_sec: float | None = None,
) -> Pool[Any]:
    """Open the pool of one database and return it; what is not given comes from that database's settings.

    Raises:
        UnknownDatabaseError: No database has this name.
        DatabaseNotConfiguredError: It has no DSN, and none was given.
        PoolTimeoutError: No connection could be made in time.
    """
    given = {
        "dsn": dsn_or_url,
        "pool_min_size": min_size,
        "pool_max_size": max_size,
        "pool_timeout": pool_acquire_timeout_sec,
        "command_timeout": default_command_timeout_sec,
    }
    given = {name: value for name, value in given.items() if value is not None}
    one = client[database]
    if given:
        await one.use(_with(client.settings.database(database), given))
    await one.open()
    return await one.pool()


def _with(settings: DatabaseSettings, given: dict[str, Any]) -> DatabaseSettings:
    old = dict(settings)
    if "pool_max_size" in given and "pool_min_size" not in given:
        old["pool_min_size"] = min(old["pool_min_size"], given["pool_max_size"])
    return DatabaseSettings(**{**old, **given})


async def get_pool() -> Pool[Any]:
    """Return the psycopg pool of the main database, opened if need be."""
    return await db.pool()


async def get_pool_for_db(database: Name = _MAIN, ensure_initialized: bool = True) -> Pool[Any] | None:
    """Return the psycopg pool of one database.

    Args:
        ensure_initialized: Open it if need be; otherwise None is returned for one that is not open.
    """
    one = client[database]
    return await one.pool() if ensure_initialized or one.is_open else None


async def fetch_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return all rows from one database; see `fetch`."""
    return await client[database].fetch(query, *args, **options)


async def fetchrow_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return the first row from one database, or None; see `fetchrow`."""
    return await client[database].fetchrow(query, *args, **options)


async def fetchval_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return one value from one database, or None; see `fetchval`."""
    return await client[database].fetchval(query, *args, **options)


async def execute_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> str:
    """Run a statement on one database and return its status; see `execute`."""
    return await client[database].execute(query, *args, **options)


def transaction_for_db(
    database: Name = _MAIN,
    isolation: Isolation | None = None,
    readonly: bool = False,
    deferrable: bool = False,
) -> AsyncTransaction:
    """Return a transaction on one database; see `transaction`."""
    return client[database].transaction(isolation, readonly, deferrable)


def acquire_connection_for_db(database: Name = _MAIN) -> AsyncBorrowed:
    """Return a loan of a psycopg connection to one database; see `connection`."""
    return client[database].connection()


async def health_check_for_db(database: Name = _MAIN) -> dict[str, Any]:
    """Return the health of one database; see `health_check`."""
    return await client[database].health_check()


async def health_check_all() -> dict[str, dict[str, Any]]:
    """Return the health of every configured database by its name."""
    return await client.health_check()


def get_circuit_breaker(database: Name = _MAIN) -> CircuitBreaker:
    """Return the breaker of one database, which is that database's own."""
    return client[database].circuit_breaker


def get_postgres_dsn() -> str:
    """Return the DSN of the main database, its password included."""
    return get_config().get_dsn(_MAIN)


def get_postgres_dsn_for_db(database: Name = _MAIN) -> str:
    """Return the DSN of one database, its own and no other's, its password included."""
    return get_config().get_dsn(database)


async def run_schema_from_file(
    path: str | PathLike[str], database: Name | AsyncDB = _MAIN, repeatable: bool = False
) -> SchemaRun:
    """Run a schema file in one database, once across all workers (P3); return what became of it.

    The first to come runs it in one transaction; the others wait and find it done. A file that has run and
    is unchanged is skipped; `-- pgdual: repeatable` in it lets it run again when it has changed, and
    `-- pgdual: outside` above a statement (at the end) runs that one after the transaction, as CREATE INDEX
    CONCURRENTLY needs. A file is known by its name, whatever its folder.

    Args:
        path: The file.
        database: A database of the default client by name, or one of any other client.
        repeatable: Run it again if it has changed, even if it does not say so itself.

    Raises:
        SchemaError: The file is missing, wrong or changed, or the server refused a statement, and nothing of
            its transaction stays; `line` and `statement` say which. Or the database is a standby.
        SchemaLockError: Another session holds the lock, or the connection was lost again and again.
        ConfigurationError: The database is behind a pooler, and POSTGRES_DIRECT_DSN is not set.
    """
    return await schema.run_schema(named(database), path, repeatable)


async def run_vb_schema(path: str | PathLike[str]) -> SchemaRun:
    """Run a schema file in the virtual broker's database; see `run_schema_from_file`."""
    return await run_schema_from_file(path, Database.VB)


async def schema_status(database: Name | AsyncDB = _MAIN) -> dict[str, Any]:
    """Return which schema files have run in one database, and who holds the lock on its schema.

    The keys: `files`, a list of dicts (name, path, digest, remaining, ran_at, ran_by, seconds, runs), and
    `holder`, words or None.
    """
    return await schema.schema_status(named(database))


async def create_commit_table(database: Name | AsyncDB = _MAIN) -> bool:
    """Make the table of commit tokens (T6) where there is none; return whether it was made now.

    Running a schema file makes it, too.
    """
    return await schema.create_commit_table(named(database))


async def prune_commits(older_than: float = 7 * 86_400.0, database: Name | AsyncDB = _MAIN) -> int:
    """Remove the commit tokens (T6) of more than *older_than* seconds ago; return how many those were.

    Raises:
        UsageError: *older_than* is under an hour: somebody may still ask whether that commit happened, and
            would be told that it did not.
    """
    return await schema.prune_commits(named(database), older_than)


def named(database: Name | AsyncDB) -> AsyncDB:
    """Return *database* itself, or the default client's of that name."""
    return database if isinstance(database, AsyncDB) else client[database]
