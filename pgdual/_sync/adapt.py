# Generated from pgdual/_async/adapt.py by _generate.py. Do not edit.
"""Looking up the user's own types in a database."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from typing import Any

from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.multirange import MultirangeInfo, register_multirange
from psycopg.types.range import RangeInfo, register_range

from pgdual.core.types import Types
from pgdual.errors import UsageError

_KINDS: dict[str, tuple[type[TypeInfo], Any]] = {
    "e": (EnumInfo, register_enum),
    "c": (CompositeInfo, register_composite),
    "r": (RangeInfo, register_range),
    "m": (MultirangeInfo, register_multirange),
}


def register_on(connection: Any, types: Types, kind: Any, name: str | None) -> None:
    """Find the type on *connection* and adapt it in *types*.

    Raises:
        UsageError: The database has no such type, or *kind* is not of its kind.
    """
    name = name or (kind if isinstance(kind, str) else _snake(kind.__name__))
    cursor = connection.execute("select typtype::text from pg_type where oid = to_regtype(%s)", (name,))
    row = cursor.fetchone()
    if row is None:
        raise UsageError(f"the database has no type {name!r}; create it first, or give its SQL name as name=")
    info_class, register = _KINDS.get(row[0], (TypeInfo, None))
    info = info_class.fetch(connection, name)
    assert info is not None
    if register is None:
        info.register(types)
    else:
        register(info, types, **_options(kind, info, row[0]))
    types.refresh()


def _options(kind: Any, info: Any, sort: str) -> dict[str, Any]:
    if isinstance(kind, str):
        return {}
    if sort == "e" and isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": kind, "mapping": _labels(kind, info)}
    if sort == "c":
        return _composite(kind)
    raise UsageError(
        f"{kind!r} does not fit {info.name!r}: an Enum for an enum, a dataclass or NamedTuple for a composite"
    )


def _labels(kind: type[Enum], info: Any) -> dict[Any, str]:
    # A member stands for the label that is its value, or else its name.
    labels = set(info.labels)
    return {member: member.value if member.value in labels else member.name for member in kind}


def _composite(kind: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(kind):
        return {"factory": kind}
    names = [field.name for field in dataclasses.fields(kind)]
    return {
        "factory": kind,
        "make_sequence": lambda value, info: [getattr(value, name) for name in names],
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
