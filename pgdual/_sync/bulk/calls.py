# Generated from pgdual/_async/bulk/calls.py by _generate.py. Do not edit.
"""The calls for many rows that a database and a transaction share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from pgdual._sync.call import DEFAULT
from pgdual._sync.queries import Queries, Timeout
from pgdual.core.record import Record
from pgdual.core.rows import RESULT, VALUE
from pgdual.core.statement import Statement
from pgdual.core.types import Types

from .arrow import columns_of
from .copy import Format, Shape, bring, take_out
from .feed import Many
from .parts import Parts
from .rows import Wish, put
from .stream import Stream

T = TypeVar("T")


class Bulk(Queries):
    """insert_many, upsert_many, copy_in, copy_out, stream and fetch_arrow."""

    label: str | None = None
    _types: Types

    def _session_for(self, reason: str) -> tuple[Any, Any]:
        """Return the session of the open transaction and its block, or one of its own and None."""
        raise NotImplementedError

    def _lent(
        self, statement: Statement, work: Any, is_limited: bool, timeout: Timeout = DEFAULT
    ) -> Any:
        """Return what `work(connection)` does on a psycopg connection, in a transaction."""
        raise NotImplementedError

    @overload
    def insert_many(
        self, table: str, rows: Many[Any], columns: Sequence[str] | None = None, returning: None = None
    ) -> int: ...
    @overload
    def insert_many(
        self,
        table: str,
        rows: Many[Any],
        columns: Sequence[str] | None = None,
        *,
        returning: str | Sequence[str],
    ) -> list[Record]: ...
    def insert_many(
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
        return put(self, Wish(table, columns, returning), rows)

    @overload
    def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        returning: None = None,
    ) -> int: ...
    @overload
    def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        returning: str | Sequence[str],
    ) -> list[Record]: ...
    def upsert_many(
        self,
        table: str,
        rows: Many[Any],
        conflict: str | Sequence[str],
        update: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        returning: str | Sequence[str] | None = None,
    ) -> Any:
        """Insert *rows*, or update those that are there, all or nothing; return how many were touched.

        Up to 1,000 rows travel as one INSERT with UNNEST and ON CONFLICT. More go in one transaction, 10,000
        at a time by COPY into a temporary table and from there by one INSERT; in INSERTs of 1,000 where
        rows are to be returned, a value has a text form only, or no temporary table may be made. Two rows
        of one key in the same INSERT are refused by the server (21000). Other arguments and errors are those
        of `insert_many`; rows that were left as they are do not count and are not returned.

        Args:
            conflict: The column or columns of the unique index that tells which row it is.
            update: The columns that a row which is there gets anew; all others that are written if not
                given; none, `[]`: it is left as it is.
        """
        return put(self, Wish(table, columns, returning, conflict, update), rows)

    def copy_in(
        self,
        table: str,
        source: Any,
        columns: Sequence[str] | None = None,
        format: Format | None = None,  # noqa: A002 - COPY's own word
        header: bool = False,
        delimiter: str | None = None,
        null: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> int:
        """Copy rows, a file or pieces of data into a table, all or nothing; return the number of rows.

        Ctrl-C and `asyncio.timeout` leave the connection usable. In a transaction it turns replay off.

        Args:
            table: The name as in SQL: `users`, `sales.users`, `"Users"`.
            source: Rows as for `insert_many`; or a file open for reading, or an iterable of bytes or str,
                whose content is in *format*. On the async face it may be async.
            columns: Names as the table has them, in the order of the data; else as in `insert_many` for
                rows, and all of the table's for data.
            format: "text" (if not given), "csv" or "binary", of data.
            header: The first line is passed over (csv, text).
            delimiter: One character, a tab in text and a comma in csv if not given.
            null: What stands for NULL; \\N in text and nothing in csv if not given.
            timeout: Seconds that the server has for each part of the data and for what it checks at the
                end, not for all of it; the source has as long as it takes. None for no limit.

        Raises:
            UsageError: A row or value does not fit, numbered (from 1), or an option; nothing stays done.
            QueryTimeoutError: A part was not taken in time; nothing stays done.
            psycopg.Error: What the server said; a note has the line or row, and the column.
        """
        options = (format, header, delimiter, null)
        shape = None if options == (None, False, None, None) else Shape(format or "text", *options[1:])
        return bring(self, table, source, columns, shape, timeout)

    @overload
    def copy_out(
        self,
        source: str,
        to: None = None,
        columns: Sequence[str] | None = None,
        format: Format = "text",
        header: bool = False,
        delimiter: str | None = None,
        null: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Parts: ...
    @overload
    def copy_out(
        self,
        source: str,
        to: Any,
        columns: Sequence[str] | None = None,
        format: Format = "text",
        header: bool = False,
        delimiter: str | None = None,
        null: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> int: ...
    def copy_out(
        self,
        source: str,
        to: Any = None,
        columns: Sequence[str] | None = None,
        format: Format = "text",  # noqa: A002
        header: bool = False,
        delimiter: str | None = None,
        null: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Copy a table, or what a query returns, out; return the number of rows, or an iterator of the data.

        In constant memory. In a transaction it turns replay off. Other arguments are those of `copy_in`;
        the time limit is for the first part of the data, and for each after it.

        Args:
            source: A table's name as in SQL, or a query without parameters.
            to: A file that is open for writing in binary, or a function that is given pieces of bytes;
                on the async face it may be async. Or the path of a file that ends in .parquet, .arrow or
                .feather and is written as `fetch_arrow` has the columns (extra `arrow`); without a COPY,
                50,000 rows at a time, of which the first decide on the digits of a numeric without any.
                If not given, an iterator of the pieces is returned, to be entered with `with`; its `count`
                is the number of rows when all were read. To stop early cancels the COPY, and in a
                transaction undoes nothing else; there, nothing else can be asked before it is over.
            columns: Of a table; all if not given.

        Raises:
            UsageError: The source or an option is wrong; nothing was sent.

        Example:
            `with db.copy_out("users", format="csv") as parts: for part in parts: ...`
        """
        shape = Shape(format, header, delimiter, null)
        if to is None:
            return Parts(self, source, columns, shape, timeout)
        return take_out(self, source, to, columns, shape, timeout)

    def fetch_arrow(self, sql: str, *args: Any, timeout: Timeout = DEFAULT) -> Any:
        """Return what a query returns as a pyarrow.Table: columns, no rows are made (extra `arrow`).

        Types are exact: numeric is decimal128 with the column's digits, or those that its values need;
        timestamptz is timestamp[us, UTC], uuid is Arrow's uuid, interval a duration as in `fetch`; an array
        is a list where its elements have a type. JSON and all else is a string.

        Args:
            sql, args, timeout: As in `fetch`.

        Raises:
            UsageError: A value has no place in its column's type: an infinite date, NaN in a numeric.

        Example:
            `polars.from_arrow(db.fetch_arrow(...))`, or `(db.fetch_arrow(...)).to_pandas()`.
        """
        job = self._job(VALUE, sql, args)
        job.column = RESULT
        return columns_of(self._run(job, timeout), self._types).table()

    @overload
    def stream(
        self, sql: str, *args: Any, chunk: int = 1_000, into: None = None, timeout: Timeout = DEFAULT
    ) -> Stream[Record]: ...
    @overload
    def stream(
        self, sql: str, *args: Any, chunk: int = 1_000, into: type[T], timeout: Timeout = DEFAULT
    ) -> Stream[T]: ...
    def stream(
        self, sql: str, *args: Any, chunk: int = 1_000, into: Any = None, timeout: Timeout = DEFAULT
    ) -> Stream[Any]:
        """Return an iterator over the rows of a query, which are fetched as they are asked for.

        In constant memory, on a cursor of the server's. Outside of a transaction it has one of its own,
        and a connection, until its last row was taken or it is closed: at the end of its `with` block, or
        when it is dropped. Other statements may run in between. In a transaction it turns replay off, and
        one text is streamed once at a time.

        Args:
            chunk: Rows that are fetched at a time.
            into: As in `fetch`.
            timeout: Seconds for each chunk; None for no limit.

        Raises:
            UsageError: The text is no query, or the call is wrong.

        Example:
            `with db.stream("select * from trades") as rows: for row in rows: ...`
        """
        return Stream(self, sql, args, chunk, into, timeout)
