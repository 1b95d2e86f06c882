"""JSON both ways, and dates that Python cannot hold.

`orjson` (extra fast-json) reads JSON where it is installed. Writing stays with the standard library on
both: orjson turns NaN into null without a word.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from enum import Enum
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format

try:
    import orjson

    json_loads: Any = orjson.loads
except ImportError:
    json_loads = json.loads

_JSONB_VERSION = 1  # the byte before the text of a binary jsonb


def _plain(value: Any) -> Any:
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


class JsonDumper(Dumper):
    """dict, list and other plain values as JSON text."""

    oid = psycopg.adapters.types["jsonb"].oid
    format = Format.TEXT

    def dump(self, obj: Any) -> bytes:
        """Return *obj* as JSON."""
        return _encode(obj).encode()


class _JsonTextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Any) -> Any:
        return json_loads(bytes(data))


class _JsonBinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data: Any) -> Any:
        return json_loads(bytes(data))


class _JsonbBinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data: Any) -> Any:
        if data[0] != _JSONB_VERSION:
            raise psycopg.DataError(f"jsonb in an unknown binary form, version {data[0]}")
        return json_loads(bytes(data[1:]))


def install_json(adapters: AdaptersMap) -> None:
    """Register JSON for dict and for the json and jsonb types."""
    for name, binary in (("json", _JsonBinaryLoader), ("jsonb", _JsonbBinaryLoader)):
        adapters.register_loader(name, _JsonTextLoader)
        adapters.register_loader(name, binary)
    adapters.register_dumper(dict, JsonDumper)


# Source: asyncpg, which also maps infinity to the largest value of its class.
_LARGEST: dict[str, Any] = {
    "date": dt.date.max,
    "timestamp": dt.datetime.max,
    "timestamptz": dt.datetime.max.replace(tzinfo=dt.UTC),
}
_SMALLEST: dict[str, Any] = {
    "date": dt.date.min,
    "timestamp": dt.datetime.min,
    "timestamptz": dt.datetime.min.replace(tzinfo=dt.UTC),
}


def forgiving(adapters: AdaptersMap) -> AdaptersMap:
    """Return a copy of *adapters* that reads infinity as the class's largest or smallest value.

    Only used for a result that the fast loaders refused: these are in Python.
    """
    copy = AdaptersMap(adapters)
    for name in _LARGEST:
        oid = copy.types[name].oid
        for form in Format:
            inner = adapters.get_loader(oid, form)
            assert inner is not None
            copy.register_loader(name, _infinite(name, inner, form))
    return copy


def _infinite(name: str, inner: Any, form: Format) -> type[Loader]:
    width = 4 if name == "date" else 8
    largest, smallest = b"\x7f" + b"\xff" * (width - 1), b"\x80" + b"\x00" * (width - 1)
    if form == Format.TEXT:
        largest, smallest = b"infinity", b"-infinity"
    known = {largest: _LARGEST[name], smallest: _SMALLEST[name]}

    class Infinite(Loader):
        format = form

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._inner = inner(oid, context)

        def load(self, data: Any) -> Any:
            data = bytes(data)
            return known[data] if data in known else self._inner.load(data)

    return Infinite
