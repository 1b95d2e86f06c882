# Generated from pgdual/_async/projection/rebuild.py by _generate.py. Do not edit.
"""rebuild: a projection anew from the whole log, while live events keep flowing (J4).

Beside: fresh tables go along the log as any projection does, under a checkpoint of their own, so they can be
interrupted at any point and gone on with. Its transactions find them by their search_path, before the live
ones. When they have caught up, one transaction stops the projection,
does what is left, puts them in the place of the live tables and sets its checkpoint.

In place: one transaction empties the tables and fills them; until it commits the projection pauses, readers
see the old rows, and an interruption leaves them as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pgdual._sync.bulk.feed import come
from pgdual._sync.db import DB
from pgdual._sync.runtime import now, sleep
from pgdual._sync.transaction import Isolation
from pgdual.core.meter import ProjectionMeter, ProjectionMeters
from pgdual.core.projection import START, Event, Position, Projector, Registry
from pgdual.core.track import SLICES, Pace, behind, is_broken, is_conflict, is_trouble
from pgdual.errors import ProjectionError

from . import fresh
from .batches import CONFLICTS, POSITIONS, START_SLICES, Projection
from .failures import WAITING, keep, words_of
from .log import EventLog
from .registry import REGISTRY
from .retries import Retries

BATCH = 8_000  # events of one step. Source: bench row 21 was quickest with it, of 1,000 to 16,000
NEAR = 2_000  # events that are left for the swap
TRIES = 3
PATIENCE = 600.0  # seconds of one transaction
_COUNT = "SELECT count(*) FROM pgdual_events WHERE event_type = ANY($1) AND (turn, number) > ($2, $3)"
_ENTER = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_IS_FAR = "SELECT EXISTS (SELECT FROM pgdual_events WHERE (turn, number) > ($1, $2) OFFSET $3)"
_FAILED = "SELECT DISTINCT aggregate_id FROM projection_failures WHERE projector = $1"
_LEAST = "SELECT turn, number FROM pgdual_positions WHERE projector = $1 ORDER BY 1, 2 LIMIT 1"
_PENDING = """
SELECT count(*) FROM projection_failures AS f WHERE projector = $1 AND tries < $2 AND NOT EXISTS (
    SELECT FROM projection_failures WHERE projector = $1 AND aggregate_id = f.aggregate_id
    AND version < f.version AND tries >= $2
)
"""
_ALL_POSITIONS = f"{POSITIONS} FOR UPDATE"  # another rebuild may be in the middle of a batch
_STOP = "SELECT slice FROM pgdual_positions WHERE projector = $1 ORDER BY slice FOR UPDATE"
_STOP_INLINE = "LOCK TABLE pgdual_projected IN SHARE ROW EXCLUSIVE MODE"
_MOVE_ALL = "UPDATE pgdual_positions SET turn = $2, number = $3 WHERE projector = $1"
_FORGET = "DELETE FROM pgdual_positions WHERE projector = $1"
# Not those of callers whose transaction is open, for their events are not seen yet.
_OLD_FAILURES = """
DELETE FROM projection_failures AS f WHERE projector = ANY($1)
AND (turn IS NULL OR EXISTS (SELECT FROM pgdual_events WHERE event_id = f.event_id))
"""
_FAILURES = """
INSERT INTO projection_failures
(projector, aggregate_id, version, event_id, event_type, occurred_at, data, error, tries)
SELECT p.name, aggregate_id, version, event_id, f.event_type, occurred_at, data, error, tries
FROM projection_failures AS f JOIN unnest($2::text[], $3::text[]) AS p (name, event_type)
ON f.event_type = p.event_type OR p.event_type = '' WHERE f.projector = $1
ON CONFLICT DO NOTHING
"""
_PROJECTED = """
INSERT INTO pgdual_projected (projector, aggregate_id, version)
SELECT $1, aggregate_id, max(version) FROM pgdual_events AS e WHERE event_type = $2 AND NOT EXISTS (
    SELECT FROM projection_failures WHERE projector = $3 AND aggregate_id = e.aggregate_id
    AND version = e.version
) GROUP BY aggregate_id
"""
_OLD_PROJECTED = "DELETE FROM pgdual_projected WHERE projector = ANY($1)"


class Progress(NamedTuple):
    """How far a rebuild has come: events in all runs, of how many, a second, and the seconds left."""

    projection: str
    done: int
    total: int
    rate: float
    left: float
    is_over: bool


def rebuild(
    projection: str,
    database: DB,
    registry: Registry = REGISTRY,
    in_place: bool = False,
    restart: bool = False,
    progress: Callable[[Progress], Any] | None = None,
) -> Progress:
    """Make the read model of a projection anew from the whole log; return how far it came: to the end.

    Fresh tables are filled beside the live ones while those go on, and are swapped in one transaction;
    interrupted, the same call goes on where it was. Events that fail in it are kept in projection_failures.

    Args:
        in_place: Empty the live tables and fill them in one transaction. It pauses the projection until it
            is done, and where that is SYNC all callers of `project`, who may pass their time limit; readers
            see the old rows. Interrupted it has changed nothing, and begins anew.
        restart: Forget what an interrupted rebuild has done: after its projectors were changed.
        progress: Called after each batch.

    Raises:
        ProjectionError: There is no such projection, it has its events from elsewhere, it names no tables,
            something hangs on them that fresh ones would not have (a view, a trigger), they have changed
            since an interrupted rebuild began, or another rebuild of it was done first.
    """
    fresh.check_source(database, projection)
    work = Rebuild(projection, database, registry, progress)
    return (work.in_place() if in_place else work.beside(restart))


class Rebuild:
    """One rebuild."""

    def __init__(self, name: str, database: DB, registry: Registry, progress: Any) -> None:
        self._name = name
        self._key = f"{name} (rebuild)"
        self._database = database
        self._projectors: list[Projector] = registry.projection(name)
        self._is_inline = self._projectors[0].is_inline
        self._tables = list(dict.fromkeys(table for one in self._projectors for table in one.tables))
        if not self._tables:
            raise ProjectionError(
                f"projection {name!r} names no tables: register its projectors with tables=..."
            )
        # What callers append while a SYNC projection is stopped, they project themselves afterwards: what is
        # read and what is marked as projected come from one snapshot, which is taken after the lock.
        self._isolation: Isolation | None = "repeatable read" if self._is_inline else None
        self._fresh: fresh.Fresh | None = None
        self._looked = 0  # events
        self._progress = progress
        self._pace = Pace(0.0, 0)
        self._reached = START
        self._blocked: set[str] = set()  # aggregates with an event that has failed

    # -- beside ----------------------------------------------------------------------------------

    def beside(self, restart: bool) -> Progress:
        """Fill fresh tables and swap them in."""
        database, schema = self._database, fresh.schema_of(self._name)
        tables = fresh.live_tables(database, self._tables)
        fresh.check(database, tables)
        with database.transaction() as tx:
            tx.execute(_ENTER, self._key)
            if restart or not self._is_begun(tx, schema, tables):
                self._forget(tx)
                fresh.remove(tx, schema)
                tx.execute(START_SLICES, self._key, SLICES)
                if not self._is_inline:
                    tx.execute(START_SLICES, self._name, SLICES)
                fresh.make(tx, schema, tables)
        self._fresh = fresh.found(database, self._name, schema)
        self._fill()
        self._swap(schema, tables)
        return self._told(is_over=True)

    def _is_begun(self, tx: Any, schema: str, tables: list[fresh.Live]) -> bool:
        return bool(tx.fetch(POSITIONS, self._key)) and fresh.is_there(tx, schema, tables)

    def _forget(self, tx: Any) -> None:
        tx.execute(_FORGET, self._key)
        tx.execute(_OLD_FAILURES, [self._key])

    def _fill(self) -> None:
        """Bring the fresh tables near the end of the log, with second tries of what has failed."""
        database, log = self._database, EventLog(self._database)
        track = self._track(log)
        retries = Retries(log, database, Registry("none"), [track], ProjectionMeters(), TRIES, PATIENCE)
        self._count(database)
        while True:
            before = track.looked
            is_moving = track.step(BATCH)
            self._looked += track.looked - before
            if is_moving and database.fetchval(_IS_FAR, *track.position, NEAR):
                self._told()
                continue
            retries.step()
            if not database.fetchval(_PENDING, self._key, TRIES):
                return track.level()
            if not is_moving:
                sleep(0.05)

    def _track(self, source: Any) -> Projection:
        # Batches go quickest in one transaction: several would wait for each other's rows.
        parts = 1 if all(one.is_batch for one in self._projectors) else SLICES
        meter = ProjectionMeter()
        return Projection(
            source, self._database, self._key, self._projectors, meter, PATIENCE, self._fresh, parts
        )

    def _swap(self, schema: str, tables: list[fresh.Live]) -> None:
        for left in reversed(range(CONFLICTS)):
            try:
                with self._database.transaction(self._isolation, replay=False) as tx:
                    self._stop(tx)
                    self._replay(tx)
                    self._settle(tx)
                    fresh.swap(tx, schema, tables)
                return
            except Exception as error:  # one who projects in a long transaction was waited for, and waits
                if not is_conflict(error) or not left:
                    raise

    def _stop(self, tx: Any) -> None:
        if self._is_inline:
            tx.execute(_STOP_INLINE)
        else:
            tx.fetch(_STOP, self._name)

    # -- in place --------------------------------------------------------------------------------

    def in_place(self) -> Progress:
        """Empty the live tables and fill them, in one transaction."""
        database = self._database
        tables = [fresh.full(one) for one in fresh.live_tables(database, self._tables)]
        with database.transaction(self._isolation, replay=False) as tx:
            if not self._is_inline:
                tx.execute(START_SLICES, self._name, SLICES)
            self._stop(tx)
            self._forget(tx)
            fresh.remove(tx, fresh.schema_of(self._name))
            tx.execute(START_SLICES, self._key, SLICES)
            self._count(tx)
            tx.execute("SET CONSTRAINTS ALL DEFERRED")
            for table in reversed(tables):
                tx.execute(f"DELETE FROM {table}", timeout=None)  # noqa: S608
            self._replay(tx)
            self._settle(tx)
        return self._told(is_over=True)

    # -- both ------------------------------------------------------------------------------------

    def _replay(self, tx: Any) -> None:
        """Project what is behind the checkpoint, in the open transaction.

        A SYNC projector has projected what its caller appended, readable already or not; so it is read, too.
        """
        positions = [Position(*row) for row in tx.fetch(_ALL_POSITIONS, self._key)]
        if not positions and self._fresh is not None:
            raise self._fresh.gone()
        log = EventLog(self._database)
        track = self._track(log)
        self._blocked = {row[0] for row in tx.fetch(_FAILED, self._key)}
        self._reached, is_moving = min(positions), True
        while is_moving:
            begin = self._reached
            events, self._reached = log.scan(begin, BATCH, track.types, self._is_inline)
            self._looked += len(events)
            is_moving = self._reached > begin
            self._halved(tx, track, behind(events, positions))
            self._told()

    def _settle(self, tx: Any) -> None:
        """Set the checkpoints, and keep the failures of the rebuild in the place of the live ones."""
        if self._is_inline:
            names = [one.name for one in self._projectors]
            types = [one.event_type for one in self._projectors]
            tx.execute(_OLD_PROJECTED, names)
            for name, event_type in zip(names, types, strict=True):
                tx.execute(_PROJECTED, name, event_type, self._key, timeout=None)
        else:
            names, types = [self._name], [""]
            tx.execute(_MOVE_ALL, self._name, *self._reached)
        tx.execute(_OLD_FAILURES, names)
        tx.execute(_FAILURES, self._key, names, types)
        self._forget(tx)

    def _count(self, database: Any) -> None:
        """Count what there is to do, and what an earlier run has done."""
        types = [one.event_type for one in self._projectors]
        least = database.fetchrow(_LEAST, self._key)
        self._pace = Pace(now(), database.fetchval(_COUNT, types, *START, timeout=None))
        left = database.fetchval(_COUNT, types, *(least or START), timeout=None)
        self._pace.before = self._pace.total - left

    def _told(self, is_over: bool = False) -> Progress:
        pace = self._pace
        pace.done = pace.before + self._looked
        pace.total = max(pace.total, pace.done)  # more were appended
        moment = now()
        left = 0.0 if is_over else pace.left(moment)
        state = Progress(self._name, pace.done, pace.total, pace.rate(moment), left, is_over)
        if self._progress is not None:
            come(self._progress(state))
        return state

    def _halved(self, tx: Any, track: Projection, events: list[Event]) -> None:
        """Project *events*, each whole or not at all; keep those that fail."""
        for event in events:
            if event.aggregate_id in self._blocked:
                self._keep(tx, event, WAITING, 0)
        events = [event for event in events if event.aggregate_id not in self._blocked]
        if not events:
            return
        try:
            with tx.transaction():
                track.run(events)
        except Exception as error:
            if is_trouble(error) or is_conflict(error):
                raise
            if is_broken(error):
                raise track.broken(error) from error
            if len(events) == 1:
                self._keep(tx, events[0], words_of(error), 1)
                return
            half = len(events) // 2
            self._halved(tx, track, events[:half])
            self._halved(tx, track, events[half:])

    def _keep(self, tx: Any, event: Event, error: str, tries: int) -> None:
        self._blocked.add(event.aggregate_id)
        keep(tx, self._key, event, error, tries)
