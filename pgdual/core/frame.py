"""Values that hold values, as PostgreSQL writes them: arrays in binary and in text, ranges, composites.

psycopg's own list dumper decides on each element in Python (13 us a row of five columns); here elements
come dumped by one call and are framed with `struct`. Text is for what has no binary dumper; every part
is quoted, which is always right and needs no look at its characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from struct import Struct
from typing import Any

# Source: array_send in PostgreSQL's arrayfuncs.c: dimensions, has-null flag, element type, then
# length and lower bound of each dimension.
_HEAD = Struct("!iII").pack
_DIMENSION = Struct("!ii").pack
_LENGTH = Struct("!i").pack
_NULL = _LENGTH(-1)

Part = bytes | None
Shape = Sequence[int]


def array(buffers: Sequence[Any], element: int, shape: Shape) -> bytes:
    """Return an array in PostgreSQL's binary form.

    Args:
        buffers: The elements in binary form, None for NULL.
        element: The oid of the elements' type.
        shape: The length of each dimension.
    """
    if not buffers:
        return _HEAD(0, 0, element)
    parts = [_HEAD(len(shape), None in buffers, element)]
    append = parts.append
    for length in shape:
        append(_DIMENSION(length, 1))
    for buffer in buffers:
        if buffer is None:
            append(_NULL)
        else:
            append(_LENGTH(len(buffer)))
            append(bytes(buffer))
    return b"".join(parts)


def flat(value: Sequence[Any], nests: tuple[type, ...]) -> tuple[Sequence[Any], tuple[int, ...]]:
    """Return the elements of a nested array in one sequence, and the length of each dimension.

    Raises:
        ValueError: It is not rectangular.

    Args:
        nests: The classes that stand for a dimension; others are elements.
    """
    items, shape = value, [len(value)]
    while nests:
        deeper = {issubclass(cls, nests) for cls in set(map(type, items))}
        if True not in deeper:
            break
        if False in deeper:
            raise ValueError("lists and other values stand side by side in it")
        lengths = {len(item) for item in items}
        if len(lengths) > 1:
            raise ValueError("its lists have different lengths")
        shape.append(lengths.pop())
        items = [one for item in items for one in item]
    return items, tuple(shape)


def array_text(parts: Sequence[Part], shape: Shape, delimiter: str = ",") -> bytes:
    """Return an array of *parts* in PostgreSQL's text form."""
    if not parts:
        return b"{}"
    between = delimiter.encode()
    level = [b"NULL" if part is None else _quoted(part) for part in parts]
    for length in reversed(shape):
        level = [
            b"{%b}" % between.join(level[start : start + length]) for start in range(0, len(level), length)
        ]
    assert prod(shape) == len(parts)
    return level[0]


def range_text(bounds: str | None, lower: Part, upper: Part) -> bytes:
    """Return a range in PostgreSQL's text form.

    Args:
        bounds: "[)" and the like; None for the empty range.
        lower: None where there is no limit, as *upper*.
    """
    if bounds is None:
        return b"empty"
    low, high = (b"" if part is None else _quoted(part) for part in (lower, upper))
    return b"%b%b,%b%b" % (bounds[0].encode(), low, high, bounds[1].encode())


def multirange_text(parts: Sequence[bytes]) -> bytes:
    """Return a multirange of *parts*, ranges in text form, in PostgreSQL's text form."""
    return b"{%b}" % b",".join(parts)


def row_text(parts: Sequence[Part]) -> bytes:
    """Return a composite value in PostgreSQL's text form."""
    return b"(%b)" % b",".join(b"" if part is None else _quoted(part) for part in parts)


def _quoted(part: bytes) -> bytes:
    return b'"%b"' % part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
