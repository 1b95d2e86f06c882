"""What the caller's rows come from, read a part at a time (by hand; the twin is `_async/bulk/feed.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeVar

from pgdual.core.statement import check_rows

__all__ = ["Feed", "Many", "come"]

T = TypeVar("T")
Many = Iterable[T]


class Feed:
    """An iterable, read in parts.

    Raises:
        UsageError: It is none, or a text.
    """

    def __init__(self, many: Many[Any], what: str = "rows") -> None:
        check_rows(many, what)
        self._quick = iter(many)

    def take(self, most: int) -> list[Any]:
        """Return the next items, *most* of them or, at the end, fewer."""
        return list(islice(self._quick, most))


def come(value: Any) -> Any:
    """Return *value*: nothing is come on this face."""
    return value
