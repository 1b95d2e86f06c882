"""Statements, their cache, and what is refused before anything is sent."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.script import split
from pgdual.core.statement import (
    Kind,
    Statement,
    Statements,
    check_arguments,
    check_many,
    check_place,
    check_row,
    check_rows,
    check_single,
)
from pgdual.errors import UsageError


def test_a_statement_knows_its_text():
    """All that is sent is made once."""
    statement = Statement("SELECT 'ä', $2, $1")
    assert statement.query == "SELECT 'ä', $2, $1".encode()
    assert (statement.verb, statement.parameters, statement.kind) == ("SELECT", 2, Kind.READ)
    assert (statement.types, statement.result_format, statement.service) == (None, 1, inf)
    assert repr(statement) == "<Statement READ: SELECT 'ä', $2, $1>"


def test_what_the_server_described():
    """Q5: plans are of one description; the same one again keeps them, another begins anew."""
    statement = Statement("select $1")
    statement.described((23,), 1)
    plans = statement.plans
    assert (plans, plans.types, statement.types) == ({}, (23,), (23,))
    statement.described((23,), 1)
    assert statement.plans is plans
    for types, form in (((20,), 1), ((20,), 0)):
        before = statement.plans
        statement.described(types, form)
        assert statement.plans is not before
        assert (statement.plans.types, statement.types, statement.result_format) == (types, types, form)
    assert plans.types == (23,)


def test_names_are_digests_of_texts():
    """N1: one text has one name anywhere, another text another."""
    one, same, other = Statement("select 1"), Statement("select 1", {"f"}), Statement("select  1")
    assert one.name == same.name != other.name
    assert one.name.startswith(b"pgdual_")
    assert len(one.name) == 7 + 32
    assert one.name.isascii()


@pytest.mark.parametrize(
    ("text", "verb"),
    {
        "Insert into t values (1)": "INSERT",
        "((select 1))": "SELECT",
        "-- x\n with a as (select 1) select 1": "WITH",
        "explain analyze select 1": "EXPLAIN",
        "call p()": "CALL",
        "show all": "SHOW",
        "'x'": "",
        "()": "",
        "select 1; select 2": "",
    }.items(),
)
def test_verbs(text, verb):
    """The verb is the first keyword; a script has none."""
    assert Statement(text).verb == verb


@pytest.mark.parametrize(
    ("text", "parameters"),
    {
        "select 1": 0,
        "select $1, $1": 1,
        "select $3": 3,
        "select $10 + $9": 10,
        "select '$1', \"$2\", $$ $3 $$, $a$ $4 $a$, a$5 -- $6\n /* $7 */": 0,
        "select $1::int[$2]": 2,
        "explain select $1": 1,
        "create table t as select $1": 1,
        "prepare p as select $1": 0,
        "create function f(int) returns int return $1": 0,
        "create or replace procedure f(int) begin atomic select $1; end": 0,
        "select $1; select $2": 2,
        "select 1; create function f(int) returns int return $1": 0,
    }.items(),
)
def test_parameters(text, parameters):
    """Only what the server would take for a parameter of this statement counts."""
    assert Statement(text).parameters == parameters


SCRIPTS = {
    "select 1; select 2": (False, False, False),
    "begin; insert into t values (1); commit": (True, False, False),
    "select 1; lock table t;": (False, True, False),
    "set a = 1; create temp table t (a int)": (False, False, False),
    "select 1; copy t from stdin;": (False, False, True),
    "select 1; copy t from '/x';": (False, False, False),
    "deallocate all; select 1": (False, False, False),
}


@pytest.mark.parametrize(("text", "flags"), SCRIPTS.items())
def test_scripts(text, flags):
    """Several statements are a SCRIPT, whatever they are: it may commit inside and leaves traces."""
    script = Statement(text)
    assert script.kind is Kind.SCRIPT
    assert script.leaves_traces
    assert script.may_commit
    assert not script.ordered
    assert (script.controls, script.locks, script.refusal is not None) == flags


@pytest.mark.parametrize("text", ["select 1;", ";select 1", "select 1;;-- x", "select 1 ; /* ; */"])
def test_one_statement_is_no_script(text):
    """Empty statements do not make a script."""
    assert Statement(text).kind is Kind.READ


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("", "is empty"),
        (" \n;", "is empty"),
        ("-- a", "is empty"),
        ("/* a /* b */ */;", "is empty"),
        ("select '\0'", "NUL at character 8"),
        ("select '\ud800'", "lone surrogate at character 8"),
        ("select '", "never ends"),
        (b"select 1", "must be a str, not bytes"),
        (None, "must be a str, not NoneType"),
        (["select 1"], "must be a str, not list"),
    ],
)
def test_what_cannot_be_sent(sql, what):
    """A text that the server could not have is refused, also by the cache."""
    with pytest.raises(UsageError, match=what):
        Statement(sql)
    with pytest.raises(UsageError, match=what):
        Statements().get(sql)


@pytest.mark.parametrize(
    ("text", "what"),
    {
        "commit": r"COMMIT is not sent by hand: use db\.transaction\(\).*: commit$",
        "copy t to stdout": r"cursor\.copy\(\) on db\.connection\(\)",
        "select 1; copy t from stdin": r"cursor\.copy\(\)",
        "discard all": r"run it on db\.connection\(\)",
        "select 1;\n\\restrict abc\nselect 2": r"\\restrict on line 2 is a command of psql",
        "\\": r"\\ on line 1 is a command of psql",
        "\\\x1b": r"\\\? on line 1 is a command of psql",
    }.items(),
)
def test_what_is_refused_everywhere(text, what):
    """CONTROL text, COPY by protocol and psql's commands never pass the cache (Q4)."""
    statements = Statements()
    for _ in range(2):
        with pytest.raises(UsageError, match=what):
            statements.get(text)
    assert len(statements) == 0


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("select $1, $2", 1, r"statement takes 2 arguments \(\$1, \$2\), 1 was given: select \$1, \$2"),
        ("select $1", 0, r"statement takes 1 argument \(\$1\), 0 were given"),
        ("select $1", 2, r"statement takes 1 argument \(\$1\), 2 were given"),
        ("select $3", 2, r"statement takes 3 arguments \(\$1 to \$3\), 2 were given"),
        ("select 1", 1, "statement takes no arguments, 1 was given"),
        ("select %s", 1, r"%s is psycopg's placeholder; write PostgreSQL's own"),
        ("select %(a)s", 1, r"%\(a\)s is psycopg's placeholder"),
        ("select '%s'", 1, "takes no arguments"),
        ("select %s, $1", 2, "takes 1 argument"),
        ("select $1; select 2", 1, "a script of several statements takes no arguments"),
        ("select 1; select 2", 1, "a script of several statements takes no arguments"),
    ],
)
def test_wrong_arguments(text, count, message):
    """The message says how many there should be and how to write them."""
    with pytest.raises(UsageError, match=message):
        check_arguments(Statement(text), count)


@pytest.mark.parametrize(
    ("text", "count"),
    [("select 1", 0), ("select $2", 2), ("select a %s from t", 0), ("select 1; select 2", 0)],
)
def test_right_arguments(text, count):
    """A modulo that looks like a placeholder is none where no arguments are given."""
    check_arguments(Statement(text), count)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("insert into t values (%s)", "%s is psycopg's placeholder"),
        ("delete from t where a = 1; select 1", "executemany runs one statement for each row, not a script"),
    ],
)
def test_what_executemany_does_not_run(text, message):
    """A script, and psycopg's placeholders, are refused before a row is read."""
    with pytest.raises(UsageError, match=message):
        check_many(Statement(text))


def test_what_executemany_runs():
    """One statement with PostgreSQL's own parameters; a percent sign beside them is one."""
    for text in ("insert into t values ($1)", "delete from t where a %s = $1"):
        check_many(Statement(text))


def test_a_call_that_returns_rows():
    """A script has none to return."""
    check_single(Statement("select 1;"))
    with pytest.raises(UsageError, match="returns no rows: run it with execute"):
        check_single(Statement("select 1; select 2"))


@pytest.mark.parametrize("row", [(1, 2), [3, 4], range(2)], ids=str)
def test_rows_of_executemany(row):
    """Any sequence of values is a row."""
    check_row(Statement("insert into t values ($1, $2)"), row)


@pytest.mark.parametrize("row", ["ab", b"ab", {1: 2}, {1, 2}, 3], ids=str)
def test_wrong_rows_of_executemany(row):
    """What is no sequence of values is refused by its class."""
    with pytest.raises(UsageError, match=f"it is a {type(row).__name__}: give a tuple or list of the values"):
        check_row(Statement("insert into t values ($1, $2)"), row)


@pytest.mark.parametrize(
    ("text", "remedy"),
    {
        "set search_path = a": "use SET LOCAL in db.transaction",
        "reset all": "come back clean by themselves",
        "listen a": r"take db\.connection\(\)",
        "unlisten a": r"take db\.connection\(\)",
        "prepare p as select 1": "pgdual prepares every statement by itself",
        "execute p": "pgdual prepares every statement by itself",
        "set local a = 1": "SET here ends with its transaction",
        "fetch 1 from c": "FETCH here ends with its transaction",
        "select pg_advisory_lock(1)": r"this SELECT changes a session .* inside db\.transaction\(\) or on db",
        "create temp table t (a int)": r"this CREATE changes a session .* inside db\.transaction\(\)",
    }.items(),
)
def test_session_text_outside_a_transaction(text, remedy):
    """It is refused with the right way; inside a transaction or on a lent connection it may run (Q4)."""
    statement = Statements().get(text)
    with pytest.raises(UsageError, match=remedy):
        check_place(statement, in_transaction=False)
    check_place(statement, in_transaction=True)
    check_place(statement, in_transaction=False, lent=True)


def test_control_text_has_no_place():
    """CONTROL text is refused anywhere; a script with some is refused in a transaction."""
    for inside in (True, False):
        with pytest.raises(UsageError, match="COMMIT is not sent by hand"):
            check_place(Statement("commit"), inside)
    script = Statement("begin; select 1; commit")
    check_place(script, in_transaction=False)
    with pytest.raises(UsageError, match="cannot run inside"):
        check_place(script, in_transaction=True)
    check_place(Statement("select 1; select 2"), in_transaction=True)
    check_place(Statement("insert into t values (1)"), in_transaction=False)


def test_a_long_text_is_cut_in_messages():
    """A message is one short line of printable characters, whatever the text."""
    with pytest.raises(UsageError) as caught:
        check_arguments(Statement("select\n\t$1, '\x1b[31m'" + "," * 500), 0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150


def test_demotion():
    """A READ that the server refused is a WRITE from then on, and its wire is cleaned (Q2)."""
    statement = Statement("select * from a_view_that_writes")
    statement.demote()
    assert statement.kind is Kind.WRITE
    assert statement.leaves_traces


class TestStatements:
    """The cache of one database."""

    def test_a_text_is_sorted_once(self):
        """The second time the same object comes from one look into a dict."""
        statements = Statements()
        statement = statements.get("select 1")
        assert statements.get("select 1") is statement is statements.texts["select 1"]

    def test_it_is_bounded(self):
        """N3: a flood of texts leaves no more than the limit, and keeps what is in use."""
        statements = Statements(limit=10)
        used = statements.get("select 'in use'")
        texts = statements.texts
        for number in range(100):
            statements.get(f"select {number}")
            assert statements.get("select 'in use'") is used
            assert len(statements) <= 10
        assert statements.texts is texts

    def test_long_texts_are_not_kept(self):
        """A text of megabytes is sorted again each time rather than kept for ever."""
        statements = Statements()
        text = "select '" + "x" * Statements.LONGEST + "'"
        assert statements.get(text).kind is Kind.READ
        assert len(statements) == 0

    def test_pure(self):
        """A function that is said to be pure changes texts from before, old and young, and after."""
        statements = Statements(limit=4)
        before = [statements.get(f"select s.f({number})") for number in range(4)]
        assert {statement.kind for statement in before} == {Kind.WRITE}
        statements.pure("S.F")
        assert {statement.kind for statement in before} == {Kind.READ}
        assert {statement.leaves_traces for statement in before} == {False}
        assert statements.get("select s.f(9)").kind is Kind.READ
        assert Statements().get("select s.f(9)").kind is Kind.WRITE
        with pytest.raises(UsageError, match="name of a function"):
            statements.pure(1)

    def test_anew(self):
        """A fresh cache believes what the old one was told and holds none of its statements."""
        statements = Statements()
        statements.pure("f")
        statement = statements.get("select f(1)")
        fresh = statements.anew()
        assert len(fresh) == 0
        assert fresh.get("select f(1)") is not statement
        assert fresh.get("select f(1)").kind is Kind.READ


TEXTS = [
    "select a, lower(b) from t where c = $1 order by d",
    "with x(a) as (select 1) select * from x",
    "select f(1) from t",
    "insert into t (a) values (1) returning a",
    "select 1 for update",
    "create temp table t (a int)",
    "select set_config('a', 'b', false)",
    "commit",
    "select 1; insert into t values (2)",
    "explain analyze delete from t",
]
NOISE = st.lists(
    st.sampled_from([" ", "\n", "\t", "-- ; f(1) $9\n", "/* ' ; for update */", '/* /* " */ */', "--'\r\n"]),
    min_size=1,
    max_size=3,
).map("".join)


@given(st.sampled_from(TEXTS), st.data())
def test_comments_and_space_change_nothing(text, data):
    """Wherever there is space there may be comments, and the text is what it was."""
    words = text.split(" ")
    noisy = data.draw(NOISE) + "".join(word + data.draw(NOISE) for word in words)
    one, other = Statement(text), Statement(noisy)
    for name in ("kind", "verb", "parameters", "leaves_traces", "may_commit", "ordered", "locks", "controls"):
        assert getattr(one, name) == getattr(other, name)


LITERALS = st.text(st.sampled_from([*"abc;()$1%'\"/*-\\\n "])).map(
    lambda text: "'" + text.replace("'", "''") + "'"
)
QUOTES = st.one_of(LITERALS, LITERALS.map(lambda text: f"$q${text}$q$"))


@given(st.sampled_from(["select {} from t", "select lower({}), 1", "insert into t values ({})"]), QUOTES)
def test_literals_change_nothing(frame, literal):
    """What stands in a string is never read."""
    one, other = Statement(frame.format("'x'")), Statement(frame.format(literal))
    assert (one.kind, one.parameters, one.leaves_traces) == (
        other.kind,
        other.parameters,
        other.leaves_traces,
    )
    assert other.percent is None


@given(st.lists(st.sampled_from([text for text in TEXTS if ";" not in text]), min_size=2, max_size=5))
def test_several_are_a_script(texts):
    """Texts with semicolons between are a script of these texts."""
    script = Statement(";\n".join(texts))
    assert script.kind is Kind.SCRIPT
    assert [piece.sql for piece in split(script.sql)] == texts


WORDS = """a b1 select with as from explain analyze set copy begin atomic create function temp into for update
insert group by rollup columns order 1 $1 f( set_config( ( ) ; , . :: ' " $$ E' \\ -- /* */ %s %
\0 \ud800 \u017f"""
ATOMS = st.sampled_from([*WORDS.split(), " ", "\n"])


@given(st.one_of(st.text(), st.lists(ATOMS, max_size=30).map(" ".join), st.lists(ATOMS).map("".join)))
def test_any_text_is_a_statement_or_refused(text):
    """Nothing but UsageError ever comes from a text."""
    try:
        statement = Statements().get(text)
        check_arguments(statement, 0)
        check_place(statement, in_transaction=False)
    except UsageError as error:
        assert str(error).isprintable()  # noqa: PT017 - most texts are refused


def test_the_slowest_texts_are_known():
    """W1: the texts that were timed, the slowest first, each once, whichever generation they are in."""
    statements = Statements(4)
    for number in range(4):
        statements.get(f"select {number}").average = number / 10
    statements.get("select 'never timed'")
    assert statements.slowest(2) == [("select 3", 0.3), ("select 2", 0.2)]
    assert "select 'never timed'" not in dict(statements.slowest(10))


@pytest.mark.parametrize("rows", [None, 5, "abc", b"abc", {"id": 1}, object()])
def test_what_no_rows_come_from(rows: object) -> None:
    """What cannot be iterated, or only into what are no rows, is refused by its class."""
    with pytest.raises(UsageError, match=f"^source is a {type(rows).__name__}: give a list"):
        check_rows(rows, "source")
    check_rows(iter(()))
