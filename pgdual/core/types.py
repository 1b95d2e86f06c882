"""How values become parameters and columns become values, for one database.

Parameter types are the server's (Q5): a statement is described once, and each argument is dumped for
the type that the server named. A `Plan` is that decision for one combination of Python classes; making
it is slow, using it is one call into C. A str for any type travels as text and is parsed by the server;
so does a value that only psycopg's own dumper for its class knows (ranges, addresses, composites).

Columns come in binary, unless one of them has no binary loader; then the statement is asked for in
text, so that a value is a str, never raw bytes (Q6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from types import NoneType
from typing import Any

import psycopg
from psycopg.abc import Dumper, Transformer
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.adapt import Transformer as NewTransformer
from psycopg.pq import Format
from psycopg.types.composite import CompositeInfo
from psycopg.types.enum import EnumDumper
from psycopg.types.multirange import Multirange, MultirangeInfo
from psycopg.types.range import Range, RangeInfo

from pgdual.errors import UsageError

from .caused import caused
from .loaders import forgiving, install
from .natives import (
    AS_FAST_AS_TEXT,
    BOOL,
    FASTER_AS_TEXT,
    INT8,
    LIMITS,
    NATIVE,
    OWN_FORM,
    RAW,
    TEXT,
    Way,
    accepted,
    hint,
    native_way,
)
from .nested import Array, Composite, MultirangeText, RangeText, check_bounds
from .plan import Convert, Plan

BINARY = Format.BINARY


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
        self.adapters: AdaptersMap = AdaptersMap(psycopg.adapters)
        install(self.adapters)
        self._bases: dict[int, int] = {}
        self._own: dict[int, dict[type, Way | None]] = {}
        self._composites: dict[int, Composite] = {}
        self._slots = _Slots(self.adapters)
        self.refresh()

    def refresh(self) -> None:
        """Take up adapters that were registered since."""
        self._forgiving: AdaptersMap | None = None
        self._by_value = NewTransformer(self)

    @property
    def forgiving(self) -> AdaptersMap:
        """The adapters for a result that these refuse."""
        made = self._forgiving = self._forgiving or forgiving(self.adapters)
        return made

    def result_format(self, oids: Iterable[int]) -> int:
        """Return 1 (binary) if every column's type has a binary loader, else 0 (text) (Q6).

        Text too where it is read faster: JSON and numeric, among columns that are as fast in either.
        """
        oids = tuple(oids)
        if any(oid in FASTER_AS_TEXT for oid in oids) and all(oid in AS_FAST_AS_TEXT for oid in oids):
            return 0
        return int(self.is_binary(oids))

    def is_binary(self, oids: Iterable[int]) -> bool:
        """True if every one of these types has a binary loader."""
        return all(map(self._has_binary, oids))

    def _has_binary(self, oid: int) -> bool:
        # psycopg has a binary loader for the array of any type, which leaves a strange element as bytes.
        if self.adapters.get_loader(oid, BINARY) is None:
            return False
        info = self.adapters.types.get(oid)
        if info is not None and info.array_oid == oid:
            return self._has_binary(info.oid)
        if isinstance(info, CompositeInfo):
            return all(map(self._has_binary, info.field_types))
        return not isinstance(info, (RangeInfo, MultirangeInfo)) or self._has_binary(info.subtype_oid)

    def adopt_domain(self, oid: int, base: int) -> None:
        """Take values of domain *oid* as values of the type that it is made from."""
        self._bases[oid] = base
        for form in Format:
            loader = self.adapters.get_loader(base, form)
            if loader is not None:
                self.adapters.register_loader(oid, loader)

    def adopt_composite(self, info: CompositeInfo, kind: type | None = None) -> None:
        """Take tuples, and values of *kind*, for a composite."""
        self._composites[info.oid] = Composite(self, kind, info.field_names, info.field_types)

    def adopt_ways(self, oid: int, ways: dict[type, Way | None]) -> None:
        """Have parameters of type *oid* dumped in these ways."""
        self._own[oid] = ways

    def plan(self, classes: Sequence[type], oids: Sequence[int]) -> Plan:
        """Decide how arguments of these classes are dumped for parameters of these types.

        Raises:
            UsageError: A class does not fit its parameter's type; the message names both.
        """
        dumpers, formats, bounds, converters = [], [], [], []
        for position, (cls, oid) in enumerate(zip(classes, oids, strict=True)):
            try:
                way, convert = self.way(cls, oid, f"argument ${position + 1} is ")
            except UnfitError as error:
                raise UsageError(str(error)) from None
            dumpers.append(way.dumper)
            formats.append(way.format)
            limits = self.limits(oid)
            if convert is not None:
                converters.append((position, convert))
            elif limits is not None and way.format == BINARY and limits != INT8:
                bounds.append((position, *limits))  # int8's own dumper says so by itself
        py_formats = [PyFormat.BINARY] * len(dumpers)
        return Plan(self.transformer(dumpers), py_formats, formats, tuple(bounds), tuple(converters))

    def transformer(self, dumpers: Sequence[type[Dumper]]) -> Transformer:
        """Return a Transformer that dumps a sequence with these dumpers, one a position, in C."""
        transformer = NewTransformer(self._slots)
        slots = {dumper: self._slots.slot(dumper) for dumper in set(dumpers)}
        transformer.set_dumper_types([slots[dumper] for dumper in dumpers], BINARY)
        return transformer

    def way(self, cls: type, oid: int, what: str = "") -> tuple[Way, Convert | None]:
        """Return how values of *cls* are dumped for type *oid*.

        Raises:
            UnfitError: They are not; it says so of *what*.
        """
        try:
            return self._way(cls, oid)
        except UnfitError as error:
            raise UnfitError(f"{what}{error}") from None

    def _way(self, cls: type, oid: int) -> tuple[Way, Convert | None]:
        ways = self.ways(oid)
        if cls is NoneType or (issubclass(cls, str) and not (ways is None and issubclass(cls, Enum))):
            return TEXT, None
        if ways is None:
            return RAW, self._converter(cls, oid)
        way = native_way(ways, cls)
        if way is None:
            if _is_own(self.adapters, cls):
                return RAW, self.by_value
            raise UnfitError(self._misfit(cls, oid, accepted(ways)))
        return way, None

    def _converter(self, cls: type, oid: int) -> Convert:
        info = self.adapters.types.get(oid)
        element = self.element_of(oid)
        if element or (info is None and issubclass(cls, list)):
            if not issubclass(cls, Collection) or issubclass(cls, (bytes, bytearray, memoryview, Mapping)):
                raise UnfitError(self._misfit(cls, oid, f"give a list, {OWN_FORM}"))
            return Array(self, element)
        composite = self._composites.get(oid)
        if composite is not None and composite.takes(cls):
            return composite
        if isinstance(info, MultirangeInfo) and issubclass(cls, Multirange):
            return MultirangeText(self, info.subtype_oid)
        if isinstance(info, RangeInfo) and issubclass(cls, Range):
            return RangeText(self, info.subtype_oid)
        self._check_dumper(cls, oid)
        return self.by_value

    def _check_dumper(self, cls: type, oid: int) -> None:
        try:
            dumper = self.adapters.get_dumper(cls, PyFormat.TEXT)
        except psycopg.ProgrammingError:
            dumper = EnumDumper
        if dumper is EnumDumper:  # psycopg's own, which sends the name of a member
            raise UnfitError(
                self._misfit(cls, oid, f"make the class known with register(), give another, {OWN_FORM}")
            )

    def _misfit(self, cls: type, oid: int, remedy: str) -> str:
        return f"{self.name(oid)} to the server and cannot be given as {cls.__name__}; {remedy}"

    def by_value(self, value: Any) -> tuple[Any, int]:
        """Dump *value* as text by its class alone; the server parses it for the parameter's type."""
        return (
            None if value is None else self._by_value.get_dumper(value, PyFormat.TEXT).dump(value)
        ), Format.TEXT

    def text(self, value: Any, oid: int) -> bytes | None:
        """Return *value*, a part of a value, in the text form of type *oid*.

        It is refused where it would be refused as an argument.
        """
        if value is None:
            return None
        way, convert = self.way(type(value), oid, "a part of it is ")
        if isinstance(convert, Array):
            return convert.text(value)
        data = way.dumper(type(value), self).dump(value) if convert is None else convert(value)[0]
        if convert is None and way.format == BINARY:
            limits = self.limits(oid)
            if limits is not None:
                check_bounds((value,), *limits)
            return self.as_text(value, oid)
        return None if data is None else bytes(data)

    def as_text(self, value: Any, oid: int) -> bytes:
        """Return *value*, which fits type *oid*, in text form."""
        if isinstance(value, bool) and self.base(oid) != BOOL:
            value = int(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return b"\\x" + bytes(value).hex().encode()
        return bytes(self.by_value(value)[0])

    def ways(self, oid: int) -> dict[type, Way | None] | None:
        """Return the ways into type *oid* by class, or None if it has none of its own."""
        oid = self.base(oid)
        return NATIVE.get(oid) or self._own.get(oid)

    def base(self, oid: int) -> int:
        """Return the type that domain *oid* is made from, or *oid* itself."""
        return self._bases.get(oid, oid)

    def limits(self, oid: int) -> tuple[int, int] | None:
        """Return the smallest and the largest integer of type *oid*, or None if it has no bounds."""
        return LIMITS.get(self.base(oid))

    def delimiter(self, oid: int) -> str:
        """Return what stands between the elements in the text form of an array of *oid*."""
        info = self.adapters.types.get(oid)
        return "," if info is None else info.delimiter

    def element_of(self, oid: int) -> int:
        """Return the element type of array type *oid*, or 0 if it is not a known array type."""
        info = self.adapters.types.get(oid)
        return info.oid if info is not None and info.array_oid == oid else 0

    def name(self, oid: int) -> str:
        """Return the SQL name of type *oid*, for a message."""
        info = self.adapters.types.get(oid)
        if info is None:
            return f"a type of your own (oid {oid})" if oid else "a type of your own"
        return f"{info.regtype}[]" if info.array_oid == oid else info.regtype

    def hint(self, oid: int) -> str:
        """Return what helps with a value that the dumper of type *oid* refused, or nothing."""
        info = self.adapters.types.get(self.element_of(oid) or oid)
        inner = getattr(info, "subtype_oid", 0 if info is None else info.oid)
        return hint(self.base(inner))


class UnfitError(TypeError):
    """A class does not fit a type; what it says stands behind "argument $1 is" or "a part is"."""


def _is_own(adapters: AdaptersMap, cls: type) -> bool:
    """Return whether the user has registered a dumper of his own for *cls* with psycopg."""
    try:
        dumper = adapters.get_dumper(cls, PyFormat.TEXT)
    except psycopg.ProgrammingError:
        return False
    return dumper.__module__.partition(".")[0] not in _PSYCOPG


_PSYCOPG = {"psycopg", "psycopg_binary", "psycopg_c", "pgdual"}


def refusal(
    types: Types, oids: Sequence[int], arguments: Sequence[Any], plan: Plan, error: Exception
) -> UsageError:
    """Return the error that names the argument which could not be dumped, for *error*."""
    return caused(UsageError(_why_refused(types, oids, arguments, plan, error)), error)


def _why_refused(
    types: Types, oids: Sequence[int], arguments: Sequence[Any], plan: Plan, error: Exception
) -> str:
    for position, (value, oid) in enumerate(zip(arguments, oids, strict=False)):
        try:
            _encode_one(plan, position, value, len(arguments))
        except Exception as cause:
            said = str(cause) or type(cause).__name__
            limits = types.limits(oid)
            if isinstance(cause, OverflowError) and limits is not None:
                said = f"{value} is not between {limits[0]} and {limits[1]}"
            return (
                f"argument ${position + 1} ({type(value).__name__}) cannot be sent as {types.name(oid)}: "
                f"{said}{types.hint(oid)}"
            )
    return f"the arguments cannot be sent: {error}"


def _encode_one(plan: Plan, position: int, value: Any, count: int) -> None:
    alone: list[Any] = [None] * count
    alone[position] = value
    bounds = tuple(bound for bound in plan.bounds if bound[0] == position)
    converters = tuple(item for item in plan.converters if item[0] == position)
    Plan(plan.transformer, plan.py_formats, plan.formats, bounds, converters).encode(alone)
