"""P3: what a schema file says, and where in it something went wrong."""

from __future__ import annotations

import pytest

from pgdual.core.schema import concurrent_index, failure, is_done, masked, read
from pgdual.core.script import Piece
from pgdual.errors import SchemaError

FILE = """-- pgdual: repeatable
CREATE TABLE t (
    -- pgdual: nothing, for it is in a statement
    id int
);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$
-- pgdual: outside
SELECT 1 $$;

-- a comment between
-- pgdual: outside
CREATE INDEX CONCURRENTLY i ON t (id);
  --  PGDUAL: Outside
VACUUM t
"""


def test_a_file() -> None:
    """What is marked runs outside, everything else inside; words inside of statements are theirs."""
    schema = read("x.sql", FILE)
    assert schema.is_repeatable
    assert [piece.line for piece in schema.inside] == [2, 6]
    assert [piece.sql for piece in schema.outside] == ["CREATE INDEX CONCURRENTLY i ON t (id)", "VACUUM t"]


def test_line_ends_do_not_count() -> None:
    """A checkout with other line ends is the same file; any other change is not."""
    digests = {read("x", text).digest for text in ("SELECT 1;\nSELECT 2", "SELECT 1;\r\nSELECT 2")}
    assert len(digests) == 1
    assert read("x", "SELECT 1;\nSELECT 2 ").digest not in digests


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 0, "no statement"),
        ("SELECT 1; SELECT 'never", 0, "never ends"),
        ("SELECT 1;\nROLLBACK", 2, "ROLLBACK is in it"),
        ("SELECT 1;\nCOPY t FROM stdin", 2, "COPY needs"),
        ("SELECT 1;\nSELECT '\0'", 2, "NUL"),
        ("-- pgdual: outside\nVACUUM;\nSELECT 1", 3, "line 3: it stands after the statement on line 2"),
        ("SELECT 1;\n-- pgdual: outside", 2, "means nothing here"),
        ("-- pgdual: once\nSELECT 1", 1, "`-- pgdual: once` means nothing here"),
    ],
)
def test_what_is_refused(text: str, line: int, said: str) -> None:
    """A file that cannot run as it is meant is refused, with its name and the line."""
    with pytest.raises(SchemaError, match=said) as caught:
        read("x.sql", text)
    assert str(caught.value).startswith("x.sql")
    assert (caught.value.path, caught.value.line) == ("x.sql", line)


def test_what_is_done() -> None:
    """Done is what ran to its end and is unchanged; what has changed needs somebody's word."""
    plain, repeatable = read("x", "SELECT 1"), read("x", "-- pgdual: repeatable\nSELECT 1")
    assert is_done(plain, plain.digest, 0, repeatable=False)
    assert not is_done(plain, plain.digest, 1, repeatable=False)
    assert not is_done(plain, None, 0, repeatable=False)
    assert not is_done(plain, "0" * 64, 0, repeatable=True)
    assert not is_done(repeatable, "0" * 64, 0, repeatable=False)
    with pytest.raises(SchemaError, match="x has changed since it ran"):
        is_done(plain, "0" * 64, 0, repeatable=False)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", ("i", "t")),
        ('create unique index concurrently if not exists "I x" on only s."T" (a)', ('"I x"', 's."T"')),
        ("CREATE INDEX CONCURRENTLY i ON a.b.c USING gin (d)", ("i", "a.b.c")),
        ("CREATE INDEX CONCURRENTLY i ON t", ("i", "t")),
        ("CREATE INDEX CONCURRENTLY ON t (a)", None),
        ("CREATE INDEX CONCURRENTLY", None),
        ("CREATE INDEX CONCURRENTLY i ON", None),
        ("CREATE INDEX i ON t (a)", None),
        ("REINDEX INDEX CONCURRENTLY i", None),
        ("VACUUM", None),
    ],
)
def test_an_index_made_concurrently(sql: str, found: tuple[str, str] | None) -> None:
    """Its name and table are found, as they are written."""
    assert concurrent_index(sql) == found


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE ROLE a PASSWORD 'hunter2'",
        "ALTER ROLE a password  E'it\\'s hunter2' x",
        "CREATE USER MAPPING FOR a SERVER b OPTIONS (user 'a', password 'x''hunter2')",
        "CREATE ROLE a PASSWORD $p$hunter2$p$",
    ],
)
def test_passwords(sql: str) -> None:
    """No password is shown, however it is quoted; everything else is."""
    assert "hunter2" not in masked(sql)
    assert masked(sql).count("********") == 1
    assert masked("SELECT 'password'") == "SELECT 'password'"


def test_a_failure() -> None:
    """The message has the database, the file, the line that the server points at, its words and the text."""
    piece = Piece("SELECT\n  1,\n  oops" + " " * 3 + "x" * 300, 10)
    error = failure("x.sql", piece, "vb", 'no "oops"', "42703", "14")
    assert str(error).startswith('vb: x.sql, line 12: no "oops" (42703): SELECT 1, oops xxx')
    assert str(error).endswith("x...")
    assert (error.line, error.statement, error.sqlstate) == (12, piece.sql, "42703")
    assert "line 10: gone: SELECT" in str(failure("x.sql", piece, "vb", "gone", None, None))
    assert str(failure("x.sql", Piece("", 0), "vb", "late", "23503", None)) == "vb: x.sql: late (23503)"
    assert "-- pgdual: outside" in str(failure("x.sql", piece, "vb", "cannot", "25001", None))
    assert "a role that may change vb" in str(failure("x.sql", piece, "vb", "denied", "42501", None))
