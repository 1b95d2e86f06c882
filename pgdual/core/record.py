"""Rows: `Record`, and the shapes that `into=` can ask for.

A Record is a tuple that also answers by name. One class is made per list of column names and kept, so
that a row costs one C call. `row.email` is read through a C descriptor, `row["email"]` in C as well where
the extension was built.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import suppress
from copy import deepcopy
from inspect import signature
from typing import Any, ClassVar, Self

from pgdual.errors import UsageError

try:
    from ._named import Named
except ImportError:  # no compiler was there
    from .named import Named

Maker = Callable[[Any], Any]

# The C descriptor behind namedtuple's fields: ten times faster than a property over itemgetter.
_Column: Any = type(vars(namedtuple("_Shape", "column"))["column"])

# N3: bounded. A class is about 3 kB; a service rarely has more than a few hundred row shapes.
SHAPES = 512
_classes: dict[tuple[str, ...], type[Record]] = {}
_makers: dict[tuple[Any, tuple[str, ...]], Maker] = {}


class Record(Named):
    """A row: a tuple whose columns also answer to their names.

    `row["email"]` always works; `row.email` where the name is not a method's. Of two columns with one
    name the last wins by name, both stand by position. Compares, hashes, unpacks and pickles as a tuple;
    `in` looks among the values.
    """

    __slots__ = ()
    _index: ClassVar[dict[str, int]] = {}
    _names: ClassVar[tuple[str, ...]] = ()

    def __missing__(self, key: str) -> Any:
        raise KeyError(f"no column {key!r}; the row has {', '.join(self._names)}") from None

    def __getattr__(self, name: str) -> Any:
        # Names that are descriptors never come here.
        position = self._index.get(name)
        if position is None:
            raise AttributeError(f"no column {name!r}; the row has {', '.join(self._names)}")
        return tuple.__getitem__(self, position)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the column called *key*, or *default* if there is none."""
        index = self._index.get(key)
        return default if index is None else tuple.__getitem__(self, index)

    def keys(self) -> KeysView[str]:
        """Return the columns' names."""
        return self.asdict().keys()

    def values(self) -> ValuesView[Any]:
        """Return the columns' values, in the order of `keys()`."""
        return self.asdict().values()

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs of name and value."""
        return self.asdict().items()

    def asdict(self) -> dict[str, Any]:
        """Return the row as a dict."""
        return dict(zip(self._names, self, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(deepcopy(value, memo) for value in self)

    def __repr__(self) -> str:
        inside = " ".join(f"{name}={value!r}" for name, value in zip(self._names, self, strict=True))
        return f"<Record {inside}>" if inside else "<Record>"


_METHODS = frozenset(name for name in dir(Record) if not name.startswith("__"))


def record_class(names: tuple[str, ...]) -> type[Record]:
    """Return the Record class for these column names."""
    found = _classes.get(names)
    if found is None:
        found = _remember(_classes, names, _make_class(names))
    return found


def _make_class(names: tuple[str, ...]) -> type[Record]:
    index = {name: position for position, name in enumerate(names)}
    body: dict[str, Any] = {"__slots__": (), "_index": index, "_names": names}
    for name, position in index.items():
        if name not in _METHODS and name.isidentifier() and not name.startswith("__"):
            body[name] = _Column(position, f"Column {position}.")
    return type("Record", (Record,), body)


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> Any:
    if len(cache) >= SHAPES:
        with suppress(KeyError, RuntimeError):  # another thread was quicker
            del cache[next(iter(cache))]
    cache[key] = value
    return value


def maker(into: Any, names: tuple[str, ...]) -> Maker:
    """Return the function that turns a tuple of column values into *into*.

    Args:
        into: None (a Record), `tuple`, `dict`, a dataclass, a pydantic model or a msgspec Struct.
        names: The columns' names.

    Raises:
        UsageError: *into* is a dataclass whose fields are not the columns.
    """
    if into is None:
        return record_class(names)
    if into is tuple:
        return tuple
    found = _makers.get((into, names))
    if found is None:
        found = _remember(_makers, (into, names), _make_maker(into, names))
    return found


def checked_shape(into: Any) -> Any:
    """Return *into* if `maker` can make it.

    Raises:
        UsageError: It is no row shape.
    """
    if into is None or into is tuple or into is dict:
        return into
    if isinstance(into, type) and (
        dataclasses.is_dataclass(into) or any(hasattr(into, it) for it in _MODELS)
    ):
        return into
    raise UsageError(
        f"into={into!r} is not a row shape: give tuple, dict, a dataclass, a pydantic model "
        "or a msgspec Struct"
    )


_MODELS = ("model_validate", "__struct_fields__")


def _make_maker(into: Any, names: tuple[str, ...]) -> Maker:
    if into is dict:
        return lambda row: dict(zip(names, row, strict=True))
    if hasattr(into, "__dataclass_fields__"):
        _check_fields(into, names)
        return lambda row: into(**dict(zip(names, row, strict=True)))
    if hasattr(into, "model_validate"):
        validate = into.model_validate
        return lambda row: validate(dict(zip(names, row, strict=True)))
    return _struct_maker(into, names)


def _check_fields(into: Any, names: tuple[str, ...]) -> None:
    # A dataclass checks nothing itself: its TypeError would not say which columns there are.
    parameters = signature(into).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    wanted = [it.name for it in parameters if it.default is it.empty and it.kind is not it.VAR_POSITIONAL]
    missing = [name for name in wanted if name not in names]
    known = {parameter.name for parameter in parameters}
    extra = [name for name in names if name not in known]
    if missing or extra:
        said = [
            f"{into.__name__} {what} {', '.join(which)}"
            for what, which in (("also wants", missing), ("has no field for", extra))
            if which
        ]
        raise UsageError(f"{' and '.join(said)}; the result has {_listed(names)}")


def _struct_maker(into: Any, names: tuple[str, ...]) -> Maker:
    from msgspec import convert  # noqa: PLC0415 - the caller's own dependency

    return lambda row: convert(dict(zip(names, row, strict=True)), into, strict=False)


def column_position(column: int | str, names: tuple[str, ...]) -> int:
    """Return the position of *column* (a position or a name).

    Raises:
        UsageError: There is no such column.
    """
    if isinstance(column, str):
        for position in range(len(names) - 1, -1, -1):
            if names[position] == column:
                return position
    elif -len(names) <= column < len(names):
        return column
    raise UsageError(f"column={column!r}: the result has {_listed(names)}")


def _listed(names: tuple[str, ...]) -> str:
    return f"the columns {', '.join(names)}" if names else "no columns"


def names_of(result: Any) -> tuple[str, ...]:
    """Return the column names of a PGresult."""
    return tuple(result.fname(index).decode() for index in _indexes(result))


def _indexes(result: Any) -> Iterator[int]:
    return iter(range(result.nfields))
