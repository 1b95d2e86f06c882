# Generated from tests/_async/test_types.py by _generate.py. Do not edit.
"""Values there and back: parameters by the server's types (Q5), columns in binary where they can be (Q6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from pgdual._sync.db import DB
from pgdual.sync import Client
from pgdual.errors import UniqueViolation, UsageError
from pgdual.settings import DatabaseSettings, Settings

from .values import ARRAYS, AWARE, CONVERTED, DAY, ID, REFUSED, SAME, STRANGE, WRITTEN

D = Decimal


@pytest.fixture
def db(main_dsn: str) -> Iterator[DB]:
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=1)})
    with Client(settings) as client:
        db = client["main"]
        db.execute(
            "create type mood as enum ('sad', 'glad'); create type pair as (x int, y text);"
            " create domain positive as int check (value > 0)"
        )
        yield db


def differ(given: Any, back: Any) -> bool:
    """Return whether *back* is another value than *given*, or of another class; two NaN are the same."""
    return type(given) is not type(back) or (given != back and repr(given) != repr(back))


@pytest.mark.parametrize("table", [SAME, ARRAYS])
def test_values_come_back_as_they_went(db: DB, table: dict[str, list[Any]]) -> None:
    """A value given as a parameter equals what comes back, from a cast and from a table's column."""
    wrong = []
    for number, (kind, values) in enumerate(table.items()):
        db.execute(f"create table t{number} (value {kind})")
        for value in [*values, None]:
            cast = db.fetchval(f"select $1::{kind}", value)
            stored = db.fetchval(f"insert into t{number} values ($1) returning value", value)
            wrong += [(kind, value, back) for back in (cast, stored) if differ(value, back)]
    assert wrong == []


@pytest.mark.parametrize("table", [CONVERTED, WRITTEN])
def test_what_fits_is_taken(db: DB, table: list[tuple[str, Any, Any]]) -> None:
    """Q5: a class that loses nothing is taken, and a str for any type is parsed by the server."""
    backs = [(kind, value, db.fetchval(f"select $1::{kind}", value)) for kind, value, _ in table]
    assert [
        (*back, want) for back, (*_, want) in zip(backs, table, strict=True) if differ(back[2], want)
    ] == []


def test_what_does_not_fit_is_refused_before_anything_is_sent(db: DB) -> None:
    """Q5: a UsageError names the argument, class, type and remedy, and an open transaction stays usable."""
    wrong = []
    with db.transaction() as tx:
        for kind, value, said in REFUSED:
            try:
                back = tx.fetchval(f"select $1::{kind}", value)
            except UsageError as error:
                text = str(error)
                if said not in text or not text.startswith("argument $1 ") or "%t" in text:
                    wrong.append((kind, said, text))
            else:
                wrong.append((kind, said, back))
        assert tx.fetchval("select 1") == 1
    assert wrong == []
    with pytest.raises(UsageError, match=r"argument \$2 \(int\) cannot be sent as smallint"):
        db.fetchval("select $1::int2 + $2::int2", 1, 70_000)


def test_columns_without_a_binary_loader_are_text(db: DB) -> None:
    """Q6: such a column is a str, alone, in an array, and beside others, which keep their classes."""
    for expression, text in STRANGE:
        assert db.fetchval(f"select {expression}") == text
        beside = (1, AWARE, None, {"a": 1}, [1, None], b"\0x", D("1.5"), True, ["a"], ID, DAY, text)
        row = db.fetchrow(
            "select 1, $1::timestamptz, null::int, '{\"a\": 1}'::jsonb, array[1, null], '\\x0078'::bytea,"
            f" 1.5, true, '{{a}}'::text[], $2::uuid, $3::date, {expression}, null::money",
            AWARE,
            ID,
            DAY,
        )
        assert row == (*beside, None)
        array = db.fetchval(f"select array[{expression}, null]")
        assert array in ([text, None], f"{{{text},NULL}}", f'{{"{text}",NULL}}')


def test_no_cents_are_lost(db: DB) -> None:
    """Q5: a float subtracted from a numeric column is exact, for the parameter is numeric to the server."""
    balance = D("12345678901234567.12345678")
    db.execute("create table account (balance numeric(30,8))")
    db.execute("insert into account values ($1)", balance)
    got = db.fetchval("update account set balance = balance - $1 returning balance", 1000.0)
    assert got == balance - 1000


def test_parameter_types_are_the_servers(db: DB) -> None:
    """Q5: the expression decides a parameter's type, whatever is given."""
    assert db.fetchval("select $1/2", 7) == 3
    assert db.fetchval("select $1 * 1.5", 2) == 3
    assert db.fetchval("select $1 || 'x'", "a") == "ax"
    assert db.fetchval("select $1", "a") == "a"
    assert db.fetchval("select coalesce($1, 0)", None) == 0
    assert db.fetchval("select 3 = any($1)", []) is False
    with pytest.raises(UsageError, match="is integer to the server and cannot be given as float"):
        db.fetchval("select $1/2", 7.5)
    with pytest.raises(UsageError, match="is text to the server and cannot be given as int"):
        db.fetchval("select $1", 1)


def test_classes_make_plans_not_statements(db: DB) -> None:
    """N3: one text called with several classes has a plan for each and is prepared once."""
    sql = "select $1::numeric + 0.5"
    for value in (1, 1.0, D(1), "1", True):
        assert db.fetchval(sql, value) == D("1.5")
    assert len(db._statements.get(sql).plans) == 5
    prepared = db.fetchval("select count(*) from pg_prepared_statements where statement = $1", sql)
    assert prepared == 1


def test_timestamptz_comes_back_in_the_sessions_zone(main_dsn: str) -> None:
    """A timestamptz is aware, the same moment, and in the zone that the session has."""
    dsn = f"{main_dsn}{'&' if '?' in main_dsn else '?'}options=-c%20timezone%3DAsia/Kolkata"
    with Client(Settings(databases={"main": DatabaseSettings(dsn=dsn)})) as client:
        back = client["main"].fetchval("select $1::timestamptz", AWARE)
    assert back == AWARE
    assert back.utcoffset() == dt.timedelta(hours=5, minutes=30)


def test_results_without_a_named_type(db: DB) -> None:
    """An anonymous row is a tuple, a void function's result an empty str."""
    assert db.fetchval("select row(null, 1, 'a', true)") == (None, 1, "a", True)
    assert db.fetchval("select array[row(1), row(2)]") == [(1,), (2,)]
    assert db.fetchval("select pg_sleep(0)") == ""


def test_rows_and_columns_of_any_number(db: DB) -> None:
    """No column, no row, and two columns of one name are results as any other."""
    assert db.fetch("select") == [()]
    assert db.fetch("select from generate_series(1, 2)") == [(), ()]
    assert db.fetch("select 1 as a where false") == []
    assert db.fetchrow("select 1 as a where false") is None
    row = db.fetchrow("select 1 as a, 2 as a, 3 as class, 4 as keys")
    assert (tuple(row), row["a"], row["class"], row["keys"]) == ((1, 2, 3, 4), 2, 3, 4)
    assert dict(row) == {"a": 2, "class": 3, "keys": 4}
    assert db.fetchval("select 1 as a, 2 as a", column="a") == 2
    for text, column in (("select", 0), ("select 1 as a", 1), ("select 1 as a", "b")):
        with pytest.raises(UsageError, match="the result has"):
            db.fetchval(text, column=column)


def test_a_row_that_does_not_fit_is_numbered(db: DB) -> None:
    """Q5: executemany names the row and the argument, and keeps nothing."""
    db.execute("create table t (id int primary key, name text)")
    with pytest.raises(UsageError, match=r"row 2: argument \$1 is integer"):
        db.executemany("insert into t values ($1, $2)", [(1, "a"), (1.5, "b")])
    with pytest.raises(UsageError, match="row 1: statement takes 2 arguments"):
        db.executemany("insert into t values ($1, $2)", [(1,)])
    with pytest.raises(UniqueViolation):
        db.executemany("insert into t values ($1, $2)", [(1, "a"), (1, "b")])
    assert db.fetchval("select count(*) from t") == 0
