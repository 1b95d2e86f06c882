"""Where the demo runs: servers of its own or the user's, and always in schemas of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from secrets import token_hex

import psycopg
from psycopg import sql

from pgdual.embedded import Postgres
from pgdual.settings import DatabaseSettings, Settings

POOL = 10  # connections to each database


@contextmanager
def servers(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the DSNs of the main and the vb server: the environment's, or those of two private servers."""
    given = environ.get("POSTGRES_DSN"), environ.get("VB_POSTGRES_DSN")
    if given[0] and given[1]:
        yield given[0], given[1]
        return
    with Postgres() as main, Postgres() as vb:
        yield main.dsn, vb.dsn


@contextmanager
def own_schemas(main_dsn: str, vb_dsn: str) -> Iterator[Settings]:
    """Yield settings for both databases, each in a new schema that is dropped at the end, however it ends."""
    name = f"pgdual_demo_{token_hex(4)}"
    databases = {
        database: DatabaseSettings(dsn=dsn, pool_min_size=2, pool_max_size=POOL, search_path=name)
        for database, dsn in (("main", main_dsn), ("vb", vb_dsn))
    }
    with _schema(databases["main"], name), _schema(databases["vb"], name):
        yield Settings(databases=databases, workers=1)


@contextmanager
def _schema(database: DatabaseSettings, name: str) -> Iterator[None]:
    # psycopg itself, not pgdual: cleaning up must work when what is shown here does not
    _run(database, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        yield
    finally:
        _run(database, sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def _run(database: DatabaseSettings, statement: sql.Composed) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


def schema_script(name: str) -> str:
    """Return the text of a schema file, from the installed package or the checkout around it."""
    packaged = resources.files("pgdual") / "schemas" / name
    checkout = Path(__file__).parents[2] / "schemas" / name
    return (packaged if packaged.is_file() else checkout).read_text(encoding="utf-8")
