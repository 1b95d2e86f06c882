# Generated from pgdual/_async/projection/log.py by _generate.py. Do not edit.
"""The event log: a table of events, in an order that no reader can miss one of.

Positions from a sequence alone would skip: one transaction takes 5, another takes 6 and commits, a reader
goes past 6, and then 5 is committed. So an event's place is (turn, number). Its turn is the id of the
transaction that appended it, or the turn of the aggregate's last event where that is greater; and a reader
sees only turns below the oldest transaction that still runs (`pg_snapshot_xmin`).

- None is skipped: what a snapshot does not show was appended by a transaction that is not older than its
  xmin, and its turn is at least that transaction's id; so it comes after everything the snapshot let read.
- An aggregate's events stay in order: the row in `pgdual_streams` is locked by whoever appends, its turn
  never goes down, and the number is taken under that lock.

The price: a transaction that writes, anywhere on the server, holds readers up until it ends (its own turn
included, so an event is not read in the transaction that appends it). Transaction ids belong to a server:
a log that was restored into another one (pg_dump) is read only up to that server's xmin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import repeat
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json

from pgdual._sync.db import DB
from pgdual._sync.listen import Listener
from pgdual._sync.runtime import now
from pgdual.core.projection import START, Event, Position
from pgdual.errors import UsageError, VersionConflictError

CHANNEL = "pgdual_events"
BATCH = 500
POLL = 1.0  # seconds; where a notification is lost, for a Gap is not the only way
SOON = 0.01  # seconds: something is there, and an older transaction still runs
_MAKING = 0x7067_6475_616D  # the advisory lock of who makes the tables

_TABLES = """
CREATE TABLE IF NOT EXISTS pgdual_streams (
    aggregate_id text PRIMARY KEY,
    version      bigint NOT NULL,
    turn         bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS pgdual_events (
    turn         bigint NOT NULL,
    number       bigint GENERATED ALWAYS AS IDENTITY,
    event_id     uuid NOT NULL UNIQUE,
    event_type   text NOT NULL,
    aggregate_id text NOT NULL,
    version      bigint NOT NULL,
    occurred_at  timestamptz NOT NULL,
    data         jsonb NOT NULL,
    PRIMARY KEY (turn, number),
    UNIQUE (aggregate_id, version)
);
CREATE TABLE IF NOT EXISTS pgdual_projected (
    projector    text NOT NULL,
    aggregate_id text NOT NULL,
    version      bigint NOT NULL,
    PRIMARY KEY (projector, aggregate_id)
);
CREATE TABLE IF NOT EXISTS pgdual_positions (
    projector    text NOT NULL,
    slice        integer NOT NULL,
    turn         bigint NOT NULL DEFAULT 0,
    number       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (projector, slice)
);
CREATE TABLE IF NOT EXISTS projection_failures (
    projector    text NOT NULL,
    aggregate_id text NOT NULL,
    version      bigint NOT NULL,
    event_id     uuid NOT NULL,
    event_type   text NOT NULL,
    occurred_at  timestamptz NOT NULL,
    data         jsonb NOT NULL,
    error        text NOT NULL,
    tries        integer NOT NULL,
    turn         bigint,  -- where it was in its caller's transaction: not older than that
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projector, aggregate_id, version)
);
"""
_ADD = """
added AS (
    INSERT INTO pgdual_events (turn, event_id, event_type, aggregate_id, version, occurred_at, data)
    SELECT stream.turn, e.id, e.kind, $1, e.version, e.moment, e.data
    FROM stream, unnest($4::uuid[], $5::text[], $6::bigint[], $7::timestamptz[], $8::jsonb[])
        AS e (id, kind, version, moment, data)
    ORDER BY e.version
    RETURNING turn, number
)
SELECT turn, number, pg_notify('pgdual_events', '') FROM added ORDER BY number
"""
_FIRST = f"""
WITH stream AS (
    INSERT INTO pgdual_streams (aggregate_id, version, turn)
    SELECT $1, $3, pg_current_xact_id()::text::bigint WHERE $2::bigint = 0
    ON CONFLICT DO NOTHING RETURNING turn
), {_ADD}"""
_NEXT = f"""
WITH stream AS (
    UPDATE pgdual_streams SET version = $3, turn = greatest(turn, pg_current_xact_id()::text::bigint)
    WHERE aggregate_id = $1 AND version = $2 RETURNING turn
), {_ADD}"""  # noqa: S608
_VERSION = "SELECT version FROM pgdual_streams WHERE aggregate_id = $1"
# As text: what reads JSON below is quicker than the loader of a jsonb where msgspec is not installed.
_COLUMNS = "event_id, event_type, aggregate_id, version, occurred_at, data::text, turn, number"
_PUTS = [vars(Event)[field.name].__set__ for field in fields(Event)]
_HORIZON = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_READ = f"""
SELECT {_COLUMNS} FROM pgdual_events
WHERE (turn, number) > ($1, $2) AND turn < {_HORIZON}
AND ($4::text[] IS NULL OR event_type = ANY($4))
AND ($6 = 1 OR (hashtext(aggregate_id) & 2147483647) % $6 = $5)
ORDER BY turn, number LIMIT $3
"""  # noqa: S608
# The types are looked at last: with them in the inner query the planner sorts the whole rest of the log.
_SCAN = f"""
WITH page AS MATERIALIZED (
    SELECT {_COLUMNS} FROM pgdual_events WHERE (turn, number) > ($1, $2) AND ($5 OR turn < {_HORIZON})
    ORDER BY turn, number LIMIT $3
)
SELECT * FROM page WHERE event_type = ANY($4) OR (turn, number) = (
    SELECT turn, number FROM page ORDER BY turn DESC, number DESC LIMIT 1
)
"""  # noqa: S608
_APPENDED = f"SELECT EXISTS (SELECT FROM pgdual_events WHERE event_id = $1), $2 < {_HORIZON}"  # noqa: S608
_USED = "SELECT EXISTS (SELECT FROM pgdual_streams)"
_BEHIND = f"SELECT EXISTS (SELECT FROM pgdual_events WHERE turn >= {_HORIZON})"  # noqa: S608


class EventLog:
    """The events of one database, which can be appended to, read and followed."""

    track = ""  # one is all there is
    is_told = True  # of what is appended, by what `listen` returns

    def __init__(self, database: DB) -> None:
        self.database = database

    def create(self) -> None:
        """Make the tables of the log and of projections where there are none, in the path's first schema."""
        with self.database.transaction() as tx:
            tx.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
            tx.execute(_TABLES)

    def append(self, events: Any, expected_version: int | None = None) -> list[Position]:
        """Append one event or several of one aggregate, and return their places.

        Args:
            events: One event, or a sequence of them, whose versions follow one upon the other.
            expected_version: The aggregate's version before them, 0 if it has none yet; what goes before
                their first one otherwise.

        Raises:
            VersionConflictError: The aggregate is at another version; nothing was appended.
            UniqueViolation: One of the event_ids is in the log already.
            UsageError: They are no events, or not of one aggregate, or a version is left out.
        """
        found = [Event.of(one) for one in several(events)]
        expected = expected_of(found, expected_version)
        aggregate = found[0].aggregate_id
        rows = self.database.fetch(
            _NEXT if expected else _FIRST,
            aggregate,
            expected,
            found[-1].version,
            [event.event_id for event in found],
            [event.event_type for event in found],
            [event.version for event in found],
            [event.timestamp for event in found],
            [event.json() for event in found],
        )
        if rows:
            return [Position(row[0], row[1]) for row in rows]
        actual = self.version(aggregate)
        raise VersionConflictError(
            f"{self.database.name}: aggregate {aggregate!r} is at version {actual}, not {expected}; somebody "
            "else has appended to it: load it again and decide anew",
            aggregate,
            expected,
            actual,
        )

    def version(self, aggregate_id: str) -> int:
        """Return the version of an aggregate, 0 if it has no events."""
        return int(self.database.fetchval(_VERSION, aggregate_id) or 0)

    def read(
        self,
        from_position: Position = START,
        limit: int = BATCH,
        event_types: Sequence[str] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> list[Event]:
        """Return up to *limit* events after *from_position* in order; an empty list if there are none.

        What is appended later comes after all of them, whenever its transaction began.

        Args:
            event_types: Only these.
            part: (index, count): one of *count* disjoint parts; an aggregate is in one of them.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UsageError(f"limit={limit!r}: give how many events to read at most")
        turn, number = place(from_position)
        types = None if event_types is None else list(event_types)
        rows = self.database.fetch(_READ, turn, number, limit, types, *part, into=tuple)
        return events_of(rows)

    def scan(
        self, from_position: Position, limit: int, event_types: Sequence[str], is_all: bool = False
    ) -> tuple[list[Event], Position]:
        """Look through up to *limit* events; return those of the types, and the position of the last one.

        The position is *from_position* if there are none.

        Args:
            is_all: Also those that one of an older transaction may yet come before.
        """
        rows = self.database.fetch(_SCAN, *from_position, limit, list(event_types), is_all, into=tuple)
        if not rows:
            return [], from_position
        reached = Position(rows[-1][6], rows[-1][7])
        return events_of([row for row in rows if row[1] in event_types]), reached

    def tracks(self, projection: str) -> list[Any]:
        """Return what there is to go along: each has `track`, its name, and `scan`."""
        return [self]

    def listen(self) -> Listener:
        """Return a listener that hears when something was appended."""
        return self.database.listen(CHANNEL)

    def is_behind(self) -> bool:
        """Return whether there are events that cannot be read yet, for an older transaction still runs."""
        return bool(self.database.fetchval(_BEHIND))

    def was_appended(self, event: Event, turn: int) -> bool | None:
        """Return whether *event* is in the log; None if a transaction as old as *turn* may yet append it."""
        row = self.database.fetchrow(_APPENDED, event.event_id, turn)
        assert row is not None
        return True if row[0] else False if row[1] else None

    def is_used(self) -> bool:
        """Return whether anything was ever appended."""
        return bool(self.database.fetchval(_USED))

    def subscribe(self, from_position: Position = START, limit: int = BATCH) -> Subscription:
        """Return an iterator of the events after *from_position*, which waits for more at their end."""
        place(from_position)
        return Subscription(self, from_position, limit)


class Subscription:
    """An iterator of events from a position on; notifications wake it, polling is the fallback."""

    def __init__(self, log: Any, position: Position, limit: int) -> None:
        self.position: Position = position  # of the last event that was returned
        self._log = log
        self._limit = limit
        self._read: deque[Event] = deque()
        self._alarm = Alarm(log)

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or None if none came within *timeout* seconds."""
        limit = None if timeout is None else now() + timeout
        while not self._read:
            # After a Gap, too: what is read begins where we are, so none is missed.
            self._read.extend(self._log.read(self.position, self._limit))
            left = POLL if limit is None else limit - now()
            if self._read or left <= 0:
                break
            self._alarm.wait(min(left, POLL))
        if not self._read:
            return None
        event = self._read.popleft()
        self.position = event.position
        return event

    def close(self) -> None:
        """Follow no more."""
        self._alarm.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        found = self.next()
        assert found is not None  # without a time limit it waits
        return found

    def __enter__(self) -> Self:
        self._alarm.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Alarm:
    """Waits until there may be something new in a log."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._listener: Any = log.listen()

    def open(self) -> None:
        """Listen from now on."""
        self._listener.open()

    def wait(self, seconds: float) -> None:
        """Return when something was appended, or after *seconds* at most."""
        if self._log.is_behind():
            seconds = min(seconds, SOON)  # the older transaction's end is told by nobody
        while self._listener.next(seconds) is not None:
            seconds = 0  # one look answers all that have come

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


def events_of(rows: Sequence[tuple[Any, ...]]) -> list[Event]:
    """Return the events of rows of the log.

    Field by field, in C: a frozen dataclass' own __init__ takes four times as long, and this is done for
    every event.
    """
    found = [object.__new__(Event) for _ in rows]
    if rows:
        *own, data, turns, numbers = zip(*rows, strict=True)
        places = map(tuple.__new__, repeat(Position), zip(turns, numbers, strict=True))
        columns = (*own, map(from_json, data), places, repeat(None))
        for put, values in zip(_PUTS, columns, strict=True):
            deque(map(put, found, values), maxlen=0)
    return found


def several(events: Any) -> Iterable[Any]:
    """Return one event or several as several."""
    return events if isinstance(events, (list, tuple)) else [events]


def expected_of(events: list[Event], expected: Any) -> int:
    """Return the version that the aggregate is to have before *events*.

    Raises:
        UsageError: They are not of one aggregate, or a version is left out.
    """
    if not events:
        raise UsageError("append() needs an event")
    first = events[0]
    if expected is None:
        expected = first.version - 1
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise UsageError(f"expected_version={expected!r}: give the aggregate's version, 0 if it has none yet")
    for version, event in enumerate(events, expected + 1):
        if event.aggregate_id != first.aggregate_id:
            raise UsageError(
                f"events of {first.aggregate_id!r} and {event.aggregate_id!r}: append each apart"
            )
        if event.version != version:
            raise UsageError(
                f"event {event.event_id} has version {event.version}; the next of {event.aggregate_id!r} "
                f"after {version - 1} is {version}"
            )
    return expected


def place(position: Any) -> tuple[int, int]:
    """Return a position's numbers.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(position, tuple) or len(position) != 2 or not all(isinstance(x, int) for x in position):
        raise UsageError(f"from_position={position!r}: give the `position` of an event, or START")
    return position[0], position[1]
