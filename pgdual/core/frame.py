"""Arrays as bytes in PostgreSQL's binary form, their elements encoded in C.

psycopg's own list dumper decides on each element in Python (13 us a row of five columns); here the
column is dumped by one call and framed with `struct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from psycopg.abc import Transformer
from psycopg.adapt import PyFormat

# Source: array_send in PostgreSQL's arrayfuncs.c: dimensions, has-null flag, element type, then
# length and lower bound of each dimension.
_HEAD = Struct("!iIIii").pack
_LENGTH = Struct("!i").pack
_NULL = _LENGTH(-1)


def array(values: Sequence[Any], element: int, transformer: Transformer) -> bytes:
    """Return a one-dimensional array of *values* in PostgreSQL's binary form.

    Raises whatever the element's dumper raises for a value that it cannot take.

    Args:
        element: The oid of the elements' type.
        transformer: One that has a dumper for each of the values.
    """
    count = len(values)
    if not count:
        return _HEAD(0, 0, element, 0, 0)[:12]
    buffers = transformer.dump_sequence(values, [PyFormat.BINARY] * count)
    has_null = None in buffers
    parts = [_HEAD(1, has_null, element, count, 1)]
    append = parts.append
    for buffer in buffers:
        if buffer is None:
            append(_NULL)
        else:
            append(_LENGTH(len(buffer)))
            append(bytes(buffer))
    return b"".join(parts)
