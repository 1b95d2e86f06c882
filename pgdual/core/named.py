"""What is read most of a Record, `row["email"]`. `_named.c` is the same in C, where it could be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class Named(tuple[Any, ...]):
    """A tuple whose [] takes the names in `_index` as well; others go to `__missing__`, as in a dict."""

    __slots__ = ()
    __missing__: Callable[[str], Any]
    _index: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                position = self._index[key]
            except KeyError:
                return self.__missing__(key)
            return tuple.__getitem__(self, position)
        return tuple.__getitem__(self, key)
