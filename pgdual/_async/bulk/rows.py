"""insert_many and upsert_many: rows into a table by the quickest way that says what INSERT would.

Up to SMALL rows go as one INSERT with one array a column (UNNEST): one statement, whose text is the same
for any number of rows. More go in one transaction by COPY in binary where nothing speaks against it, else in
statements of SMALL rows. An upsert goes by COPY into a temporary table, LARGE rows at a time, and from there
by one INSERT. A list or tuple is encoded while the server takes what came before; of any other iterable LARGE
rows are encoded at a time before they are sent, and it is read in between, so that it may ask the same
transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from pgdual._async.call import DEFAULT
from pgdual.core.columns import (
    CATALOG,
    END,
    HEAD,
    Target,
    arrays,
    copied,
    misfit,
    names_in,
    table_name,
    target_of,
    tuples,
)
from pgdual.core.job import STATUS, Job
from pgdual.core.rows import ROWS
from pgdual.core.statement import Statement
from pgdual.errors import UsageError

from .copy import ROWS as ROWS_AT_ONCE
from .copy import AsyncRows
from .feed import AsyncFeed, Many

SMALL = (
    1_000  # rows of one INSERT; source: 5,000 and 20,000 were slower, 156,000 rows/s against 118,000, 72,000
)
LARGE = 10_000  # rows of one COPY: they stand in memory
TEMPORARY = "pg_temp.pgdual_upsert"
_LINE = r"line (\d+)"


class Wish(NamedTuple):
    """What a call of insert_many or upsert_many asks for."""

    table: str
    columns: Sequence[str] | None
    returning: str | Sequence[str] | None
    conflict: str | Sequence[str] | None = None
    update: Sequence[str] | None = None

    def ending(self, target: Target) -> Composable:
        """Return what stands behind the rows: ON CONFLICT, RETURNING.

        Raises:
            UsageError: A column of *conflict* or *update* is not among those that are written.
        """
        parts: list[Composable] = [SQL("")]
        if self.conflict is not None:
            parts.append(self._on_conflict([column.name for column in target.columns]))
        if self.returning == "*":
            parts.append(SQL("RETURNING *"))
        elif self.returning is not None:
            parts.append(SQL("RETURNING {}").format(_listed(_names("returning", self.returning))))
        return SQL(" ").join(parts)

    def _on_conflict(self, written: Sequence[str]) -> Composed:
        assert self.conflict is not None
        keys = _names("conflict", self.conflict)
        rest = [name for name in written if name not in keys]
        update = rest if self.update is None else _names("update", self.update, may_be_empty=True)
        for name in (*keys, *update):
            if name not in written:
                raise UsageError(f"{self.table}: the column {name!r} is not among those that are written")
        if not update:
            return SQL("ON CONFLICT ({}) DO NOTHING").format(_listed(keys))
        news = [SQL("{0} = excluded.{0}").format(Identifier(name)) for name in update]
        return SQL("ON CONFLICT ({}) DO UPDATE SET {}").format(_listed(keys), SQL(", ").join(news))


def _names(what: str, names: str | Sequence[str], may_be_empty: bool = False) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if not all(isinstance(name, str) for name in listed) or not (listed or may_be_empty):
        raise UsageError(f"{what}={names!r}: give the name of a column, or a list of them")
    return listed


def _listed(names: Sequence[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


async def put(database: Any, wish: Wish, rows: Many[Any]) -> Any:
    """Write *rows* as *wish* says; return how many were touched, or what they return."""
    table_name(wish.table)
    if wish.columns is not None:
        _names("columns", wish.columns)
        if isinstance(wish.columns, str):
            raise UsageError(f"columns={wish.columns!r}: give a list of names")
    feed = AsyncFeed(rows)
    part = await feed.take(LARGE)
    done: Any = 0 if wish.returning is None else []
    if not part:
        return done
    names = wish.columns if wish.columns is not None else names_in(part[0])
    catalog = await database.fetch(CATALOG, wish.table)
    way = AsyncPut(wish, target_of(wish.table, catalog, names), database._types)
    if len(part) <= SMALL:
        return await way.insert(database, way.checked(part, 1), 1)
    if way.copy is not None and wish.conflict is None and isinstance(rows, (list, tuple)):
        return await _streamed(database, way, AsyncFeed(rows))
    async with database.transaction() as tx:
        tx._session.log.turn_off("its rows are read only once")
        first = 1
        while part:
            done += await way.part(tx, way.checked(part, first), first)
            first += len(part)
            part = await feed.take(LARGE)
    return done


async def _streamed(database: Any, way: AsyncPut, feed: AsyncFeed) -> int:
    # No code of the caller's runs as they are read, so that one COPY may take them as they are encoded.
    sender = AsyncRows(way.target, database._types, feed, await feed.take(ROWS_AT_ONCE))
    async with database.transaction() as tx:
        return int(await tx._lent(way.copy, sender.send, True))


class AsyncPut:
    """How the rows of one call are written."""

    def __init__(self, wish: Wish, target: Target, types: Any) -> None:
        self.target = target
        self._types = types
        self._names = [column.name for column in target.columns]
        self._insert = target.insert(wish.ending(target))
        self._want = STATUS if wish.returning is None else ROWS
        self.copy: Statement | None = None
        self._pass: tuple[str, str] | None = None  # what is said before the COPY of an upsert, and after it
        if wish.returning is None and wish.conflict is not None and target.takes_temporary:
            self._pass = target.temporary(TEMPORARY), target.moved(TEMPORARY, wish.ending(target))
            self.copy = Statement(target._replace(table=TEMPORARY).copy())
        elif wish.returning is None and wish.conflict is None and target.takes_copy:
            self.copy = Statement(target.copy())

    def checked(self, rows: Sequence[Any], first: int) -> Sequence[Sequence[Any]]:
        """Return *rows*, the first of them numbered *first*, as sequences of the columns' values."""
        return tuples(rows, self._names, first)

    async def part(self, tx: Any, rows: Sequence[Sequence[Any]], first: int) -> Any:
        """Write a part of the rows; return what was touched, or returned."""
        data = None
        if self.copy is not None and len(rows) > SMALL:
            data = copied(self._types, self.target, rows, first)
        if data is not None:
            return await self._copied(tx, data, first, len(rows))
        done: Any = 0 if self._want == STATUS else []
        for start in range(0, len(rows), SMALL):
            done += await self.insert(tx, rows[start : start + SMALL], first + start)
        return done

    async def insert(self, database: Any, rows: Sequence[Sequence[Any]], first: int) -> Any:
        """Write up to SMALL rows with one statement; return what was touched, or returned."""
        given = arrays(self._types, self.target, rows, first)
        try:
            answer = await database._run(self._job(database, given), DEFAULT)
        except UsageError as error:
            raise self._misfit(rows, first, error) from error
        except psycopg.Error as error:
            error.add_note(f"rows: {first} to {first + len(rows) - 1}")
            raise
        return int(answer.rpartition(" ")[2]) if self._want == STATUS else answer

    def _job(self, database: Any, given: list[list[Any]]) -> Job:
        job: Job = database._job(self._want, self._insert, given)
        return job

    def _misfit(self, rows: Sequence[Sequence[Any]], first: int, error: UsageError) -> UsageError:
        return misfit(self._types, self.target, rows, first, error)

    async def _copied(self, tx: Any, data: bytearray, first: int, count: int) -> int:
        statement, through = self.copy, self._pass
        assert statement is not None

        async def work(connection: Any) -> int:
            cursor = connection.cursor()
            if through is not None:
                await cursor.execute(through[0], prepare=False)
            async with cursor.copy(statement.sql) as copy:
                await copy.write(HEAD + data + END)
            if through is None:
                return int(cursor.rowcount)
            await cursor.execute(through[1], prepare=False)
            touched = cursor.rowcount
            await cursor.execute(f"DROP TABLE {TEMPORARY}", prepare=False)
            return int(touched)

        try:
            return int(await tx._lent(statement, work, True))
        except psycopg.Error as error:
            line = re.search(_LINE, error.diag.context or "")
            last = first + count - 1
            error.add_note(f"rows: {first} to {last}" if line is None else f"row: {first + int(line[1]) - 1}")
            raise
