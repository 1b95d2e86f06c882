"""J3 with events from Kafka: librdkafka's mock cluster, which speaks the protocol, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from pgdual.aio import (
    START,
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    ProjectionType,
    Registry,
    project,
    projection_failures,
    projection_status,
    projector,
    rebuild,
)
from pgdual.errors import ProjectionError
from pgdual.sources._groups import AsyncMember
from pgdual.sources.kafka import AsyncKafkaSource
from tests._async.clients import first, outside, prepare, terminate
from tests._async.runtime import spawn, wait_until
from tests._async.test_event_log import event

from .kafka import ORDER, MockKafka, committed, fill, note, send, source_of

PLACES = "select projector, max(turn) from pgdual_positions group by 1 order by 1"


async def test_in_order_and_once(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, kafka: MockKafka, registry: Registry
) -> None:
    """J3: each event once, those of an aggregate in order, with a checkpoint for each partition, and the
    offsets are the checkpoints."""
    await fill(source, 9, range(1, 5))
    worker = AsyncProjectionWorker(db, registry, source)
    assert await worker.catch_up() == 36
    assert outside(main_dsn, ORDER) == [(f"a{n}", [1, 2, 3, 4]) for n in range(9)]
    places = outside(main_dsn, PLACES)
    assert [name for name, _ in places] == [f"notes @ ticks/{number}" for number in range(3)]
    assert sum(turn for _, turn in places) == 36
    await source.close()
    assert await committed(kafka) == {number: turn for number, (_, turn) in enumerate(places)}
    assert [(row["projection"], row["after"]) for row in await projection_status(db)] == [
        (name, None) for name, _ in places
    ]


async def test_committed_after_the_read_model(
    main_dsn: str, db: AsyncDB, kafka: MockKafka, registry: Registry
) -> None:
    """J3: no offset is committed while the read model's transaction is open, but after its commit."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    slow = Registry("async")

    @projector("tick", name="notes", registry=slow)
    async def held(one: Any, db: AsyncDB) -> None:
        await note(one, db)
        entered.set()
        await go_on.wait()

    async with source_of(kafka, "single") as source:
        await source.append(event("a", 1))
        worker = AsyncProjectionWorker(db, slow, source)
        async with spawn(worker.run):
            await asyncio.wait_for(entered.wait(), 10)
            await source._members["notes"].commit()
            assert await committed(kafka, "single") == {}
            go_on.set()
            await wait_until(lambda: outside(main_dsn, "select total from totals") == [(1,)])

            async def is_committed() -> bool:
                return await committed(kafka, "single") == {0: 1}

            await wait_until(is_committed)
            worker.stop()


async def test_redelivered(
    main_dsn: str, db: AsyncDB, kafka: MockKafka, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J3: after a crash between the read model's commit and that of the offsets nothing is done twice."""

    async def crash(member: AsyncMember) -> None:
        """Commit no offsets."""

    with monkeypatch.context() as patch:
        patch.setattr(AsyncMember, "commit", crash)
        async with source_of(kafka, "single") as source:
            await source.append([event("a", version) for version in range(1, 6)])
            assert await AsyncProjectionWorker(db, registry, source).catch_up() == 5
    assert await committed(kafka, "single") == {}
    async with source_of(kafka, "single") as source:
        worker = AsyncProjectionWorker(db, registry, source)
        assert await worker.catch_up() == 0
        await source.append(event("a", 6))
        assert await worker.catch_up() == 1
    assert await committed(kafka, "single") == {0: 6}
    assert outside(main_dsn, "select total from totals") == [(6,)]
    assert outside(main_dsn, ORDER) == [("a", [1, 2, 3, 4, 5, 6])]


@pytest.mark.slow
async def test_killed(main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, kafka: MockKafka) -> None:
    """J3: workers that are killed at any moment, so that Kafka delivers again, count every event once and in
    order."""
    columns = "id text primary key, events int, last int, jumps int"
    prepare(main_dsn, f"create table counts ({columns})")
    command = [sys.executable, "-m", "tests.sources.kafka_run", main_dsn, kafka.address]
    sent = 0
    for _ in range(6):
        running = subprocess.Popen(command)
        try:
            done = _counted(main_dsn)
            await fill(source, 20, range(sent + 1, sent + 11))
            sent += 10
            await wait_until(lambda done=done: _counted(main_dsn) > done, timeout=30)  # type: ignore[misc]
            await asyncio.sleep(random.random() / 5)
        finally:
            running.kill()
            running.wait()
    running = subprocess.Popen(command)
    try:
        await wait_until(lambda: _counted(main_dsn) >= 20 * sent, timeout=30)
    finally:
        running.kill()
        running.wait()
    expected = [(f"a{n}", sent, sent, 0) for n in range(20)]
    assert sorted(outside(main_dsn, "select * from counts")) == sorted(expected)


def _counted(dsn: str) -> int:
    return int(first(dsn, "select coalesce(sum(events), 0) from counts"))


async def test_undone_is_read_again(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, registry: Registry
) -> None:
    """J3: where the connections to PostgreSQL are lost the worker goes on at its checkpoints, in order."""
    worker = AsyncProjectionWorker(db, registry, source)
    async with spawn(worker.run) as running:
        try:
            for version in range(1, 9):
                await fill(source, 6, range(version, version + 1))
                if version in (3, 6):
                    terminate(main_dsn)
            await wait_until(lambda: outside(main_dsn, "select sum(total) from totals") == [(48,)])
        finally:
            worker.stop()
    assert running.is_done()
    assert outside(main_dsn, ORDER) == [(f"a{n}", list(range(1, 9))) for n in range(6)]


@pytest.mark.slow  # the mock takes a whole session's time for each change of hands
async def test_partitions_are_divided(
    main_dsn: str,
    db: AsyncDB,
    source: AsyncKafkaSource,
    kafka: MockKafka,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """J3: workers of one group divide the partitions; what comes while they change hands is projected once,
    in order."""
    give = CoordinatorGroupRebalance._on_join_leader

    async def late(rebalance: Any, response: Any) -> Any:
        await asyncio.sleep(0.05)  # the mock refuses who asks for its share after the leader has given it
        return await give(rebalance, response)

    monkeypatch.setattr(CoordinatorGroupRebalance, "_on_join_leader", late)

    def parts(one: AsyncKafkaSource) -> int:
        return len(one._members["notes"].partitions) if "notes" in one._members else 0

    worker = AsyncProjectionWorker(db, registry, source)
    async with spawn(worker.run) as one, source_of(kafka) as sending:
        try:
            await wait_until(lambda: parts(source) == 3, 40)
            await fill(sending, 6, range(1, 3))
            async with source_of(kafka) as other:
                second = AsyncProjectionWorker(db, registry, other)
                async with spawn(second.run) as running:
                    await fill(sending, 6, range(3, 6))
                    await wait_until(lambda: (parts(source), parts(other)) in {(1, 2), (2, 1)}, 40)
                    await fill(sending, 6, range(6, 8))
                    await wait_until(lambda: outside(main_dsn, "select count(*) from seen") == [(42,)], 40)
                    second.stop()
                assert running.is_done()
            await fill(sending, 6, range(8, 10))
            await wait_until(lambda: parts(source) == 3, 40)
            await wait_until(lambda: outside(main_dsn, "select count(*) from seen") == [(54,)], 40)
        finally:
            worker.stop()
    assert one.is_done()
    assert outside(main_dsn, ORDER) == [(f"a{n}", list(range(1, 10))) for n in range(6)]


async def test_while_partitions_change_hands(
    db: AsyncDB, source: AsyncKafkaSource, registry: Registry
) -> None:
    """J3: who has no partitions while the group divides them anew has not caught up."""
    assert await AsyncProjectionWorker(db, registry, source).catch_up() == 0
    assert not await source.is_behind()
    await source._members["notes"].on_partitions_revoked([])
    assert await source.is_behind()


async def test_a_partition_that_was_lost(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, kafka: MockKafka, registry: Registry
) -> None:
    """J3: two workers that both take a partition for theirs do nothing twice."""
    await fill(source, 4, range(1, 11))
    async with source_of(kafka, group="another") as other:
        workers = [AsyncProjectionWorker(db, registry, one, batch=3) for one in (source, other)]
        counts = await asyncio.gather(*(worker.catch_up() for worker in workers))
    assert outside(main_dsn, ORDER) == [(f"a{n}", list(range(1, 11))) for n in range(4)]
    assert max(counts) <= 40


async def test_workers_that_share_a_source(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, registry: Registry
) -> None:
    """J3: two workers that are given one source get in each other's way, but lose nothing."""
    workers = [AsyncProjectionWorker(db, registry, source, batch=size) for size in (2, 5)]
    async with spawn(workers[0].run), spawn(workers[1].run):
        try:
            for version in range(1, 5):
                await fill(source, 6, range(version, version + 1))
            await wait_until(lambda: outside(main_dsn, "select count(*) from seen") == [(24,)], 30)
        finally:
            for worker in workers:
                worker.stop()
    assert outside(main_dsn, ORDER) == [(f"a{n}", list(range(1, 5))) for n in range(6)]


async def test_the_broker_goes_down(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, kafka: MockKafka, registry: Registry
) -> None:
    """J3: when the broker is back, the worker goes on at its checkpoints; a worker that begins meanwhile
    waits for it."""
    worker = AsyncProjectionWorker(db, registry, source)
    async with source_of(kafka) as begins_down, spawn(worker.run):
        late = Registry("async")
        projector("tick", name="late", registry=late)(note)
        another = AsyncProjectionWorker(db, late, begins_down)
        try:
            await fill(source, 4, range(1, 3))
            await wait_until(lambda: outside(main_dsn, "select count(*) from seen") == [(8,)])
            kafka.set_down()
            async with spawn(another.run) as running:
                await asyncio.sleep(0.3)
                assert not running.is_done()
                kafka.set_up()
                await fill(source, 4, range(3, 5))
                await wait_until(lambda: outside(main_dsn, "select count(*) from seen") == [(32,)])
                another.stop()
        finally:
            worker.stop()
            another.stop()
    assert outside(main_dsn, "select sum(total) from totals") == [(32,)]


@pytest.mark.parametrize("is_logged", [False, True])
async def test_sync_projectors_that_failed(
    main_dsn: str, db: AsyncDB, source: AsyncKafkaSource, is_logged: bool
) -> None:
    """J2: a SYNC projector that failed in a transaction is tried again; where events are in PostgreSQL's log,
    not if the event was rolled back with it."""
    registry = Registry("async")
    failing = [True]

    @projector("made", projection_type=ProjectionType.SYNC, name="makes", registry=registry)
    async def makes(one: Any, db: AsyncDB) -> None:
        await note(one, db)
        if failing:
            raise LookupError

    if is_logged:
        await AsyncEventLog(db).append(event("other"))
    with pytest.raises(LookupError):
        async with db.transaction():
            await db.execute("insert into totals values ('x', 1)")
            await project(event("a", 1, "made"), db, registry)
    failing.clear()
    worker = AsyncProjectionWorker(db, registry, source)

    async def is_settled() -> bool:
        await worker.catch_up()
        return await projection_failures(db) == []

    await wait_until(is_settled)
    assert outside(main_dsn, ORDER) == ([] if is_logged else [("a", [1])])


async def test_read_and_subscribe(kafka: MockKafka, source: AsyncKafkaSource) -> None:
    """Events are read from a position of each partition on, by type, and followed as they come."""
    places = await source.append([event(f"a{n}", 1, "tick" if n % 2 else "tock") for n in range(8)])
    assert len({place.number for place in places}) == 3
    found = await source.read()
    assert sorted((one.aggregate_id, one.position) for one in found) == [
        (f"a{n}", place) for n, place in enumerate(places)
    ]
    assert {one.aggregate_id for one in await source.read(event_types=["tick"])} == {"a1", "a3", "a5", "a7"}
    assert len(await source.read(limit=3)) == 3
    async with source.subscribe(START, 3) as following:
        some = [await following.next(5) for _ in range(5)]
        rest = [one async for one in _some(source.subscribe(following.position), 3)]
        assert {one.aggregate_id for one in [*some, *rest] if one} == {f"a{n}" for n in range(8)}
        assert {one.aggregate_id for one in [await following.next(5) for _ in range(3)] if one} == {
            one.aggregate_id for one in rest
        }
        assert await following.next(0.05) is None
        (place,) = await source.append(event("late", 1))
        late = await following.next(5)
        assert late is not None
        assert late.position == place
    assert await source.read(following.position) == []


async def _some(following: Any, count: int) -> AsyncIterator[Any]:
    async with following:
        async for one in following:
            yield one
            count -= 1
            if not count:
                return


async def test_a_decoder(main_dsn: str, db: AsyncDB, kafka: MockKafka, registry: Registry) -> None:
    """Messages of another form are events by `decode`."""
    async with source_of(
        kafka, "single", decode=lambda message: event("x", int(message.value)) if message.value else None
    ) as source:
        await send(kafka, b"1", None, b"two", b"3")
        assert await AsyncProjectionWorker(db, registry, source).catch_up() == 2
        assert "invalid literal for int()" in (await projection_failures(db))[0]["error"]
    assert outside(main_dsn, ORDER) == [("x", [1, 3])]


async def test_rebuild_refuses(db: AsyncDB, source: AsyncKafkaSource) -> None:
    """J4: a rebuild replays the log in PostgreSQL, so a projection of another source is refused."""
    registry = Registry("async")
    projector("tick", name="notes", tables=["seen", "totals"], registry=registry)(note)
    await fill(source, 1, range(1, 3))
    await AsyncProjectionWorker(db, registry, source).catch_up()
    for in_place in (False, True):
        with pytest.raises(ProjectionError, match=r"'notes' has its events from ticks/\d"):
            await rebuild("notes", db, registry, in_place=in_place)
    assert await db.fetchval("select count(*) from seen") == 2
