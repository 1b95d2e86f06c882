"""JSON both ways, "char", and dates that Python cannot hold.

`msgspec` (extra fast-json) reads JSON where it is installed; what it refuses (a number beyond a float's
range, a lone surrogate) the standard library reads. Writing stays with the standard library on both.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from decimal import Decimal
from enum import Enum
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.json import Json, Jsonb

try:
    import msgspec

    # msgspec keeps integers exact beyond 64 bits; orjson, though quicker, makes floats of them.
    _fast_loads: Any = msgspec.json.Decoder().decode
    REFUSED: tuple[type[Exception], ...] = (psycopg.DataError, msgspec.MsgspecError)
except ImportError:
    _fast_loads = None
    REFUSED = (psycopg.DataError,)

_UNKNOWN = 705  # the type of a literal in an anonymous row. Source: pg_type.dat
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
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, (Json, Jsonb)):
        return value.obj
    remedy = "; give str(value), or float(value) if it may be rounded" if isinstance(value, Decimal) else ""
    raise TypeError(f"{type(value).__name__} is not JSON{remedy}")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


class JsonDumper(Dumper):
    """dict, list and other plain values as JSON text."""

    oid: int = psycopg.adapters.types["jsonb"].oid
    format = Format.TEXT

    def dump(self, obj: Any) -> bytes:
        """Return *obj* as JSON."""
        return _encode(obj).encode()


class _JsonLoader(Loader):
    # Text and binary json are the same bytes.
    def load(self, data: Any) -> Any:
        return json.loads(bytes(data))


class _FastJsonLoader(Loader):
    load = staticmethod(_fast_loads)  # called from C without a Python frame


class _JsonbLoader(_JsonLoader):
    format = Format.BINARY

    def load(self, data: Any) -> Any:
        if data[0] != _JSONB_VERSION:
            raise psycopg.DataError(f"jsonb in an unknown binary form, version {data[0]}")
        return super().load(data[1:])


def _install_json(adapters: AdaptersMap, loader: type[Loader]) -> None:
    for name in ("json", "jsonb"):
        adapters.register_loader(name, type(loader.__name__, (loader,), {"format": Format.TEXT}))
    adapters.register_loader("json", type(loader.__name__, (loader,), {"format": Format.BINARY}))
    adapters.register_loader("jsonb", _JsonbLoader)


class _CharLoader(Loader):
    # The internal type "char" is one byte, not one character. Source: charout in PostgreSQL's char.c.
    format = Format.BINARY

    def load(self, data: Any) -> str:
        byte = data[0]
        return "" if not byte else chr(byte) if byte < 128 else f"\\{byte:03o}"


def install(adapters: AdaptersMap) -> None:
    """Register JSON for dict and for the json and jsonb types, and loaders that psycopg lacks."""
    text = adapters.get_loader(adapters.types["text"].oid, Format.BINARY)
    assert text is not None
    adapters.register_loader(_UNKNOWN, text)
    adapters.register_loader('"char"', _CharLoader)
    _install_json(adapters, _FastJsonLoader if _fast_loads else _JsonLoader)
    adapters.register_dumper(dict, JsonDumper)


# Source: asyncpg, which also maps infinity to the largest value of its class. By type: the largest and the
# smallest value, and the widths of the integers in its binary form.
_ENDS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "date": (dt.date.max, dt.date.min, (4,)),
    "timestamp": (dt.datetime.max, dt.datetime.min, (8,)),
    "timestamptz": (dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC), (8,)),
    "interval": (dt.timedelta.max, dt.timedelta.min, (8, 4, 4)),
}


def forgiving(adapters: AdaptersMap) -> AdaptersMap:
    """Return a copy of *adapters* that reads all JSON, and infinity as its class's largest or smallest value.

    Only used for a result that the fast loaders refused: these are in Python.
    """
    copy = AdaptersMap(adapters)
    _install_json(copy, _JsonLoader)
    for name, (largest, smallest, widths) in _ENDS.items():
        high = b"".join(b"\x7f" + b"\xff" * (width - 1) for width in widths)
        low = b"".join(b"\x80" + b"\x00" * (width - 1) for width in widths)
        for form, known in (
            (Format.BINARY, {high: largest, low: smallest}),
            (Format.TEXT, {b"infinity": largest, b"-infinity": smallest}),
        ):
            inner = adapters.get_loader(copy.types[name].oid, form)
            copy.register_loader(name, _infinite(inner, form, known))
    return copy


def _infinite(inner: Any, form: Format, known: dict[bytes, Any]) -> type[Loader]:
    class Infinite(Loader):
        format = form

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._inner = inner(oid, context)

        def load(self, data: Any) -> Any:
            data = bytes(data)
            return known[data] if data in known else self._inner.load(data)

    return Infinite
