"""What `raise ... from` does, for modules that are compiled: mypyc passes over the `from`."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def caused(error: E, cause: BaseException | None) -> E:
    """Return *error*, to be raised from *cause*; None hides what is handled meanwhile."""
    error.__cause__ = cause
    return error
