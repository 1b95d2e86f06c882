# Generated from pgdual/_async/schema_lock.py by _generate.py. Do not edit.
"""The lock under which the schema of a database is changed, by a file or by migrations (P3).

It is an advisory lock in that database, held by the very session that makes the changes: who loses the
session loses the lock and the changes together. Who does not get it asks again later and holds nothing
meanwhile, no connection and no snapshot: a waiter in a transaction would block CREATE INDEX CONCURRENTLY.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import psycopg

from pgdual.core.backstops import LIFTED
from pgdual.core.sizing import Share
from pgdual.core.verdict import is_final
from pgdual.environment import spellings
from pgdual.errors import ConfigurationError, PoolTimeoutError, SchemaLockError, UsageError
from pgdual.settings import DatabaseSettings

from .connection import Bounded, bounded
from .connector import Connector
from .db import DB
from .runtime import GRACE, PAUSE, SCOPE, now, owner, sleep, within
from .schema_queue import Queue

LOCK: Final = 0x706764_75616C  # "pgdual": of all that use advisory locks in this database, us
_HOLDER = """
SELECT l.pid, a.usename, a.application_name, host(a.client_addr), a.backend_start, a.state, a.state_change,
       a.query
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Rolled back for another's sake, or the server went away: the run is lost, and may begin anew.
_PASSING = frozenset({"40001", "40P01", "57P01", "57P02", "57P03"})
_TIME = "%Y-%m-%d %H:%M:%S%z"
_LOOK = 0.02  # seconds between two looks whether a pool has given a connection up
# How long the server may take to say what has run and whether the lock is free: a server that is frozen keeps
# its sockets alive, so TCP never gives up. The run itself has no limit (D3).
ASKING = 10.0  # seconds
_logger = logging.getLogger("pgdual.schema")


class Work:
    """Something to be done once, by whichever process comes first."""

    def look(self, connection: Any) -> Any:
        """Return what is to be returned if it is done already; None if it is to be done."""
        raise NotImplementedError

    def run(self, connection: Any) -> Any:
        """Do it, with the lock held by *connection*, and return what is to be returned."""
        raise NotImplementedError


class _LostError(Exception):
    """The run is lost, and nothing that it did in its transaction stays; the cause says why."""


def once(database: DB, key: str, work: Work) -> Any:
    """Return what *work* finds done already, or do it under the lock.

    Raises:
        SchemaLockError: The lock did not come free in time, and the message says who holds it; or the
            connection was lost in each of several runs.
        ConfigurationError: The database is reached through a pooler, and no way past it is known.
        UsageError: It was called inside a transaction on this database.
    """
    if SCOPE.find(database, owner()) is not None:
        raise UsageError("a schema has transactions of its own: run it outside of db.transaction()")
    settings = database._get_settings()
    losses, deadline = 0, now() + settings.schema_lock_wait
    with Queue(settings, key) as queue:
        while True:
            is_last = now() >= deadline
            holder = None
            if queue.is_my_turn() or is_last:
                try:
                    holder, result = _try(database, work)
                    if holder is None:
                        return result
                except _LostError as lost:
                    losses = _counted(database, losses, lost)
            if is_last and holder is not None:
                wait = f"{settings.schema_lock_wait:g} s (SCHEMA_LOCK_WAIT_SEC)"
                raise SchemaLockError(f"{database.name}: no lock on its schema within {wait}: {holder}")
            sleep(min(settings.schema_lock_retry_ms / 1000, max(deadline - now(), 0)))


def _counted(database: DB, losses: int, lost: _LostError) -> int:
    cause = lost.__cause__
    if losses + 1 < database._database_settings().retry_max_attempts:
        _logger.warning("[SCHEMA] %s: the run was lost and begins anew: %s", database.name, cause)
        return losses + 1
    raise SchemaLockError(
        f"{database.name}: the run of its schema was lost {losses + 1} times, and rolled back; the last time "
        f"the server said: {cause}"
    ) from cause


def _try(database: DB, work: Work) -> tuple[str | None, Any]:
    """Return None and the result, or who has the lock and nothing."""
    with connection_to(database) as connection:
        try:
            holder, found = answered(connection, _ask, connection, work)
            if holder is not None or found is not None:
                return holder, found
            return None, _locked(connection, work)
        except psycopg.OperationalError as error:
            if is_passing(connection, error):
                raise _LostError from error
            raise


def _ask(connection: Any, work: Work) -> tuple[str | None, Any]:
    """Return who has the lock, or what was found done; two times None where the lock was taken."""
    found = work.look(connection)
    if found is not None:
        return None, found
    if not _value(connection, "SELECT pg_try_advisory_lock(%s)", LOCK):
        return holder_of(connection) or "it has just come free", None
    return None, None


def answered(connection: Any, function: Any, *args: Any) -> Any:
    """Return what `function(*args)` asks on *connection*, which is given up past ASKING (P3).

    Raises:
        psycopg.OperationalError: The server did not answer in time.
    """
    limit = now() + ASKING
    try:
        return bounded(ASKING, connection, function, *args)
    except psycopg.OperationalError as error:
        if now() < limit:
            raise
        connection.close()
        raise psycopg.OperationalError(f"no answer within {ASKING:g} s") from error


def _locked(connection: Any, work: Work) -> Any:
    try:
        found = answered(connection, work.look, connection)  # another may have done it meanwhile
        return found if found is not None else work.run(connection)
    finally:
        with suppress(psycopg.Error, TimeoutError):  # then the session has ended, and the lock with it
            within(GRACE, bounded, GRACE, connection, _unlock, connection)


def _unlock(connection: Any) -> None:
    try:
        # After an interruption the session may be in the middle of something.
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            connection.rollback()
        connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    except BaseException:
        connection.close()
        raise


def _value(connection: Any, query: str, *args: Any) -> Any:
    cursor = connection.execute(query, args)
    (value,) = cursor.fetchone()
    return value


def holder_of(connection: Any) -> str | None:
    """Return in words who has the lock on the schema, since when, and what it runs; None if nobody."""
    cursor = connection.execute(_HOLDER, [LOCK >> 32, LOCK & 0xFFFFFFFF])
    row = cursor.fetchone()
    if row is None:
        return None
    pid, user, application, address, connected, state, changed, query = row
    words = f"process {pid} of the server holds it"
    if connected is None or changed is None:  # of a role that this one may not look at, or gone by now
        return f"{words}; a role in pg_read_all_stats sees more of it in pg_stat_activity"
    place = address or "a local socket"
    return (
        f"{words} (user {user}, application {application!r}, from {place}), connected since "
        f"{connected:{_TIME}}, {state} since {changed:{_TIME}}: {' '.join(query.split())[:200]}"
    )


def is_passing(connection: Any, error: psycopg.Error) -> bool:
    """Return whether the run ended for a reason that lies outside of it."""
    return bool(connection.closed) or error.sqlstate in _PASSING


def connection_to(database: DB) -> Any:
    """Return a psycopg connection for changing the schema, in autocommit, to be entered with `with`.

    It comes from the pool; with POSTGRES_DIRECT_DSN it is one of its own, past the pooler. Either way it is
    of the worker's share (P2).
    """
    settings = database._database_settings()
    if settings.direct_dsn is not None:
        return Direct(database, settings, database._share())
    if settings.pooler == "transaction":
        raise ConfigurationError(_through_pooler(database.name))
    return Loan(database)


def _through_pooler(name: str) -> str:
    return (
        f"{name} is reached through a transaction pooler, where a session's lock would be other clients'. "
        f"Set {spellings(name, 'POSTGRES_DIRECT_DSN')[0]} to the way past it"
    )


class Loan:
    """A connection of the pool."""

    def __init__(self, database: DB) -> None:
        self._name = database.name
        self._loan = database.connection()

    def __enter__(self) -> Any:
        connection = self._loan.__enter__()
        try:
            # N2: what a pooler gives a client for its process id is not that of the server's process.
            pid = answered(connection, _value, connection, "SELECT pg_backend_pid()")
            if pid != connection.pgconn.backend_pid:
                raise ConfigurationError(_through_pooler(self._name))
        except BaseException:
            self._loan.__exit__(None, None, None)
            raise
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loan.__exit__(kind, error, trace)


class Direct:
    """A connection of its own, by POSTGRES_DIRECT_DSN where there is one.

    Args:
        share: What it is to count in; the pools of the process give one up for it if need be (P2).
    """

    def __init__(self, database: DB, settings: DatabaseSettings, share: Share | None = None) -> None:
        self._name = database.name
        self._share = share
        dsn = settings.dsn if settings.direct_dsn is None else settings.direct_dsn
        past = settings.model_copy(update={"dsn": dsn, "pooler": "none"})
        self._connector = Connector(database.name, past, database._types, database._hooks)
        self._connection: Any = None

    def __enter__(self) -> Any:
        deadline = now() + self._connector.settings.pool_timeout  # D1: waiting and all attempts together
        try:
            self._reserve(deadline)
            self._connection = self._connect(deadline)
            self._prepare(self._connection)
        except BaseException:
            self._close()
            raise
        return self._connection

    def _reserve(self, deadline: float) -> None:
        share, token = self._share, id(self)
        while share is not None and not share.take(token):
            share.want(token)
            if now() + _LOOK > deadline:
                raise PoolTimeoutError(
                    f"{self._name}: of the {share.limit} connections that this process may have none came "
                    f"free for the schema within {self._connector.settings.pool_timeout:g} s"
                )
            sleep(_LOOK)
        if share is not None:
            share.want_none(token)

    def _connect(self, deadline: float) -> Any:
        while True:
            try:
                return Bounded.connect(self._connector.conninfo(), autocommit=True)
            except psycopg.OperationalError as error:
                if is_final(error) or now() + PAUSE > deadline:
                    raise
            sleep(PAUSE)

    def _prepare(self, connection: Any) -> None:
        self._connector.configure(connection)
        if self._connector.pooled:
            raise ConfigurationError(_through_pooler(self._name))
        answered(connection, connection.execute, LIFTED)  # D3: a schema run has no time limit

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
        finally:
            if self._share is not None:
                self._share.forget(id(self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
