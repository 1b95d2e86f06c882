"""Looking up the user's own types in a database."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.multirange import MultirangeInfo, register_multirange
from psycopg.types.range import RangeInfo, register_range

from pgdual.core.natives import Way
from pgdual.core.types import Types
from pgdual.errors import UsageError

_ENUM, _COMPOSITE, _RANGE, _MULTIRANGE, _DOMAIN = "e", "c", "r", "m", "d"
_INFOS: dict[str, type[TypeInfo]] = {
    _ENUM: EnumInfo,
    _COMPOSITE: CompositeInfo,
    _RANGE: RangeInfo,
    _MULTIRANGE: MultirangeInfo,
}


async def register_on(connection: Any, types: Types, kind: Any, name: str | None) -> None:
    """Find the type on *connection* and adapt it in *types*.

    Raises:
        UsageError: The database has no such type, or *kind* is not of its kind.
    """
    name = name or _name_of(kind)
    try:
        cursor = await connection.execute(
            "select typtype::text, typbasetype from pg_type where oid = to_regtype(%s)", (name,)
        )
        row = await cursor.fetchone()
    except (psycopg.ProgrammingError, psycopg.DataError, UnicodeEncodeError):
        row = None  # it cannot be the name of any
    if row is None:
        raise UsageError(f"the database has no type {name!r}; create it first, or give its SQL name as name=")
    sort, base = row
    info: Any = await _INFOS.get(sort, TypeInfo).fetch(connection, name)
    if info is None:
        raise UsageError(f"type {name!r} was dropped meanwhile")
    if not isinstance(kind, str):
        _adopt_class(types, kind, info, sort)
    elif sort == _COMPOSITE:
        register_composite(info, types)
        types.adopt_composite(info)
    elif sort == _RANGE:
        register_range(info, types)
    elif sort == _MULTIRANGE:
        register_multirange(info, types)
    else:
        _adopt_name(types, info, base)
    types.refresh()


def _name_of(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, type):
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    raise UsageError(f"{kind!r} is not a type: give an Enum, a dataclass, a NamedTuple or an SQL name")


def _adopt_name(types: Types, info: Any, base: int) -> None:
    # An enum is a str, a domain what it is made from.
    info.register(types)
    if isinstance(info, EnumInfo):
        base = types.adapters.types["text"].oid
    if base:
        types.adopt_domain(info.oid, base)
    if info.name == "hstore":
        own = _Context(AdaptersMap(types.adapters))
        from psycopg.types.hstore import register_hstore  # noqa: PLC0415 - few have it

        register_hstore(info, own)
        types.adopt_ways(info.oid, {dict: Way(own.adapters.get_dumper(dict, PyFormat.TEXT), Format.TEXT)})
        for form in Format:
            loader = own.adapters.get_loader(info.oid, form)
            if loader is not None:
                types.adapters.register_loader(info.oid, loader)


class _Context:
    """psycopg's adaptation context."""

    connection = None

    def __init__(self, adapters: AdaptersMap) -> None:
        self.adapters = adapters


def _adopt_class(types: Types, kind: type, info: Any, sort: str) -> None:
    if sort == _ENUM and issubclass(kind, Enum):
        register_enum(info, types, kind, mapping=_labels(kind, info))
        return
    fields = _fields(kind)
    if sort != _COMPOSITE or fields is None:
        raise UsageError(
            f"{kind!r} does not fit {info.name!r}: give an Enum for an enum, a dataclass or NamedTuple for "
            "a composite, or the SQL name alone"
        )
    names = list(info.field_names)
    if sorted(fields) != sorted(names):
        raise UsageError(
            f"the fields of {kind.__name__} ({', '.join(fields)}) are not those of {info.name!r} "
            f"({', '.join(names)})"
        )
    # By name: the order may differ.
    register_composite(
        info, types, make_object=lambda values, info: kind(**dict(zip(names, values, strict=True)))
    )
    types.adopt_composite(info, kind)


def _labels(kind: type[Enum], info: Any) -> dict[Any, str]:
    # A member stands for the label that is its value, or else its name.
    labels = list(info.labels)
    mapping = {member: member.value if member.value in labels else member.name for member in kind}
    strange = [member for member, label in mapping.items() if label not in labels]
    if strange:
        raise UsageError(f"{info.name!r} has no label for {strange[0]}; it has {', '.join(labels)}")
    return mapping


def _fields(kind: type) -> list[str] | None:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind._fields) if hasattr(kind, "_fields") else None
