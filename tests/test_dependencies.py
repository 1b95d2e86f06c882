"""T3 where a framework enters and leaves the block: pytest's fixtures, FastAPI's yield dependencies."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from pgdual.aio import AsyncClient, AsyncDB
from pgdual.sync import DB

from ._async import clients as aio
from ._sync import clients as sync

INSERT, PID, COUNT = "insert into t values ($1)", "select pg_backend_pid()", "select count(*) from t"


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    sync.prepare(main_dsn, "create table t (id int primary key)")
    async with aio.client_of(main=main_dsn) as made:
        yield made
        await aio.at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


@pytest.fixture
def blocking(main_dsn: str) -> Iterator[DB]:
    sync.prepare(main_dsn, "create table if not exists t (id int primary key)")
    with sync.client_of(main=main_dsn) as made:
        yield made["main"]
        sync.at_rest(made["main"], main_dsn)


def ids(dsn: str) -> list[int]:
    return [row[0] for row in sync.outside(dsn, "select id from t order by id")]


# -- pytest ------------------------------------------------------------------------------------------


@pytest.fixture
async def undone(db: AsyncDB) -> AsyncIterator[Any]:
    """A transaction around a test, undone at its end."""
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            yield tx
            raise LookupError


@pytest.fixture
def undone_blocking(blocking: DB) -> Iterator[Any]:
    """The same on the blocking face."""
    with pytest.raises(LookupError), blocking.transaction() as tx:
        yield tx
        raise LookupError


async def test_a_fixture(undone: Any, db: AsyncDB, main_dsn: str) -> None:
    """T3: anyio runs fixture and test in one task: `db` joins the block that the fixture holds open."""
    await undone.execute(INSERT, 1)
    await db.execute(INSERT, 2)
    async with db.transaction():
        await db.execute(INSERT, 3)
    assert await undone.fetchval(COUNT) == 3
    assert ids(main_dsn) == []


def test_a_fixture_blocking(undone_blocking: Any, blocking: DB, main_dsn: str) -> None:
    """T3: on the blocking face fixture and test are one thread: `db` joins."""
    undone_blocking.execute(INSERT, 1)
    blocking.execute(INSERT, 2)
    assert undone_blocking.fetchval(COUNT) == 2
    assert ids(main_dsn) == []


# -- FastAPI -----------------------------------------------------------------------------------------


async def ask(app: FastAPI, path: str) -> Any:
    """Return what *app* answers to a GET, asked as a server does."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "scheme": "http"}
    scope |= {"raw_path": path.encode(), "query_string": b"", "headers": [], "server": ("test", 80)}
    await app({**scope, "asgi": {"version": "3.0"}, "client": ("test", 1)}, receive, send)
    assert sent[0]["status"] == 200, sent
    return b"".join(message.get("body", b"") for message in sent).decode()


async def test_an_async_dependency(db: AsyncDB, blocking: DB, main_dsn: str) -> None:
    """T3: it runs in the endpoint's own task: `db` joins, its end commits, and an exception undoes it."""
    app = FastAPI()

    async def transaction() -> AsyncIterator[Any]:
        async with db.transaction() as tx:
            yield tx

    @app.get("/joins")
    async def joins(tx: Annotated[Any, Depends(transaction)]) -> int:
        await tx.execute(INSERT, 1)
        await db.execute(INSERT, 2)
        assert ids(main_dsn) == []
        return int(await tx.fetchval(COUNT))

    @app.get("/fails")
    async def fails(tx: Annotated[Any, Depends(transaction)]) -> None:
        await tx.execute(INSERT, 3)
        raise LookupError

    @app.get("/in-a-thread")
    def in_a_thread(tx: Annotated[Any, Depends(transaction)]) -> int:
        return int(blocking.fetchval(COUNT))  # the other face knows nothing of it

    assert await ask(app, "/joins") == "2"
    with pytest.raises(LookupError):
        await ask(app, "/fails")
    assert await ask(app, "/in-a-thread") == "2"
    answers = await asyncio.gather(*[ask(app, "/in-a-thread") for _ in range(20)])
    assert answers == ["2"] * 20
    assert ids(main_dsn) == [1, 2]


async def test_a_blocking_dependency(blocking: DB, main_dsn: str) -> None:
    """T3: it is entered and left in worker threads, each in a context of its own: what it yields works from
    any of them, and `db` in the endpoint is outside of it."""
    app = FastAPI()

    def transaction() -> Iterator[Any]:
        with blocking.transaction() as tx:
            yield tx

    @app.get("/thread/{number}")
    def in_a_thread(number: int, tx: Annotated[Any, Depends(transaction)]) -> bool:
        tx.execute(INSERT, number)
        with tx.transaction() as inner:
            inner.execute(INSERT, number + 100)
        return bool(tx.fetchval(PID) == blocking.fetchval(PID))

    @app.get("/loop")
    async def in_the_loop(tx: Annotated[Any, Depends(transaction)]) -> bool:
        await asyncio.to_thread(tx.execute, INSERT, 50)
        return bool(await asyncio.to_thread(tx.fetchval, PID) == blocking.fetchval(PID))

    @app.get("/fails")
    def fails(tx: Annotated[Any, Depends(transaction)]) -> None:
        tx.execute(INSERT, 60)
        raise LookupError

    assert await asyncio.gather(*[ask(app, f"/thread/{number}") for number in range(3)]) == ["false"] * 3
    assert await ask(app, "/loop") == "false"
    with pytest.raises(LookupError):
        await ask(app, "/fails")
    assert ids(main_dsn) == [0, 1, 2, 50, 100, 101, 102]
