# Generated from pgdual/_async/projection/registry.py by _generate.py. Do not edit.
"""The decorators: which function projects which events (J1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    projection: str | None = None,
    batch: bool = False,
    tables: str | Sequence[str] = (),
    registry: Registry = REGISTRY,
) -> Callable[[F], F]:
    """Register a function `(event, db)` that turns events into rows; the function stays as it is.

    Several may take one event, and one may take several. Only what is done with the `db` that it is given
    is undone with the event, and kept by one commit with the checkpoint.

    Args:
        event: A dataclass or pydantic model, whose `event_type` (the class's name otherwise) it takes, or
            that name itself. Who registers a class gets an instance of it, who registers a name an `Event`.
        projection_type: SYNC runs inside `project(event)`, ASYNC in a worker.
        name: "function:event_type" otherwise.
        projection: What its checkpoint goes by, its own name otherwise; renamed, it starts anew. Projectors
            of one projection see the events of an aggregate in order, whichever of them takes which.
        batch: It takes `(events, db)`, a list that has the events of each aggregate in order: for
            `insert_many` and the like.
        tables: Those that this projection alone writes, whose names in its statements have no schema;
            what a rebuild makes anew.
        registry: Where; a test may have its own.

    Raises:
        ProjectionError: The function does not fit, or a name is taken.
    """

    def register(function: F) -> F:
        registry.add(event, function, projection_type, name, projection, batch, tables)
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
