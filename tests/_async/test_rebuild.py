"""J4: a read model anew from the whole log, while live events flow; interrupted and gone on with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg.errors import SerializationFailure

import pgdual._async.projection.rebuild as rebuilding
from pgdual.aio import (
    AsyncClient,
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    ProjectionType,
    Registry,
    project,
    projection_failures,
    projector,
    rebuild,
)
from pgdual.errors import ProjectionError

from .clients import at_rest, client_of, first, outside, prepare
from .runtime import FACE, Event, spawn, wait_until
from .test_event_log import event

SYNC = ProjectionType.SYNC
ADD = "insert into totals values ($1, 1) on conflict (id) do update set total = totals.total + 1"
TOTALS = "select id, total from totals order by id"
SHAPE = """
select indexdef from pg_indexes where tablename = 'totals'
union all select conname || pg_get_constraintdef(oid) from pg_constraint
where conrelid = 'totals'::regclass or confrelid = 'totals'::regclass
union all select privilege_type from information_schema.table_privileges
where table_name = 'totals' and grantee = 'PUBLIC'
union all select reloptions::text from pg_class where oid = 'totals'::regclass order by 1
"""
WAITING = """
select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""
PLACES = "select count(*) from pgdual_positions where projector like '%rebuild%'"
PLACE = """
select relnamespace::regnamespace || '.' || relname from pg_class where oid = to_regclass('totals')
"""
SCHEMAS = "select count(*) from pg_namespace where nspname like 'pgdual_rebuild%'"


@pytest.fixture
def registry() -> Registry:
    return Registry(FACE)


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    """A client of a database with a log and a read model on which much hangs."""
    prepare(
        main_dsn,
        "create table kinds (kind text primary key); insert into kinds values ('tick')",
        "create table totals (id text, total int not null constraint positive check (total > 0),"
        " kind text default 'tick' references kinds, serial serial,"
        " constraint totals_key primary key (id)) with (fillfactor = 80)",
        "create index odd_name on totals (total) where total > 3",
        "create table notes (id text references totals deferrable initially deferred)",
        "grant select on totals to public",
    )
    async with client_of(main=main_dsn, pool_max_size=12) as made:
        await AsyncEventLog(made["main"]).create()
        yield made


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


async def count(one: Any, db: AsyncDB) -> None:
    """Count an event; fail with one that says so."""
    await db.execute(ADD, one.aggregate_id)
    await db.execute("select 1 / $1::int", one.data.get("by", 1))


def stop(state: Any) -> None:
    """Interrupt a rebuild."""
    raise KeyError


async def append(db: AsyncDB, aggregates: int, versions: int, begin: int = 1) -> None:
    log = AsyncEventLog(db)
    for number in range(aggregates):
        await log.append([event(f"a{number}", n) for n in range(begin, begin + versions)])


def totals(aggregates: int, versions: int) -> list[Any]:
    return sorted((f"a{number}", versions) for number in range(aggregates))


@pytest.mark.parametrize("in_place", [False, True])
async def test_behind_the_log(main_dsn: str, db: AsyncDB, registry: Registry, in_place: bool) -> None:
    """J4: it is made anew with all that hung on the tables, and goes on from there, while events flow."""
    projector("tick", name="count", tables="totals", registry=registry)(count)
    await append(db, 10, 3)
    worker = AsyncProjectionWorker(db, registry)
    await worker.catch_up()
    outside(main_dsn, "update totals set total = 77")
    shape = outside(main_dsn, SHAPE)
    assert len(shape) >= 8  # PostgreSQL 18 names NOT NULL constraints, too
    async with spawn(worker.run) as running:
        try:
            steps: list[Any] = []
            done = await rebuild("count", db, registry, in_place, progress=steps.append)
            assert (done.done, done.total, done.is_over) == (30, 30, True)
            assert steps[-1] == done
            await append(db, 10, 2, begin=4)
            await wait_until(lambda: outside(main_dsn, TOTALS) == totals(10, 5))
        finally:
            worker.stop()
        await running.result()
    assert outside(main_dsn, SHAPE) == shape
    assert first(main_dsn, SCHEMAS) == 0
    assert await AsyncProjectionWorker(db, registry).catch_up() == 0
    outside(main_dsn, "insert into totals (id, total) values ('x', 1)")  # its sequence is its own
    await at_rest(db, main_dsn)


@pytest.mark.parametrize("in_place", [False, True])
async def test_before_the_caller_goes_on(
    main_dsn: str, db: AsyncDB, registry: Registry, in_place: bool
) -> None:
    """J4: what its callers project meanwhile and afterwards is in it once; what fails is kept for a retry."""
    projector("tick", projection_type=SYNC, name="count", tables="totals", registry=registry)(count)
    log = AsyncEventLog(db)
    given = [event("a", n, by=int(n != 3)) for n in range(1, 5)]
    other = event("b", 1)
    await log.append(given)
    await log.append(other)
    assert await project(other, db, registry) == 1
    await rebuild("count", db, registry, in_place)
    assert outside(main_dsn, TOTALS) == [("a", 2), ("b", 1)]
    assert [(row["projector"], row["version"]) for row in await projection_failures(db)] == [
        ("count", 3),
        ("count", 4),
    ]
    assert [await project(one, db, registry) for one in (other, given[0], given[1])] == [0, 0, 0]
    assert outside(main_dsn, "select aggregate_id, version from pgdual_projected order by 1") == [
        ("a", 2),
        ("b", 1),
    ]


@pytest.mark.parametrize("in_place", [False, True])
async def test_callers_meanwhile(main_dsn: str, db: AsyncDB, registry: Registry, in_place: bool) -> None:
    """J4: while a SYNC projection is rebuilt again and again, callers go on, and each event counts once."""
    projector("tick", projection_type=SYNC, name="count", tables="totals", registry=registry)(count)
    log, is_over = AsyncEventLog(db), [False]

    async def call(name: str) -> int:
        version = 0
        while not is_over[0]:
            version += 1
            given = event(name, version)
            if version % 2:
                await log.append(given)
                await project(given, db, registry)
            else:
                async with db.transaction():
                    await log.append(given)
                    await project(given, db, registry)
        return version

    async with spawn(lambda: call("a")) as one, spawn(lambda: call("b")) as two:
        try:
            for _ in range(3):
                await rebuild("count", db, registry, in_place)
        finally:
            is_over[0] = True
        done = [("a", await one.result()), ("b", await two.result())]
    assert outside(main_dsn, TOTALS) == done
    assert outside(main_dsn, "select aggregate_id, version from pgdual_projected order by 1") == done


async def test_interrupted_and_gone_on_with(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: what was done before an interruption is not done again, and the live tables are untouched."""
    is_stopping = [True]

    async def stumble(one: Any, db: AsyncDB) -> None:
        await count(one, db)

    def stop(state: Any) -> None:
        if is_stopping:
            is_stopping.pop()
            raise KeyError

    projector("tick", name="count", tables="totals", registry=registry)(stumble)
    outside(main_dsn, "insert into totals values ('old', 5)")
    await append(db, 40, 60)
    with pytest.raises(KeyError):
        await rebuild("count", db, registry, progress=stop)
    assert outside(main_dsn, TOTALS) == [("old", 5)]
    assert first(main_dsn, SCHEMAS) == 1
    steps: list[Any] = []
    done = await rebuild("count", db, registry, progress=steps.append)
    assert outside(main_dsn, TOTALS) == totals(40, 60)
    assert (done.done, done.total) == (2400, 2400)
    assert steps[0].done == 2400  # all of it was done before
    assert (await rebuild("count", db, registry, restart=True)).done == 2400
    assert outside(main_dsn, TOTALS) == totals(40, 60)


async def test_what_cannot_be_rebuilt(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: without tables, or with something on them that would be lost, it says so and changes nothing."""
    projector("tick", name="nothing", registry=registry)(count)
    projector("tick", name="nowhere", tables="nowhere", registry=registry)(count)
    projector("tick", name="count", tables=["totals"], registry=registry)(count)
    with pytest.raises(ProjectionError, match="no projection 'x'; there are: count, nothing, nowhere"):
        await rebuild("x", db, registry)
    with pytest.raises(ProjectionError, match="'nothing' names no tables"):
        await rebuild("nothing", db, registry)
    with pytest.raises(ProjectionError, match="there is no table nowhere"):
        await rebuild("nowhere", db, registry)
    prepare(
        main_dsn,
        "create view seen as select * from totals",
        "create trigger t before update on totals for each row"
        " execute function suppress_redundant_updates_trigger()",
        "alter table totals enable row level security",
    )
    with pytest.raises(
        ProjectionError, match=r"has row security, has the trigger t, is used by seen, .* in place"
    ):
        await rebuild("count", db, registry)
    assert first(main_dsn, SCHEMAS) == 0


async def test_in_place_after_an_interrupted_one(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: a rebuild in place forgets what an interrupted one has done, and the next begins anew."""
    projector("tick", name="count", tables="totals", registry=registry)(count)
    await append(db, 3, 10)
    with pytest.raises(KeyError):
        await rebuild("count", db, registry, progress=stop)
    await rebuild("count", db, registry, in_place=True)
    assert (first(main_dsn, SCHEMAS), first(main_dsn, PLACES)) == (0, 0)
    await rebuild("count", db, registry)
    assert outside(main_dsn, TOTALS) == totals(3, 10)


async def test_little_is_left_for_the_swap(
    main_dsn: str, db: AsyncDB, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J4: the projection stands still for the end of the log alone, also where few events are its own."""
    monkeypatch.setattr(rebuilding, "BATCH", 10)
    monkeypatch.setattr(rebuilding, "NEAR", 5)
    turns: list[str] = []

    async def note(one: Any, db: AsyncDB) -> None:
        await db.execute(ADD, one.aggregate_id)
        turns.append(await db.fetchval("select pg_current_xact_id()::text"))

    projector("tick", name="count", tables="totals", registry=registry)(note)
    kinds = ["tock", "tock", "tock", "tick"] * 25
    await AsyncEventLog(db).append([event("a", n, kind) for n, kind in enumerate(kinds, 1)])
    await rebuild("count", db, registry)
    assert outside(main_dsn, TOTALS) == [("a", 25)]
    assert turns.count(turns[-1]) <= 3  # as many as a batch may hold


async def test_two_at_once(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: two rebuilds at once do nothing twice; the one that comes too late for the swap says so."""
    has_begun, may_go_on = Event(), Event()

    async def pause(one: Any, db: AsyncDB) -> None:
        await count(one, db)
        if not has_begun.is_set():
            has_begun.set()
            await may_go_on.wait()

    projector("tick", name="count", tables="totals", registry=registry)(pause)
    await append(db, 3, 10)
    async with spawn(lambda: rebuild("count", db, registry)) as one:
        await has_begun.wait()
        async with spawn(lambda: rebuild("count", db, registry)) as two:
            await wait_until(lambda: first(main_dsn, WAITING) == 1)
            may_go_on.set()
            assert (await two.result()).is_over
        with pytest.raises(ProjectionError, match="'count' was rebuilt by somebody else meanwhile"):
            await one.result()
    assert outside(main_dsn, TOTALS) == totals(3, 10)
    assert first(main_dsn, SCHEMAS) == 0
    assert first(main_dsn, PLACES) == 0


@pytest.mark.parametrize("is_over", [False, True])
async def test_begun_anew_meanwhile(
    main_dsn: str, db: AsyncDB, registry: Registry, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J4: a rebuild whose fresh tables another has swapped or removed ends, and writes to no others."""
    monkeypatch.setattr(rebuilding, "BATCH", 10)
    monkeypatch.setattr(rebuilding, "NEAR", 5)
    steps = {name: (Event(), Event()) for name in ("one", "two")}

    def pausing(name: str) -> Any:
        async def pause(state: Any) -> None:
            has_come, may_go_on = steps[name]
            has_come.set()
            await may_go_on.wait()

        return pause

    projector("tick", name="count", tables="totals", registry=registry)(count)
    await append(db, 3, 10)
    async with spawn(lambda: rebuild("count", db, registry, progress=pausing("one"))) as one:
        await steps["one"][0].wait()
        two = spawn(lambda: rebuild("count", db, registry, restart=not is_over, progress=pausing("two")))
        async with two:
            if is_over:
                steps["two"][1].set()
                await two.result()
            await steps["two"][0].wait()
            steps["one"][1].set()
            with pytest.raises(ProjectionError, match="'count' was rebuilt by somebody else meanwhile"):
                await one.result()
            steps["two"][1].set()
            assert (await two.result()).done == 30
    assert outside(main_dsn, TOTALS) == totals(3, 10)
    assert (first(main_dsn, SCHEMAS), first(main_dsn, PLACES)) == (0, 0)


async def test_in_place_with_a_projector_that_does_not_fit(
    main_dsn: str, db: AsyncDB, registry: Registry
) -> None:
    """J4: what would fail with every event is the projector's fault: it is told, and the rows stay."""

    async def wrong(one: Any, db: AsyncDB) -> None:
        await db.execute("insert into totals (nothing) values ($1)", one.aggregate_id)

    projector("tick", name="count", tables="totals", registry=registry)(wrong)
    outside(main_dsn, "insert into totals values ('old', 5)")
    await append(db, 2, 2)
    with pytest.raises(ProjectionError, match='column "nothing" of relation "totals" does not exist'):
        await rebuild("count", db, registry, in_place=True)
    assert outside(main_dsn, TOTALS) == [("old", 5)]
    assert await projection_failures(db) == []


async def test_in_place_with_a_conflict(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: an event that was rolled back for another's sake has not failed: all of it is to be done again."""
    errors = [SerializationFailure("for another's sake")]

    async def give_way(one: Any, db: AsyncDB) -> None:
        if errors:
            raise errors.pop()
        await count(one, db)

    projector("tick", name="count", tables="totals", registry=registry)(give_way)
    await append(db, 2, 2)
    with pytest.raises(SerializationFailure):
        await rebuild("count", db, registry, in_place=True)
    assert await projection_failures(db) == []
    await rebuild("count", db, registry, in_place=True)
    assert outside(main_dsn, TOTALS) == totals(2, 2)


async def test_on_one_connection(main_dsn: str, registry: Registry) -> None:
    """J4: a prepared statement finds the fresh tables in a rebuild, and the live ones before and after."""
    prepare(main_dsn, "create table totals (id text primary key, total int)")
    places: list[str] = []

    async def look(one: Any, db: AsyncDB) -> None:
        places.append(await db.fetchval(PLACE))
        await count(one, db)

    projector("tick", name="count", tables="totals", registry=registry)(look)
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await AsyncEventLog(db).create()
        await append(db, 1, 2)
        for _ in range(2):
            await db.execute(ADD, "live")
            assert await db.fetchval(PLACE) == "public.totals"
            await rebuild("count", db, registry)
            assert outside(main_dsn, TOTALS) == [("a0", 2)]
    assert len(places) == 4
    assert all(place.startswith("pgdual_rebuild") for place in places)


async def test_a_live_table_that_has_changed(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J4: fresh tables that were begun before a migration do not undo it: one has to begin anew."""
    projector("tick", name="count", tables="totals", registry=registry)(count)
    await append(db, 3, 3)
    with pytest.raises(KeyError):
        await rebuild("count", db, registry, progress=stop)
    outside(main_dsn, "alter table totals add note text")
    with pytest.raises(ProjectionError, match=r"totals has changed .*restart=True"):
        await rebuild("count", db, registry)
    await rebuild("count", db, registry, restart=True)
    assert outside(main_dsn, "select id, total, note from totals order by id")[0] == ("a0", 3, None)
