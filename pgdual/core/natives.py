"""Which Python classes a parameter type takes, and which dumper encodes them.

Python classes that lose nothing on the way are listed; a class that is not listed is refused before
anything is sent. `None` as a way means: refused although a base class is listed (a datetime is a date
to Python, but not to a calendar). psycopg's dumpers for int2 and int4 cut a larger int off without a
word, so those two have bounds here.
"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from types import NoneType
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import Dumper
from psycopg.adapt import PyFormat
from psycopg.pq import Format
from psycopg.types.numeric import IntNumeric

from .loaders import JsonDumper

_adapters = psycopg.adapters


class Way(NamedTuple):
    """A dumper, and the format that the server is told the bytes are in."""

    dumper: type[Dumper]
    format: int


def _by_oid(name: str) -> Way:
    oid = _adapters.types[name].oid
    return Way(_adapters.get_dumper_by_oid(oid, Format.BINARY), Format.BINARY)


def _by_class(cls: type) -> Way:
    return Way(_adapters.get_dumper(cls, PyFormat.TEXT), Format.TEXT)


TEXT = _by_class(str)
RAW = _by_oid("bytea")  # bytes that are already encoded
_INT = _by_class(IntNumeric)
_FLOAT = _by_class(float)
_JSON = Way(JsonDumper, Format.TEXT)

_NAMED: dict[str, dict[type, Way | None]] = {
    "bool": {bool: _by_oid("bool")},
    "int2": {int: _by_oid("int2")},
    "int4": {int: _by_oid("int4")},
    "int8": {int: _by_oid("int8")},
    "oid": {int: _INT},
    # float4's binary dumper turns what is too large into infinity; the server refuses it in text.
    "float4": {int: _INT, float: _FLOAT, Decimal: _by_class(Decimal)},
    "float8": dict.fromkeys((int, float, Decimal), _by_oid("float8")),
    # Q5: a float's shortest text is exact to the server, so no cents are lost.
    "numeric": {bool: None, int: _INT, float: _FLOAT, Decimal: _by_oid("numeric")},
    "text": {str: TEXT},
    "varchar": {str: TEXT},
    "bpchar": {str: TEXT},
    "name": {str: TEXT},
    "bytea": dict.fromkeys((bytes, bytearray, memoryview), RAW),
    "uuid": {uuid.UUID: _by_oid("uuid")},
    "date": {dt.datetime: None, dt.date: _by_oid("date")},
    "time": {dt.time: _by_oid("time")},
    "timetz": {dt.time: _by_oid("timetz")},
    "timestamp": {dt.datetime: _by_oid("timestamp")},
    "timestamptz": {dt.datetime: _by_oid("timestamptz")},
    "interval": {dt.timedelta: _by_oid("interval")},
    "json": {NoneType: TEXT, object: _JSON},
    "jsonb": {NoneType: TEXT, object: _JSON},
}
NATIVE: dict[int, dict[type, Way | None]] = {_adapters.types[name].oid: ways for name, ways in _NAMED.items()}
LIMITS: dict[int, tuple[int, int]] = {
    _adapters.types["int2"].oid: (-(1 << 15), (1 << 15) - 1),
    _adapters.types["int4"].oid: (-(1 << 31), (1 << 31) - 1),
    _adapters.types["int8"].oid: (-(1 << 63), (1 << 63) - 1),
}


def native_way(ways: dict[type, Way | None], cls: type) -> Way | None:
    """Return the way for *cls* by its nearest listed base class, or None if it is refused."""
    for base in cls.__mro__:
        if base in ways:
            return ways[base]
    return None


def accepted(ways: dict[type, Way | None]) -> str:
    """Return the names of the classes that are taken, for a message."""
    names = sorted(cls.__name__ for cls, way in ways.items() if way is not None and cls is not NoneType)
    return ", ".join("any JSON value" if name == "object" else name for name in names)


def hint(value: Any) -> str:
    """Return what helps with a value that its own dumper refused, or nothing."""
    if isinstance(value, dt.datetime):
        return "; a timestamptz wants an aware datetime (datetime.now(timezone.utc)), a timestamp a naive one"
    return ""
