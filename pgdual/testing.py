"""A pytest plugin: tests of your code against a real PostgreSQL, which nobody has to install or start.

It comes with pgdual[embedded], costs nothing until one of its fixtures is asked for, and is switched off by
`-p no:pgdual.testing`.

- `db`, `vb_db`: the databases main and vb, empty but for your schema, one of each for every test. An
  `async def` test gets the async face, any other the blocking one. They are what `pgdual.aio` and
  `pgdual.sync` export, so code under test that imports `db` uses the same database.
- `pgdual_dsn`, `pgdual_vb_dsn`: their addresses, for whoever connects by other means.
- `pgdual_schemas`: override it in your conftest: `{"main": "schema.sql", "vb": ["a.sql", "b.sql"]}`.
- `pgdual_server`: the server of the session, a `pgdual.embedded.Postgres`.

Each test has databases of its own, copied from a template that your schema ran in once, and not a
transaction that is rolled back: what is tested may commit, use several connections, lose a deadlock and
LISTEN, as it does in production.
"""

from __future__ import annotations

import functools
import inspect
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pgdual.embedded import Postgres

# Whoever installs pgdual and never asks for a fixture shall not pay for the imports of the functions below.
# ruff: noqa: PLC0415

Files = str | Path | Sequence[str | Path]


@pytest.fixture(scope="session")
def pgdual_server() -> Iterator[Postgres]:
    """Run a private PostgreSQL server for the session."""
    from pgdual.embedded import Postgres

    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def pgdual_schemas() -> Mapping[str, Files]:
    """Return which SQL files each database begins with, by its name; none, unless you override it."""
    return {}


@pytest.fixture(scope="session")
def pgdual_templates(pgdual_server: Postgres, pgdual_schemas: Mapping[str, Files]) -> dict[str, str]:
    """Return the databases that those of the tests are copies of; the schema has run in them."""
    return {name: _template(pgdual_server, name, files) for name, files in pgdual_schemas.items()}


@pytest.fixture
def pgdual_dsn(pgdual_server: Postgres, pgdual_templates: dict[str, str]) -> Iterator[str]:
    """Make the database main of one test and drop it afterwards, connected clients or not."""
    yield from fresh_database(pgdual_server, pgdual_templates.get("main"))


@pytest.fixture
def pgdual_vb_dsn(pgdual_server: Postgres, pgdual_templates: dict[str, str]) -> Iterator[str]:
    """Make the database vb of one test and drop it afterwards, connected clients or not."""
    yield from fresh_database(pgdual_server, pgdual_templates.get("vb"))


@pytest.fixture
def db(request: pytest.FixtureRequest, pgdual_dsn: str) -> Iterator[Any]:
    """Return the database main, on the face that the test is written for."""
    yield from _database(request, "main", pgdual_dsn)


@pytest.fixture
def vb_db(request: pytest.FixtureRequest, pgdual_vb_dsn: str) -> Iterator[Any]:
    """Return the database vb, on the face that the test is written for."""
    yield from _database(request, "vb", pgdual_vb_dsn)


def fresh_database(server: Postgres, template: str | None = None) -> Iterator[str]:
    """Yield the DSN of a new database once, a copy of *template* or empty, then drop it."""
    name = f"fresh_{secrets.token_hex(6)}"
    yield server.create_database(name, template)
    server.drop_database(name)


def _template(server: Postgres, database: str, files: Files) -> str:
    import psycopg

    name = f"template_{database}"
    with psycopg.connect(server.create_database(name), autocommit=True) as connection:
        for file in [files] if isinstance(files, str | Path) else files:
            connection.execute(Path(file).read_bytes())
    return name


def _database(request: pytest.FixtureRequest, name: str, dsn: str) -> Iterator[Any]:
    """Point database *name* of both faces' default clients at *dsn* while a test runs."""
    from pgdual.environment import variables_of
    from pgdual.settings import DatabaseSettings, get_config

    given = {"dsn": dsn, "direct_dsn": dsn, "pool_min_size": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for field, value in given.items():
            for variable in variables_of(DatabaseSettings, name, field):
                patch.setenv(variable, value)
        get_config.cache_clear()
        yield _async_one(request.node, name) if _is_async(request) else _blocking(name)
        _close(name)
    get_config.cache_clear()


def _is_async(request: pytest.FixtureRequest) -> bool:
    return inspect.iscoroutinefunction(request.function)


def _blocking(name: str) -> Any:
    from pgdual.sync import client

    return client.named(name)


def _async_one(test: Any, name: str) -> Any:
    """Return the async database; its pool is closed at the test's end, in the event loop that it is of."""
    from pgdual.aio import client

    database = client.named(name)
    test.obj = _closing(test.obj, database)
    return database


def _closing(function: Callable[..., Any], database: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    async def test(*args: Any, **options: Any) -> None:
        try:
            await function(*args, **options)
        finally:
            await database.close()
            database._is_closed = False  # an async fixture may have a last word, in the same loop

    return test


def _close(name: str) -> None:
    """Close database *name* of each face that was imported; the next test opens it anew."""
    for face in ("pgdual.sync", "pgdual.aio"):
        if face not in sys.modules:
            continue
        database = sys.modules[face].client.named(name)
        if face == "pgdual.sync":
            database.close()
        _forget(database)


def _forget(database: Any) -> None:
    """Let *database* know nothing of the last test: settings, breaker, pools of loops that are over."""
    database._own = database._breaker = database._fleet = None
    database._is_closed = False
    database._statements = database._statements.anew()
    database._drop_dead()
