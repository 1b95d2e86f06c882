"""J3 with events from KurrentDB: a fake of its client, for no server can be had."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from kurrentdbclient import AsyncKurrentDBClient

from pgdual.aio import (
    START,
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    Position,
    Registry,
    projection_failures,
    projection_status,
    projector,
    skip_projection,
)
from pgdual.errors import ProjectionError, UsageError, VersionConflictError
from pgdual.sources.kurrent import AsyncKurrentSource
from tests._async.clients import client_of, outside, prepare, terminate
from tests._async.runtime import spawn, wait_until
from tests._async.test_event_log import NOW, event

from .kurrent import FakeKurrent

NOTE = "insert into seen (id, version) values ($1, $2)"
ORDER = "select id, array_agg(version order by place) from seen group by 1 order by 1"


@pytest.fixture
def kurrent() -> FakeKurrent:
    return FakeKurrent()


@pytest.fixture
def source(kurrent: FakeKurrent) -> AsyncKurrentSource:
    return AsyncKurrentSource(kurrent)


@pytest.fixture
def registry() -> Registry:
    made = Registry("async")
    projector("tick", name="notes", registry=made)(note)
    return made


@pytest.fixture
async def db(main_dsn: str) -> AsyncIterator[AsyncDB]:
    prepare(main_dsn, "create table seen (place serial primary key, id text not null, version int not null)")
    async with client_of(main=main_dsn, pool_max_size=12) as made:
        await AsyncEventLog(made["main"]).create()
        yield made["main"]


async def note(one: Any, db: AsyncDB) -> None:
    """Note an event; fail with one that says so."""
    await db.execute(NOTE, one.aggregate_id, one.version)
    await db.execute("select 1 / $1::int", one.data.get("by", 1))


def test_the_fake_is_asked_as_the_client_is() -> None:
    """What is called on the fake is there on the client, and takes the same."""
    for name in ("append_to_stream", "read_all", "subscribe_to_all", "get_commit_position"):
        theirs = inspect.signature(inspect.unwrap(getattr(AsyncKurrentDBClient, name))).parameters
        assert inspect.signature(getattr(FakeKurrent, name)).parameters.keys() <= theirs.keys()


async def test_append_and_read(kurrent: FakeKurrent, source: AsyncKurrentSource) -> None:
    """What was appended is read in order, from the start or from a position, by type."""
    given = [event("a", n, "tick" if n % 2 else "tock", n=n) for n in range(1, 6)]
    assert await source.append(given) == [Position(2_188, 2_188)]
    kurrent.record("$stats", 0, "$statsCollected", b"{}", id=uuid4())
    await source.append(event("b", 1, n=6))
    found = await source.read()
    assert [(one.data["n"], one.aggregate_id, one.version) for one in found] == [
        *[(n, "a", n) for n in range(1, 6)],
        (6, "b", 1),
    ]
    assert [one.event_id for one in found[:5]] == [one["event_id"] for one in given]
    assert {one.timestamp for one in found} == {NOW}
    assert [one.data["n"] for one in await source.read(found[2].position, limit=2)] == [4, 5]
    assert [one.data["n"] for one in await source.read(event_types=["tock"], limit=1)] == [2]
    assert [one.data["n"] for one in await source.read(event_types=["tock"])] == [2, 4]


async def test_a_conflict(source: AsyncKurrentSource) -> None:
    """An aggregate that is at another version than expected is a clear error, and nothing is appended."""
    await source.append([event("a", 1), event("a", 2)], expected_version=0)
    for given, actual in ((event("a", 2), 2), (event("b", 2), 0)):
        with pytest.raises(VersionConflictError) as raised:
            await source.append(given)
        assert (raised.value.expected, raised.value.actual) == (1, actual)
    assert len(await source.read()) == 2


async def test_events_of_one_commit(kurrent: FakeKurrent, source: AsyncKurrentSource) -> None:
    """Events that share a commit position are read each once, in batches of whatever size."""
    for number in range(7):
        kurrent.record("a", number, "tick", b"{}", id=uuid4(), commit_position=50, prepare_position=number)
    position, seen = START, []
    while events := await source.read(position, limit=2):
        position = events[-1].position
        seen += [one.version for one in events]
    assert seen == list(range(1, 8))


async def test_in_order_and_once(
    main_dsn: str, db: AsyncDB, source: AsyncKurrentSource, registry: Registry
) -> None:
    """J3: each event once, those of an aggregate in order, with a checkpoint of its own."""
    for version in range(1, 5):
        for n in range(9):
            await source.append(event(f"a{n}", version))
    worker = AsyncProjectionWorker(db, registry, source, batch=7)
    assert await worker.catch_up() == 36
    assert await AsyncProjectionWorker(db, registry, source).catch_up() == 0
    assert outside(main_dsn, ORDER) == [(f"a{n}", [1, 2, 3, 4]) for n in range(9)]
    rows = await projection_status(db)
    assert [(row["projection"], row["after"]) for row in rows] == [("notes @ kurrent", None)]


async def test_it_is_woken(
    main_dsn: str, db: AsyncDB, kurrent: FakeKurrent, source: AsyncKurrentSource, registry: Registry
) -> None:
    """J3: run() projects what is appended as it comes; after PostgreSQL's or KurrentDB's connections are lost
    it goes on at its checkpoint."""
    worker = AsyncProjectionWorker(db, registry, source)
    async with spawn(worker.run) as running:
        try:
            for version in range(1, 6):
                await wait_until(lambda: bool(kurrent.following))
                await source.append(event("a", version))
                done = [("a", list(range(1, version + 1)))]
                await wait_until(lambda done=done: outside(main_dsn, ORDER) == done)  # type: ignore[misc]
                if version == 2:
                    terminate(main_dsn)
                elif version == 3:
                    kurrent.is_down = True
                    kurrent.cut()
                    await wait_until(lambda: not kurrent.following)
                    kurrent.is_down = False
        finally:
            worker.stop()
    assert running.is_done()


async def test_what_is_no_event(
    main_dsn: str, db: AsyncDB, kurrent: FakeKurrent, source: AsyncKurrentSource, registry: Registry
) -> None:
    """J3: one that cannot be read is parked and its stream waits; the others go on, and what is of another
    type need not be readable."""
    for number, data in enumerate([b"{}", b"\xff", b"{}"]):
        kurrent.record("a", number, "tick", data, id=uuid4())
    for number, data in enumerate([b"[]", b'{"by": "\\u0000"}']):
        kurrent.record(f"b{number}", 0, "tick", data, id=uuid4())
    kurrent.record("c", 0, "other", b"\xff", id=uuid4())
    kurrent.record("d", 0, "tick", b"{}", b"{", id=uuid4(), recorded_at=None)
    kurrent.record("e", 0, "tick", b"{}", id=uuid4(), recorded_at=None)
    worker = AsyncProjectionWorker(db, registry, source, tries=1)
    assert await worker.catch_up() == 2
    assert outside(main_dsn, ORDER) == [("a", [1]), ("e", [1])]
    rows = await projection_failures(db)
    assert [(row["aggregate_id"], row["version"]) for row in rows] == [
        ("a", 2),
        ("a", 3),
        ("b0", 1),
        ("b1", 1),
        ("d", 1),
    ]
    assert rows[0]["error"].startswith("ProjectionError: a/2 is no event: ValueError")
    assert "its data are no JSON object" in rows[2]["error"]
    assert await skip_projection(db, "notes", "a") == 2
    assert await worker.catch_up() == 1
    assert outside(main_dsn, ORDER) == [("a", [1, 3]), ("e", [1])]
    assert len(await source.read()) == 8


async def test_a_decoder(db: AsyncDB, kurrent: FakeKurrent, registry: Registry) -> None:
    """Events of another form are events by `decode`."""

    def decode(recorded: Any) -> Any:
        return event(recorded.stream_name, int(recorded.data)) if recorded.type == "number" else None

    kurrent.record("a", 0, "number", b"1", id=uuid4())
    kurrent.record("a", 1, "other", b"", id=uuid4())
    kurrent.record("b", 0, "number", b"two", id=uuid4())
    source = AsyncKurrentSource(kurrent, decode)
    assert await AsyncProjectionWorker(db, registry, source).catch_up() == 1
    assert [row["aggregate_id"] for row in await projection_failures(db)] == ["b"]


async def test_out_of_range(
    main_dsn: str, db: AsyncDB, kurrent: FakeKurrent, source: AsyncKurrentSource, registry: Registry
) -> None:
    """J3: a checkpoint past the end of the database, which must be another, is an error that says so."""
    await source.append([event("a", 1), event("a", 2)])
    worker = AsyncProjectionWorker(db, registry, source)
    assert await worker.catch_up() == 2
    kurrent.recorded.clear()
    await source.append(event("b", 1))
    with pytest.raises(ProjectionError, match="ends at commit position 1788, before 1888: it is another"):
        await worker.catch_up()
    kurrent.is_down = True
    for ask in (worker.catch_up, source.read, lambda: source.append(event("c"))):
        with pytest.raises(ProjectionError, match="KurrentDB: ServiceUnavailableError"):
            await ask()


async def test_it_is_followed(kurrent: FakeKurrent, source: AsyncKurrentSource) -> None:
    """A subscription returns what there is, and what comes; one that is cut begins again."""
    await source.append(event("a", 1))
    async with source.subscribe() as following:
        assert [(await following.__anext__()).version, await following.next(0.01)] == [1, None]
        for version in (2, 3):
            await source.append(event("a", version))
            found = await following.next(5)
            assert found is not None
            assert found.version == version
        kurrent.cut()
        with pytest.raises(ProjectionError, match="cut"):
            await following.next(5)
        await source.append(event("a", 4))
        async for one in following:
            assert one.version == 4
            break
        assert await following.next(0.01) is None
        kurrent.following[-1].arrived.put_nowait(None)
        with pytest.raises(ProjectionError, match="has ended a subscription"):
            await following.next(5)
    assert repr(source) == "<AsyncKurrentSource>"


async def test_wrong_arguments(source: AsyncKurrentSource) -> None:
    """A limit, a position or an event that is none is a UsageError."""
    for limit in (0, True, "5"):
        with pytest.raises(UsageError, match="give how many events"):
            await source.read(limit=limit)  # type: ignore[arg-type]
    for ask in (source.read, source.subscribe):
        with pytest.raises(UsageError, match="from_position=5"):
            await ask(5)  # type: ignore[arg-type, misc]
    for given in ([], 5, [event("a", 1), event("b", 2)], event("a", 1, by="\0")):
        with pytest.raises(UsageError):
            await source.append(given)


def test_without_the_extra() -> None:
    """Who imports it without the extra is told what to install."""
    code = "import sys; sys.modules['kurrentdbclient'] = None; import pgdual.sources.kurrent"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigurationError: KurrentDB needs an extra: pip install 'pgdual[kurrent]'" in done.stderr
