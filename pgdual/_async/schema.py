"""Schema files: each run once across all workers, in one transaction with the row that says so (P3)."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pgdual.core.schema import Schema, SchemaRun, concurrent_index, failure, is_done, read
from pgdual.core.script import Piece
from pgdual.errors import SchemaError, UsageError

from .db import AsyncDB
from .runtime import now
from .schema_lock import AsyncWork, answered, connection_to, holder_of, is_passing, once

# How young a token of `pgdual_commit` may be removed at the earliest. A lost answer is asked after within the
# acquire clock; what was sent may arrive late, and TCP gives up on it after about a quarter of an hour.
YOUNGEST = 3600.0  # seconds

_logger = logging.getLogger("pgdual.schema")

_PLACE = """
SELECT current_schema(), pg_is_in_recovery(),
       to_regclass(quote_ident(current_schema()) || '.pgdual_schema') IS NOT NULL
"""
_TABLE = sql.SQL("""
CREATE TABLE IF NOT EXISTS {} (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL,
    path      text NOT NULL,
    digest    text NOT NULL,
    remaining integer NOT NULL,
    ran_at    timestamptz NOT NULL DEFAULT now(),
    ran_by    text NOT NULL,
    seconds   double precision NOT NULL
)""")
# When it is made and not when its transaction began, which may be hours before: it is pruned by its age.
_COMMIT = sql.SQL("""
CREATE TABLE IF NOT EXISTS {} (
    token   uuid PRIMARY KEY,
    void    boolean NOT NULL DEFAULT false, -- whoever committed with it never did and never can
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
)""")
_LAST = sql.SQL("SELECT id, digest, remaining FROM {} WHERE name = %s ORDER BY id DESC LIMIT 1")
_RECORD = sql.SQL(
    "INSERT INTO {} (name, path, digest, remaining, ran_by, seconds) "
    "VALUES (%s, %s, %s, %s, session_user || %s, %s) RETURNING id"
)
_COUNT = sql.SQL("UPDATE {} SET remaining = remaining - 1, seconds = seconds + %s WHERE id = %s")
_INVALID = """
SELECT nspname, relname FROM pg_index
JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE NOT indisvalid AND indrelid = to_regclass(%s) AND relname = (parse_ident(%s))[1]
"""
_STATUS = sql.SQL("""
SELECT DISTINCT ON (name) name, path, digest, remaining, ran_at, ran_by, seconds,
       count(*) OVER (PARTITION BY name) AS runs
FROM {} ORDER BY name, id DESC
""")


async def run_schema(database: AsyncDB, path: str | os.PathLike[str], repeatable: bool = False) -> SchemaRun:
    """Run the schema file *path* in *database*, unless it has run there already; return what became of it.

    Whichever process comes first runs it; the others wait and find it done. It is known by its file name,
    whatever the folder.

    Args:
        database: Where it runs.
        path: The file; `pgdual.core.schema` says what may stand in it.
        repeatable: Run it again if it has changed, even if it does not say so itself.

    Raises:
        SchemaError: The file is missing, wrong or changed, or the server refused a statement, and nothing of
            it stays; `line` and `statement` say which. Or the database is a standby.
        SchemaLockError: Another session holds the lock, or the connection was lost again and again.
        ConfigurationError: The database is behind a pooler, and POSTGRES_DIRECT_DSN is not set.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        text = f"{database.name}: the schema file {file} cannot be read: {said}"
        raise SchemaError(text, str(file)) from None
    work = _AsyncFile(database.name, file.name, read(str(file), text), repeatable)
    done: SchemaRun = await once(database, f"schema_init_{database.name}_{file.name}", work)
    if done.ran:
        text = "[SCHEMA] %s: %s ran, %d statements in %.3fs"
        _logger.info(text, database.name, done.path, done.statements, done.seconds)
    else:
        _logger.info("[SCHEMA] %s: %s has run before", database.name, done.path)
    return done


class _AsyncFile(AsyncWork):
    """One schema file for one database."""

    def __init__(self, database: str, name: str, schema: Schema, repeatable: bool) -> None:
        self._database = database
        self._name = name
        self._schema = schema
        self._repeatable = repeatable
        self._row: tuple[int, str, int] | None = None  # the last run: its id, digest, what remained
        self._places: tuple[sql.Identifier, sql.Identifier] | None = None

    async def look(self, connection: Any) -> SchemaRun | None:
        try:
            place, is_standby = await self._find(connection)
        except psycopg.Error as error:
            if is_passing(connection, error):
                raise
            raise self._failure(_WHOLE, error) from error
        schema, row = self._schema, self._row
        if is_done(schema, row and row[1], row[2] if row else 0, repeatable=self._repeatable):
            return SchemaRun(self._database, schema.path, schema.digest, ran=False)
        if is_standby:
            why = "has not run here, and this server is a standby: run it on the primary"
        elif place is None:
            why = "cannot run: no schema in the search_path exists; create one, or set PG_SEARCH_PATH"
        else:
            return None
        raise SchemaError(f"{self._database}: {schema.path} {why}", schema.path)

    async def _find(self, connection: Any) -> tuple[str | None, bool]:
        cursor = await connection.execute(_PLACE)
        place, is_standby, has_table = await cursor.fetchone()
        self._row = None
        if place is not None:
            # In full: the file may set another search_path.
            self._places = sql.Identifier(place, "pgdual_schema"), sql.Identifier(place, "pgdual_commit")
            if has_table:
                cursor = await connection.execute(_LAST.format(self._places[0]), [self._name])
                self._row = await cursor.fetchone()
        return place, is_standby

    async def run(self, connection: Any) -> SchemaRun:
        schema, started = self._schema, now()
        assert self._places is not None
        table = self._places[0]
        number, remaining, ran = 0, len(schema.outside), len(schema.inside)
        if self._row is not None and self._row[1] == schema.digest:
            number, _, remaining = self._row  # of a run that was cut short after its transaction
            ran = 0
        else:
            number = await self._inside(connection, started)
        for piece in schema.outside[len(schema.outside) - remaining :]:
            since = now()
            await self._clear(connection, piece)
            await self._execute(connection, piece)
            await connection.execute(_COUNT.format(table), [now() - since, number])
        done = ran + remaining
        return SchemaRun(self._database, schema.path, schema.digest, True, done, now() - started)

    async def _inside(self, connection: Any, started: float) -> int:
        """Run what is in the transaction; return the number of the row that says so."""
        schema = self._schema
        assert self._places is not None
        try:
            async with connection.transaction():
                for table, place in zip((_TABLE, _COMMIT), self._places, strict=True):
                    await connection.execute(table.format(place))
                for piece in schema.inside:
                    await self._execute(connection, piece)
                by = f" from {platform.node()}, process {os.getpid()}"
                values = [self._name, schema.path, schema.digest, len(schema.outside), by, now() - started]
                cursor = await connection.execute(_RECORD.format(self._places[0]), values)
                (number,) = await cursor.fetchone()
        except psycopg.Error as error:  # of COMMIT, such as a deferred constraint
            if is_passing(connection, error):
                raise
            raise self._failure(_WHOLE, error) from error
        return int(number)

    async def _execute(self, connection: Any, piece: Piece) -> None:
        try:
            await connection.execute(piece.sql, prepare=False)
        except psycopg.Error as error:
            if is_passing(connection, error):
                raise
            problem = self._failure(piece, error)
            # The server's own words may quote a password.
            cause = error if problem.statement == piece.sql else None
        else:
            return
        raise problem from cause

    def _failure(self, piece: Piece, error: psycopg.Error) -> SchemaError:
        said = error.diag.message_primary or str(error)
        position = error.diag.statement_position if piece.line else None
        return failure(self._schema.path, piece, self._database, said, error.sqlstate, position)

    async def _clear(self, connection: Any, piece: Piece) -> None:
        # What a CREATE INDEX CONCURRENTLY left that was cut short: IF NOT EXISTS would take it for done.
        index = concurrent_index(piece.sql)
        if index is None:
            return
        cursor = await connection.execute(_INVALID, [index[1], index[0]])
        for place in await cursor.fetchall():
            await connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(*place)))


_WHOLE = Piece("", 0)


async def schema_status(database: AsyncDB) -> dict[str, Any]:
    """Return what has run in *database*, and who holds the lock on its schema.

    The keys: `files`, a list of dicts (name, path, digest, remaining, ran_at, ran_by, seconds, runs), and
    `holder`, words or None.
    """
    async with connection_to(database) as connection:
        found: dict[str, Any] = await answered(connection, _status, connection)
        return found


async def _status(connection: Any) -> dict[str, Any]:
    cursor = await connection.execute(_PLACE)
    place, _, has_table = await cursor.fetchone()
    files: list[dict[str, Any]] = []
    if has_table:
        cursor = await connection.execute(_STATUS.format(sql.Identifier(place, "pgdual_schema")))
        names = [column.name for column in cursor.description]
        files = [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
    return {"files": files, "holder": await holder_of(connection)}


class _AsyncCommitTable(AsyncWork):
    async def look(self, connection: Any) -> bool | None:
        cursor = await connection.execute("SELECT to_regclass('pgdual_commit') IS NOT NULL")
        (is_there,) = await cursor.fetchone()
        return False if is_there else None

    async def run(self, connection: Any) -> bool:
        await connection.execute(_COMMIT.format(sql.Identifier("pgdual_commit")))
        return True


async def create_commit_table(database: AsyncDB) -> bool:
    """Make the table of commit tokens (T6) where there is none; return whether it was made now.

    Running a schema file makes it, too.
    """
    return bool(await once(database, f"schema_init_{database.name}_pgdual_commit", _AsyncCommitTable()))


async def prune_commits(database: AsyncDB, older_than: float = 7 * 86_400.0) -> int:
    """Remove the commit tokens (T6) of more than *older_than* seconds ago; return how many those were.

    Raises:
        UsageError: Less than an hour: somebody may still ask whether that commit happened, and would be told
            that it did not.
    """
    if older_than < YOUNGEST:
        raise UsageError(f"older_than is {older_than:g} s; a commit may be asked after for {YOUNGEST:g} s")
    status = await database.execute(
        "DELETE FROM pgdual_commit WHERE made_at < clock_timestamp() - make_interval(secs => $1)", older_than
    )
    return int(status.rpartition(" ")[2])
