# Generated from tests/_async/test_identifiers.py by _generate.py. Do not edit.
"""Names that callers give: none of them becomes SQL, whatever is written in it."""

from __future__ import annotations

from enum import Enum
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdual.sync import DB
from pgdual.core.grammar import Kind
from pgdual.errors import ConfigurationError, PgdualError, UsageError

from .clients import at_rest, client_of, outside, prepare

HOSTILE = [
    'x"; drop table precious; --',
    "x'; drop table precious; --",
    "x); drop table precious; --",
    "x\\'; drop table precious; --",
    "$$; drop table precious; $$",
    "x /* */; drop table precious",
    "x; commit; drop table precious",
    '"x""; drop table precious; --',
    "%s %(name)s {} $1",
    "\n; drop table precious; --",
    "Ünï\u2028cødé \U0001f418",
    "\u02bc; drop table precious; --",
    "x" * 100_000,
    " ",
    "-c statement_timeout=7",
]
SENT = [name for name in HOSTILE if len(name) < 1000]  # a server's names are cut at 63 bytes
UNSENDABLE = ["x\0; drop table precious; --", "x\udc80"]
short = pytest.mark.parametrize("name", SENT, ids=range(len(SENT)))
hostile = pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
unsendable = pytest.mark.parametrize("name", UNSENDABLE, ids=["nul", "surrogate"])


class Mood(Enum):
    GLAD = "glad"


@pytest.fixture
def dsn(main_dsn: str) -> str:
    """A database with a table that must survive."""
    prepare(main_dsn, "create table precious (id int)", "insert into precious values (1)")
    return main_dsn


def is_whole(dsn: str) -> bool:
    """Return whether nothing that was in the database is gone, and nothing has come."""
    return outside(
        dsn,
        "select array(select relname::text from pg_class where relnamespace = 'public'::regnamespace), "
        "(select count(*) from precious)",
    ) == [(["precious"], 1)]


def settings_of(db: DB) -> Any:
    """Return the settings of the session that were given in one way or another."""
    return db.fetch(
        "select name, setting from pg_settings where source in ('client', 'session') "
        "and name not in ('application_name', 'search_path') order by name",
        into=tuple,
    )


@hostile
def test_a_pure_function(dsn: str, name: str) -> None:
    """What is no name is no function's, and no text is taken for a READ because of it."""
    with client_of(main=dsn) as client:
        db = client["main"]
        if name != HOSTILE[-3]:
            with pytest.raises(UsageError, match=r"not the name of a function|never ends"):
                db.pure(name)
        for text in ("drop table precious", "select x(1); drop table precious", "delete from precious"):
            assert db._statements.get(text).kind is not Kind.READ
    assert is_whole(dsn)


@hostile
def test_the_name_of_a_type(dsn: str, name: str) -> None:
    """A type is looked up by a parameter: a name that no type has finds none, for a class or without."""
    with client_of(main=dsn) as client:
        db = client["main"]
        for kind in (Mood, name):
            with pytest.raises((UsageError, psycopg.ProgrammingError)):
                db.register(kind, name=name)
        assert db.fetchval("select id from precious") == 1
        at_rest(db, dsn)
    assert is_whole(dsn)


@short
def test_a_type_that_is_called_so(dsn: str, name: str) -> None:
    """A type with such a name can be registered by its quoted name, and its labels are data."""
    quoted = sql.Identifier(name).as_string()
    prepare(dsn, sql.SQL("create type {} as enum ({})").format(sql.Identifier(name), name).as_string())
    label = Enum("Label", {"ONLY": name})  # type: ignore[misc]
    with client_of(main=dsn) as client:
        db = client["main"]
        db.register(label, name=quoted)
        assert db.fetchval(f"select $1::{quoted}", label["ONLY"]) is label["ONLY"]
        db.register(quoted)
        assert db.fetchval(f"select $1::{quoted}", name) == name
    prepare(dsn, f"drop type {quoted}")
    assert is_whole(dsn)


@short
def test_a_composite_whose_fields_are_called_so(dsn: str, name: str) -> None:
    """Columns and fields with such names are read by name and by position, as rows and as dicts."""
    column = sql.Identifier(name).as_string()
    prepare(dsn, f"create type pair as ({column} int, b text)")
    with client_of(main=dsn) as client:
        db = client["main"]
        db.register("pair")
        assert tuple(db.fetchval("select row(1, $1)::pair", name)) == (1, name)
        row = db.fetchrow(f"select 1 as {column}")
        ((key, value),) = (db.fetchrow(f"select 1 as {column}", into=dict)).items()
        assert (row[key], row[0], value) == (1, 1, 1)
        assert name.encode().startswith(key.encode())
        assert db.fetchval(f"select 2 as a, 1 as {column}", column=key) == 1
        with pytest.raises((KeyError, UsageError)):
            db.fetchval("select 1 as a", column=name)
    prepare(dsn, "drop type pair")
    assert is_whole(dsn)


@short
def test_an_application_name(dsn: str, name: str) -> None:
    """It reaches the server, but for letters that the server does not keep, and sets nothing else."""
    with client_of(main=dsn, application_name=name) as client:
        db = client["main"]
        found = db.fetchval("select current_setting('application_name')")
        if name.isascii() and name.isprintable():
            assert name.startswith(found)
        assert settings_of(db) == plain_settings(dsn)
    assert is_whole(dsn)


def plain_settings(dsn: str) -> Any:
    """Return the settings of a session for which nothing was asked."""
    with client_of(main=dsn) as client:
        return settings_of(client["main"])


@short
def test_a_search_path(dsn: str, name: str) -> None:
    """A quoted schema of any name is searched, before and after a reset, and nothing else is set."""
    quoted = sql.Identifier(name).as_string()
    prepare(dsn, f"create schema {quoted}", f"create table {quoted}.inside as select 7 as id")
    with client_of(main=dsn, search_path=f"public,{quoted}", pool_max_size=1) as client:
        db = client["main"]
        assert db.fetchval("select id from inside") == 7
        with db.connection() as connection:
            connection.execute("set search_path = pg_catalog")
        assert db.fetchval("select id from inside") == 7
        assert settings_of(db) == plain_settings(dsn)
    prepare(dsn, f"drop schema {quoted} cascade")
    assert is_whole(dsn)


@short
def test_a_database(dsn: str, name: str) -> None:
    """A database of any name is connected to, and no other."""
    identifier = sql.Identifier(name)
    prepare(dsn, sql.SQL("create database {}").format(identifier).as_string())
    try:
        with client_of(main=make_conninfo(dsn, dbname=name[:63])) as client:
            found = client["main"].fetchval("select current_database()")
        assert found == name[:63]
    finally:
        prepare(dsn, sql.SQL("drop database {} with (force)").format(identifier).as_string())
    assert is_whole(dsn)


@hostile
def test_isolation(dsn: str, name: str) -> None:
    """The level of a transaction is one of three, and anything else is refused before BEGIN."""
    with client_of(main=dsn) as client:
        db = client["main"]
        for level in (name, f"serializable; {name}", "SERIALIZABLE", "serializable "):
            with pytest.raises(UsageError, match="isolation"):
                db.transaction(isolation=level)  # type: ignore[arg-type]
    assert is_whole(dsn)


@hostile
def test_values_are_no_sql(dsn: str, name: str) -> None:
    """A parameter is data, alone, in an array, in a row of executemany and inside of a savepoint."""
    with client_of(main=dsn) as client:
        db = client["main"]
        assert db.fetchval("select $1::text", name) == name
        assert db.fetchval("select $1::text[]", [name, name]) == [name, name]
        with db.transaction() as tx:
            tx.execute("create temporary table said (words text) on commit drop")
            with tx.transaction():
                tx.executemany("insert into said values ($1)", [(name,), (name,)])
            assert tx.fetchval("select count(*) from said where words = $1", name) == 2
    assert is_whole(dsn)


@unsendable
def test_what_cannot_be_sent(dsn: str, name: str) -> None:
    """A name, a text or a setting with a NUL or half a character is refused before anything is sent."""
    with client_of(main=dsn) as client:
        db = client["main"]
        with pytest.raises(UsageError):
            db.fetch(f"select '{name}'")
        with pytest.raises(UsageError):
            db.fetchval("select $1::text", name)
        with pytest.raises(UsageError):
            db.transaction(isolation=name)  # type: ignore[arg-type]
        assert db.fetchval("select 1") == 1
    assert is_whole(dsn)


@unsendable
def test_a_dsn_that_cannot_be_sent(dsn: str, name: str) -> None:
    """A DSN with such a database in it is refused when the settings are made."""
    with pytest.raises((ConfigurationError, PgdualError)):
        client_of(main=f"{dsn}&dbname={name}")
    assert is_whole(dsn)
