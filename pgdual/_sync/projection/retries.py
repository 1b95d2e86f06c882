# Generated from pgdual/_async/projection/retries.py by _generate.py. Do not edit.
"""Second tries of the events in projection_failures, of SYNC projectors and of ASYNC projections.

Of an aggregate the earliest one is tried, and when that is done the next. Its row is removed in the
transaction of its read model, so it is projected once. After its last try it is parked: it stands there with
its error, until somebody gives it new tries or skips it.

A SYNC projector may have failed in a transaction that was rolled back afterwards, and the event with it. So
the log is asked first whether it was ever appended; if not, the failure is none and is forgotten. Where
nothing is in the log, for events are kept elsewhere, its caller is taken at his word.
"""

from __future__ import annotations

import logging
from typing import Any

from pgdual._sync.db import DB
from pgdual._sync.runtime import limited, now
from pgdual.core.meter import ProjectionMeters
from pgdual.core.projection import Event, Projector, Registry
from pgdual.core.track import is_conflict, is_trouble, slice_of

from .batches import Projection
from .failures import PASSED, words_of
from .log import EventLog

FIRST = 0.1  # seconds after which an event is tried again; four times as long each time
AT_ONCE = 100  # aggregates of one step
_DUE = """
SELECT projector, aggregate_id FROM (
    SELECT DISTINCT ON (projector, aggregate_id) projector, aggregate_id, tries, failed_at
    FROM projection_failures WHERE projector = ANY($1) ORDER BY projector, aggregate_id, version
) AS first
WHERE tries < $2
AND (tries = 0 OR failed_at + make_interval(secs => $3 * 4 ^ (tries - 1)) < clock_timestamp())
ORDER BY failed_at LIMIT $4
"""
_EARLIEST = """
SELECT event_id, event_type, aggregate_id, version, occurred_at, data, tries, turn FROM projection_failures
WHERE projector = $1 AND aggregate_id = $2 AND version = (
    SELECT min(version) FROM projection_failures WHERE projector = $1 AND aggregate_id = $2
) FOR UPDATE SKIP LOCKED
"""
# Batches go on beside it; a rebuild, which stops the projection, does not.
_SHARE = """
SELECT true FROM pgdual_positions WHERE projector = $1 AND slice = $2 FOR KEY SHARE SKIP LOCKED
"""
_REMOVE = "DELETE FROM projection_failures WHERE projector = $1 AND aggregate_id = $2 AND version = $3"
_FAILED = """
UPDATE projection_failures SET tries = tries + 1, error = $5, failed_at = clock_timestamp()
WHERE projector = $1 AND aggregate_id = $2 AND version = $3 AND event_id = $4 RETURNING tries
"""
_logger = logging.getLogger("pgdual.projection")


class Retries:
    """Tries failed events again that are due.

    Args:
        tries: In all, the first one included.
    """

    def __init__(
        self,
        source: Any,
        database: DB,
        registry: Registry,
        projections: list[Projection],
        meters: ProjectionMeters,
        tries: int,
        timeout: float,
    ) -> None:
        self._log = source if isinstance(source, EventLog) else EventLog(database)
        self._is_elsewhere = self._log is not source
        self._database = database
        self._inline = {one.name: one for one in registry if one.is_inline}
        self._behind = {one.name: one for one in projections}
        self._meters = meters
        self._tries = tries
        self._timeout = timeout

    def step(self) -> int:
        """Try those again that are due; return how many were projected."""
        names = [*self._inline, *self._behind]
        due = self._database.fetch(_DUE, names, self._tries, FIRST, AT_ONCE)
        done = 0
        for name, aggregate in due:
            while self._again(name, aggregate):
                done += 1
        return done

    def _again(self, name: str, aggregate: str) -> bool:
        """Try the earliest failed event of an aggregate; False if the next one has to wait."""
        tried: list[Event] = []
        try:
            return self._attempt(name, aggregate, tried)
        except Exception as error:
            if not tried or is_trouble(error) or is_conflict(error):
                raise
            self._failed(name, tried[0], error)
            return False

    def _attempt(self, name: str, aggregate: str, tried: list[Event]) -> bool:
        inline = self._inline.get(name)
        seconds = self._timeout if inline is None else inline.timeout
        transaction = self._database.transaction(replay=False)
        with transaction as tx:
            is_of_log = inline is None and not self._is_elsewhere
            if is_of_log and not tx.fetchval(_SHARE, name, slice_of(aggregate)):
                return False
            row = tx.fetchrow(_EARLIEST, name, aggregate)
            if row is None or row.tries >= self._tries:
                return False
            event = Event(*row[:6])
            if row.turn is not None and not self._is_there(tx, name, event, row.turn):
                return False
            tried.append(event)
            tx.execute(_REMOVE, name, aggregate, event.version)
            if (
                inline is not None
                and tx.execute(PASSED, name, aggregate, event.version) == "INSERT 0 0"
            ):
                return True  # its caller has projected it himself meanwhile
            transaction._session.until = now() + seconds
            limited(seconds, self._call, name, inline, event)
            transaction._session.until = now() + seconds
        self._meters.of(name).events += 1
        return True

    def _call(self, name: str, inline: Projector | None, event: Event) -> None:
        if inline is None:
            self._behind[name].run([event])
        else:
            inline.function(inline.given([event]), self._database)

    def _is_there(self, tx: Any, name: str, event: Event, turn: int) -> bool:
        """Return whether the event was appended; forget its failure if it never was."""
        found = self._log.was_appended(event, turn)
        if found is False and self._is_elsewhere and not self._log.is_used():
            return True
        if found is False:
            tx.execute(_REMOVE, name, event.aggregate_id, event.version)
            _logger.warning(
                "[PROJECTION] %s: %s failed with event %s, which was never appended: forgotten",
                self._database.name,
                name,
                event.event_id,
            )
        return bool(found)

    def _failed(self, name: str, event: Event, error: Exception) -> None:
        values = (name, event.aggregate_id, event.version, event.event_id, words_of(error))
        tries = self._database.fetchval(_FAILED, *values)
        self._meters.of(name).failures += 1
        if tries is not None and tries >= self._tries:
            _logger.error(
                "[PROJECTION] %s: %s has parked event %s after %s tries: %s",
                self._database.name,
                name,
                event.event_id,
                tries,
                words_of(error),
            )
