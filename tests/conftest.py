"""Real servers for the tests: two of them, copies of one template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgdual.embedded import Postgres, Template
from pgdual.testing import fresh_database

from .pgbouncer import PgBouncer


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    with Template() as made:
        yield made


@pytest.fixture(scope="session")
def main_server(template: Template) -> Iterator[Postgres]:
    """The server of the main database; a test that stops or kills it starts it again."""
    with template.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def vb_server(template: Template) -> Iterator[Postgres]:
    """The server of the other database; a test that stops or kills it starts it again."""
    with template.postgres() as server:
        yield server


@pytest.fixture
def main_dsn(main_server: Postgres) -> Iterator[str]:
    """An empty database of its own on the main server."""
    yield from fresh_database(main_server)


@pytest.fixture
def vb_dsn(vb_server: Postgres) -> Iterator[str]:
    """An empty database of its own on the other server."""
    yield from fresh_database(vb_server)


@pytest.fixture(scope="session")
def pooler(main_server: Postgres) -> Iterator[PgBouncer]:
    """A pooler in transaction mode with two connections to the main server."""
    with PgBouncer(main_server.port, 2) as made:
        yield made
