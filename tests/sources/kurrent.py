"""A fake of KurrentDB's client, for no server can be had: it keeps the events in memory.

It has what the client's documents say of the calls that are made here, and the client's own classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from kurrentdbclient import NewEvent, RecordedEvent, StreamState
from kurrentdbclient.exceptions import ServiceUnavailableError, WrongCurrentVersionError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeKurrent:
    """An AsyncKurrentDBClient and its server."""

    def __init__(self) -> None:
        self.recorded: list[RecordedEvent] = []
        self.following: list[FakeReading] = []
        self.is_down = False

    def _ask(self) -> None:
        if self.is_down:
            raise ServiceUnavailableError("down")

    async def append_to_stream(
        self, stream_name: str, *, current_version: int | StreamState, events: Iterable[NewEvent]
    ) -> int:
        self._ask()
        count = sum(one.stream_name == stream_name for one in self.recorded)
        actual = count - 1 if count else StreamState.NO_STREAM
        if current_version != actual:
            raise WrongCurrentVersionError(
                "wrong", stream_name=stream_name, actual_version=actual, expected_version=current_version
            )
        for number, one in enumerate(events, count):
            self.record(stream_name, number, one.type, one.data, one.metadata, id=one.id)
        return self.recorded[-1].commit_position

    def record(
        self, stream: str, number: int, kind: str, data: bytes, metadata: bytes = b"", **more: Any
    ) -> None:
        """Record an event, which may be no event of ours."""
        end = self.recorded[-1].commit_position + 100 if self.recorded else 1_788
        places = {"commit_position": end, "prepare_position": end, "recorded_at": NOW}
        values = {"content_type": "application/json", **places, **more}
        self.recorded.append(
            RecordedEvent(
                type=kind,
                data=data,
                metadata=metadata,
                stream_name=stream,
                stream_position=number,
                **values,
            )
        )
        for reading in self.following:
            reading.arrived.put_nowait(self.recorded[-1])

    async def read_all(self, *, commit_position: int | None = None) -> FakeReading:
        self._ask()
        return FakeReading(
            [
                one
                for one in self.recorded
                if one.commit_position >= (commit_position or 0) and not one.is_system_event
            ]
        )

    async def subscribe_to_all(self, *, from_end: bool) -> FakeReading:
        self._ask()
        assert from_end
        self.following.append(FakeReading(None))
        return self.following[-1]

    async def get_commit_position(self, *, filter_exclude: tuple[str, ...]) -> int:
        self._ask()
        assert filter_exclude == ()
        return self.recorded[-1].commit_position if self.recorded else 0

    def cut(self) -> None:
        """End all subscriptions, as a connection that is lost does."""
        for reading in self.following:
            reading.arrived.put_nowait(ServiceUnavailableError("cut"))
        self.following.clear()


class FakeReading:
    """An AsyncReadResponse of what there is, or a subscription to what comes."""

    def __init__(self, found: list[RecordedEvent] | None) -> None:
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()
        self.is_stopped = False
        for one in [*found, None] if found is not None else []:
            self.arrived.put_nowait(one)

    async def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        while (one := await self.arrived.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    async def stop(self) -> None:
        self.is_stopped = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
