"""What a type checker sees of `pgdual.sync`: checked by mypy and pyright, never run."""

from dataclasses import dataclass
from typing import Any, assert_type

from pgdual._sync.db import DB
from pgdual._sync.transaction import Transaction
from pgdual.sync import Client, db, execute_for_db, fetch_for_db, fetchrow_for_db
from pydantic import BaseModel

from pgdual.core.record import Record


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


def transactions() -> None:
    """A transaction answers as the database does, and a nested one is again a transaction."""
    with db.transaction(isolation="repeatable read", readonly=True) as tx:
        assert_type(tx, Transaction)
        assert_type(tx.fetch("select 1", into=User), list[User])
        assert_type(tx.fetchrow("select 1"), Record | None)
        with tx.transaction() as inner:
            assert_type(inner, Transaction)
    for attempt in db.attempts():
        with attempt as again:
            assert_type(again, Transaction)
    db.transaction(isolation="dirty")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def clients() -> None:
    """A client gives its databases by name."""
    with Client() as client:
        assert_type(client, Client)
        assert_type(client["main"], DB)


def guide() -> None:
    """The guide's functions give what the methods give."""
    assert_type(fetch_for_db("vb", "select 1"), list[Record])
    assert_type(fetchrow_for_db("vb", "select 1"), Record | None)
    assert_type(execute_for_db("vb", "select 1"), str)
