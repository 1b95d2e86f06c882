"""The calls for many rows that a database and a transaction share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from pgdual._async.queries import AsyncQueries
from pgdual.core.record import Record
from pgdual.core.statement import Statement
from pgdual.core.types import Types

from .feed import Many
from .rows import Wish, put


class AsyncBulk(AsyncQueries):
    """insert_many and upsert_many."""

    _types: Types

    async def _lent(self, statement: Statement, work: Any, is_limited: bool) -> Any:
        """Return what `work(connection)` does on a psycopg connection, in a transaction."""
        raise NotImplementedError

    @overload
    async def insert_many(
        self, table: str, rows: Many[Any], columns: Sequence[str] | None = None, returning: None = None
    ) -> int: ...
    @overload
    async def insert_many(
        self,
        table: str,
        rows: Many[Any],
        columns: Sequence[str] | None = None,
        *,
        returning: str | Sequence[str],
    ) -> list[Record]: ...
    async def insert_many(
        self,
        table: str,
        rows: Many[Any],
        columns: Sequence[str] | None = None,
        returning: str | Sequence[str] | None = None,
    ) -> Any:
        """Insert *rows* into a table, all or nothing; return how many, or what *returning* asks for.

        Up to 1,000 rows travel as one INSERT of arrays (UNNEST), to which the command clock applies. More
        go in one transaction, 10,000 at a time by COPY; in INSERTs of 1,000 where rows are to be returned,
        the table is a view or has row security, or a value has a text form only (a str for a uuid). Not
        more than 10,000 rows stand in memory. In a transaction more than 1,000 rows turn replay off.

        Args:
            table: The name as in SQL: `users`, `sales.users`, `"Users"`.
            rows: Tuples or lists in the order of the columns, or dicts, Records, dataclasses, pydantic or
                msgspec models by name; any iterable, an async one on the async face; empty: no statement.
            columns: Names as the table has them; else the first row's names, or of tuples every column but
                generated and GENERATED ALWAYS AS IDENTITY ones.
            returning: "*", a column or a list of them: Records are returned in the order of *rows*.

        Raises:
            UsageError: A row or value does not fit, numbered (from 1), or there is no such column; nothing
                stays done.
            psycopg.Error: What the server said; a note says which row or rows.
        """
        return await put(self, Wish(table, columns, returning), rows)

    @overload
    async def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        returning: None = None,
    ) -> int: ...
    @overload
    async def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        returning: str | Sequence[str],
    ) -> list[Record]: ...
    async def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        returning: str | Sequence[str] | None = None,
    ) -> Any:
        """Insert *rows*, or update those that are there, all or nothing; return how many were touched.

        They go in INSERTs of 1,000 rows with UNNEST and ON CONFLICT, more than 1,000 in one transaction.
        Two rows of one key in the same 1,000 are refused by the server (21000). Other arguments and errors
        are those of `insert_many`; rows that were left as they are do not count and are not returned.

        Args:
            conflict: The column or columns of the unique index that tells which row it is.
            update: The columns that a row which is there gets anew; all others that are written if not
                given; none, `[]`: it is left as it is.
        """
        return await put(self, Wish(table, columns, returning, conflict, update), rows)
