# Generated from tests/_async/test_bulk_rows.py by _generate.py. Do not edit.
"""insert_many, upsert_many, fetchmany: rows into a table, all or nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from psycopg.errors import CardinalityViolation, StringDataRightTruncation
from pydantic import BaseModel

from pgdual.sync import Client, DB
from pgdual.errors import (
    CheckViolation,
    InvalidTextRepresentation,
    TransactionFailedError,
    UndefinedTable,
    UniqueViolation,
    UsageError,
)

from .clients import at_rest, client_of, outside, prepare


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    outside(main_dsn, "create table t (id int primary key, name text not null check (name <> 'bad'))")
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


def rows_of(dsn: str, sql: str = "select * from t order by id") -> list[Any]:
    return outside(dsn, sql)


@dataclass
class Thing:
    id: int
    name: str


class Model(BaseModel):
    id: int
    name: str


def test_kinds_of_rows(db: DB, main_dsn: str) -> None:
    """Tuples and lists go by the table's order; dicts, Records, dataclasses and models by name."""
    assert db.insert_many("t", [(1, "a"), [2, "b"]]) == 2
    assert db.insert_many("t", [{"name": "c", "id": 3}, {"id": 4, "name": "d"}]) == 2
    assert db.insert_many("t", [Thing(5, "e")]) == 1
    assert db.insert_many("t", [Model(id=6, name="f")]) == 1
    assert db.insert_many("t", [("g", 7)], columns=["name", "id"]) == 1
    assert db.insert_many("t", db.fetch("select name, id + 7 as id from t where id = 1")) == 1
    assert rows_of(main_dsn) == [(n, c) for n, c in enumerate("abcdefga", 1)]


def test_nothing_to_insert(db: DB) -> None:
    """No rows: no statement is sent, which the table would fail, and 0 or no rows come back."""
    assert db.insert_many("nowhere", []) == 0
    assert db.insert_many("nowhere", iter(()), returning="id") == []
    assert db.upsert_many("nowhere", [], "id") == 0


@pytest.mark.parametrize("count", [1, 1_000, 1_001, 25_000])
def test_any_number_of_rows(db: DB, main_dsn: str, count: int) -> None:
    """Every row arrives once, from a list or a generator, whichever way the number of rows asks for."""
    assert db.insert_many("t", ((number, f"n{number}") for number in range(count))) == count
    seen = "select count(*), min(id), max(id), count(*) filter (where name <> 'n' || id) from t"
    assert rows_of(main_dsn, seen) == [(count, 0, count - 1, 0)]


def test_an_iterator_that_waits(db: DB, main_dsn: str) -> None:
    """Rows may come from an iterator that asks the same database, inside of a transaction as well."""

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(12_000):
            if number % 4_000 == 0:
                assert db.fetchval("select 1") == 1
            yield number, "x"

    assert db.insert_many("t", rows()) == 12_000
    db.execute("delete from t")
    with db.transaction() as tx:
        assert tx.insert_many("t", rows()) == 12_000
        assert rows_of(main_dsn) == []
    assert len(rows_of(main_dsn)) == 12_000


VALUES: list[tuple[str, Any, Any]] = [
    ("smallint", 3, -(2**15)),
    ("bigint", 2**62, None),
    ("float8", 1.5, 2),
    ("real", 1.5, 2),
    ("numeric(12, 2)", Decimal("1.25"), 3.5),
    ("text", "a,b\"{}\\'é", ""),
    ("varchar(5)", "abc", None),
    ("char(3)", "abc", "xyz"),
    ("bool", True, False),
    ("bytea", b"\0\xff", bytearray(b"x")),
    ("uuid", uuid.UUID(int=7), str(uuid.UUID(int=8))),
    ("date", dt.date(2024, 2, 29), "2024-03-01"),
    ("timestamptz", dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), None),
    ("timestamp", dt.datetime(2024, 1, 1, 12, 0, 0, 5), None),
    ("interval", dt.timedelta(days=1, seconds=5), "2 hours"),
    ("jsonb", {"a": [1, None, 'q"']}, [1, {"b": 2}]),
    ("json", {"a": 1}, "[1, 2]"),
    ("int[]", [1, None, 3], []),
    ("text[]", ["a,b", 'q"'], [["x"], ["y"]]),
    ("mood", "sad", None),
    ("posint", 5, 6),
    ("int4range", "[1,5)", "empty"),
    ("inet", "10.0.0.1", None),
]


@pytest.mark.parametrize("many", [1, 600], ids=["unnest", "copy"])
def test_values(db: DB, main_dsn: str, many: int) -> None:
    """A value arrives as it does through INSERT with arguments, whatever the type of its column."""
    prepare(
        main_dsn, "create type mood as enum ('sad', 'ok')", "create domain posint as int check (value > 0)"
    )
    for number, (kind, first, second) in enumerate(VALUES):
        prepare(
            main_dsn, f"create table v{number} (id int, x {kind}); create table w{number} (id int, x {kind})"
        )
        rows = [(1, first), (2, second), (3, None)]
        db.executemany(f"insert into w{number} values ($1, $2)", rows)
        assert db.insert_many(f"v{number}", rows * many) == 3 * many
        wanted = rows_of(main_dsn, f"select id, x::text from w{number} order by id")
        found = rows_of(main_dsn, f"select distinct id, x::text from v{number} order by id")
        assert (kind, found) == (kind, wanted)


def test_names(db: DB, main_dsn: str) -> None:
    """Tables and columns of any name are written to and nothing else."""
    table = '"S.x"."T ""; drop table t"'
    prepare(main_dsn, 'create schema "S.x"', f'create table {table} ("a""b" int, "Ü c" text)')
    rows = [{'a"b': 1, "Ü c": "x"}]
    assert db.insert_many(table, rows) == 1
    assert rows_of(main_dsn, f"select * from {table}") == [(1, "x")]
    assert db.insert_many("PUBLIC.T", [(1, "a")]) == 1
    for odd in ("t; drop table t", "t ", "", '"t', "a..b", ".t", "t.", "t --", 'a"b', 5):
        with pytest.raises(UsageError, match="not the name of a table"):
            db.insert_many(odd, [(1, "a")])  # type: ignore[arg-type]
    with pytest.raises(UndefinedTable):
        db.insert_many("nowhere", [(1, "a")])


def test_columns_that_take_no_value(db: DB, main_dsn: str) -> None:
    """Generated columns are left out of a tuple, and refused by name; so are identities."""
    prepare(
        main_dsn,
        "create table g (id int generated always as identity, a int,"
        " b int generated always as (a * 2) stored)",
    )
    assert db.insert_many("g", [(1,), (2,)], returning=["id", "b"]) == [(1, 2), (2, 4)]
    assert db.insert_many("g", ((n,) for n in range(1500))) == 1500
    with pytest.raises(UsageError, match="'b' is generated"):
        db.insert_many("g", [(1,)], columns=["b"])
    with pytest.raises(Exception, match="GENERATED ALWAYS"):
        db.insert_many("g", [(n, 1) for n in range(1500)], columns=["id", "a"])


MISFITS: list[tuple[Any, str]] = [
    ((9,), r"row 3: 1 values for 2 columns \(id, name\)"),
    ((9, "x", 1), "row 3: 3 values for 2"),
    ((9.5, "x"), "row 3, column 'id': float cannot be sent as integer"),
    ((2**40, "x"), "row 3, column 'id': int .*1099511627776 is not between"),
    ((9, 5), "row 3, column 'name': int cannot be sent as text"),
    ((9, "nul \0"), "row 3, column 'name'"),
    ({"id": 9}, "row 3: no value for name"),
    ({"id": 9, "name": "x", "z": 1}, "row 3: a value for z"),
    (Thing, "row 3: "),
    ({9, "x"}, "row 3: it is a set"),
    ("9x", "row 3: it is a str"),
]


@pytest.mark.parametrize("before", [0, 11_000], ids=["few", "many"])
def test_a_row_that_does_not_fit(db: DB, main_dsn: str, before: int) -> None:
    """A row that does not fit is refused by number and column; nothing stays, and a block stays usable."""
    for row, said in MISFITS:
        rows = [(number, "a") for number in range(before)] + [(-1, "a"), (-2, "b"), row, (-4, "d")]
        words = said.replace("row 3", f"row {before + 3}")
        with pytest.raises(UsageError, match=words):
            db.insert_many("t", rows)
        assert rows_of(main_dsn) == []
        with db.transaction() as tx:
            with pytest.raises(UsageError, match=words):
                tx.insert_many("t", iter(rows))
            assert tx.insert_many("t", [(5, "e")]) == 1
        assert db.execute("delete from t") == "DELETE 1"


def test_arguments_that_are_wrong(db: DB, main_dsn: str) -> None:
    """What cannot be meant is refused before a row is sent."""
    row = [(1, "a")]
    for options, words in (
        ({"columns": ["id", "nam"]}, "t has no column 'nam'; it has id, name"),
        ({"columns": ["id", "id"]}, "each once"),
        ({"columns": []}, "columns="),
        ({"columns": "id"}, "columns="),
        ({"returning": []}, "returning="),
    ):
        with pytest.raises(UsageError, match=words):
            db.insert_many("t", row, **options)  # type: ignore[call-overload]
    for conflict, update, words in (
        ("nam", None, "'nam' is not among"),
        ([], None, "conflict="),
        ("id", ["nam"], "'nam' is not among"),
    ):
        with pytest.raises(UsageError, match=words):
            db.upsert_many("t", row, conflict, update)
    for wrong in ("ab", 5, {"id": 1}, b"x"):
        with pytest.raises(UsageError, match="rows is a"):
            db.insert_many("t", wrong)  # type: ignore[call-overload]
    assert rows_of(main_dsn) == []


@pytest.mark.parametrize("count", [500, 25_000])
def test_all_or_nothing(db: DB, main_dsn: str, count: int) -> None:
    """T1: the server's error undoes every row, and a note says where it was; in a block T4 holds."""
    rows = [(number, "a") for number in range(count)]
    rows[count - 2] = (7, "again")
    with pytest.raises(UniqueViolation) as caught:
        db.insert_many("t", rows)
    wanted = f"row: {count - 1}" if count > 1000 else f"rows: 1 to {count}"
    assert wanted in caught.value.__notes__
    assert rows_of(main_dsn) == []
    with db.transaction() as tx:
        assert tx.insert_many("t", [(-1, "x")]) == 1
        with pytest.raises(UniqueViolation):
            with tx.transaction():
                db.insert_many("t", rows)
        assert tx.fetchval("select count(*) from t") == 1
    assert rows_of(main_dsn) == [(-1, "x")]


def test_an_error_that_is_swallowed(db: DB, main_dsn: str) -> None:
    """T1: a block that swallowed the server's error does not end well."""
    with pytest.raises(TransactionFailedError, match="duplicate key"):
        with db.transaction() as tx:
            with pytest.raises(UniqueViolation):
                tx.insert_many("t", [(1, "a"), (1, "b")])
    assert rows_of(main_dsn) == []


class BrokenError(Exception):
    pass


def test_rows_that_raise_midway(db: DB, main_dsn: str) -> None:
    """T1: an iterator's own error is what the caller sees, and nothing was done."""

    def rows() -> Iterator[tuple[int, str]]:
        yield from ((number, "a") for number in range(15_000))
        raise BrokenError

    with pytest.raises(BrokenError):
        db.insert_many("t", rows())
    assert rows_of(main_dsn) == []


def test_what_copy_would_do_otherwise(db: DB, main_dsn: str) -> None:
    """A view takes rows in any number, and a text that the server parses goes into any column."""
    prepare(main_dsn, "create view v as select id, name from t")
    assert db.insert_many("v", [(n, "a") for n in range(1500)]) == 1500
    assert db.insert_many("t", [(str(n), "a") for n in range(2000, 3500)]) == 1500
    assert len(rows_of(main_dsn)) == 3000
    with pytest.raises(InvalidTextRepresentation) as caught:
        db.insert_many("t", [(5000, "a"), ("two", "b")])
    assert "rows: 1 to 2" in caught.value.__notes__
    with pytest.raises(CheckViolation):
        db.insert_many("t", [(n, "bad") for n in range(9000, 10500)])


def test_returning(db: DB) -> None:
    """RETURNING gives Records in the order of the rows, across the parts they were sent in."""
    rows = [(number, f"n{number}") for number in range(2500)]
    returned = db.insert_many("t", rows, returning="*")
    assert returned == rows
    assert returned[3].name == "n3"
    assert db.insert_many("t", [(-1, "a")], returning="id") == [(-1,)]


def test_upsert(db: DB, main_dsn: str) -> None:
    """A row that is there is updated, wholly or in part, or left as it is; a new one is inserted."""
    db.insert_many("t", [(1, "a"), (2, "b")])
    assert db.upsert_many("t", [(2, "B"), (3, "c")], "id") == 2
    assert rows_of(main_dsn) == [(1, "a"), (2, "B"), (3, "c")]
    assert db.upsert_many("t", [(3, "C"), (4, "d")], ["id"], update=[]) == 1
    kept = db.upsert_many("t", [{"name": "X", "id": 1}], "id", update=["name"], returning="*")
    assert kept[0]["name"] == "X"
    assert rows_of(main_dsn) == [(1, "X"), (2, "B"), (3, "c"), (4, "d")]
    assert db.upsert_many("t", [(number, "all") for number in range(3000)], "id") == 3000
    assert rows_of(main_dsn, "select count(*), min(name), max(name) from t") == [(3000, "all", "all")]


def test_upsert_of_many(db: DB, main_dsn: str) -> None:
    """Through COPY into a temporary table too: what is there is updated, an error says where, T4 holds."""
    db.execute("create type size as enum ('s', 'l')")
    db.execute('create schema "Odd.s"')
    db.execute(
        'create table "Odd.s"."T%s" (id int primary key, name varchar(9), "S" size, n int default 1)'
    )
    table, columns = '"Odd.s"."T%s"', ["id", "name", "S"]
    rows = [(number, f"n{number}", None) for number in range(25_000)]
    assert db.upsert_many(table, rows, "id", columns=["id", "name", "n"]) == 25_000
    assert db.upsert_many(table, (r[:2] for r in rows[:12_000]), "id", [], columns[:2]) == 0
    assert db.upsert_many(table, [(n, "x", "l") for n in range(1_500)], "id", columns=columns) == 1_500
    seen = f"select count(*), count(*) filter (where name = 'x' and \"S\" = 'l'), count(n) from {table}"
    assert rows_of(main_dsn, seen) == [(25_000, 1_500, 0)]
    with db.transaction() as tx:
        for _ in range(2):
            with pytest.raises(CardinalityViolation) as caught:
                with tx.transaction():
                    tx.upsert_many(table, [*rows, rows[0], rows[0]], "id", columns=["id", "name", "n"])
            assert "rows: 20001 to 25002" in caught.value.__notes__
        assert tx.upsert_many("t", [(n, "a") for n in range(2_000)], "id") == 2_000
        with pytest.raises(StringDataRightTruncation) as caught_too:
            with tx.transaction():
                tx.upsert_many(
                    table, [(n, "x" * (n % 11)) for n in range(2_000)], "id", columns=columns[:2]
                )
        assert "rows: 1 to 2000" in caught_too.value.__notes__
        assert tx.fetchval("select count(*) from pg_class where relname = 'pgdual_upsert'") == 0
    assert rows_of(main_dsn, "select count(*) from t") == [(2_000,)]
    assert rows_of(main_dsn, seen) == [(25_000, 1_500, 0)]


def test_a_temporary_table_and_a_path(db: DB, main_dsn: str) -> None:
    """In a transaction the table is the one that its statements would see."""
    with db.transaction() as tx:
        tx.execute("create temporary table t (id int, name text, more int) on commit drop")
        assert tx.insert_many("t", [(1, "a", 2)]) == 1
        assert tx.insert_many("t", [(n, "a", 2) for n in range(1500)]) == 1500
    assert rows_of(main_dsn) == []


def test_without_the_right_to_temporary_tables(db: DB, main_dsn: str) -> None:
    """Who may make no temporary table upserts any number of rows all the same."""
    prepare(main_dsn, "create role plain", "grant all on t to plain")
    name = outside(main_dsn, "select current_database()")[0][0]
    prepare(main_dsn, f"revoke temporary on database {name} from public")
    try:
        with db.transaction() as tx:
            tx.execute("set local role plain")
            assert tx.upsert_many("t", [(n, "a") for n in range(1500)], "id") == 1500
    finally:
        prepare(main_dsn, "drop owned by plain", "drop role plain")
    assert len(rows_of(main_dsn)) == 1500


def test_row_security(db: DB, main_dsn: str) -> None:
    """COPY is refused where row security is on; INSERT is not, and so rows in any number go in."""
    prepare(main_dsn, "alter table t enable row level security", "alter table t force row level security")
    prepare(main_dsn, "create policy p on t using (true)", "create role plain", "grant all on t to plain")
    try:
        with db.transaction() as tx:
            tx.execute("set local role plain")
            assert tx.insert_many("t", [(n, "a") for n in range(1500)]) == 1500
    finally:
        prepare(main_dsn, "drop owned by plain", "drop role plain")
    assert len(rows_of(main_dsn)) == 1500


def test_fetchmany(db: DB, main_dsn: str) -> None:
    """fetchmany returns what every row's statement returned, in order; all or nothing."""
    sql = "insert into t values ($1, $2) returning id, upper(name) as big"
    returned = db.fetchmany(sql, [(number, f"n{number}") for number in range(3000)])
    assert returned == [(number, f"N{number}") for number in range(3000)]
    assert returned[0].big == "N0"
    assert db.fetchmany("select * from generate_series(1, $1::int)", [(2,), (0,), (1,)]) == [
        (1,),
        (2,),
        (1,),
    ]
    assert db.fetchmany(sql, []) == []
    with pytest.raises(UniqueViolation) as caught:
        db.fetchmany(sql, [(-1, "x"), (-1, "y")])
    assert "row: 2" in caught.value.__notes__
    with pytest.raises(UsageError, match="row 2: argument"):
        db.fetchmany(sql, [(-1, "x"), (1.5, "y")])
    assert len(rows_of(main_dsn)) == 3000
    with db.transaction() as tx:
        assert tx.fetchmany(sql, [(-1, "x"), (-2, "y")]) == [(-1, "X"), (-2, "Y")]
        tx.executemany("insert into t values ($1, $2)", [(-3, "z")])
    assert len(rows_of(main_dsn)) == 3003


def test_a_wire_after_a_failure(db: DB, main_dsn: str) -> None:
    """After an error in the midst of COPY the connection is the next caller's, with its statements."""
    for _ in range(6):
        with pytest.raises(UniqueViolation):
            db.insert_many("t", [(1, "a")] * 1500)
        assert db.fetchval("select count(*) from t") == 0
