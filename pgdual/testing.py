"""A pytest plugin with a real PostgreSQL: put `pytest_plugins = ["pgdual.testing"]` into your conftest.

Fixtures:

- `pgdual_postgres`: a private server for the whole session, a `pgdual.embedded.Postgres`.
- `pgdual_dsn`: the DSN of an empty database on it, one for each test.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pgdual.embedded import Postgres


@pytest.fixture(scope="session")
def pgdual_postgres() -> Iterator[Postgres]:
    """Run a private PostgreSQL server for the session."""
    with Postgres() as server:
        yield server


@pytest.fixture
def pgdual_dsn(pgdual_postgres: Postgres) -> Iterator[str]:
    """Make an empty database for one test and drop it afterwards, connected clients or not."""
    yield from fresh_database(pgdual_postgres)


def fresh_database(server: Postgres) -> Iterator[str]:
    """Yield the DSN of a new empty database once, then drop it."""
    name = f"fresh_{secrets.token_hex(6)}"
    yield server.create_database(name)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
