"""How the arguments of a statement are dumped, once `types` has decided that (Q5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg.abc import Transformer
from psycopg.adapt import PyFormat

Convert = Callable[[Any], tuple[Any, int]]


class Plan:
    """How one combination of argument classes is dumped for one list of parameter types."""

    __slots__ = ("bounds", "converters", "formats", "py_formats", "transformer")

    def __init__(
        self,
        transformer: Transformer,
        py_formats: list[PyFormat],
        formats: list[int],
        bounds: tuple[tuple[int, int, int], ...],
        converters: tuple[tuple[int, Convert], ...],
    ) -> None:
        self.transformer: Transformer = transformer
        self.py_formats: list[PyFormat] = py_formats
        self.formats: list[int] = formats
        self.bounds: tuple[tuple[int, int, int], ...] = bounds
        self.converters: tuple[tuple[int, Convert], ...] = converters

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
