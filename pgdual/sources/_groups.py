"""A projection's share of a Kafka topic: a member of its consumer group, and the partitions that it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from pgdual._async.projection.log import BATCH
from pgdual.core.projection import START, UNREADABLE, Event, Position
from pgdual.core.track import OF
from pgdual.errors import ConfigurationError, ProjectionError

try:
    from aiokafka import ConsumerRebalanceListener  # type: ignore[import-untyped]
    from aiokafka.errors import (  # type: ignore[import-untyped]
        ConsumerStoppedError,
        KafkaError,
        OffsetOutOfRangeError,
    )
except ImportError as _missing:
    raise ConfigurationError("Kafka needs an extra: pip install 'pgdual[kafka]'") from _missing

COMMIT = 1.0  # seconds between commits of offsets, and what one may take
ARRIVING = 0.05  # seconds that the first messages from another place on may take, or they come later
JOINING = 0.1  # seconds that one waits for the group, beyond those for messages
_logger = logging.getLogger("pgdual.projection")


@asynccontextmanager
async def asked(topic: str) -> AsyncIterator[None]:
    """Have an error of Kafka be a ProjectionError, after which a worker tries again."""
    try:
        yield
    except (KafkaError, ConsumerStoppedError) as error:
        raise ProjectionError(f"Kafka, topic {topic!r}: {error!r}") from error


class AsyncPartition:
    """A partition that a projection has here: one track."""

    def __init__(self, member: AsyncMember, place: Any) -> None:
        self.track = f"{place.topic}/{place.partition}"
        self.done = START  # what is committed with its read model
        self.ahead: list[Any] = []  # messages that were fetched while it waited
        self.reached: Position | None = None  # where these begin
        self._member = member
        self._place = place

    async def scan(
        self, from_position: Position, limit: int, event_types: Sequence[str]
    ) -> tuple[list[Event], Position]:
        """Return events of the types among the next messages, and the position of the last of these.

        All before *from_position* is done, then; its offset is committed to the group later on.

        Raises:
            ProjectionError: The position is out of range, or Kafka has trouble.
        """
        async with self._member.turn:
            if not self._member.has(self._place, self):
                return [], from_position  # another worker has it
            messages = await self._read(from_position, limit)
        if not messages:
            return [], from_position
        events = [event for event in map(self._member.event_of, messages) if event is not None]
        reached = Position(messages[-1].offset + 1, self._place.partition)
        return [one for one in events if one.event_type in (UNREADABLE, *event_types)], reached

    async def _read(self, from_position: Position, limit: int) -> list[Any]:
        self.done = from_position
        begin, self.reached = self.reached, None  # unknown, if this fails
        if from_position != begin:
            self.ahead = []
            await self._member.seek(self._place, from_position)
        if not self.ahead:
            seconds = 0.0 if from_position == begin else ARRIVING
            self.ahead = (await self._member.fetch([self._place], seconds, limit)).get(self._place, [])
        messages, self.ahead = self.ahead[:limit], self.ahead[limit:]
        self.reached = Position(messages[-1].offset + 1, self._place.partition) if messages else from_position
        return messages


class AsyncMember(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of the consumer group of a projection."""

    def __init__(
        self, projection: str, topic: str, consumer: Any, event_of: Callable[[Any], Event | None]
    ) -> None:
        self.event_of = event_of
        self.is_joined = False
        self.is_lost = False  # after an error: another is to be opened
        self.partitions: dict[Any, AsyncPartition] = {}
        self._projection = projection
        self._topic = topic
        self._consumer = consumer
        self._changed = asyncio.Event()
        self.turn = asyncio.Lock()  # to read; of a worker there is one reader, but two may share a source
        self._committed: dict[Any, int] = {}
        self._next = 0.0  # when offsets are committed again

    def join(self) -> None:
        """Join the group, which takes its time."""
        self._consumer.subscribe([self._topic], listener=self)

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give up what this member has."""
        self._next = 0.0
        await self.commit()
        self.partitions, self._committed, self.is_joined = {}, {}, False

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin with what it has now, at the checkpoints."""
        self.partitions = {place: AsyncPartition(self, place) for place in sorted(assigned)}
        self.is_joined = True
        self._changed.set()

    def has(self, place: Any, partition: AsyncPartition) -> bool:
        """Return whether it still has the partition."""
        return self.partitions.get(place) is partition

    async def seek(self, place: Any, position: Position) -> None:
        """Go to a position; the beginning, whatever was removed before it, is START."""
        async with self._asked():
            if position == START:
                with suppress(TimeoutError):  # it is asked for again before messages are
                    async with asyncio.timeout(COMMIT):
                        await self._consumer.seek_to_beginning(place)
            else:
                self._consumer.seek(place, position.turn)

    async def fetch(self, places: list[Any], seconds: float, limit: int = BATCH) -> dict[Any, list[Any]]:
        """Return the next messages, if there are some within *seconds*."""
        async with self._asked():
            try:
                async with asyncio.timeout(seconds + JOINING):
                    found = await self._consumer.getmany(
                        *places, timeout_ms=int(seconds * 1000), max_records=limit
                    )
            except TimeoutError:
                return {}
            except OffsetOutOfRangeError as error:
                raise await self._out_of_range(*error.args[0].items()) from error
        return dict(found)

    async def _out_of_range(self, found: tuple[Any, int], *_: Any) -> ProjectionError:
        place, offset = found
        begin = (await self._consumer.beginning_offsets([place]))[place]
        end = (await self._consumer.end_offsets([place]))[place]
        track = f"{place.topic}/{place.partition}"
        return ProjectionError(
            f"projection {self._projection!r} is to go on at offset {offset} of {track}, which has {begin} "
            f"to {end}: what it has not seen was removed, or the topic is another. To begin with what there "
            f"is, remove its checkpoint: {self._projection + OF + track!r} in pgdual_positions"
        )

    async def wait(self, seconds: float) -> None:
        """Return when there may be something new, or after *seconds*."""
        partitions = self.partitions
        if not partitions:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
            return
        async with self.turn:
            if all(one.reached is not None and not one.ahead for one in partitions.values()):
                for place, messages in (await self.fetch(list(partitions), seconds)).items():
                    partitions[place].ahead = messages

    async def is_behind(self) -> bool:
        """Return whether it has not joined yet, or there is more than was scanned."""
        partitions = self.partitions
        if not self.is_joined or any(one.reached is None or one.ahead for one in partitions.values()):
            return True
        async with self._asked():
            ends = await self._consumer.end_offsets(list(partitions)) if partitions else {}
            return any([end > await self._consumer.position(place) for place, end in ends.items()])

    async def commit(self) -> None:
        """Commit the offsets of what is done, once in a while; they do not say where a worker goes on."""
        moment = asyncio.get_running_loop().time()
        done = {place: one.done.turn for place, one in self.partitions.items() if one.done != START}
        if moment < self._next or self._committed | done == self._committed:
            return
        self._next = moment + COMMIT
        try:
            async with asyncio.timeout(COMMIT):
                await self._consumer.commit(done)
            self._committed |= done
        except (KafkaError, TimeoutError) as error:
            _logger.warning("[PROJECTION] %s: no offsets committed: %r", self._projection, error)

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        try:
            async with asked(self._topic):
                yield
        except ProjectionError as error:
            self.is_lost = not isinstance(error.__cause__, OffsetOutOfRangeError)
            raise

    async def close(self) -> None:
        """Leave the group."""
        self._next = 0.0
        if not self.is_lost:
            await self.commit()
        self.partitions = {}
        await self._consumer.stop()
