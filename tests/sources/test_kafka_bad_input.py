"""J3 with what goes wrong in Kafka: messages that are no events, offsets and topics that are not there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pgdual.aio import (
    AsyncDB,
    AsyncProjectionWorker,
    Position,
    Registry,
    projection_failures,
    projector,
    retry_projection,
    skip_projection,
)
from pgdual.errors import ProjectionError, UsageError
from pgdual.sources.kafka import AsyncKafkaSource
from pgdual.sync import ProjectionWorker
from pgdual.sync import Registry as SyncRegistry
from tests._async.clients import outside, prepare
from tests._async.test_event_log import event
from tests._sync.clients import client_of as blocking_of

from .kafka import ORDER, MockKafka, fill, note, send, source_of

NO_EVENTS = [b"{", b"\xff\xfe", b"[1]", b'{"event_id": 1}', b"", b'"' + b"x" * 5_000]


@pytest.mark.parametrize("is_batch", [False, True])
async def test_what_is_no_event(main_dsn: str, db: AsyncDB, kafka: MockKafka, is_batch: bool) -> None:
    """J3: a message that is no event is parked with its error and its place, the others go on; a message
    without a value is passed over."""
    registry = Registry("async")

    async def noted(given: Any, db: AsyncDB) -> None:
        for one in given if is_batch else [given]:
            await note(one, db)

    projector("tick", name="notes", batch=is_batch, registry=registry)(noted)
    async with source_of(kafka, "single") as source:
        await source.append(event("a", 1))
        await send(kafka, None, *NO_EVENTS)
        await source.append([event("a", 2), event("b", 1, "tock")])
        worker = AsyncProjectionWorker(db, registry, source, tries=1)
        assert await worker.catch_up() == 2
        assert outside(main_dsn, ORDER) == [("a", [1, 2])]
        rows = await projection_failures(db)
        assert [row["aggregate_id"] for row in rows] == [f"single/0/{n}" for n in range(2, 8)]
        assert {row["event_type"] for row in rows} == {"(unreadable)"}
        assert rows[0]["error"].startswith("ProjectionError: single/0/2 is no event: ValueError: EOF")
        assert "event_id=1: an event has a UUID" in rows[3]["error"]
        assert await retry_projection(db, "notes", "single/0/2") == 1
        assert await worker.catch_up() == 0
        assert [row["tries"] for row in await projection_failures(db)] == [1] * 6
        for row in rows:
            assert await skip_projection(db, "notes", row["aggregate_id"]) == 1
        await send(kafka, b"{")
        assert await AsyncProjectionWorker(db, registry, source).catch_up() == 0
        assert [row["aggregate_id"] for row in await projection_failures(db)] == ["single/0/10"]


async def test_what_postgresql_cannot_keep(db: AsyncDB, kafka: MockKafka, registry: Registry) -> None:
    """J3: an event with a NUL or half a character is no event here: it could not be parked if it failed."""
    async with source_of(kafka, "single") as source:
        for data in ({"by": "\0"}, {"by": "\ud800"}, {"\0": 1}):
            with pytest.raises(UsageError, match="has no JSON form to be kept"):
                await source.append(event("a", 1, **data))
        await source.append(event("a", 1, text="\\u0000 is no NUL"))
        good = (await source.read())[0]
        assert good.data == {"text": "\\u0000 is no NUL"}
        head = f'{{"event_id": "{good.event_id}", "event_type": "tick", "aggregate_id": "a", "version": 1, '
        await send(kafka, (head + '"timestamp": "2026-01-01", "data": {"by": "\\u0000"}}').encode())
        assert await AsyncProjectionWorker(db, registry, source).catch_up() == 1
        assert [row["aggregate_id"] for row in await projection_failures(db)] == ["single/0/1"]


async def test_a_poison_event(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, registry: Registry
) -> None:
    """J3: an event that fails is parked by its projection's name and its aggregate waits, wherever it came
    from."""
    await fill(source, 3, range(1, 2))
    await source.append([event("a1", 2, by=0), event("a1", 3)])
    await fill(source, 1, range(2, 3))
    worker = AsyncProjectionWorker(db, registry, source, tries=1)
    assert await worker.catch_up() == 4
    assert [(row["projector"], row["version"]) for row in await projection_failures(db)] == [
        ("notes", 2),
        ("notes", 3),
    ]
    assert await skip_projection(db, "notes", "a1") == 2
    assert await worker.catch_up() == 1
    assert outside(main_dsn, ORDER) == [("a0", [1, 2]), ("a1", [1, 3]), ("a2", [1])]


async def test_versions_that_are_none(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, registry: Registry
) -> None:
    """J3: no topic keeps an aggregate's versions apart: of events with the same one none is lost where one
    fails, and they stay in order; one that was sent twice is kept once."""
    given = [event("a", 1, by=0, n=1), event("a", 1, by=0, n=2), event("a", 1, n=3)]
    await source.append([*given, given[1]])
    worker = AsyncProjectionWorker(db, registry, source, tries=1)
    assert await worker.catch_up() == 0
    ids = [row["event_id"] for row in await projection_failures(db)]
    assert ids == [one["event_id"] for one in given]
    for version in (1, 2):
        assert await skip_projection(db, "notes", "a") == version
        await worker.catch_up()
    assert outside(main_dsn, ORDER) == [("a", [3])]
    assert await projection_failures(db) == []


async def test_out_of_range(main_dsn: str, db: AsyncDB, kafka: MockKafka, registry: Registry) -> None:
    """J3: a checkpoint whose messages were removed is an error that names both; a projection without a
    checkpoint begins with what there is."""
    async with source_of(kafka, "single") as source:
        await source.append([event("a", version) for version in range(1, 5)])
        await AsyncProjectionWorker(db, registry, source).catch_up()
    async with source_of(kafka, "single") as source:  # another, which has fetched nothing yet
        await source.append([event("a", version) for version in range(5, 10)])
        kafka.remove("single", 0, 6)
        worker = AsyncProjectionWorker(db, registry, source)
        for _ in range(2):
            with pytest.raises(ProjectionError, match=r"4 of single/0, which has 6 to 9: .*'notes @ s"):
                await worker.catch_up()
        with pytest.raises(ProjectionError, match="OffsetOutOfRange"):
            await source.read(Position(2, 0))
        assert [one.version for one in await source.read()] == [7, 8, 9]
        prepare(main_dsn, "delete from pgdual_positions where projector = 'notes @ single/0'")
        assert await worker.catch_up() == 3
    assert outside(main_dsn, ORDER) == [("a", [1, 2, 3, 4, 7, 8, 9])]


async def test_no_topic(db: AsyncDB, kafka: MockKafka, registry: Registry) -> None:
    """A topic that is missing, and a cluster that is not there, are errors that say so."""
    kafka.hide("single")
    async with source_of(kafka, "typo") as typo, AsyncKafkaSource("ticks", "127.0.0.1:1") as nowhere:
        for ask in (lambda one: one.read(), lambda one: one.append(event())):
            with pytest.raises(ProjectionError, match="Kafka has no topic 'typo'"):
                await ask(typo)
            with pytest.raises(ProjectionError, match="topic 'ticks': KafkaConnectionError"):
                await ask(nowhere)
        with pytest.raises(ProjectionError, match="Kafka has no topic 'typo'"):
            await AsyncProjectionWorker(db, registry, typo).catch_up()
        with pytest.raises(ProjectionError, match="topic 'ticks': KafkaConnectionError"):
            await AsyncProjectionWorker(db, registry, nowhere).catch_up()


@pytest.mark.parametrize("position", [Position(-1, 0), Position(1, 7), 5, [5]])
async def test_no_position(source: AsyncKafkaSource, position: Any) -> None:
    """A position that is none, or of a partition that is not there, is a UsageError."""
    with pytest.raises((UsageError, TypeError)):
        await source.read(position)


async def test_no_limit(source: AsyncKafkaSource) -> None:
    """A limit that is none, nothing to append, and what is no event are UsageErrors."""
    for limit in (0, True, "5"):
        with pytest.raises(UsageError, match="give how many events"):
            source.subscribe(limit=limit)  # type: ignore[arg-type]
    for given in ([], 5, {"event_id": 1}):
        with pytest.raises(UsageError):
            await source.append(given)
    assert repr(source) == "<AsyncKafkaSource ticks, 0 projections>"


async def test_on_the_other_face(main_dsn: str, kafka: MockKafka) -> None:
    """The blocking face has no source but the log, and says so."""
    registry = SyncRegistry("sync")
    with blocking_of(main=main_dsn) as client, pytest.raises(UsageError, match="no source of this face"):
        ProjectionWorker(client["main"], registry, source_of(kafka))


def test_without_the_extra() -> None:
    """Who imports it without the extra is told what to install."""
    code = "import sys; sys.modules['aiokafka'] = None; import pgdual.sources.kafka"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigurationError: Kafka needs an extra: pip install 'pgdual[kafka]'" in done.stderr
