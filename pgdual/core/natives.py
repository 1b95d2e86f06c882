"""Which Python classes a parameter type takes, and which dumper encodes them.

Python classes that lose nothing on the way are listed, a bool among the ints as Python has it; a class
that is not listed is refused before anything is sent. `None` as a way means: refused although a base
class is listed (a datetime is a date to Python, but not to a calendar). psycopg's dumpers for int2 and
int4 cut a larger int off without a word, so integers have bounds here.
"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from types import NoneType
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import Dumper
from psycopg.adapt import Dumper as BaseDumper
from psycopg.adapt import PyFormat
from psycopg.pq import Format
from psycopg.types.json import Json, Jsonb
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
_TIME = _by_oid("time")


class NaiveTime(BaseDumper):
    """psycopg's dumper for time, which drops a time zone without a word."""

    format = Format.BINARY

    def __init__(self, cls: type, context: Any = None) -> None:
        super().__init__(cls, context)
        self._inner = _TIME.dumper(cls, context)

    def dump(self, obj: Any) -> Any:
        """Return *obj* in binary form.

        Raises:
            ValueError: It has a time zone.
        """
        if obj.tzinfo is not None:
            raise ValueError("it has a time zone")
        return self._inner.dump(obj)


class Held(BaseDumper):
    """A buffer as it is now; psycopg hands on the caller's own, which may have changed when sent again."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Any:
        """Return what *obj* holds."""
        return bytes(obj)


_JSON: dict[type, Way | None] = {
    NoneType: TEXT,
    Json: _by_class(Json),
    Jsonb: _by_class(Jsonb),
    object: Way(JsonDumper, Format.TEXT),
}

_NAMED: dict[str, dict[type, Way | None]] = {
    "bool": {bool: _by_oid("bool")},
    "int2": {int: _by_oid("int2")},
    "int4": {int: _by_oid("int4")},
    "int8": {int: _by_oid("int8")},
    "oid": {int: _by_oid("oid")},
    # float4's binary dumper turns what is too large into infinity; the server refuses it in text.
    "float4": {int: _INT, float: _FLOAT, Decimal: _by_class(Decimal)},
    "float8": dict.fromkeys((int, float, Decimal), _by_oid("float8")),
    # Q5: a float's shortest text is exact to the server, so no cents are lost.
    "numeric": {int: _INT, float: _FLOAT, Decimal: _by_oid("numeric")},
    "text": {str: TEXT},
    "varchar": {str: TEXT},
    "bpchar": {str: TEXT},
    "name": {str: TEXT},
    "bytea": {bytes: RAW, **dict.fromkeys((bytearray, memoryview), Way(Held, Format.BINARY))},
    "uuid": {uuid.UUID: _by_oid("uuid")},
    "date": {dt.datetime: None, dt.date: _by_oid("date")},
    "time": {dt.time: Way(NaiveTime, Format.BINARY)},
    "timetz": {dt.time: _by_oid("timetz")},
    "timestamp": {dt.datetime: _by_oid("timestamp")},
    "timestamptz": {dt.datetime: _by_oid("timestamptz")},
    "interval": {dt.timedelta: _by_oid("interval")},
    "json": _JSON,
    "jsonb": _JSON,
}


def _oid(name: str) -> int:
    return _adapters.types[name].oid


NATIVE: dict[int, dict[type, Way | None]] = {_oid(name): ways for name, ways in _NAMED.items()}
# Source: bench rows 12 and 13. A jsonb's text has no version byte to cut off; a numeric's is Decimal's own.
FASTER_AS_TEXT = {_adapters.types[name].oid for name in ("json", "jsonb", "numeric")}
AS_FAST_AS_TEXT = FASTER_AS_TEXT | {
    _adapters.types[name].oid
    for name in ("bool", "int2", "int4", "int8", "oid", "text", "varchar", "bpchar", "name")
}
INT8 = (-(1 << 63), (1 << 63) - 1)
LIMITS: dict[int, tuple[int, int]] = {
    _oid("int2"): (-(1 << 15), (1 << 15) - 1),
    _oid("int4"): (-(1 << 31), (1 << 31) - 1),
    _oid("int8"): (-(1 << 63), (1 << 63) - 1),
    _oid("oid"): (0, (1 << 32) - 1),
}
BOOL = _oid("bool")
UUID = _by_oid("uuid").dumper
BYTES = _adapters.get_dumper(bytes, PyFormat.BINARY)  # in C; RAW's is not, but makes no copy
JSON = frozenset({_oid("json"), _oid("jsonb")})
# Types whose binary form is their text, so that text may go into a binary array.
SAME = frozenset(map(_oid, ("text", "varchar", "bpchar", "name", "json")))
_REMEDIES = {
    _oid("timestamptz"): "give an aware datetime, such as datetime.now(timezone.utc)",
    _oid("timestamp"): "give a naive datetime, such as value.astimezone(timezone.utc).replace(tzinfo=None)",
    _oid("timetz"): "give a time with a fixed offset, such as time(12, tzinfo=timezone.utc)",
    _oid("time"): "give a time without a time zone, such as value.replace(tzinfo=None)",
}


def native_way(ways: dict[type, Way | None], cls: type) -> Way | None:
    """Return the way for *cls* by its nearest listed base class, or None if it is refused."""
    for base in cls.__mro__:
        if base in ways:
            return ways[base]
    return None


def accepted(ways: dict[type, Way | None]) -> str:
    """Return what to give in place of a class that is refused, for a message."""
    names = sorted(cls.__name__ for cls, way in ways.items() if way is not None and cls is not str)
    return f"give {', '.join([*names, OWN_FORM])}" if names else "give a str"


OWN_FORM = "or a str in PostgreSQL's own form"


def hint(oid: int) -> str:
    """Return what helps with a value that the dumper of type *oid* refused, or nothing."""
    return f"; {_REMEDIES[oid]}" if oid in _REMEDIES else ""
