"""SYNC projectors: run before the caller goes on, each whole or not at all (J2).

Each has a transaction of its own, or a savepoint where the caller has one open, and in it the checkpoint: the
version of the aggregate that it has come to. So a replayed event changes nothing, and `total_orders + 1` is
safe. A gap in the versions is none here: a projector sees the events of its own type only, and it is the log
that leaves no version out.

The clocks of all projectors of one event start together, so the caller has control back at the longest of
their limits. On the async side a projector is cancelled wherever it is; on the blocking side each of its
statements ends at the limit, and one that computes instead is noticed when it comes back.
"""

from __future__ import annotations

import logging
from typing import Any

from pgdual._async.db import AsyncDB
from pgdual._async.runtime import limited, now
from pgdual.core.projection import Event, Projector, Registry
from pgdual.errors import ProjectionError, ProjectionTimeoutError

from .failures import record

# No row is touched by a replay, nor by an event that an earlier one, which has failed, stands in the way of.
_ADVANCE = """
INSERT INTO pgdual_projected AS p (projector, aggregate_id, version)
SELECT $1, $2, $3 WHERE NOT EXISTS (
    SELECT FROM projection_failures WHERE projector = $1 AND aggregate_id = $2 AND version < $3
)
ON CONFLICT (projector, aggregate_id) DO UPDATE SET version = excluded.version
WHERE p.version < excluded.version
"""
_REACHED = "SELECT coalesce(max(version), 0) FROM pgdual_projected WHERE projector = $1 AND aggregate_id = $2"
_logger = logging.getLogger("pgdual.projection")


async def project(given: Any, database: AsyncDB, registry: Registry) -> int:
    """Run the SYNC projectors of an event; return how many changed something.

    One that fails does not keep the others from the event; its error is raised when all have run.
    """
    event, started = Event.of(given), now()
    projectors = registry.of(event.event_type)
    warning = registry.count(projectors)
    if warning is not None:
        _logger.warning(warning)
    database._projections.count(any(one.is_inline for one in projectors), bool(projectors))
    changed, errors = 0, []
    for projector in projectors:
        if projector.is_inline:
            try:
                changed += await _one(database, projector, event, started + projector.timeout)
            except Exception as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return changed


async def _one(database: AsyncDB, projector: Projector, event: Event, until: float) -> bool:
    meter, started = database._projections.of(projector.name), now()
    try:
        changed = await limited(until - now(), apply, database, projector, event, until)
        meter.events += changed
        meter.took.record(now() - started)
        return changed
    except Exception as error:
        meter.failures += 1
        failure: Exception = error
        if isinstance(error, TimeoutError) and now() >= until:
            failure = ProjectionTimeoutError(
                f"{database.name}: projector {projector.name!r} was not done with event {event.event_id} "
                f"within {projector.timeout:g} s; it was rolled back and is recorded in projection_failures"
            )
        await record(database, projector.name, event, failure)
        raise failure from (error if failure is not error else error.__cause__)


async def apply(database: AsyncDB, projector: Projector, event: Event, until: float) -> bool:
    """Project *event* together with the checkpoint; False if that was done before.

    Raises:
        ProjectionError: An earlier event of the aggregate has failed, and has to be projected first.
        TimeoutError: It is past *until* (monotonic seconds).
        Exception: What the projector raises.
    """
    transaction = database.transaction()
    async with transaction as tx:
        session = transaction._session
        before, session.until = session.until, min(session.until, until)
        try:
            key = (projector.name, event.aggregate_id)
            status = await tx.execute(_ADVANCE, *key, event.version)
            if status == "INSERT 0 0":
                if await tx.fetchval(_REACHED, *key) >= event.version:
                    return False
                raise ProjectionError(
                    f"{database.name}: projector {projector.name!r} has failed with an earlier event of "
                    f"{event.aggregate_id!r}; event {event.event_id} waits for it in projection_failures"
                )
            await projector.function(projector.given([event]), database)
            if now() >= until:
                raise TimeoutError
        finally:
            session.until = before
    return True
