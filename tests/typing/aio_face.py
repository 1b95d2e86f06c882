"""What a type checker sees of `pgdual.aio`: checked by mypy and pyright, never run."""

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from pgdual.aio import (
    AsyncClient,
    AsyncDB,
    AsyncEventLog,
    AsyncTransaction,
    Event,
    Gap,
    Notification,
    ProjectionType,
    Record,
    SchemaRun,
    db,
    execute_for_db,
    projector,
    prune_commits,
    run_schema_from_file,
)


@dataclass
class User:
    """A row as the user's own type."""

    id: int
    email: str


class Model(BaseModel):
    """A row as a model."""

    id: int


async def shapes() -> None:
    """`into=` decides what a row is; without it a row is a Record."""
    assert_type(await db.fetch("select 1"), list[Record])
    assert_type(await db.fetch("select $1", 1, into=User), list[User])
    assert_type(await db.fetch("select 1", into=Model), list[Model])
    assert_type(await db.fetch("select 1", into=tuple), list[tuple[Any, ...]])
    assert_type(await db.fetch("select 1", into=dict), list[dict[Any, Any]])
    assert_type(await db.fetchrow("select 1"), Record | None)
    assert_type(await db.fetchrow("select 1", into=User), User | None)
    assert_type(await db.fetchrow("select 1", into=tuple), tuple[Any, ...] | None)
    assert_type(await db.fetchrow("select 1", into=dict), dict[Any, Any] | None)
    plain: list[dict[str, Any]] = await db.fetch("select 1", into=dict)
    assert_type(plain[0]["a"], Any)
    assert_type(await db.fetchval("select 1", column="a", timeout=None), Any)
    assert_type(await db.execute("select 1", timeout=1.5), str)
    assert_type(await db.executemany("select $1", [(1,), (2,)]), int)
    assert_type(await db.fetchmany("select $1", [(1,), (2,)]), list[Record])
    assert_type(await db.insert_many("t", [(1,), (2,)]), int)
    assert_type(await db.insert_many("t", [User(1, "a")], returning="id"), list[Record])
    assert_type(await db.upsert_many("t", [{"id": 1}], "id", update=[]), int)
    assert_type(await db.copy_in("t", [b"1"], format="csv"), int)
    assert_type(await db.copy_out("t", print), int)
    async with db.copy_out("t", format="csv") as parts:
        assert_type([part async for part in parts], list[bytes])


async def transactions() -> None:
    """A transaction answers as the database does, and a nested one is again a transaction."""
    async with db.transaction(isolation="repeatable read", readonly=True) as tx:
        assert_type(tx, AsyncTransaction)
        assert_type(await tx.fetch("select 1", into=User), list[User])
        assert_type(await tx.fetchrow("select 1"), Record | None)
        async with tx.transaction() as inner:
            assert_type(inner, AsyncTransaction)
    db.transaction(isolation="dirty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def count(tx: AsyncTransaction, least: int) -> int:
    """Do what `run` may have to do again."""
    return len(await tx.fetch("select $1", least))


async def again() -> None:
    """What runs as often as it takes gives what it gives once."""
    assert_type(await db.run(count, 1, isolation="serializable"), int)
    async for attempt in db.attempts(once=True):
        async with attempt as tx:
            assert_type(tx, AsyncTransaction)


async def one_by_one() -> None:
    """What comes one by one has the type of what comes at once."""
    async with db.stream("select 1") as rows, db.stream("select 1", into=User) as users:
        assert_type([row async for row in rows], list[Record])
        assert_type([user async for user in users], list[User])
    async with db.listen("news") as news:
        assert_type([said async for said in news], list[Notification | Gap])


@projector("OrderPlaced", projection_type=ProjectionType.SYNC)
async def placed(event: Event, db: Any) -> int:
    """A projector stays the function that it is."""
    return event.version


async def events() -> None:
    """A log gives events with their places."""
    assert_type(await placed(await first(AsyncEventLog(db)), db), int)


async def first(log: AsyncEventLog) -> Event:
    """Return the first event."""
    return (await log.read())[0]


async def clients() -> None:
    """A client gives its databases by name."""
    async with AsyncClient() as client:
        assert_type(client, AsyncClient)
        assert_type(client["main"], AsyncDB)


async def guide() -> None:
    """The guide's functions give what the methods give."""
    assert_type(await execute_for_db("select 1", database="vb"), str)
    assert_type(await run_schema_from_file("x.sql", database=db, repeatable=True), SchemaRun)
    assert_type(await prune_commits(3600, "vb"), int)
