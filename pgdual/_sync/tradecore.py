# Generated from pgdual/_async/tradecore.py by _generate.py. Do not edit.
"""The default client, made from the environment, and the guide's functions over it."""

from __future__ import annotations

from os import PathLike
from types import TracebackType
from typing import Any

from pgdual.core.breaker import CircuitBreaker
from pgdual.core.schema import SchemaRun
from pgdual.settings import Database, DatabaseSettings, get_config

from . import schema
from .borrowed import Borrowed
from .client import Client
from .db import DB
from .runtime import Pool
from .transaction import Transaction, Isolation

client: Client = Client()
"""The client that `db`, `vb_db`, `reference_db` and the functions below belong to."""
db: DB = client.named(Database.MAIN.value)
vb_db: DB = client.named(Database.VB.value)
reference_db: DB = client.named(Database.REFERENCE.value)

Name = Database | str
_MAIN = Database.MAIN


def open_all() -> None:
    """Open the pools of all configured databases; the first call would do it too."""
    client.open()


def close_all() -> None:
    """Close every pool of the default client. A later `open` or `init_...` opens them anew."""
    client.close()


class Lifespan:
    """Opens the default client with an ASGI application and closes it with it."""

    def __init__(self, app: Any = None) -> None:
        self.app = app

    def __enter__(self) -> None:
        open_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_all()


def lifespan(app: Any = None) -> Lifespan:
    """Return the context of an application's life, as ASGI frameworks take it: `lifespan=lifespan`."""
    return Lifespan(app)


def init_db_pool(**options: Any) -> Pool[Any]:
    """Open the pool of the main database; the options are those of `init_pool_for_db`."""
    return init_pool_for_db(_MAIN, **options)


def init_all() -> None:
    """Open the pools of all configured databases."""
    open_all()


def init_pool_for_db(
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
        one.use(_with(client.settings.database(database), given))
    one.open()
    return one.pool()


def _with(settings: DatabaseSettings, given: dict[str, Any]) -> DatabaseSettings:
    old = dict(settings)
    if "pool_max_size" in given and "pool_min_size" not in given:
        old["pool_min_size"] = min(old["pool_min_size"], given["pool_max_size"])
    return DatabaseSettings(**{**old, **given})


def get_pool() -> Pool[Any]:
    """Return the psycopg pool of the main database, opened if need be."""
    return db.pool()


def get_pool_for_db(database: Name = _MAIN, ensure_initialized: bool = True) -> Pool[Any] | None:
    """Return the psycopg pool of one database.

    Args:
        ensure_initialized: Open it if need be; otherwise None is returned for one that is not open.
    """
    one = client[database]
    return one.pool() if ensure_initialized or one.is_open else None


def fetch_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return all rows from one database; see `fetch`."""
    return client[database].fetch(query, *args, **options)


def fetchrow_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return the first row from one database, or None; see `fetchrow`."""
    return client[database].fetchrow(query, *args, **options)


def fetchval_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> Any:
    """Return one value from one database, or None; see `fetchval`."""
    return client[database].fetchval(query, *args, **options)


def execute_for_db(query: str, *args: Any, database: Name = _MAIN, **options: Any) -> str:
    """Run a statement on one database and return its status; see `execute`."""
    return client[database].execute(query, *args, **options)


def transaction_for_db(
    database: Name = _MAIN,
    isolation: Isolation | None = None,
    readonly: bool = False,
    deferrable: bool = False,
) -> Transaction:
    """Return a transaction on one database; see `transaction`."""
    return client[database].transaction(isolation, readonly, deferrable)


def acquire_connection_for_db(database: Name = _MAIN) -> Borrowed:
    """Return a loan of a psycopg connection to one database; see `connection`."""
    return client[database].connection()


def health_check_for_db(database: Name = _MAIN) -> dict[str, Any]:
    """Return the health of one database; see `health_check`."""
    return client[database].health_check()


def health_check_all() -> dict[str, dict[str, Any]]:
    """Return the health of every configured database by its name."""
    return client.health_check()


def get_circuit_breaker(database: Name = _MAIN) -> CircuitBreaker:
    """Return the breaker of one database, which is that database's own."""
    return client[database].circuit_breaker


def get_postgres_dsn() -> str:
    """Return the DSN of the main database, its password included."""
    return get_config().get_dsn(_MAIN)


def get_postgres_dsn_for_db(database: Name = _MAIN) -> str:
    """Return the DSN of one database, its own and no other's, its password included."""
    return get_config().get_dsn(database)


def run_schema_from_file(
    path: str | PathLike[str], database: Name | DB = _MAIN, repeatable: bool = False
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
    return schema.run_schema(named(database), path, repeatable)


def run_vb_schema(path: str | PathLike[str]) -> SchemaRun:
    """Run a schema file in the virtual broker's database; see `run_schema_from_file`."""
    return run_schema_from_file(path, Database.VB)


def schema_status(database: Name | DB = _MAIN) -> dict[str, Any]:
    """Return which schema files have run in one database, and who holds the lock on its schema.

    The keys: `files`, a list of dicts (name, path, digest, remaining, ran_at, ran_by, seconds, runs), and
    `holder`, words or None.
    """
    return schema.schema_status(named(database))


def create_commit_table(database: Name | DB = _MAIN) -> bool:
    """Make the table of commit tokens (T6) where there is none; return whether it was made now.

    Running a schema file makes it, too.
    """
    return schema.create_commit_table(named(database))


def prune_commits(older_than: float = 7 * 86_400.0, database: Name | DB = _MAIN) -> int:
    """Remove the commit tokens (T6) of more than *older_than* seconds ago; return how many those were.

    Raises:
        UsageError: *older_than* is under an hour: somebody may still ask whether that commit happened, and
            would be told that it did not.
    """
    return schema.prune_commits(named(database), older_than)


def named(database: Name | DB) -> DB:
    """Return *database* itself, or the default client's of that name."""
    return database if isinstance(database, DB) else client[database]
