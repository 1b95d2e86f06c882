# Generated from pgdual/_async/projection/batches.py by _generate.py. Do not edit.
"""A projection on its way along the log (J3): batches, and a checkpoint in the transaction of their rows.

What is read is divided by aggregate into slices, which are projected at the same time, each in one
transaction, or some in one where events are few: the checkpoint's row is locked and read, the events behind
it are projected, the checkpoint is moved, COMMIT. So the checkpoint is what was done, whatever becomes of
the process, the connection or the server in between, and several workers do not do a thing twice.

There is no savepoint for each event: if one fails, all is undone and the halves are done apart, until the
event that fails is alone. It is kept in projection_failures, the checkpoint goes past it, and the later
events of its aggregate are kept behind it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from pgdual._sync.db import DB
from pgdual._sync.runtime import FACE, limited, now, sleep, together
from pgdual.core.meter import ProjectionMeter
from pgdual.core.projection import START, UNREADABLE, Event, Position, ProjectionType, Projector
from pgdual.core.track import OF, SLICES, behind, is_broken, is_conflict, is_trouble, parts_of, waves
from pgdual.errors import ProjectionError

from .failures import WAITING, keep, words_of
from .fresh import Fresh
from .log import SOON


def _refuse(event: Event, database: DB) -> None:
    raise ProjectionError(event.data.get("error", f"nothing projects {event.event_type!r} any more"))


# What is done with a message that is no event: it fails as any other does, and is kept with its error.
_REFUSAL = [Projector("", _refuse, UNREADABLE, UNREADABLE, ProjectionType("async"), "")]
CONFLICTS = 5  # times that a slice is tried again alone
CALM = 20  # batches that slices take turns for after a conflict; doubled by the next
AGES = 1_000  # turns after which the checkpoint of a slice without events is moved
START_SLICES = """
INSERT INTO pgdual_positions (projector, slice) SELECT $1, generate_series(0, $2 - 1)
ON CONFLICT DO NOTHING
"""
POSITIONS = "SELECT turn, number FROM pgdual_positions WHERE projector = $1 ORDER BY slice"
# One that another worker is at is passed over.
_LOCK = """
SELECT slice, turn, number FROM pgdual_positions WHERE projector = $1 AND slice = ANY($2)
FOR NO KEY UPDATE SKIP LOCKED
"""
_ANY = "SELECT EXISTS (SELECT FROM projection_failures WHERE projector = $1)"
_BLOCKED = """
SELECT DISTINCT aggregate_id FROM projection_failures WHERE projector = $1 AND aggregate_id = ANY($2)
"""
_MOVE = """
UPDATE pgdual_positions SET turn = $3, number = $4 WHERE projector = $1 AND slice = ANY($2)
RETURNING extract(epoch FROM clock_timestamp() - $5::timestamptz)::float8
"""
_LEVEL = """
UPDATE pgdual_positions SET turn = $2, number = $3 WHERE projector = $1 AND (turn, number) < ($2, $3)
"""
END = Position(1 << 63, 0)  # behind which there is nothing
_logger = logging.getLogger("pgdual.projection")


class Projection:
    """One projection between the log and its read model.

    Args:
        source: Where events are read: `scan(from_position, limit, event_types)`, and its name: `track`.
        name: What its failures go by, and its checkpoint, which has the track's name, too.
        timeout: Seconds for one transaction; a batch that takes longer is undone, and halved.
        fresh: Where the projectors find the tables of a rebuild, who has made the checkpoint.
        parts: How many transactions a batch makes at most.
    """

    def __init__(
        self,
        source: Any,
        database: DB,
        name: str,
        projectors: list[Projector],
        meter: ProjectionMeter,
        timeout: float,
        fresh: Fresh | None = None,
        parts: int = SLICES,
    ) -> None:
        self.name = name
        self.database = database
        self._source = source
        self._key = f"{name}{OF}{source.track}" if source.track else name
        self._projectors = projectors
        self._timeout = timeout
        self._fresh = fresh
        self._most = parts
        self._by_type: dict[str, list[Projector]] = {}
        for one in projectors:
            self._by_type.setdefault(one.event_type, []).append(one)
        self.types = list(self._by_type)
        self._has_batches = any(one.is_batch for one in projectors)
        self._meter = meter
        self.looked = 0  # events of its types that were read
        self._positions: list[Position] = []  # by slice: what it is known to have done
        self._kept = START  # what all of them have, in the database
        self._busy: set[int] = set()  # slices that another worker is at
        self._calm = 0
        self._calmed = CALM

    @property
    def position(self) -> Position:
        """What all slices have done."""
        return min(self._positions, default=START)

    def along(self, track: Any) -> Projection:
        """Return the same projection on its way along one track of its source."""
        known = (self.name, self._projectors, self._meter, self._timeout, self._fresh, self._most)
        return type(self)(track, self.database, *known)

    def step(self, limit: int) -> bool:
        """Look through the next *limit* events and project its own; False if there are none.

        Raises:
            ProjectionError: A projector does not fit the database: a table is missing.
            Exception: The server is in trouble. Nothing is lost, and the next step begins at the checkpoint.
        """
        try:
            if not self._positions:
                self._load()
            begin = min(self._positions)
            events, reached = self._source.scan(begin, limit, self.types)
            if reached > begin:
                self.looked += len(events)
                self._spread(events, reached)
            elif begin > self._kept:
                self.level()
        except BaseException:
            self._positions = []
            raise
        return bool(reached > begin)

    def _load(self) -> None:
        rows = self.database.fetch(POSITIONS, self._key)
        if not rows:
            if self._fresh is not None:
                raise self._fresh.gone()
            self.database.execute(START_SLICES, self._key, SLICES)
            rows = self.database.fetch(POSITIONS, self._key)
        self._positions = [Position(*row) for row in rows]
        self._kept = min(self._positions)

    def _spread(self, events: list[Event], reached: Position) -> None:
        """Project *events*, slice by slice or at the same time; then all slices have come to *reached*."""
        parts = parts_of(events, self._positions, self._most)
        calls = [partial(self._told, *part) for part in parts]
        # On the blocking face in turn: a thread of its own would go on after Ctrl-C.
        is_abreast = FACE == "async" and not self._calm
        errors = together(calls) if is_abreast else [call() for call in calls]
        self._calm = max(self._calm - 1, 0)
        for part, error in zip(parts, errors, strict=True):
            if error is not None:
                self._calmly(*part, error)
        self._positions = [
            position if number in self._busy else max(position, reached)
            for number, position in enumerate(self._positions)
        ]
        if reached.turn - self._kept.turn > AGES:
            self.level()
        if self._busy:
            self._busy.clear()
            self._positions = []  # he may have moved them
            sleep(SOON)

    def level(self) -> None:
        """Move the checkpoints of slices without events, who would have everything read again."""
        least = self.position
        self.database.execute(_LEVEL, self._key, *least)
        self._kept = least

    def _told(self, slices: list[int], events: list[Event]) -> Exception | None:
        try:
            self._project(slices, events)
        except Exception as error:
            return error
        return None

    def _calmly(self, slices: list[int], events: list[Event], error: Exception) -> None:
        """Project again what met a conflict, with no other slice at the same time."""
        for _ in range(CONFLICTS):
            if not is_conflict(error):
                break
            self._calm, self._calmed = self._calmed, self._calmed * 2
            again = self._told(slices, events)
            if again is None:
                return
            error = again
        raise error

    def _project(self, slices: list[int], events: list[Event]) -> None:
        try:
            self._attempt(slices, events)
            return
        except Exception as error:
            if is_trouble(error) or is_conflict(error):
                raise
            if is_broken(error):
                raise self.broken(error) from error
            if len(events) == 1:
                self._park(slices, events[0], error)
                return
        half = len(events) // 2
        self._project(slices, events[:half])
        self._project(slices, events[half:])

    def broken(self, error: Exception) -> ProjectionError:
        """Return what is to be raised where a projector does not fit the database."""
        return ProjectionError(
            f"{self.database.name}: projection {self.name!r} stands still until this is mended: "
            f"{words_of(error)}"
        )

    def _attempt(self, slices: list[int], events: list[Event]) -> None:
        """Project *events* of some slices in one transaction, with their checkpoints."""
        started = now()
        transaction = self.database.transaction(replay=False)
        with transaction as tx:
            moved, left = self._locked(tx, slices, events)
            if not left:
                return
            transaction._session.until = started + self._timeout
            free = self._without_blocked(tx, left)
            if free:
                limited(self._timeout, self.run, free)
            transaction._session.until = started + 2 * self._timeout
            lag = tx.fetchval(_MOVE, self._key, moved, *left[-1].position, left[0].timestamp)
        self._meter.events += len(free)
        self._meter.took.record(now() - started)
        self._meter.lag.record(max(lag, 0.0))

    def _locked(self, tx: Any, slices: list[int], events: list[Event]) -> tuple[list[int], list[Event]]:
        """Lock the checkpoints of *slices*; return those to be moved, and what of *events* is behind them.

        A slice that another worker is at is left to it until all is read again: he may yet undo what he did.
        """
        free = [number for number in slices if number not in self._busy]
        rows = tx.fetch(_LOCK, self._key, free)
        reached = {number: Position(*place) for number, *place in rows}
        self._busy.update(number for number in free if number not in reached)
        left = behind(events, [reached.get(number, END) for number in range(SLICES)])
        return [number for number, place in reached.items() if left and place < left[-1].position], left

    def _without_blocked(self, tx: Any, events: list[Event]) -> list[Event]:
        """Return the *events* whose aggregates have no failed one, and keep the others behind that."""
        if not tx.fetchval(_ANY, self.name):
            return events  # as nearly always, and it spares sending all their names
        aggregates = list({event.aggregate_id for event in events})
        blocked = {row[0] for row in tx.fetch(_BLOCKED, self.name, aggregates)}
        for event in events:
            if event.aggregate_id in blocked:
                keep(tx, self.name, event, WAITING, 0)
        return [event for event in events if event.aggregate_id not in blocked] if blocked else events

    def _park(self, slices: list[int], event: Event, error: Exception) -> None:
        """Keep an event that has failed alone, and go past it."""
        with self.database.transaction(replay=False) as tx:
            moved, left = self._locked(tx, slices, [event])
            if not left:
                return
            keep(tx, self.name, event, words_of(error), 1)
            tx.fetchval(_MOVE, self._key, moved, *event.position, event.timestamp)
        self._meter.failures += 1
        _logger.warning(
            "[PROJECTION] %s: %s failed with event %s (%s %s of %s) and will try again: %s",
            self.database.name,
            self.name,
            event.event_id,
            event.event_type,
            event.version,
            event.aggregate_id,
            words_of(error),
        )

    def run(self, events: list[Event]) -> None:
        """Call the projectors of *events*, in the open transaction."""
        if self._fresh is not None:
            self._fresh.enter(self.database)
        for wave in waves(events) if self._has_batches and len(self.types) > 1 else [events]:
            self._call(wave)

    def _call(self, events: list[Event]) -> None:
        """Call the projectors of *events*, which are of one type where some of them take batches."""
        if not self._has_batches:
            for event in events:
                for one in self._by_type.get(event.event_type, _REFUSAL):
                    one.function(event.as_a(one.kind), self.database)
            return
        for one in self._by_type.get(events[0].event_type, _REFUSAL):
            for part in [events] if one.is_batch else [[event] for event in events]:
                one.function(one.given(part), self.database)
