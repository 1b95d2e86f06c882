"""Events from a Kafka topic (Redpanda, Apache Kafka): the extra `kafka`.

A topic is several logs, its partitions. So a Position here is (next offset, partition), and a projection has
a checkpoint for each partition, in the transaction of its read model: that alone decides where it goes on,
and nothing is done twice. Offsets are committed to the consumer group afterwards, for those who watch its
lag. The group divides the partitions between workers; one that has lost a partition and does not know it
yet finds the checkpoint locked, or moved.

An aggregate's events stay in order because its id is the key, and a key is in one partition. That ends when
a topic is given more partitions: let the projections come to its end first.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json

from pgdual._async.projection.log import BATCH, place, several
from pgdual._async.runtime import now
from pgdual.core.projection import START, Event, Position
from pgdual.errors import ProjectionError, UsageError

from ._groups import AsyncMember, AsyncPartition, asked

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped] # isort: skip

LATEST = 253_402_300_799_000  # milliseconds: the last moment that Python knows
BEAT = 10.0  # seconds between looks at whether a subscription was closed


def decoded(message: Any) -> Any:
    """Return the event that is a message's value, in JSON; None for a message without one."""
    return None if message.value is None else from_json(message.value)


class AsyncKafkaSource:
    """The events of one topic. A worker has one of its own: `AsyncProjectionWorker(db, source=source)`.

    A message is the JSON of an event, `event_id`, `event_type`, `aggregate_id`, `version`, `timestamp` and
    `data`, under the aggregate's id as its key. One that is no event is parked in projection_failures under
    "topic/partition/offset"; all others go on.

    Args:
        group: The consumer group of a projection is GROUP.PROJECTION.
        decode: Turns a message of aiokafka into an event, or into None if it is to be passed over.
        consumer: What aiokafka's consumer alone is given: session_timeout_ms and the like.
        options: What its consumer and its producer are given: security_protocol, sasl_mechanism, ssl_context.
    """

    track = ""  # it has several
    is_told = False  # a worker waits at `wait`

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str | Sequence[str] = "localhost:9092",
        group: str = "pgdual",
        decode: Callable[[Any], Any] = decoded,
        consumer: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.topic = topic
        self._group = group
        self._decode = decode
        self._consumer = dict(consumer or {})
        self._options = {**options, "bootstrap_servers": bootstrap_servers}
        self._members: dict[str, AsyncMember] = {}
        self._producer: Any = None
        self._opening = asyncio.Lock()

    # -- events -----------------------------------------------------------------------------------

    async def append(self, events: Any) -> list[Position]:
        """Send one event or several and return their places, once the cluster has them.

        Several are no transaction: if one cannot be sent, earlier ones may have been. An event that is sent
        twice is there twice.

        Raises:
            ProjectionError: Kafka did not confirm it; it may be there all the same.
            UsageError: They are no events.
        """
        found = [Event.of(one) for one in several(events)]
        if not found:
            raise UsageError("append() needs an event")
        async with asked(self.topic):
            producer = await self._open_producer()
            sending = [
                await producer.send(self.topic, _encoded(one), key=one.aggregate_id.encode()) for one in found
            ]
            await asyncio.gather(*sending, return_exceptions=True)
            sent = [one.result() for one in sending]
        return [Position(one.offset + 1, one.partition) for one in sent]

    async def read(
        self,
        from_position: Position | Iterable[Position] = START,
        limit: int = BATCH,
        event_types: Sequence[str] | None = None,
    ) -> list[Event]:
        """Return up to *limit* events, those of each partition in order; an empty list if there are none.

        Args:
            from_position: The last position that was read, of each partition; one of which there is none is
                read from its beginning, so START is the beginning of all.
            event_types: Only these.
        """
        async with self.subscribe(from_position, limit) as found:
            return await found.read(event_types)

    def subscribe(
        self, from_position: Position | Iterable[Position] = START, limit: int = BATCH
    ) -> AsyncKafkaSubscription:
        """Return an iterator of the events after *from_position*, as in `read`, which waits for more."""
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UsageError(f"limit={limit!r}: give how many events to read at most")
        return AsyncKafkaSubscription(self, _positions(from_position), limit)

    def event_of(self, message: Any) -> Event | None:
        """Return the event of a message, what stands for one that is none, or None: it is passed over."""
        position = Position(message.offset + 1, message.partition)
        try:
            given = self._decode(message)
            return None if given is None else replace(Event.of(given), position=position)
        except Exception as error:
            where = f"{message.topic}/{message.partition}/{message.offset}"
            moment = datetime.fromtimestamp(min(max(message.timestamp, 0), LATEST) / 1000, UTC)
            return Event.unreadable(where, position, moment, message.value or b"", error)

    # -- for a worker -----------------------------------------------------------------------------

    async def tracks(self, projection: str) -> list[AsyncPartition]:
        """Return the partitions that the projection has here, now.

        Raises:
            ProjectionError: There is no such topic, or Kafka cannot be reached.
        """
        async with self._opening:
            member = self._members.get(projection)
            if member is not None and member.is_lost:
                await self._members.pop(projection).close()
                member = None
            if member is None:
                consumer = await self.consumer(f"{self._group}.{projection}")
                member = AsyncMember(projection, self.topic, consumer, self.event_of)
                self._members[projection] = member
                member.join()
        await member.commit()
        return list(member.partitions.values())

    async def wait(self, projection: str, seconds: float) -> None:
        """Return when there may be something new for a projection, or after *seconds*."""
        await self._members[projection].wait(seconds)

    async def is_behind(self) -> bool:
        """Return whether there is more than the tracks have been asked for."""
        return any([await member.is_behind() for member in self._members.values()])

    # -- connections ------------------------------------------------------------------------------

    async def consumer(self, group: str | None = None, *topics: str) -> Any:
        """Return a consumer that is connected.

        Raises:
            ProjectionError: There is no such topic, or Kafka cannot be reached.
        """
        made = AIOKafkaConsumer(
            *topics,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # what was removed is told, not passed over
            isolation_level="read_committed",
            **self._consumer,
            **self._options,
        )
        try:
            async with asked(self.topic):
                await made.start()
                if self.topic not in await made.topics():
                    raise ProjectionError(f"Kafka has no topic {self.topic!r}: create it first")
        except BaseException:
            await made.stop()
            raise
        return made

    async def _open_producer(self) -> Any:
        async with self._opening:
            if self._producer is None:
                await (await self.consumer()).stop()  # there is the topic, which sending might create
                made = AIOKafkaProducer(enable_idempotence=True, **self._options)
                try:
                    await made.start()
                except BaseException:
                    await made.stop()
                    raise
                self._producer = made
            return self._producer

    async def close(self) -> None:
        """Leave the groups, and disconnect."""
        members, self._members = list(self._members.values()), {}
        producer, self._producer = self._producer, None
        for one in members:
            await one.close()
        if producer is not None:
            await producer.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.topic}, {len(self._members)} projections>"


class AsyncKafkaSubscription:
    """An iterator of events of all partitions."""

    def __init__(self, source: AsyncKafkaSource, positions: dict[int, Position], limit: int) -> None:
        self._source = source
        self._positions = positions
        self._limit = limit
        self._read: deque[Event] = deque()
        self._consumer: Any = None

    @property
    def position(self) -> tuple[Position, ...]:
        """Where to go on: the position of the last event that was returned, of each partition."""
        return tuple(self._positions.values())

    async def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or None if none came within *timeout* seconds.

        Raises:
            ProjectionError: A position is out of range, there is no such topic, or Kafka has trouble.
        """
        limit = None if timeout is None else now() + timeout
        await self.open()
        while not self._read:
            left = BEAT if limit is None else min(max(limit - now(), 0.0), BEAT)
            await self._fetch(left)
            if limit is not None and now() >= limit:
                break
        return self._taken() if self._read else None

    async def read(self, event_types: Sequence[str] | None) -> list[Event]:
        """Return up to the limit of events, those that there are by now."""
        consumer, found = self._consumer, list[Event]()
        async with asked(self._source.topic):
            ends = await consumer.end_offsets(consumer.assignment())
            while len(found) < self._limit:
                if not self._read:
                    if all([await consumer.position(one) >= end for one, end in ends.items()]):
                        break
                    await self._fetch(BEAT)
                while self._read and len(found) < self._limit:
                    event = self._taken()
                    if event_types is None or event.event_type in event_types:
                        found.append(event)
        return found

    def _taken(self) -> Event:
        event = self._read.popleft()
        self._positions[event.position.number] = event.position
        return event

    async def _fetch(self, seconds: float) -> None:
        async with asked(self._source.topic):
            found = await self._consumer.getmany(timeout_ms=int(seconds * 1000), max_records=self._limit)
        for messages in found.values():
            self._read.extend(one for one in map(self._source.event_of, messages) if one is not None)

    async def open(self) -> None:
        """Go to the positions; without it the first `next` does."""
        if self._consumer is not None:
            return
        await (await self._source.consumer()).stop()  # there is the topic, which asking for it might create
        self._consumer = await self._source.consumer(None, self._source.topic)
        places = {one.partition: one for one in self._consumer.assignment()}
        unknown = self._positions.keys() - places.keys()
        if unknown:
            raise UsageError(f"topic {self._source.topic!r} has no partition {min(unknown)}")
        async with asked(self._source.topic):
            for number, one in places.items():
                if number in self._positions:
                    self._consumer.seek(one, self._positions[number].turn)
                else:
                    await self._consumer.seek_to_beginning(one)

    async def close(self) -> None:
        """Follow no more."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        found = await self.next()
        assert found is not None  # without a time limit it waits
        return found

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _positions(given: Any) -> dict[int, Position]:
    """Return positions by their partitions; START is none."""
    listed = [given] if isinstance(given, Position) else list(given)
    found = [Position(*place(one)) for one in listed]
    if any(min(one) < 0 for one in found):
        raise UsageError(f"from_position={given!r}: a Position has the next offset and the partition")
    return {one.number: one for one in found if one != START}


def _encoded(event: Event) -> bytes:
    fields = {
        "event_id": str(event.event_id),
        "event_type": event.event_type,
        "aggregate_id": event.aggregate_id,
        "version": event.version,
        "timestamp": event.timestamp.isoformat(),
    }
    return f'{json.dumps(fields)[:-1]}, "data": {event.json()}}}'.encode()
