"""J2: SYNC projectors run before the caller goes on, whole or not at all, within their time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from pgdual.aio import (
    AsyncClient,
    AsyncDB,
    AsyncEventLog,
    ProjectionType,
    Registry,
    project,
    projection_failures,
    projector,
    skip_projection,
    sync_projection,
)
from pgdual.errors import DivisionByZero, ProjectionError, ProjectionTimeoutError, QueryTimeoutError

from .clients import at_rest, client_of, first, outside, prepare
from .runtime import FACE
from .test_event_log import event

SYNC = ProjectionType.SYNC
TOTAL = "select total from totals"
ADD = "insert into totals values ($1, 1) on conflict (id) do update set total = totals.total + 1"


@pytest.fixture
def registry() -> Registry:
    return Registry(FACE)


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    """A client of a database with the tables of projections and one of totals."""
    prepare(main_dsn, "create table totals (id text primary key, total int not null)")
    async with client_of(main=main_dsn) as made:
        await AsyncEventLog(made["main"]).create()
        yield made


async def count(one: Any, db: AsyncDB) -> None:
    """Count the events of an aggregate: what a replay must not double."""
    await db.execute(ADD, one.aggregate_id)


async def stall(one: Any, db: AsyncDB) -> None:
    """Do something, and then take too long."""
    await db.execute(ADD, one.aggregate_id)
    await db.execute("select pg_sleep(20)")


async def divide(one: Any, db: AsyncDB) -> None:
    """Do something, and then fail."""
    await db.execute(ADD, one.aggregate_id)
    await db.execute("select 1 / $1::int", one.data.get("by", 0))


async def test_before_the_caller_goes_on(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: when project() returns the rows are committed, and the checkpoint with them."""
    projector("tick", projection_type=SYNC, registry=registry)(count)
    projector("tick", projection_type=SYNC, name="other", registry=registry)(count)
    projector("tick", name="behind", registry=registry)(divide)  # not one of those
    assert await project(event(), client["main"], registry) == 2
    assert outside(main_dsn, TOTAL) == [(2,)]
    checkpoints = "select projector, version from pgdual_projected order by 1"
    assert outside(main_dsn, checkpoints) == [("count:tick", 1), ("other", 1)]


async def test_a_replayed_event(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: the guide's `total + 1` survives an event that comes again, also a version left out between."""
    projector("tick", projection_type=SYNC, registry=registry)(count)
    one, two = event(version=1), event(version=5)
    done = [await project(given, client["main"], registry) for given in (one, one, two, one, two)]
    assert done == [1, 0, 1, 0, 0]
    assert first(main_dsn, TOTAL) == 2


async def test_in_the_callers_transaction(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: in an open transaction it is a savepoint: it ends with it, and its failure leaves it."""
    db = client["main"]
    projector("tick", projection_type=SYNC, registry=registry)(count)
    projector("tock", projection_type=SYNC, registry=registry)(divide)
    with pytest.raises(KeyError):
        async with db.transaction():
            await project(event("a"), db, registry)
            raise KeyError
    assert outside(main_dsn, TOTAL) == []
    async with db.transaction() as tx:
        await project(event("a"), db, registry)
        with pytest.raises(DivisionByZero):
            await project(event("b", kind="tock"), db, registry)
        await tx.execute("insert into totals values ('c', 7)")
    assert outside(main_dsn, f"{TOTAL} order by id") == [(1,), (7,)]
    assert [row["aggregate_id"] for row in await projection_failures(db)] == ["b"]


@pytest.mark.parametrize("is_inside", [False, True])
async def test_the_time_limit(
    main_dsn: str, client: AsyncClient, registry: Registry, is_inside: bool
) -> None:
    """J2: past the limit TimeoutError, rolled back, recorded, control back; the outer one lives."""
    db = client["main"]
    limit = sync_projection(timeout_seconds=0.3, registry=registry)
    limit(projector("tick", projection_type=SYNC, registry=registry)(stall))
    given, started = event(), monotonic()
    if is_inside:
        async with db.transaction() as tx:
            await tx.execute("insert into totals values ('mine', 1)")
            with pytest.raises(ProjectionTimeoutError, match=r"'stall:tick' .* within 0\.3 s; it was rolled"):
                await project(given, db, registry)
            assert await tx.fetchval("select count(*) from totals") == 1
    else:
        with pytest.raises(TimeoutError):
            await project(given, db, registry)
    assert 0.3 <= monotonic() - started < 1.55  # D2: 0.25 s later at most, 1.25 s on the blocking face
    assert outside(main_dsn, "select id from totals") == ([("mine",)] if is_inside else [])
    (row,) = await projection_failures(db)
    assert (row["projector"], row["event_id"], row["tries"]) == ("stall:tick", given["event_id"], 1)
    assert row["error"].startswith("ProjectionTimeoutError: main: projector 'stall:tick'")
    await at_rest(db, main_dsn)


async def test_all_limits_begin_together(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: three that stall hold their caller up for one limit, not for three."""
    for name in ("a", "b", "c"):
        made = projector("tick", projection_type=SYNC, name=name, registry=registry)(stall)
    sync_projection(timeout_seconds=0.4, registry=registry)(made)
    started = monotonic()
    with pytest.raises(ProjectionTimeoutError):
        await project(event(), client["main"], registry)
    assert monotonic() - started < 2.0
    assert [row["projector"] for row in await projection_failures(client["main"])] == ["a", "b", "c"]


async def test_a_full_pool(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: a projector that gets no connection gives control back at its limit, not at the pool's 30 s."""
    limit = sync_projection(timeout_seconds=0.3, registry=registry)
    limit(projector("tick", projection_type=SYNC, registry=registry)(count))
    async with client_of(main=main_dsn, pool_min_size=1, pool_max_size=2, pool_timeout=1.0) as narrow:
        db = narrow["main"]
        async with db.connection(), db.connection():
            started = monotonic()
            with pytest.raises(TimeoutError) as caught:
                await project(event(), db, registry)
            assert monotonic() - started < 3
        assert "could not be recorded" in caught.value.__notes__[0]  # it had no connection for that, either


async def test_late_on_its_return(client: AsyncClient, registry: Registry) -> None:
    """J2: one that comes back late without waiting is rolled back, too."""

    async def compute(one: Any, db: AsyncDB) -> None:
        await db.execute(ADD, one.aggregate_id)
        end = monotonic() + 0.2
        while monotonic() < end:
            pass

    limit = sync_projection(timeout_seconds=0.1, registry=registry)
    limit(projector("tick", projection_type=SYNC, registry=registry)(compute))
    with pytest.raises(ProjectionTimeoutError):
        await project(event(), client["main"], registry)
    assert await client["main"].fetch(TOTAL) == []


async def test_its_own_time_limit(client: AsyncClient, registry: Registry) -> None:
    """A statement of a projector with a shorter limit of its own says so."""

    async def hurry(one: Any, db: AsyncDB) -> None:
        await db.execute("select pg_sleep(20)", timeout=0.1)

    projector("tick", projection_type=SYNC, registry=registry)(hurry)
    with pytest.raises(QueryTimeoutError):
        await project(event(), client["main"], registry)


async def test_one_fails_and_the_others_run(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: a projector that raises is rolled back and recorded; the others of the event run all the same."""
    projector("tick", projection_type=SYNC, registry=registry)(divide)
    projector("tick", projection_type=SYNC, registry=registry)(count)
    with pytest.raises(DivisionByZero):
        await project(event(), client["main"], registry)
    assert outside(main_dsn, TOTAL) == [(1,)]
    (row,) = await projection_failures(client["main"])
    assert row["error"] == "DivisionByZero: division by zero"


async def test_behind_a_failed_event(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J3: a later event of the aggregate waits for the failed one, and skip lets it go."""
    db = client["main"]
    projector("tick", projection_type=SYNC, registry=registry)(divide)
    with pytest.raises(DivisionByZero):
        await project(event(version=1), db, registry)
    later = event(version=2, by=1)
    with pytest.raises(ProjectionError, match="has failed with an earlier event of 'a'"):
        await project(later, db, registry)
    assert await project(event("b", by=1), db, registry) == 1
    assert [row["version"] for row in await projection_failures(db)] == [1, 2]
    assert await skip_projection(db, "divide:tick", "a") == 1
    assert await project(later, db, registry) == 1
    with pytest.raises(ProjectionError, match="has not failed with an event of 'x'"):
        await skip_projection(db, "divide:tick", "x")
    assert first(main_dsn, f"{TOTAL} where id = 'a'") == 1


async def test_a_transaction_of_its_own(main_dsn: str, client: AsyncClient, registry: Registry) -> None:
    """J2: a projector's db.transaction() is a savepoint in its transaction, under the same limit."""

    async def nest(one: Any, db: AsyncDB) -> None:
        async with db.transaction() as tx:
            await tx.execute(ADD, one.aggregate_id)
            if one.data["slow"]:
                await tx.execute("select pg_sleep(20)")

    limit = sync_projection(timeout_seconds=0.3, registry=registry)
    limit(projector("tick", projection_type=SYNC, registry=registry)(nest))
    with pytest.raises(ProjectionTimeoutError):
        await project(event("slow", slow=True), client["main"], registry)
    assert await project(event("fast", slow=False), client["main"], registry) == 1
    assert outside(main_dsn, "select id from totals") == [("fast",)]


async def test_nobody_projects_it(client: AsyncClient, registry: Registry) -> None:
    """An event without projectors is counted and no error."""
    assert await project(event(), client["main"], registry) == 0
    assert (registry.events, registry.unprojected) == (1, 1)
