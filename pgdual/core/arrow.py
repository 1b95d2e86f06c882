"""A result as columns of Arrow, which analysts' tools share: Polars, pandas, DuckDB, Parquet.

Column by column, no row is ever made. Numbers, times, UUIDs and texts that came in binary become Arrow's
own buffers in C; other types go through psycopg's loaders, and what Arrow has no type for is text.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from pgdual.errors import UsageError

from .record import names_of
from .types import Types

Values = Sequence[bytes | None]
LARGE = 1 << 31  # bytes of text from which on Arrow counts them in 64 bits


def _oid(name: str) -> int:
    return psycopg.adapters.types[name].oid


class Fixed(NamedTuple):
    """A type whose binary form is one number: Arrow's type, the number's code in `array`, what to add."""

    type: Any
    code: str
    epoch: int = 0


# Source: PostgreSQL's days and microseconds begin at 2000-01-01, Arrow's at 1970-01-01.
_DAYS, _MICROSECONDS = 10_957, 946_684_800_000_000
_FIXED = {
    _oid("int2"): Fixed(pa.int16(), "h"),
    _oid("int4"): Fixed(pa.int32(), "i"),
    _oid("int8"): Fixed(pa.int64(), "q"),
    _oid("oid"): Fixed(pa.uint32(), "I"),
    _oid("float4"): Fixed(pa.float32(), "f"),
    _oid("float8"): Fixed(pa.float64(), "d"),
    _oid("date"): Fixed(pa.date32(), "i", _DAYS),
    _oid("time"): Fixed(pa.time64("us"), "q"),
    _oid("timestamp"): Fixed(pa.timestamp("us"), "q", _MICROSECONDS),
    _oid("timestamptz"): Fixed(pa.timestamp("us", "UTC"), "q", _MICROSECONDS),
}
_JSONB, _NUMERIC, _UUID = _oid("jsonb"), _oid("numeric"), _oid("uuid")
_STRINGS = {_oid(name) for name in ("text", "varchar", "bpchar", "name", "json", "jsonb")}
_LOADED = {
    _oid("bool"): pa.bool_(),
    _oid("bytea"): pa.binary(),
    _oid("interval"): pa.duration("us"),
    **{oid: fixed.type for oid, fixed in _FIXED.items()},
}
_ELEMENTS = {**_LOADED, **dict.fromkeys(_STRINGS - {_oid("json"), _JSONB}, pa.string()), _NUMERIC: None}


class Columns:
    """A result that is to become columns; its length is the number of rows."""

    def __init__(self, result: PGresult, types: Types) -> None:
        self._result = result
        self._types = types

    def __len__(self) -> int:
        return self._result.ntuples

    def table(self, schema: Any = None) -> Any:
        """Return the table, of the *schema* that the rows before it had, if it is given.

        Raises:
            UsageError: A value has no place in its column's type; the column is named.
        """
        found, names = [], names_of(self._result)
        for at, name in enumerate(names):
            try:
                column = self._column(at)
                found.append(column if schema is None else column.cast(schema.field(at).type))
            except (ValueError, TypeError, OverflowError, psycopg.DataError) as error:
                raise UsageError(
                    f"column {name!r}: {error}; cast it in the query, to text as a rule"
                ) from error
        return pa.Table.from_arrays(found, names=names)

    def _column(self, at: int) -> Any:
        result = self._result
        get, oid = result.get_value, result.ftype(at)
        values = [get(row, at) for row in range(result.ntuples)]
        form = Format(result.fformat(at))
        is_binary = form == Format.BINARY
        if oid in _STRINGS:
            if oid == _JSONB and is_binary:
                values = [None if value is None else value[1:] for value in values]  # past its version
            return _strings(values)
        if is_binary and oid in _FIXED:
            return _numbers(values, _FIXED[oid])
        if is_binary and oid == _UUID:
            return _uuids(values)
        return self._loaded(values, oid, form, result.fmod(at))

    def _loaded(self, values: Values, oid: int, form: Format, modifier: int) -> Any:
        if self._types.adapters.get_loader(oid, form) is None:
            return _strings(values)
        transformer = Transformer(self._types)
        transformer.set_loader_types([oid] * len(values), form)
        loaded = transformer.load_sequence(values)
        if oid in _LOADED:
            return pa.array(loaded, _LOADED[oid])
        if oid == _NUMERIC:
            if not all(value is None or value.is_finite() for value in loaded):
                raise ValueError("it has NaN or an infinity, which Arrow's decimals have not")
            return pa.array(loaded, _decimal(modifier, loaded))
        if oid == _UUID:
            return _uuids([None if value is None else value.bytes for value in loaded])
        element = self._types.element_of(oid)
        if element in _ELEMENTS:
            kind = _ELEMENTS[element]
            return pa.array(loaded, None if kind is None else pa.list_(kind))
        return pa.array([None if value is None else str(value) for value in loaded], pa.string())


def _decimal(modifier: int, loaded: Sequence[Any]) -> Any:
    # Source: numeric_typmod_* in numeric.c: the precision, and the scale in 11 bits with a sign.
    if modifier >= 0:
        precision, scale = (modifier - 4) >> 16, (((modifier - 4) & 0x7FF) ^ 1024) - 1024
        if precision <= 38:
            return pa.decimal128(precision, scale)
        return pa.decimal256(precision, scale) if precision <= 76 else None
    return pa.decimal128(38, 9) if all(value is None for value in loaded) else None


def _numbers(values: Values, fixed: Fixed) -> Any:
    data = array(fixed.code)
    nothing = bytes(data.itemsize)
    data.frombytes(b"".join([nothing if value is None else value for value in values]))
    if sys.byteorder == "little":
        data.byteswap()
    if not fixed.epoch:
        return _array(fixed.type, values, pa.py_buffer(data))
    limit = 1 << (8 * data.itemsize - 1)
    if data and (min(data) == -limit or max(data) == limit - 1):
        raise ValueError("it has an infinity, which Arrow has not")
    whole = _array(pa.int32() if fixed.code == "i" else pa.int64(), values, pa.py_buffer(data))
    return pc.call_function("add_checked", [whole, pa.scalar(fixed.epoch, whole.type)]).cast(fixed.type)


def _uuids(values: Values) -> Any:
    data = b"".join([bytes(16) if value is None else value for value in values])
    return pa.ExtensionArray.from_storage(pa.uuid(), _array(pa.binary(16), values, pa.py_buffer(data)))


def _strings(values: Values) -> Any:
    parts = [value or b"" for value in values]
    data = b"".join(parts)
    code, kind = ("i", pa.string()) if len(data) < LARGE else ("q", pa.large_string())
    offsets = array(code, accumulate(map(len, parts), initial=0))
    made = _array(kind, values, pa.py_buffer(offsets), pa.py_buffer(data))
    made.validate(full=True)
    return made


def _array(kind: Any, values: Values, *buffers: Any) -> Any:
    there = None
    if None in values:
        there = pa.array([value is not None for value in values]).buffers()[1]
    return pa.Array.from_buffers(kind, len(values), [there, *buffers])
