"""What the caller's rows come from, read a part at a time (by hand; the twin is `_sync/bulk/feed.py`)."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import Any, TypeVar

from pgdual.core.statement import check_rows

__all__ = ["AsyncFeed", "Many", "come"]

T = TypeVar("T")
Many = Iterable[T] | AsyncIterable[T]


class AsyncFeed:
    """An iterable or an async one, read in parts.

    Raises:
        UsageError: It is neither, or a text.
    """

    def __init__(self, many: Many[Any], what: str = "rows") -> None:
        self._slow: AsyncIterator[Any] | None = None
        if isinstance(many, AsyncIterable):
            self._slow = aiter(many)
        else:
            check_rows(many, what)
            self._quick = iter(many)

    async def take(self, most: int) -> list[Any]:
        """Return the next items, *most* of them or, at the end, fewer."""
        if self._slow is None:
            return list(islice(self._quick, most))
        taken: list[Any] = []
        async for item in self._slow:
            taken.append(item)
            if len(taken) == most:
                break
        return taken


async def come(value: Any) -> Any:
    """Return *value*, or what it comes to where it is to be awaited: of a file that is async or not."""
    return await value if inspect.isawaitable(value) else value
