"""What the face has of projections; imported as the first of its names is asked for."""

from __future__ import annotations

from typing import Any

from pgdual._async.db import AsyncDB
from pgdual._async.tradecore import Name, named
from pgdual.core.projection import START, Event, Position, ProjectionType, Registry
from pgdual.settings import Database

from . import inline
from .failures import failures as projection_failures
from .failures import retry as retry_projection
from .failures import skip as skip_projection
from .failures import status as projection_status
from .log import AsyncEventLog
from .rebuild import rebuild
from .registry import REGISTRY, projector, sync_projection
from .worker import AsyncProjectionWorker

__all__ = [
    "REGISTRY",
    "START",
    "AsyncEventLog",
    "AsyncProjectionWorker",
    "Event",
    "Position",
    "ProjectionType",
    "Registry",
    "project",
    "projection_failures",
    "projection_status",
    "projector",
    "rebuild",
    "retry_projection",
    "skip_projection",
    "sync_projection",
]


async def project(event: Any, database: Name | AsyncDB = Database.MAIN, registry: Registry = REGISTRY) -> int:
    """Run the SYNC projectors of an event, and return how many changed something (J2).

    Each runs in a transaction of its own, a savepoint where one is open here, with its checkpoint: an event
    that it has seen changes nothing. One that fails is rolled back and recorded in projection_failures for a
    later try, and the others run all the same. An event that nobody projects is counted.

    Raises:
        ProjectionTimeoutError: One was not done in time; it is a TimeoutError.
        ProjectionError: An earlier event of the aggregate has failed, and has to be projected first.
        UsageError: It is no event.
        Exception: What a projector raised, the first of them.
    """
    return await inline.project(event, named(database), registry)
