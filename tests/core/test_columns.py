"""Rows of a table on their way in, without a database."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from psycopg.sql import SQL

from pgdual.core import columns
from pgdual.core.columns import Column, Target, table_name, target_of
from pgdual.core.record import record_class
from pgdual.core.types import Types
from pgdual.errors import UsageError

CATALOG = [
    ("id", 23, "integer", False, False, True, True),
    ("name", 25, "text", False, False, True, True),
    ("sum", 23, "integer", True, False, True, True),
    ("no", 20, "bigint", False, True, True, True),
]
TARGET = target_of("t", CATALOG, None)
MIXED = Target("s.T", (Column("a", 23, "integer"), Column('"m', 999_999, "mood")), True)


@dataclass
class Thing:
    id: int
    name: str


def test_names_of_tables() -> None:
    """A name is written as in SQL, and comes out quoted; what is no name is refused."""
    for name, quoted in (("Users", '"users"'), ('a."B""c"', '"a"."B""c"'), ("ü_1$", '"ü_1$"')):
        assert table_name(name).as_string() == quoted
    for odd in ("", "a b", "a.", ".a", "1a", '"', '""', "a;b", None):
        with pytest.raises(UsageError, match="not the name of a table"):
            table_name(odd)  # type: ignore[arg-type]


def test_targets() -> None:
    """Without names every column that takes a value is written; COPY where it does what INSERT does."""
    assert [column.name for column in TARGET.columns] == ["id", "name"]
    assert TARGET.takes_copy
    assert not target_of("t", CATALOG, ["no"]).takes_copy
    for names, words in (
        (["x"], "it has id, name"),
        (["sum"], "generated"),
        ([], "once"),
        (["id"] * 2, "once"),
    ):
        with pytest.raises(UsageError, match=words):
            target_of("t", CATALOG, names)


def test_texts() -> None:
    """One array a column; what has no array of its own travels as text and is cast."""
    assert MIXED.insert(SQL(" X")) == (
        'INSERT INTO "s"."t" ("a", """m") SELECT c1, c2::mood FROM unnest($1::integer[], $2::text[])'
        " AS r (c1, c2) X"
    )
    assert MIXED.temporary("pg_temp.x") == (
        'CREATE TEMPORARY TABLE "pg_temp"."x" ("a" integer, """m" mood) ON COMMIT DROP'
    )
    assert MIXED.moved("x", SQL("X")) == ('INSERT INTO "s"."t" ("a", """m") SELECT "a", """m" FROM "x" X')
    assert MIXED.copy("text") == 'COPY "s"."t" ("a", """m") FROM STDIN (FORMAT text)'


def test_rows() -> None:
    """Rows of every kind become sequences of the values; each fault is numbered."""
    names = ("id", "name")
    model = type("Model", (SimpleNamespace,), {"model_fields": {"id": 1, "name": 2}})
    rows = [
        (1, "a"),
        {"name": "a", "id": 1},
        record_class(names)((1, "a")),
        Thing(1, "a"),
        model(id=1, name="a"),
    ]
    assert [tuple(row) for row in columns.tuples(rows, names, 1)] == [(1, "a")] * 5
    assert [columns.names_in(row) for row in (*rows[1:], Thing, 5)] == [
        ("name", "id"),
        *[names] * 3,
        None,
        None,
    ]
    assert columns.tuples(rows[:1], names, 1) == rows[:1]
    faults = [(1,), "ab", 5, Thing, {"id": 1}, {"id": 1, "name": "a", "x": 1}]
    for row, words in zip(faults, ("1 values", "a str", "a int", "a type", "for name", "for x"), strict=True):
        with pytest.raises(UsageError, match=f"row 8: .*{words}"):
            columns.tuples([(1, "a"), row], names, 7)


def test_bytes() -> None:
    """Values are dumped in C where all of a column's can be; else the data is None, and text is left."""
    types = Types()
    data = columns.copied(types, TARGET, [(1, "a"), (None, None)], 1)
    assert data == bytes.fromhex("0002 00000004 00000001 00000001 61 0002 ffffffff ffffffff")
    assert columns.copied(types, TARGET, [(None, "a")], 1) == bytes.fromhex("0002 ffffffff 00000001 61")
    ids = Target("t", (Column("id", 2950, "uuid"),), True)
    data = columns.copied(types, ids, [(UUID(int=7),), (None,)], 1)
    assert data == bytes.fromhex("0001 00000010" + "7".zfill(32) + "0001 ffffffff")
    for target, row in ((TARGET, ("1", "a")), (MIXED, (1, "sad"))):
        assert columns.copied(types, target, [row], 1) is None
    assert columns.lines(types, TARGET, [("1", "a\tb\\"), (2, None)], 1) == b"1\ta\\tb\\\\\n2\t\\N\n"
    assert columns.arrays(types, MIXED, [(1, "sad"), (2, None)], 1) == [[1, 2], ["sad", None]]


def test_misfits() -> None:
    """A value that does not fit is named by row and column, with what helps."""
    types = Types()
    for make in (columns.copied, columns.lines):
        with pytest.raises(UsageError, match=r"row 6, column 'id': int cannot be sent as integer: .*between"):
            make(types, TARGET, [(1, "a"), (2**31, "b")], 5)
    stamps = Target("t", (Column("at", 1184, "timestamptz"),), True)
    with pytest.raises(UsageError, match=r"row 1, column 'at'.*aware"):
        columns.copied(types, stamps, [(dt.datetime(2024, 1, 1),)], 1)
    with pytest.raises(UsageError, match="row 1, column '\"m'"):
        columns.arrays(types, MIXED, [(1, object())], 1)
    said = columns.misfit(types, TARGET, [(1, "a")], 3, ValueError("odd"))
    assert str(said) == "rows 3 to 3: odd"
    numbers = Target("t", (Column("n", 1700, "numeric"),), True)
    assert columns.copied(types, numbers, [(Decimal(1),), (1.5,)], 1) is None
