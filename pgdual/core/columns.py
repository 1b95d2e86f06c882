"""Rows of a table on their way in: which columns, from what kind of row, and as which bytes.

Values are held to the rules of arguments (Q5) column by column, so that one look at the classes of a
column stands for all of its values, and are then dumped in C: as arrays for UNNEST, or as COPY's rows.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from types import NoneType
from typing import Any, NamedTuple

from psycopg._copy_base import format_row_binary
from psycopg.abc import Dumper
from psycopg.pq import Format
from psycopg.sql import SQL, Composable, Identifier

from pgdual.errors import UsageError

from .natives import BYTES, INT8, NATIVE, SAME, TEXT, UUID
from .nested import check_bounds
from .record import Record
from .types import Types

# Source: the COPY page of PostgreSQL's manual: signature, flags, length of the header's extension; and -1.
HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
_NAME = r'"((?:[^"\0]|"")+)"|([^\W\d][\w$]*)'

CATALOG = """
SELECT a.attname::text, a.atttypid, format_type(a.atttypid, -1), a.attgenerated <> '', a.attidentity = 'a',
    c.relkind IN ('r', 'p') AND NOT row_security_active(c.oid),
    has_database_privilege(current_database(), 'TEMPORARY')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
"""What a table's columns are: name, type's oid and SQL name, generated, always an identity.

And whether rows may be copied into it, and a temporary table be made.
"""


class Column(NamedTuple):
    """A column that is written: its name, its type's oid and SQL name."""

    name: str
    oid: int
    type: str

    @property
    def is_native(self) -> bool:
        """True if an array of its values can be made in C; others travel as text and are cast."""
        return self.oid in NATIVE


class Target(NamedTuple):
    """A table, the columns of it that are written, and whether COPY does there what INSERT does."""

    table: str
    columns: tuple[Column, ...]
    takes_copy: bool
    takes_temporary: bool = True  # a table may be made to copy into

    @property
    def names(self) -> Composable:
        """The columns, quoted and with commas."""
        return SQL(", ").join(Identifier(column.name) for column in self.columns)

    def copy(self, form: str = "binary") -> str:
        """Return the text of COPY in this format."""
        text = raw(f"COPY {{}} ({{}}) FROM STDIN (FORMAT {form})")
        return text.format(table_name(self.table), self.names).as_string()

    def insert(self, ending: Composable) -> str:
        """Return the text that inserts one array a column."""
        numbered = list(enumerate(self.columns, 1))
        arrays = [raw(f"${at}::{c.type}[]" if c.is_native else f"${at}::text[]") for at, c in numbered]
        values = [raw(f"c{at}" if c.is_native else f"c{at}::{c.type}") for at, c in numbered]
        text = SQL("INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS r ({}){}")
        comma = SQL(", ")
        names = comma.join(raw(f"c{at}") for at, _ in numbered)
        parts = table_name(self.table), self.names, comma.join(values), comma.join(arrays), names, ending
        return text.format(*parts).as_string()

    def temporary(self, name: str) -> str:
        """Return the text that makes the temporary table *name*, which takes these columns' values."""
        columns = [SQL("{} {}").format(Identifier(c.name), raw(c.type)) for c in self.columns]
        text = SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
        return text.format(table_name(name), SQL(", ").join(columns)).as_string()

    def moved(self, name: str, ending: Composable) -> str:
        """Return the text that inserts what is in the table *name*."""
        text = SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2} {3}")
        return text.format(table_name(self.table), self.names, table_name(name), ending).as_string()


def raw(text: Any) -> SQL:
    """Return *text* as it is: names of types that the server told, numbers, and queries of the user's."""
    return SQL(text)


def table_name(table: str) -> Identifier:
    """Return a table's name, which is written as in SQL: `users`, `sales.users`, `"Users"`, quoted.

    Raises:
        UsageError: It is not a name.
    """
    names, at = [], 0
    while isinstance(table, str):
        found = re.compile(_NAME).match(table, at)
        if found is None:
            break
        names.append(found[1].replace('""', '"') if found[1] else found[2].lower())
        at = found.end()
        if at == len(table):
            return Identifier(*names)
        if table[at] != ".":
            break
        at += 1
    raise UsageError(f"{table!r} is not the name of a table: write it as in SQL, an odd one in double quotes")


def target_of(table: str, catalog: Sequence[Any], names: Sequence[str] | None) -> Target:
    """Return what is written, *names* or else every column that takes a value.

    Args:
        catalog: What CATALOG answered.

    Raises:
        UsageError: The table has no such column, or *names* has one twice or none.
    """
    known = {row[0]: row for row in catalog}
    if names is None:
        names = [name for name, row in known.items() if not row[3] and not row[4]]
    for name in names:
        if name not in known:
            raise UsageError(f"{table} has no column {name!r}; it has {', '.join(known)}")
        if known[name][3]:
            raise UsageError(f"{table}: the column {name!r} is generated and takes no value")
    if len(set(names)) < len(names) or not names:
        raise UsageError(f"{table}: columns={list(names)!r}: give at least one column, and each once")
    columns = tuple(Column(*known[name][:3]) for name in names)
    # COPY gives an identity column whatever it is told; INSERT refuses.
    _, _, _, _, _, is_plain, is_temporary = known[names[0]]
    is_always = any(known[name][4] for name in names)
    return Target(table, columns, is_plain and not is_always, is_temporary)


# -- rows ------------------------------------------------------------------------------------------


def names_in(row: Any) -> tuple[str, ...] | None:
    """Return the names that a row's values have: of a dict, a Record, a dataclass or a model; else None."""
    if isinstance(row, type):
        return None
    if isinstance(row, Mapping):
        return tuple(row)
    if isinstance(row, Record):
        return tuple(row.keys())
    if dataclasses.is_dataclass(row):
        return tuple(field.name for field in dataclasses.fields(row))
    kind = type(row)
    names = getattr(kind, "model_fields", None) or getattr(kind, "__struct_fields__", None)
    return None if names is None else tuple(names)


def tuples(rows: Sequence[Any], names: Sequence[str], first: int) -> Sequence[Sequence[Any]]:
    """Return *rows* as sequences of the values of the columns *names*.

    Args:
        first: The number of the first row, for messages.

    Raises:
        UsageError: A row has too few values, too many, or other names; it is numbered.
    """
    count = len(names)
    if set(map(type, rows)) <= {tuple, list} and set(map(len, rows)) == {count}:
        return rows
    readers: dict[type, Callable[[Any], Sequence[Any]]] = {}
    values = []
    for number, row in enumerate(rows, first):
        read = readers.get(type(row))
        try:
            if read is None:
                read = readers[type(row)] = _reader(row, names)
            values.append(read(row))
        except UsageError as error:
            raise UsageError(f"row {number}: {error}") from None
    return values


def _reader(row: Any, names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    known = names_in(row)
    if known is None:
        if not isinstance(row, Sequence) or isinstance(row, (str, bytes, bytearray, memoryview)):
            raise UsageError(
                f"it is a {type(row).__name__}: give a tuple, a list, a dict, a dataclass or a model"
            )
        return lambda row: _counted(row, names)
    if isinstance(row, (Mapping, Record)):
        return lambda row: _mapped(row, names)
    _check_names(known, names)
    return lambda row: [getattr(row, name) for name in names]


def _counted(row: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
    if len(row) != len(names):
        raise UsageError(f"{len(row)} values for {len(names)} columns ({', '.join(names)})")
    return row


def _mapped(row: Any, names: Sequence[str]) -> Sequence[Any]:
    _check_names(row.keys(), names)
    return [row[name] for name in names]


def _check_names(known: Any, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in known]
    extra = [str(name) for name in known if name not in names]
    if missing:
        raise UsageError(f"no value for {', '.join(missing)}")
    if extra:
        raise UsageError(f"a value for {', '.join(extra)}, which is not written; name it in columns=")


# -- bytes -----------------------------------------------------------------------------------------


def arrays(types: Types, target: Target, rows: Sequence[Sequence[Any]], first: int) -> list[list[Any]]:
    """Return one list a column, the arguments of `Target.insert`.

    Raises:
        UsageError: A value does not fit its column; row and column are named.
    """
    try:
        return [
            list(values) if column.is_native else [_text(types, value, column) for value in values]
            for column, values in zip(target.columns, zip(*rows, strict=True), strict=True)
        ]
    except Exception as error:
        raise misfit(types, target, rows, first, error) from error


def _text(types: Types, value: Any, column: Column) -> str | None:
    part = types.text(value, column.oid)
    return None if part is None else part.decode()


def misfit(
    types: Types, target: Target, rows: Sequence[Sequence[Any]], first: int, error: Exception
) -> UsageError:
    """Return the error that names the row and the column of the first value that does not fit."""
    for number, row in enumerate(rows, first):
        for value, column in zip(row, target.columns, strict=True):
            try:
                types.text(value, column.oid)
            except Exception as cause:
                said = str(cause).removeprefix("a part of it is ") or type(cause).__name__
                kind = types.name(column.oid)
                return UsageError(
                    f"row {number}, column {column.name!r}: {type(value).__name__} cannot be sent as "
                    f"{kind}: {said}{types.hint(column.oid)}"
                )
    return UsageError(f"rows {first} to {first + len(rows) - 1}: {error}")


def copied(types: Types, target: Target, rows: Sequence[Sequence[Any]], first: int) -> bytearray | None:
    """Return what stands between HEAD and END in the data of `Target.copy`; None: it cannot be binary.

    Raises:
        UsageError: A value does not fit its column; row and column are named.
    """
    try:
        given: list[Sequence[Any]] = list(zip(*rows, strict=True))
        dumpers = []
        for at, column in enumerate(target.columns):
            dumper = _dumper(types, column, given[at])
            if dumper is None:
                return None
            if dumper is UUID:
                given[at], dumper = _uuids(given[at]), BYTES
            dumpers.append(dumper)
        return _framed(types, dumpers, zip(*given, strict=True) if BYTES in dumpers else rows)
    except Exception as error:
        raise misfit(types, target, rows, first, error) from error


def _dumper(types: Types, column: Column, values: Sequence[Any]) -> type[Dumper] | None:
    if not column.is_native:
        return None
    classes = set(map(type, values)) - {NoneType}
    ways = {types.way(cls, column.oid) for cls in classes} or {(TEXT, None)}
    way, convert = ways.pop()
    if ways or convert is not None or not (way.format == Format.BINARY or column.oid in SAME or not classes):
        return None
    limits = types.limits(column.oid)
    if limits not in (None, INT8) and classes:  # int8's own dumper says so by itself
        given = [value for value in values if value is not None] if None in values else values
        check_bounds((min(given), max(given)), *limits)
    return way.dumper


def _uuids(values: Sequence[Any]) -> list[bytes | None]:
    # Source: bench row 10. psycopg's dumper of UUIDs is in Python, and costs three times as much.
    return [None if value is None else value.int.to_bytes(16, "big") for value in values]


def _framed(types: Types, dumpers: Sequence[type[Dumper]], rows: Iterable[Sequence[Any]]) -> bytearray:
    transformer, data = types.transformer(dumpers), bytearray()
    deque(map(format_row_binary, rows, repeat(transformer), repeat(data)), maxlen=0)  # a loop in C
    return data


# Source: the COPY page of PostgreSQL's manual, "Text Format".
_ESCAPES = {
    ord(letter): name for letter, name in (("\\", r"\\"), ("\n", r"\n"), ("\r", r"\r"), ("\t", r"\t"))
}


def lines(types: Types, target: Target, rows: Sequence[Sequence[Any]], first: int) -> bytes:
    """Return the data of `Target.copy("text")`.

    Raises:
        UsageError: A value does not fit its column; row and column are named.
    """
    parts = []
    try:
        for row in rows:
            texts = [_text(types, value, column) for value, column in zip(row, target.columns, strict=True)]
            fields = [r"\N" if text is None else text.translate(_ESCAPES) for text in texts]
            parts.append("\t".join(fields).encode() + b"\n")
    except Exception as error:
        raise misfit(types, target, rows, first, error) from error
    return b"".join(parts)
