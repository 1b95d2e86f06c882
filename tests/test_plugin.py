"""The pytest plugin: databases of their own for a user's tests, on both faces."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

APPLICATION = """
from pgdual import aio, sync

async def add(name): await aio.db.execute("INSERT INTO users VALUES ($1)", name)
def added(): return [name for (name,) in sync.db.fetch("SELECT name FROM users")]
"""
CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def pgdual_schemas(request):
    return {"main": request.config.rootpath / "users.sql"}

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def ann(db):
    await db.execute("INSERT INTO users VALUES ('ann')")
    yield "ann"
    assert await db.fetchval("SELECT count(*) FROM users") == 2
"""
TESTS = """
import os
import asyncio, psycopg, pytest
from application import add, added
from pgdual.aio import AsyncDB, client as aio
from pgdual.errors import OutcomeUnknownError, UniqueViolation
from pgdual.sync import DB, client

ONE = "INSERT INTO users VALUES ('bob')"

@pytest.mark.parametrize("time", [1, 2])
def test_blocking(db, time):
    assert type(db) is DB and db is client["main"]
    db.execute(ONE)  # a name is unique: the other time did not stay
    assert added() == ["bob"]

@pytest.mark.parametrize("time", [1, 2])
async def test_async(db, ann, time):
    assert type(db) is AsyncDB and db is aio["main"]
    await add("bob")
    with pytest.raises(UniqueViolation):
        await add(ann)

class TestIt:
    async def test_in_a_class(self, db):
        await add("bob")

def test_an_async_application_in_a_blocking_test(db):
    asyncio.run(add("bob"))
    asyncio.run(add("eve"))
    assert added() == ["bob", "eve"]

async def test_both_faces_and_both_databases(db, vb_db, pgdual_dsn, pgdual_vb_dsn):
    await vb_db.execute("CREATE TABLE accounts (id int)")
    await db.close()  # as an application does at its end
    assert added() == []
    with psycopg.connect(pgdual_vb_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
    assert pgdual_dsn != pgdual_vb_dsn

def test_a_backend_may_be_killed(db):
    with pytest.raises(OutcomeUnknownError):
        db.execute("DO $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END$$")

def test_the_environment_is_as_it_was(pgdual_server):
    assert os.environ["POSTGRES_DSN"] == "postgresql://nowhere/"
    assert client.settings.get_dsn("main") == "postgresql://nowhere/"
    with psycopg.connect(pgdual_server.dsn) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'fresh%'").fetchall()
    assert left == []
"""
UNUSED = """
import sys

def test_nothing():
    assert sorted(name for name in sys.modules if name.startswith("pgdual")) == ["pgdual", "pgdual.testing"]
    assert not {"psycopg", "psycopg_pool", "pydantic"} & set(sys.modules)
"""


def test_each_test_has_its_databases(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both faces a test sees the schema and nothing of the last, as does the code that it tests."""
    monkeypatch.setenv("POSTGRES_DSN", "postgresql://nowhere/")
    pytester.makefile(".sql", users="CREATE TABLE users (name text PRIMARY KEY)")
    pytester.makeini("[pytest]\nanyio_mode = auto\nfilterwarnings = error\n")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(application=APPLICATION, test_it=TESTS)
    # pytest-asyncio, where it is installed, warns of a setting that nobody needs here
    pytester.runpytest_subprocess("-q", "-p", "pgdual.testing", "-p", "no:asyncio").assert_outcomes(passed=9)


ASYNCIO = """
import pytest
import pytest_asyncio
from application import add, added
from pgdual.aio import AsyncDB

@pytest_asyncio.fixture
async def ann(db):
    await db.execute("INSERT INTO users VALUES ('ann')")
    yield "ann"
    assert await db.fetchval("SELECT count(*) FROM users") == 2

@pytest.mark.parametrize("time", [1, 2])
async def test_async(db, ann, time):
    assert type(db) is AsyncDB
    await add("bob")
    assert sorted(added()) == ["ann", "bob"]

class TestIt:
    async def test_in_a_class(self, db):
        await add("bob")

def test_blocking(db):
    assert added() == []
"""


@pytest.mark.parametrize("others", [(), ("-p", "no:anyio")], ids=["with anyio", "without anyio"])
def test_pytest_asyncio_runs_the_tests_as_well(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    """In its mode auto, whether the plugin of anyio is there or not."""
    pytest.importorskip("pytest_asyncio")
    monkeypatch.setenv("POSTGRES_DSN", "postgresql://nowhere/")
    pytester.makefile(".sql", users="CREATE TABLE users (name text PRIMARY KEY)")
    said = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    pytester.makeini(f"[pytest]\n{said}filterwarnings = error\n")
    pytester.makeconftest(CONFTEST.partition("@pytest.fixture\n")[0])
    pytester.makepyfile(application=APPLICATION, test_it=ASYNCIO)
    done = pytester.runpytest_subprocess("-q", "-p", "pgdual.testing", *others)
    done.assert_outcomes(passed=4)


def test_unused_it_imports_nothing(pytester: pytest.Pytester) -> None:
    """Tests that ask for no fixture of it pay for no import of it: neither psycopg nor pydantic."""
    pytester.makepyfile(UNUSED)
    pytester.runpytest_subprocess("-q", "-p", "pgdual.testing").assert_outcomes(passed=1)
