"""J3: the worker behind the log, in order per aggregate, once in effect, with poison parked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

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
    retry_projection,
    skip_projection,
)
from pgdual.errors import DivisionByZero, ProjectionError, UndefinedTable, UsageError

from .clients import at_rest, client_of, first, outside, prepare, terminate
from .runtime import FACE, sleep, spawn, wait_until
from .test_event_log import LISTENERS, event

SYNC = ProjectionType.SYNC
ADD = "insert into totals values ($1, 1) on conflict (id) do update set total = totals.total + 1"
NOTE = "insert into seen (id, version) values ($1, $2)"
ORDER = "select id, array_agg(version order by place) from seen group by 1 order by 1"


@pytest.fixture
def registry() -> Registry:
    return Registry(FACE)


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    """A client of a database with a log, totals, and what was seen in which order."""
    prepare(
        main_dsn,
        "create table totals (id text primary key, total int not null)",
        "create table seen (place serial primary key, id text not null, version int not null)",
    )
    async with client_of(main=main_dsn, pool_max_size=12) as made:
        await AsyncEventLog(made["main"]).create()
        yield made


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


async def note(one: Any, db: AsyncDB) -> None:
    """Note an event; fail with one that says so."""
    await db.execute(NOTE, one.aggregate_id, one.version)
    await db.execute("select 1 / $1::int", one.data.get("by", 1))


async def append(db: AsyncDB, aggregates: int, versions: int, **data: Any) -> None:
    """Append events of several aggregates, alternately of two types."""
    log = AsyncEventLog(db)
    for number in range(aggregates):
        kinds = ["tick" if version % 2 else "tock" for version in range(1, versions + 1)]
        await log.append([event(f"a{number}", n, kind, **data) for n, kind in enumerate(kinds, 1)])


def expected(aggregates: int, versions: int) -> list[Any]:
    return [(f"a{number}", list(range(1, versions + 1))) for number in range(aggregates)]


async def test_in_order_and_once(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: each event once, those of an aggregate in order over all types that one projection takes."""
    for kind in ("tick", "tock"):
        projector(kind, projection="notes", registry=registry)(note)
    await append(db, 9, 6)
    worker = AsyncProjectionWorker(db, registry, batch=7)
    assert await worker.catch_up() == 54
    assert outside(main_dsn, ORDER) == expected(9, 6)
    assert await worker.catch_up() == await AsyncProjectionWorker(db, registry).catch_up() == 0
    figures = db.stats()["projections"]["projections"]["notes"]
    assert (figures["events"], figures["failures"]) == (54, 0)
    assert figures["lag"]["count"] == figures["took"]["count"] > 0
    await at_rest(db, main_dsn)


async def test_batches(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: who takes batches gets lists of his type, with the events of each aggregate in order."""
    sizes: list[int] = []

    async def many(events: list[Any], db: AsyncDB) -> None:
        sizes.append(len(events))
        await db.insert_many("seen", [(one.aggregate_id, one.version) for one in events], ["id", "version"])

    for kind in ("tick", "tock"):
        projector(kind, projection="notes", batch=True, registry=registry)(many)
    await append(db, 60, 4)
    assert await AsyncProjectionWorker(db, registry).catch_up() == 240
    assert sum(sizes) == 240
    assert max(sizes) > 3
    assert outside(main_dsn, ORDER) == sorted(expected(60, 4))


async def test_a_poison_event(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: one that fails is undone, kept with its error and parked; its aggregate waits, the others go on."""
    projector("tick", name="notes", registry=registry)(note)
    log = AsyncEventLog(db)
    for number in range(20):
        await log.append([event(f"a{number}", 1), event(f"a{number}", 2, by=int(number != 7))])
    await log.append(event("a7", 3))
    worker = AsyncProjectionWorker(db, registry, tries=2)
    assert await worker.catch_up() == 39
    assert outside(main_dsn, "select version from seen where id = 'a7'") == [(1,)]
    rows = {row["version"]: row for row in await projection_failures(db)}
    assert rows.keys() == {2, 3}
    assert rows[2]["error"] == "DivisionByZero: division by zero"
    assert rows[3]["error"] == "it waits for an earlier event of its aggregate"

    async def is_parked() -> bool:
        await worker.catch_up()
        return bool((await projection_failures(db))[0]["tries"] == 2)

    await wait_until(is_parked)
    await log.append(event("a7", 4))
    await log.append(event("a8", 3))
    assert await worker.catch_up() == 1
    assert await retry_projection(db, "notes", "a7") == 1
    await worker.catch_up()
    assert [row["tries"] for row in await projection_failures(db)] == [1, 0, 0]
    assert await skip_projection(db, "notes", "a7") == 2
    assert await worker.catch_up() == 2
    assert outside(main_dsn, "select version from seen where id = 'a7' order by place") == [(1,), (3,), (4,)]
    assert await projection_failures(db) == []
    assert db.stats()["projections"]["projections"]["notes"]["failures"] == 3


async def test_it_is_woken(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: run() projects what is appended as it comes, and after the connections are lost goes on."""
    projector("tick", name="notes", registry=registry)(note)
    worker = AsyncProjectionWorker(db, registry)
    log = AsyncEventLog(db)
    async with spawn(worker.run) as running:
        try:
            await wait_until(lambda: outside(main_dsn, LISTENERS))
            for version in range(1, 6):
                await log.append(event("a", version))
                await wait_until(lambda n=version: first(main_dsn, "select count(*) from seen") == n, 0.9)
            terminate(main_dsn)
            await log.append(event("a", 6))
            await wait_until(lambda: first(main_dsn, "select count(*) from seen") == 6)
        finally:
            worker.stop()
        await running.result()
    assert outside(main_dsn, ORDER) == [("a", [1, 2, 3, 4, 5, 6])]


async def test_several_workers(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: several workers share the work, and nothing is done twice or out of order."""
    for kind in ("tick", "tock"):
        projector(kind, projection="notes", registry=registry)(note)
    workers = [AsyncProjectionWorker(db, registry, batch=20) for _ in range(3)]
    async with spawn(workers[0].run) as one, spawn(workers[1].run) as two, spawn(workers[2].run) as three:
        try:
            await append(db, 20, 10)
            await wait_until(lambda: first(main_dsn, "select count(*) from seen") >= 200, 20)
            await sleep(0.05)
        finally:
            for worker in workers:
                worker.stop()
        for running in (one, two, three):
            await running.result()
    assert outside(main_dsn, ORDER) == sorted(expected(20, 10))


async def test_a_slice_that_another_is_at(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: what another worker is at is left to it, and done here when it gives up; the others go on."""
    projector("tick", name="notes", registry=registry)(note)
    projector("tock", projection="notes", registry=registry)(note)
    worker = AsyncProjectionWorker(db, registry, batch=100)
    await worker.catch_up()
    await append(db, 16, 12)
    with psycopg.connect(main_dsn) as other:
        held = other.execute("select slice from pgdual_positions where slice < 4 for update").fetchall()
        assert len(held) == 4
        async with spawn(worker.run) as running:
            try:
                await wait_until(lambda: first(main_dsn, "select count(*) from seen") > 0)
                await sleep(0.1)
                assert 0 < first(main_dsn, "select count(*) from seen") < 192
                other.rollback()
                await wait_until(lambda: first(main_dsn, "select count(*) from seen") == 192)
            finally:
                worker.stop()
            await running.result()
    assert outside(main_dsn, ORDER) == sorted(expected(16, 12))


async def test_conflicts(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: slices that deadlock over the same rows are done again in turn, and lose nothing."""
    prepare(
        main_dsn,
        "alter database " + first(main_dsn, "select current_database()") + " set deadlock_timeout = 20",
    )

    async def both(one: Any, db: AsyncDB) -> None:
        for key in sorted("xy", reverse=one.data["reverse"]):
            await db.execute(ADD, key)

    projector("tick", registry=registry)(both)
    log = AsyncEventLog(db)
    for number in range(40):
        await log.append(event(f"a{number}", 1, reverse=bool(number % 2)))
    async with client_of(main=main_dsn, pool_max_size=12) as other:
        assert await AsyncProjectionWorker(other["main"], registry).catch_up() == 40
    assert outside(main_dsn, "select id, total from totals order by 1") == [("x", 40), ("y", 40)]
    assert await projection_failures(db) == []


async def test_sync_failures_are_tried_again(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J2: the worker tries again what a SYNC projector has failed with, and those that wait behind it."""
    is_broken = True

    async def fragile(one: Any, db: AsyncDB) -> None:
        await db.execute(ADD, one.aggregate_id)
        await db.execute("select 1 / $1::int", 0 if is_broken else 1)

    projector("tick", projection_type=SYNC, name="fragile", registry=registry)(fragile)
    with pytest.raises(DivisionByZero):
        await project(event("a", 1), db, registry)
    with pytest.raises(ProjectionError, match="an earlier event"):
        await project(event("a", 2), db, registry)
    is_broken = False
    worker = AsyncProjectionWorker(db, registry)

    async def is_done() -> bool:
        await worker.catch_up()
        return await projection_failures(db) == []

    await wait_until(is_done)
    assert first(main_dsn, "select total from totals") == 2
    assert await project(event("a", 3), db, registry) == 1
    assert first(main_dsn, "select version from pgdual_projected") == 3


@pytest.mark.parametrize("is_kept", [True, False])
async def test_an_event_never_appended(main_dsn: str, db: AsyncDB, registry: Registry, is_kept: bool) -> None:
    """J2: a failure in a transaction that was rolled back, its event with it, is forgotten, not projected."""
    failing = [True]

    async def fragile(one: Any, db: AsyncDB) -> None:
        if failing:
            failing.pop()
            raise ValueError("not now")
        await db.execute(ADD, one.aggregate_id)

    projector("tick", projection_type=SYNC, registry=registry)(fragile)
    log, given, worker = AsyncEventLog(db), event("a", 1), AsyncProjectionWorker(db, registry)
    with psycopg.connect(main_dsn, autocommit=True):
        try:
            async with db.transaction():
                await log.append(given)
                with pytest.raises(ValueError, match="not now"):
                    await project(given, db, registry)
                async with client_of(main=main_dsn) as other:  # it is not decided yet
                    await sleep(0.15)
                    assert await AsyncProjectionWorker(other["main"], registry)._retries.step() == 0
                if not is_kept:
                    raise KeyError
        except KeyError:
            assert not is_kept

    async def is_done() -> bool:
        await worker.catch_up()
        return await projection_failures(db) == []

    await wait_until(is_done)
    assert outside(main_dsn, "select total from totals") == [(1,)] * is_kept


async def test_late_in_computing_or_asleep(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: what takes longer than the worker's limit is undone and has failed; the others go on."""

    async def slow(one: Any, db: AsyncDB) -> None:
        await db.execute(ADD, one.aggregate_id)
        if one.aggregate_id == "slow":
            await db.execute("select pg_sleep(20)")

    projector("tick", name="slow", registry=registry)(slow)
    log = AsyncEventLog(db)
    for name in ("a", "slow", "b"):
        await log.append(event(name))
    assert await AsyncProjectionWorker(db, registry, timeout=0.3, tries=1).catch_up() == 2
    assert outside(main_dsn, "select id from totals order by 1") == [("a",), ("b",)]
    assert [row["aggregate_id"] for row in await projection_failures(db)] == ["slow"]


async def test_its_own_transaction_and_another_database(
    main_dsn: str, vb_dsn: str, registry: Registry
) -> None:
    """J3: its own transaction is a savepoint; what it does on another database is not undone with it."""
    for dsn in (main_dsn, vb_dsn):
        prepare(dsn, "create table totals (id text primary key, total int not null)")
    async with client_of(main=main_dsn, vb=vb_dsn) as client:
        db, vb_db = client["main"], client["vb"]
        log = AsyncEventLog(db)
        await log.create()
        failing = [True]

        async def both(one: Any, db: AsyncDB) -> None:
            async with db.transaction() as tx:
                await tx.execute(ADD, one.aggregate_id)
                await vb_db.execute(ADD, one.aggregate_id)
            if failing:
                failing.pop()
                raise ValueError("once")

        projector("tick", registry=registry)(both)
        await log.append(event("a"))
        worker = AsyncProjectionWorker(db, registry)

        async def is_done() -> bool:
            await worker.catch_up()
            return await projection_failures(db) == []

        assert await worker.catch_up() == 0
        await wait_until(is_done)
    assert first(main_dsn, "select total from totals") == 1
    assert first(vb_dsn, "select total from totals") == 2  # each time it was tried


async def test_a_missing_table(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: a projection whose table is missing stands still and parks nothing, and the others go on."""

    async def lost(one: Any, db: AsyncDB) -> None:
        await db.execute("insert into nowhere values ($1)", one.version)

    projector("tick", name="lost", registry=registry)(lost)
    projector("tick", name="notes", registry=registry)(note)
    await AsyncEventLog(db).append([event("a", n) for n in range(1, 4)])
    worker = AsyncProjectionWorker(db, registry)
    with pytest.raises(ProjectionError, match="'lost' stands still until this is mended: UndefinedTable"):
        await worker.catch_up()
    async with spawn(worker.run) as running:
        try:
            await wait_until(lambda: first(main_dsn, "select count(*) from seen") == 3)
            prepare(main_dsn, "create table nowhere (version int)")
            await wait_until(lambda: first(main_dsn, "select count(*) from nowhere") == 3)
        finally:
            worker.stop()
        await running.result()
    assert await projection_failures(db) == []


async def test_nobody_projects_it(main_dsn: str, db: AsyncDB, registry: Registry) -> None:
    """J3: events that nobody projects are passed over, and the checkpoint goes past them."""
    projector("tick", name="notes", registry=registry)(note)
    log = AsyncEventLog(db)
    await log.append([event("a", n, "other") for n in range(1, 40)])
    await log.append(event("a", 40))
    assert await AsyncProjectionWorker(db, registry, batch=5).catch_up() == 1
    assert outside(main_dsn, ORDER) == [("a", [40])]


async def test_what_cannot_run(main_dsn: str, registry: Registry) -> None:
    """Wrong arguments are told at once, and missing tables are no passing trouble."""
    projector("tick", name="notes", registry=registry)(note)
    async with client_of(main=main_dsn) as client:
        for wrong in ({"batch": 0}, {"tries": True}, {"timeout": "1"}):
            with pytest.raises(UsageError, match="give a number above 0"):
                AsyncProjectionWorker(client["main"], registry, **wrong)
        with pytest.raises(ProjectionError, match="no projection 'x'; there are: notes"):
            AsyncProjectionWorker(client["main"], registry, projections=["x"])
        with pytest.raises(UndefinedTable):
            await AsyncProjectionWorker(client["main"], registry).run()
        projector("tick", projection_type=SYNC, name="now", registry=registry)(note)
        with pytest.raises(ProjectionError, match="'now' is SYNC"):  # its callers' events would count twice
            AsyncProjectionWorker(client["main"], registry, projections=["now"])
    with pytest.raises(ProjectionError, match="SYNC and ASYNC projectors"):
        projector("tock", name="later", projection="now", registry=registry)(note)
    with pytest.raises(ProjectionError, match="tables="):
        projector("tock", tables=[3], registry=registry)(note)  # type: ignore[list-item]
