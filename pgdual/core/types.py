"""How values become parameters and columns become values, for one database.

Parameter types are the server's (Q5): a statement is described once, and each argument is dumped for
the type that the server named. A `Plan` is that decision for one combination of Python classes; making
it is slow, using it is one call into C. A str for any type travels as text and is parsed by the server;
so does a value that only psycopg's own dumper for its class knows (ranges, addresses, composites).

Columns come in binary, unless one of them has no binary loader; then the statement is asked for in
text, so that a value is a str, never raw bytes (Q6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import Dumper, Transformer
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.adapt import Transformer as NewTransformer
from psycopg.pq import Format

from pgdual.errors import UsageError

from .frame import array
from .loaders import forgiving, install_json
from .natives import LIMITS, NATIVE, RAW, TEXT, Way, accepted, hint, native_way

BINARY = Format.BINARY
REFUSED = (psycopg.Error, TypeError, ValueError, OverflowError, AttributeError)

Convert = Callable[[Any], tuple[Any, int]]


class Plan(NamedTuple):
    """How one combination of argument classes is dumped for one list of parameter types."""

    transformer: Transformer
    py_formats: list[PyFormat]
    formats: list[int]
    bounds: tuple[tuple[int, int, int], ...]
    converters: tuple[tuple[int, Convert], ...]

    def encode(self, arguments: Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
        """Return the parameters' bytes (None for NULL) and their formats."""
        for position, low, high in self.bounds:
            if not low <= arguments[position] <= high:
                raise OverflowError(f"{arguments[position]} is not between {low} and {high}")
        if not self.converters:
            return self.transformer.dump_sequence(arguments, self.py_formats), self.formats
        values, formats = list(arguments), list(self.formats)
        for position, convert in self.converters:
            values[position], formats[position] = convert(values[position])
        return self.transformer.dump_sequence(values, self.py_formats), formats


class _Slots(AdaptersMap):
    """Lets a Transformer look dumpers up by a number of ours in place of a type's oid.

    The dumper is chosen by the argument's class as well as by the parameter's type, and psycopg's C
    code has one dumper an oid.
    """

    def __init__(self, template: AdaptersMap) -> None:
        super().__init__(template)
        self._chosen: list[type[Dumper]] = []

    def slot(self, dumper: type[Dumper]) -> int:
        if dumper not in self._chosen:
            self._chosen.append(dumper)
        return self._chosen.index(dumper)

    def get_dumper_by_oid(self, oid: int, format: Format) -> type[Dumper]:  # noqa: A002 - psycopg's name
        return self._chosen[oid]


class Types:
    """The adapters of one database: psycopg's, pgdual's and the user's own."""

    connection = None  # a psycopg adaptation context has these two

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        install_json(self.adapters)
        self._slots = _Slots(self.adapters)
        self.refresh()

    def refresh(self) -> None:
        """Take up adapters that were registered since."""
        self.forgiving = forgiving(self.adapters)
        self._by_value = NewTransformer(self)

    def result_format(self, oids: Iterable[int]) -> int:
        """Return 1 (binary) if every column's type has a binary loader, else 0 (text) (Q6)."""
        return int(all(self.adapters.get_loader(oid, BINARY) is not None for oid in oids))

    def plan(self, classes: Sequence[type], oids: Sequence[int]) -> Plan:
        """Decide how arguments of these classes are dumped for parameters of these types.

        Raises:
            UsageError: A class does not fit its parameter's type; the message names both.
        """
        dumpers, formats, bounds, converters = [], [], [], []
        for position, (cls, oid) in enumerate(zip(classes, oids, strict=True)):
            way, convert = self._way(cls, oid, position)
            dumpers.append(way.dumper)
            formats.append(way.format)
            if convert is not None:
                converters.append((position, convert))
            elif oid in LIMITS and way.format == BINARY:
                bounds.append((position, *LIMITS[oid]))
        py_formats = [PyFormat.BINARY] * len(dumpers)
        return Plan(self.transformer(dumpers), py_formats, formats, tuple(bounds), tuple(converters))

    def transformer(self, dumpers: Sequence[type[Dumper]]) -> Transformer:
        """Return a Transformer that dumps a sequence with these dumpers, one a position, in C."""
        transformer = NewTransformer(self._slots)
        transformer.set_dumper_types([self._slots.slot(dumper) for dumper in dumpers], BINARY)
        return transformer

    def _way(self, cls: type, oid: int, position: int) -> tuple[Way, Convert | None]:
        ways = NATIVE.get(oid)
        if cls is NoneType or issubclass(cls, str):
            return TEXT, None
        if ways is None:
            return RAW, _Array(self, oid) if issubclass(cls, list) else self.by_value
        way = native_way(ways, cls)
        if way is None:
            raise UsageError(
                f"argument ${position + 1} is {self.name(oid)} to the server and cannot be given as "
                f"{cls.__name__}; give {accepted(ways)}, or a str in PostgreSQL's own form"
            )
        return way, None

    def by_value(self, value: Any) -> tuple[Any, int]:
        """Dump *value* as text by its class alone; the server parses it for the parameter's type."""
        return (
            None if value is None else self._by_value.get_dumper(value, PyFormat.TEXT).dump(value)
        ), Format.TEXT

    def element_of(self, oid: int) -> int:
        """Return the element type of array type *oid*, or 0 if it is not a known array type."""
        info = self.adapters.types.get(oid)
        return info.oid if info is not None and info.array_oid == oid else 0

    def name(self, oid: int) -> str:
        """Return the SQL name of type *oid*, for a message."""
        info = self.adapters.types.get(oid)
        if info is None:
            return f"of type oid {oid}"
        return f"{info.regtype}[]" if info.array_oid == oid else info.regtype


class _Array:
    """Encodes a list for one array type: flat and of one native class in C, anything else as text."""

    def __init__(self, types: Types, oid: int) -> None:
        self._types = types
        self._element = types.element_of(oid)
        self._ways = NATIVE.get(self._element, {})

    def __call__(self, value: Any) -> tuple[Any, int]:
        classes = set(map(type, value)) - {NoneType}
        way = native_way(self._ways, next(iter(classes))) if len(classes) == 1 else None
        if way is None or way.format != BINARY or (not classes and value):
            return self._types.by_value(value)
        limits = LIMITS.get(self._element)
        if limits is not None:
            _check_bounds(value, *limits)
        return array(value, self._element, self._types.transformer([way.dumper] * len(value))), Format.BINARY


def _check_bounds(values: Iterable[Any], low: int, high: int) -> None:
    for value in values:
        if value is not None and not low <= value <= high:
            raise OverflowError(f"{value} is not between {low} and {high}")


def refusal(arguments: Sequence[Any], plan: Plan, error: Exception) -> UsageError:
    """Return the error that names the argument which could not be dumped."""
    for position, value in enumerate(arguments):
        try:
            _encode_one(plan, position, value, len(arguments))
        except REFUSED as cause:
            return UsageError(
                f"argument ${position + 1} ({type(value).__name__}) cannot be sent: {cause}{hint(value)}"
            )
    return UsageError(f"the arguments cannot be sent: {error}")


def _encode_one(plan: Plan, position: int, value: Any, count: int) -> None:
    alone: list[Any] = [None] * count
    alone[position] = value
    bounds = tuple(bound for bound in plan.bounds if bound[0] == position)
    converters = tuple(item for item in plan.converters if item[0] == position)
    plan._replace(bounds=bounds, converters=converters).encode(alone)
