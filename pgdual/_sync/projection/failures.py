# Generated from pgdual/_async/projection/failures.py by _generate.py. Do not edit.
"""Events that a projector has failed with: kept with their error until they are projected or skipped.

Behind a failed event wait the later ones of its aggregate, so that their order holds. A worker tries those
again that have tries left (`retry` gives them new ones); what is parked has none. They are kept by the name
of a SYNC projector, or of an ASYNC projection.
"""

from __future__ import annotations

import logging
from typing import Any

from pgdual._sync.db import DB
from pgdual._sync.runtime import SCOPE, owner, within
from pgdual.core.projection import Event
from pgdual.errors import ProjectionError

RECORDING = 1.0  # seconds that a caller, who has its error already, waits for the record of it
LONGEST = 2_000  # characters of an error
_RECORD = """
INSERT INTO projection_failures AS f
(projector, aggregate_id, version, event_id, event_type, occurred_at, data, error, tries, turn)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1, CASE WHEN %s THEN pg_current_xact_id()::text::bigint END)
ON CONFLICT (projector, aggregate_id, version)
DO UPDATE SET event_id = excluded.event_id, event_type = excluded.event_type, data = excluded.data,
    occurred_at = excluded.occurred_at, error = excluded.error, turn = excluded.turn,
    tries = CASE f.event_id WHEN excluded.event_id THEN f.tries + 1 ELSE 1 END, failed_at = clock_timestamp()
"""
_LIST = """
SELECT projector, aggregate_id, version, event_id, event_type, error, tries, failed_at
FROM projection_failures ORDER BY projector, aggregate_id, version
"""
_STATUS = """
SELECT p.projector AS projection, p.turn, p.number, CASE WHEN strpos(p.projector, ' @ ') = 0 THEN (
    SELECT count(*) FROM pgdual_events WHERE (turn, number) > (p.turn, p.number)
) END AS after FROM (
    SELECT DISTINCT ON (projector) projector, turn, number FROM pgdual_positions
    ORDER BY projector, turn, number
) AS p ORDER BY 1
"""
_RETRY = """
UPDATE projection_failures SET tries = 0
WHERE projector = $1 AND ($2::text IS NULL OR aggregate_id = $2) AND tries > 0
"""
_SKIP = """
DELETE FROM projection_failures WHERE projector = $1 AND aggregate_id = $2 AND version = (
    SELECT min(version) FROM projection_failures WHERE projector = $1 AND aggregate_id = $2
) RETURNING version
"""
# Where it is not the log that keeps versions apart, one that another event has is taken for the next.
_KEEP = """
INSERT INTO projection_failures
(projector, aggregate_id, version, event_id, event_type, occurred_at, data, error, tries)
SELECT $1, $2, CASE WHEN is_taken THEN last + 1 ELSE $3 END, $4, $5, $6, $7, $8, $9 FROM (
    SELECT max(version) AS last, bool_or(version = $3) AS is_taken, bool_or(event_id = $4) AS is_kept
    FROM projection_failures WHERE projector = $1 AND aggregate_id = $2
) AS f WHERE is_kept IS NOT TRUE
"""
WAITING = "it waits for an earlier event of its aggregate"
PASSED = """
INSERT INTO pgdual_projected AS p (projector, aggregate_id, version) VALUES ($1, $2, $3)
ON CONFLICT (projector, aggregate_id) DO UPDATE SET version = excluded.version
WHERE p.version < excluded.version
"""
_logger = logging.getLogger("pgdual.projection")


def words_of(error: BaseException) -> str:
    """Return an error as it is kept."""
    return f"{type(error).__name__}: {error}".replace("\0", "")[:LONGEST]


def keep(tx: Any, projection: str, event: Event, error: str, tries: int) -> None:
    """Keep an event of an ASYNC projection, in the transaction that goes past it."""
    values = (event.event_id, event.event_type, event.timestamp, event.json(), error, tries)
    tx.execute(_KEEP, projection, event.aggregate_id, event.version, *values)


def record(database: DB, projector: str, event: Event, error: Exception) -> None:
    """Keep a failed event, on another connection than the caller's; where that fails, say so."""
    is_inside = SCOPE.find(database, owner()) is not None
    try:
        within(RECORDING, _record, database, projector, event, error, is_inside)
    except Exception as another:
        text = f"{projector} failed with event {event.event_id}, which could not be recorded: {another}"
        _logger.error("[PROJECTION] %s: %s", database.name, text)
        error.add_note(text)


def _record(database: DB, projector: str, event: Event, error: Exception, is_inside: bool) -> None:
    values = (event.event_id, event.event_type, event.timestamp, event.json(), words_of(error), is_inside)
    with database.connection() as connection:
        connection.execute(_RECORD, (projector, event.aggregate_id, event.version, *values))


def failures(database: DB) -> list[dict[str, Any]]:
    """Return the events that projectors have failed with, or that wait behind one, as plain dicts."""
    return database.fetch(_LIST, into=dict)


def status(database: DB) -> list[dict[str, Any]]:
    """Return how far each ASYNC projection has come, as plain dicts.

    The keys: `projection`, `turn` and `number` of its checkpoint, and how many events of the log, of whatever
    type, are `after` it. With another source than the log in PostgreSQL there is one for each track of it,
    named "projection @ track", and what is after it is known there alone: None.
    """
    return database.fetch(_STATUS, into=dict)


def retry(database: DB, projector: str, aggregate_id: str | None = None) -> int:
    """Give failed events new tries, and return how many those are; a worker makes them.

    Raises:
        ProjectionError: There are none.
    """
    status = database.execute(_RETRY, projector, aggregate_id)
    return _some(int(status.split()[1]), database, projector, aggregate_id)


def skip(database: DB, projector: str, aggregate_id: str) -> int:
    """Give up the first failed event of an aggregate, for good, and return its version.

    Those that wait behind it are projected next.

    Raises:
        ProjectionError: There is none.
    """
    with database.transaction() as tx:
        version: Any = tx.fetchval(_SKIP, projector, aggregate_id)
        _some(bool(version), database, projector, aggregate_id)
        tx.execute(PASSED, projector, aggregate_id, version)
    return int(version)


def _some(count: int, database: DB, projector: str, aggregate_id: str | None) -> int:
    if not count:
        whom = "" if aggregate_id is None else f" with an event of {aggregate_id!r}"
        raise ProjectionError(f"{database.name}: projector {projector!r} has not failed{whom}")
    return count
