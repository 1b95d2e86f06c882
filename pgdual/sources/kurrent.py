"""Events from KurrentDB (EventStoreDB): the extra `kurrent`.

All events of the database are one log, in the order of their commit and prepare positions; so a Position is
these two. An aggregate is a stream, its version one more than the event's revision in it, which begins at 0.

No server of KurrentDB could be had: this is tested against a fake of its client, which keeps the events in
memory (tests/sources/kurrent.py). What a real server does otherwise than its documents say was not seen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json

from pgdual._async.projection.log import BATCH, AsyncSubscription, expected_of, place, several
from pgdual.core.projection import START, UNREADABLE, Event, Position
from pgdual.errors import ConfigurationError, ProjectionError, UsageError, VersionConflictError

try:
    from kurrentdbclient import NewEvent, StreamState
    from kurrentdbclient.exceptions import KurrentDBClientError, WrongCurrentVersionError
except ImportError as _missing:
    raise ConfigurationError("KurrentDB needs an extra: pip install 'pgdual[kurrent]'") from _missing

NOT_TOLD = datetime.fromtimestamp(0, UTC)  # when an event was, where its server does not say


@asynccontextmanager
async def asked() -> AsyncIterator[None]:
    """Have an error of KurrentDB be a ProjectionError, after which a worker tries again."""
    try:
        yield
    except KurrentDBClientError as error:
        raise ProjectionError(f"KurrentDB: {error!r}") from error


def decoded(recorded: Any) -> Any:
    """Return the event that was recorded: its data are JSON, its metadata may have its `timestamp`."""
    metadata = from_json(recorded.metadata) if recorded.metadata else {}
    return {
        "event_id": recorded.id,
        "event_type": recorded.type,
        "aggregate_id": recorded.stream_name,
        "version": recorded.stream_position + 1,
        "timestamp": metadata.get("timestamp") or recorded.recorded_at or NOT_TOLD,
        "data": _object(from_json(recorded.data)),
    }


class AsyncKurrentSource:
    """The events of a KurrentDB, its system events left out: `AsyncProjectionWorker(db, source=source)`.

    Tested against a fake of the client alone, for want of a server. One whose data are no JSON is parked in
    projection_failures, and later ones of its stream wait behind it; all others go on.

    Args:
        client: An AsyncKurrentDBClient, which remains its owner's to close.
        decode: Turns a RecordedEvent into an event, or into None if it is to be passed over.
    """

    track = "kurrent"
    is_told = True  # by what `listen` returns

    def __init__(self, client: Any, decode: Callable[[Any], Any] = decoded) -> None:
        self._client = client
        self._decode = decode

    async def append(self, events: Any, expected_version: int | None = None) -> list[Position]:
        """Append one event or several to the stream of their aggregate, and return the place of the last.

        Args:
            expected_version: As for the log in PostgreSQL.

        Raises:
            VersionConflictError: The aggregate is at another version; nothing was appended.
            ProjectionError: KurrentDB has trouble.
            UsageError: They are no events, or not of one aggregate, or a version is left out.
        """
        found = [Event.of(one) for one in several(events)]
        expected = expected_of(found, expected_version)
        aggregate = found[0].aggregate_id
        new = [_recordable(one) for one in found]
        state = expected - 1 if expected else StreamState.NO_STREAM
        async with asked():
            try:
                end = await self._client.append_to_stream(aggregate, current_version=state, events=new)
            except WrongCurrentVersionError as error:
                at = error.actual_version
                actual = at + 1 if isinstance(at, int) else 0
                raise VersionConflictError(
                    f"KurrentDB: aggregate {aggregate!r} is at version {actual}, not {expected}; somebody "
                    "else has appended to it: load it again and decide anew",
                    aggregate,
                    expected,
                    actual,
                ) from error
        return [Position(end, end)]

    async def read(
        self,
        from_position: Position = START,
        limit: int = BATCH,
        event_types: Sequence[str] | None = None,
    ) -> list[Event]:
        """Return up to *limit* events after *from_position* in order; an empty list if there are none.

        Raises:
            ProjectionError: The database does not reach as far as *from_position*, or has trouble.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UsageError(f"limit={limit!r}: give how many events to read at most")
        found = list[Event]()
        position = Position(*place(from_position))
        while len(found) < limit:
            events, reached = await self._looked(position, limit, event_types)
            if reached == position:
                break
            position = reached
            found += events
        return found[:limit]

    def subscribe(self, from_position: Position = START, limit: int = BATCH) -> AsyncSubscription:
        """Return an iterator of the events after *from_position*, which waits for more at their end."""
        place(from_position)
        return AsyncSubscription(self, from_position, limit)

    # -- for a worker -----------------------------------------------------------------------------

    async def tracks(self, projection: str) -> list[Self]:
        """Return what there is to go along."""
        return [self]

    async def scan(
        self, from_position: Position, limit: int, event_types: Sequence[str]
    ) -> tuple[list[Event], Position]:
        """Look through up to *limit* events; return those of the types, and the position of the last one."""
        return await self._looked(from_position, limit, event_types)

    def listen(self) -> AsyncKurrentAlarm:
        """Return a listener that hears when something was appended."""
        return AsyncKurrentAlarm(self._client)

    async def is_behind(self) -> bool:
        """Return False: what is appended can be read."""
        return False

    async def _looked(
        self, position: Position, limit: int, event_types: Sequence[str] | None
    ) -> tuple[list[Event], Position]:
        recorded = list[Any]()
        # It reads from the commit itself on, which several events may share.
        async with asked(), await self._client.read_all(commit_position=position.turn or None) as reading:
            async for one in reading:
                if _position(one) > position:
                    recorded.append(one)
                    if len(recorded) == limit:
                        break
        if not recorded:
            await self._check(position)
            return [], position
        reached = _position(recorded[-1])
        if event_types is None:
            return [one for one in map(self._event_of, recorded) if one is not None], reached
        if self._decode is decoded:  # what others keep here need not be JSON
            recorded = [one for one in recorded if one.type in event_types]
        events = [one for one in map(self._event_of, recorded) if one is not None]
        return [one for one in events if one.event_type in (UNREADABLE, *event_types)], reached

    async def _check(self, position: Position) -> None:
        if position == START:
            return
        async with asked():
            end = await self._client.get_commit_position(filter_exclude=())
        if end < position.turn:
            raise ProjectionError(
                f"KurrentDB ends at commit position {end}, before {position.turn}: it is another database"
            )

    def _event_of(self, recorded: Any) -> Event | None:
        position = _position(recorded)
        try:
            given = self._decode(recorded)
            return None if given is None else replace(Event.of(given), position=position)
        except Exception as error:
            version = recorded.stream_position + 1
            where, moment = f"{recorded.stream_name}/{version}", recorded.recorded_at or NOT_TOLD
            event = Event.unreadable(where, position, moment, recorded.data, error)
            return replace(event, aggregate_id=recorded.stream_name, version=version)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class AsyncKurrentAlarm:
    """Hears that something was appended, by a subscription from the end on."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._following: Any = None
        self._hearing: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def open(self) -> None:
        """Listen from now on; without it the first `next` does."""
        if self._hearing is None:
            async with asked():
                self._following = await self._client.subscribe_to_all(from_end=True)
            self._hearing = asyncio.create_task(self._hear())

    async def next(self, timeout: float) -> bool | None:
        """Return True when something was appended, or None if nothing was within *timeout* seconds.

        Raises:
            ProjectionError: The subscription has ended; the next call begins another.
        """
        await self.open()
        try:
            async with asyncio.timeout(timeout):
                await self._heard.wait()
        except TimeoutError:
            return None
        self._heard.clear()
        assert self._hearing is not None
        if self._hearing.done():
            ended = self._hearing
            await self.close()
            async with asked():
                ended.result()
            raise ProjectionError("KurrentDB has ended a subscription")
        return True

    async def _hear(self) -> None:
        try:
            async for _ in self._following:
                self._heard.set()
        finally:
            self._heard.set()

    async def close(self) -> None:
        """Listen no more."""
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            async with asked():
                await self._following.stop()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _position(recorded: Any) -> Position:
    return Position(recorded.commit_position, recorded.prepare_position)


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError("its data are no JSON object")
    return data


def _recordable(event: Event) -> NewEvent:
    metadata = json.dumps({"timestamp": event.timestamp.isoformat()}).encode()
    return NewEvent(event.event_type, event.json().encode(), metadata, id=event.event_id)
