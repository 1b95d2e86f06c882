# Generated from pgdual/_async/projection/registry.py by _generate.py. Do not edit.
"""The decorators: which function projects which events (J1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pgdual._sync.runtime import FACE
from pgdual.core.projection import TIMEOUT, ProjectionType, Registry

F = TypeVar("F", bound=Callable[..., Any])

BEHIND = ProjectionType("async")
REGISTRY = Registry(FACE)  # what the decorators fill where they are given no other


def projector(
    event: type | str,
    projection_type: ProjectionType = BEHIND,
    name: str | None = None,
    registry: Registry = REGISTRY,
) -> Callable[[F], F]:
    """Register a function `(event, db)` that turns events into rows; the function stays as it is.

    Several may take one event, and one may take several.

    Args:
        event: A dataclass or pydantic model, whose `event_type` (the class's name otherwise) it takes, or
            that name itself. Who registers a class gets an instance of it, who registers a name an `Event`.
        projection_type: SYNC runs inside `project(event)`, ASYNC in a worker.
        name: What its checkpoint goes by; "function:event_type" otherwise. Renamed, it starts anew.
        registry: Where; a test may have its own.

    Raises:
        ProjectionError: The function does not fit, or the name is taken.
    """

    def register(function: F) -> F:
        registry.add(event, function, projection_type, name)
        return function

    return register


def sync_projection(timeout_seconds: float = TIMEOUT, registry: Registry = REGISTRY) -> Callable[[F], F]:
    """Limit the time of a SYNC projector; it stands above `@projector`.

    Raises:
        ProjectionError: The function is no SYNC projector, or the limit is not above zero.
    """

    def amend(function: F) -> F:
        registry.limit(function, timeout_seconds)
        return function

    return amend
