"""Encoding values that hold values: arrays, ranges, composites.

Their parts are held to the same rules as arguments (Q5): a naive datetime is refused in an array or a
range of timestamptz as it is alone, and a float in a composite's numeric field loses no cents. The
server gets an array in binary where every element can be, anything else as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

from psycopg.adapt import PyFormat
from psycopg.pq import Format

from .frame import array, array_text, flat, multirange_text, range_text, row_text
from .natives import JSON, RAW, SAME, Way

if TYPE_CHECKING:
    from .types import Types

# N3: classes of elements that one array type remembers; past this they start anew.
CLASSES = 32


class Array:
    """Encodes the values of one array type: in binary where all elements can be, else as text."""

    def __init__(self, types: Types, element: int) -> None:
        self._types = types
        self._element = element
        self._is_native = types.ways(element) is not None
        # A list in an array of JSON is one JSON value; a tuple in an array of composites is one of them.
        self._nests: tuple[type, ...] = (list, tuple) if self._is_native else (list,)
        if types.base(element) in JSON:
            self._nests = ()
        self._is_same = types.base(element) in SAME
        self._limits = types.limits(element)
        self._known: dict[type, tuple[Way, Any]] = {}

    def __call__(self, value: Any) -> tuple[Any, int]:
        """Return *value* encoded, and the format."""
        items, shape = self._flat(value)
        classes = set(map(type, items))
        ways = self._ways(classes)
        if ways is None:
            return self._text(items, shape), Format.TEXT
        buffers = self._buffers(items, ways) if items else ()
        if self._is_same or all(way.format == Format.BINARY for way in ways.values()):
            return array(buffers, self._element, shape), Format.BINARY
        as_text = self._types.as_text
        parts = [
            buffer
            if item is None or ways[type(item)].format != Format.BINARY
            else as_text(item, self._element)
            for item, buffer in zip(items, buffers, strict=True)
        ]
        return array_text(parts, shape, self._types.delimiter(self._element)), Format.TEXT

    def text(self, value: Any) -> bytes:
        """Return *value* in text form."""
        return self._text(*self._flat(value))

    def _flat(self, value: Any) -> tuple[Sequence[Any], tuple[int, ...]]:
        return flat(value if isinstance(value, (list, tuple)) else list(value), self._nests)

    def _text(self, items: Sequence[Any], shape: tuple[int, ...]) -> bytes:
        parts = [self._types.text(item, self._element) for item in items]
        return array_text(parts, shape, self._types.delimiter(self._element))

    def _ways(self, classes: set[type]) -> dict[type, Way] | None:
        # None: an element has no way of its own, so that all go as text, each by its value. NULL has the
        # way of another element, for it is nothing in any.
        if not self._is_native:
            return None
        found = {}
        for cls in classes - {NoneType}:
            found[cls], convert = self._known.get(cls) or self._learn(cls)
            if convert is not None:
                return None
        if NoneType in classes:
            found[NoneType] = next(iter(found.values()), RAW)
        return found

    def _learn(self, cls: type) -> tuple[Way, Any]:
        known = self._known
        if len(known) >= CLASSES:
            known.clear()
        known[cls] = found = self._types.way(cls, self._element, "an element is ")
        return found

    def _buffers(self, items: Sequence[Any], ways: dict[type, Way]) -> Sequence[Any]:
        if self._limits is not None:
            texts = any(way.format != Format.BINARY for way in ways.values())
            check_bounds([it for it in items if not isinstance(it, str)] if texts else items, *self._limits)
        transformer = self._types.transformer(
            [next(iter(ways.values())).dumper] * len(items)
            if len(ways) == 1
            else [ways[type(item)].dumper for item in items]
        )
        return transformer.dump_sequence(items, [PyFormat.BINARY] * len(items))


class RangeText:
    """Encodes the values of one range type as text, their bounds as strictly as arguments."""

    def __init__(self, types: Types, subtype: int) -> None:
        self._types = types
        self._subtype = subtype

    def __call__(self, value: Any) -> tuple[Any, int]:
        """Return *value* encoded, and the format."""
        text, subtype = self._types.text, self._subtype
        bounds = None if value.isempty else value.bounds
        return range_text(bounds, text(value.lower, subtype), text(value.upper, subtype)), Format.TEXT


class MultirangeText(RangeText):
    """Encodes the values of one multirange type."""

    def __call__(self, value: Any) -> tuple[Any, int]:
        """Return *value* encoded, and the format."""
        one = super().__call__
        return multirange_text([one(item)[0] for item in value]), Format.TEXT


class Composite:
    """Encodes the values of one composite type as text, their fields as strictly as arguments."""

    def __init__(self, types: Types, kind: type | None, names: Sequence[str], oids: Sequence[int]) -> None:
        self._kind = kind
        self._types = types
        self._names = names
        self._oids = oids

    def takes(self, cls: type) -> bool:
        """Return whether values of *cls* are taken: tuples, and the class that was registered."""
        return issubclass(cls, tuple) or (self._kind is not None and issubclass(cls, self._kind))

    def __call__(self, value: Any) -> tuple[Any, int]:
        """Return *value* encoded, and the format."""
        if self._kind is not None and isinstance(value, self._kind):
            fields = tuple(getattr(value, name) for name in self._names)
        else:
            fields = value
        if len(fields) != len(self._oids):
            raise ValueError(f"it has {len(fields)} fields, not {len(self._oids)}")
        parts = [self._types.text(field, oid) for field, oid in zip(fields, self._oids, strict=True)]
        return row_text(parts), Format.TEXT


def check_bounds(values: Iterable[Any], low: int, high: int) -> None:
    """Hold integers against bounds.

    Raises:
        OverflowError: One is beyond them.
    """
    for value in values:
        if value is not None and not low <= value <= high:
            raise OverflowError(f"{value} is not between {low} and {high}")
