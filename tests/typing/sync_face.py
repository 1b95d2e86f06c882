"""What a type checker sees of `pgdual.sync`: checked by mypy and pyright, never run."""

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from pgdual.sync import (
    DB,
    Client,
    Event,
    EventLog,
    Gap,
    Notification,
    ProjectionType,
    Record,
    SchemaRun,
    Transaction,
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


def shapes() -> None:
    """`into=` decides what a row is; without it a row is a Record."""
    assert_type(db.fetch("select 1"), list[Record])
    assert_type(db.fetch("select $1", 1, into=User), list[User])
    assert_type(db.fetch("select 1", into=Model), list[Model])
    assert_type(db.fetch("select 1", into=tuple), list[tuple[Any, ...]])
    assert_type(db.fetch("select 1", into=dict), list[dict[Any, Any]])
    assert_type(db.fetchrow("select 1"), Record | None)
    assert_type(db.fetchrow("select 1", into=User), User | None)
    assert_type(db.fetchrow("select 1", into=tuple), tuple[Any, ...] | None)
    assert_type(db.fetchrow("select 1", into=dict), dict[Any, Any] | None)
    plain: list[dict[str, Any]] = db.fetch("select 1", into=dict)
    assert_type(plain[0]["a"], Any)
    assert_type(db.fetchval("select 1", column="a", timeout=None), Any)
    assert_type(db.execute("select 1", timeout=1.5), str)
    assert_type(db.executemany("select $1", [(1,), (2,)]), int)
    assert_type(db.fetchmany("select $1", [(1,), (2,)]), list[Record])
    assert_type(db.insert_many("t", [(1,), (2,)]), int)
    assert_type(db.insert_many("t", [User(1, "a")], returning="id"), list[Record])
    assert_type(db.upsert_many("t", [{"id": 1}], "id", update=[]), int)
    assert_type(db.copy_in("t", [b"1"], format="csv"), int)
    assert_type(db.copy_out("t", print), int)
    with db.copy_out("t", format="csv") as parts:
        assert_type(list(parts), list[bytes])


def transactions() -> None:
    """A transaction answers as the database does, and a nested one is again a transaction."""
    with db.transaction(isolation="repeatable read", readonly=True) as tx:
        assert_type(tx, Transaction)
        assert_type(tx.fetch("select 1", into=User), list[User])
        assert_type(tx.fetchrow("select 1"), Record | None)
        with tx.transaction() as inner:
            assert_type(inner, Transaction)
    db.transaction(isolation="dirty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def count(tx: Transaction, least: int) -> int:
    """Do what `run` may have to do again."""
    return len(tx.fetch("select $1", least))


def again() -> None:
    """What runs as often as it takes gives what it gives once."""
    assert_type(db.run(count, 1, isolation="serializable"), int)
    for attempt in db.attempts(once=True):
        with attempt as tx:
            assert_type(tx, Transaction)


def one_by_one() -> None:
    """What comes one by one has the type of what comes at once."""
    with db.stream("select 1") as rows, db.stream("select 1", into=User) as users:
        assert_type(list(rows), list[Record])
        assert_type(list(users), list[User])
    with db.listen("news") as news:
        assert_type(list(news), list[Notification | Gap])


@projector("OrderPlaced", projection_type=ProjectionType.SYNC)
def placed(event: Event, db: Any) -> int:
    """A projector stays the function that it is."""
    return event.version


def events() -> None:
    """A log gives events with their places."""
    assert_type(placed(first(EventLog(db)), db), int)


def first(log: EventLog) -> Event:
    """Return the first event."""
    return (log.read())[0]


def clients() -> None:
    """A client gives its databases by name."""
    with Client() as client:
        assert_type(client, Client)
        assert_type(client["main"], DB)


def guide() -> None:
    """The guide's functions give what the methods give."""
    assert_type(execute_for_db("select 1", database="vb"), str)
    assert_type(run_schema_from_file("x.sql", database=db, repeatable=True), SchemaRun)
    assert_type(prune_commits(3600, "vb"), int)
