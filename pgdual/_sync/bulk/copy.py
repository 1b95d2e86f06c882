# Generated from pgdual/_async/bulk/copy.py by _generate.py. Do not edit.
"""copy_in and copy_out: COPY on the transaction's own connection.

psycopg speaks COPY, outside of pipeline mode; the connection is lent to it for as long as that takes. What
is read from a file or an iterator is sent as it is read. Rows are encoded by the rules of arguments, a part
at a time: in binary, or as text where a value has a text form only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.sql import SQL, Composable
from psycopg.sql import Literal as Quoted

from pgdual._sync.queries import Timeout
from pgdual.core.columns import (
    CATALOG,
    END,
    HEAD,
    Target,
    copied,
    lines,
    names_in,
    raw,
    table_name,
    target_of,
    tuples,
)
from pgdual.core.script import split
from pgdual.core.statement import Kind, Statement
from pgdual.errors import UsageError

from .arrow import is_columns, save
from .feed import Feed, come

Format = Literal["binary", "csv", "text"]
_FORMATS = ("binary", "csv", "text")
ROWS = 2_000  # that are encoded at a time; source: bench row 10
_PART = 1 << 17  # bytes that are read of a file at a time
_PLACE = r"line (\d+)(?:, column ([^:]+))?"
_QUERIES = ("SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE")


class Shape(NamedTuple):
    """How the data is written."""

    format: str = "text"
    header: bool = False
    delimiter: str | None = None
    null: str | None = None

    def options(self) -> Composable:
        """Return what stands in the parentheses of COPY.

        Raises:
            UsageError: The format is unknown, or has no such option.
        """
        if self.format not in _FORMATS:
            raise UsageError(f"format={self.format!r}: give one of {', '.join(map(repr, _FORMATS))}")
        if self.format == "binary" and (self.header or self.delimiter is not None or self.null is not None):
            raise UsageError("header, delimiter and null are for csv and text: binary has none")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise UsageError(f"delimiter={self.delimiter!r}: give one character")
        parts = [raw(f"FORMAT {self.format}"), *([SQL("HEADER true")] if self.header else [])]
        named = (("DELIMITER", self.delimiter), ("NULL", self.null))
        said = [raw(name + " {}").format(Quoted(value)) for name, value in named if value is not None]
        return SQL(", ").join([*parts, *said])


def bring(
    database: Any,
    table: str,
    source: Any,
    columns: Sequence[str] | None,
    shape: Shape | None,
    timeout: Timeout,
) -> int:
    """Copy *source* into *table* and return the number of rows."""
    table_name(table)
    if isinstance(columns, str):
        raise UsageError(f"columns={columns!r}: give a list of names")
    is_file = hasattr(source, "read")
    feed: Any = File(source) if is_file else Feed(source, "source")
    first = feed.take(1)
    if not first:
        return 0
    if is_file or isinstance(first[0], (bytes, bytearray, memoryview, str)):
        return _data(database, table, columns, shape, feed, first[0], timeout)
    if shape is not None:
        raise UsageError("format, header, delimiter and null are for data, not for rows: leave them out")
    names = columns if columns is not None else names_in(first[0])
    target = target_of(table, database.fetch(CATALOG, table), names)
    sender = Rows(target, database._types, feed, first)
    return int(database._lent(Statement(target.copy()), sender.send, False, timeout))


class File:
    """A file that is read a part at a time."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def take(self, most: int) -> list[Any]:
        """Return the next part of it in a list, which is empty at the end."""
        part = come(self._file.read(_PART))
        return [part] if part else []


class Rows:
    """Rows on their way: encoded a part at a time, while the server takes the part before."""

    def __init__(self, target: Target, types: Any, feed: Feed, first: list[Any]) -> None:
        self._target = target
        self._types = types
        self._feed = feed
        self._names = [column.name for column in target.columns]
        self._part: Sequence[Any] = first
        self._number = 1  # of the first row of the part
        self._begun = 1  # of the first row of the COPY that runs
        self._connection: Any = None

    def send(self, connection: Any) -> int:
        """Send all of them on *connection* and return how many."""
        cursor, self._connection = connection.cursor(), connection
        self._part = tuples(self._part, self._names, 1)
        try:
            while self._part:
                self._begun = self._number
                data = self._encoded()
                if data is None:
                    self._send_text(cursor)
                else:
                    self._send_binary(cursor, data)
        except psycopg.Error as error:
            _say_where(error, "row", self._begun - 1)
            raise
        return self._number - 1

    def _send_binary(self, cursor: Any, data: bytearray | None) -> None:
        with cursor.copy(self._target.copy()) as copy:
            copy.write(HEAD)
            while data is not None:
                copy.write(data)
                self._next()
                data = self._encoded() if self._part else None
            copy.write(END)

    def _send_text(self, cursor: Any) -> None:
        data = lines(self._types, self._target, self._part, self._number)
        with cursor.copy(self._target.copy("text")) as copy:
            copy.write(data)
        self._next()

    def _encoded(self) -> bytearray | None:
        return copied(self._types, self._target, self._part, self._number)

    def _next(self) -> None:
        self._number += len(self._part)
        try:
            self._part = tuples(self._feed.take(ROWS), self._names, self._number)
        finally:
            self._connection.begin()


def _data(
    database: Any,
    table: str,
    columns: Sequence[str] | None,
    shape: Shape | None,
    feed: Any,
    first: Any,
    timeout: Timeout,
) -> int:
    shape = shape or Shape()
    options = shape.options()
    listed = SQL("")
    if columns is not None:
        catalog = database.fetch(CATALOG, table)
        listed = SQL(" ({})").format(target_of(table, catalog, columns).names)  # type: ignore[assignment]
    text = SQL("COPY {}{} FROM STDIN ({})").format(table_name(table), listed, options).as_string()

    def send(connection: Any) -> int:
        cursor, part = connection.cursor(), [first]
        try:
            with cursor.copy(text) as copy:
                while part:
                    copy.write(_checked(part[0], shape))
                    try:
                        part = feed.take(1)
                    finally:
                        connection.begin()
        except psycopg.Error as error:
            _say_where(error, "line", 0)
            raise
        return int(cursor.rowcount)

    return int(database._lent(Statement(text), send, False, timeout))


def _checked(part: Any, shape: Shape) -> Any:
    is_text = isinstance(part, str)
    if not is_text and not isinstance(part, (bytes, bytearray, memoryview)):
        raise UsageError(f"the source gave a {type(part).__name__} among data: give bytes or str")
    if is_text and shape.format == "binary":
        raise UsageError("the source gave str, and the format is binary: open the file in binary mode")
    return part if is_text else bytes(part)


def _say_where(error: psycopg.Error, what: str, before: int) -> None:
    found = re.search(_PLACE, error.diag.context or "")
    if found is not None:
        column = f", column: {found[2]}" if found[2] else ""
        error.add_note(f"{what}: {before + int(found[1])}{column}")


def take_out(
    database: Any, source: str, to: Any, columns: Sequence[str] | None, shape: Shape, timeout: Timeout
) -> int:
    """Copy a table or what a query returns to *to* and return the number of rows."""
    options = shape.options()
    if is_columns(to):
        if shape != Shape():
            raise UsageError("format, header, delimiter and null are COPY's: a file of columns has none")
        return save(database, _query(database, source, columns), to, timeout)
    write = getattr(to, "write", to)
    if not callable(write):
        raise UsageError(f"to is a {type(to).__name__}: give a file that is open for writing, or a function")
    text = SQL("COPY {} TO STDOUT ({})").format(_source(database, source, columns), options).as_string()

    def receive(connection: Any) -> int:
        cursor = connection.cursor()
        with cursor.copy(text) as copy:
            while part := copy.read():
                try:
                    come(write(bytes(part)))
                finally:
                    connection.begin()
        return int(cursor.rowcount)

    return int(database._lent(Statement(text), receive, False, timeout))


def _query(database: Any, source: str, columns: Sequence[str] | None) -> str:
    try:
        table = table_name(source)
    except UsageError:
        if columns is not None:
            raise
        return source
    listed: Composable = SQL("*")
    if columns is not None:
        listed = target_of(source, database.fetch(CATALOG, source), columns).names
    return SQL("SELECT {} FROM {}").format(listed, table).as_string()


def _source(database: Any, source: str, columns: Sequence[str] | None) -> Composable:
    try:
        table = table_name(source)
    except UsageError:
        table = None
    if table is not None:
        if columns is None:
            return table
        names = target_of(source, database.fetch(CATALOG, source), columns).names
        return SQL("{} ({})").format(table, names)
    statement = database._statements.get(source)
    if statement.kind is Kind.SCRIPT or statement.verb not in _QUERIES:
        raise UsageError("source is neither a table's name nor one query that returns rows")
    if statement.parameters or columns is not None:
        raise UsageError("COPY of a query takes neither parameters nor columns=: write them into the query")
    return SQL("({})").format(raw(split(source)[0].sql))
