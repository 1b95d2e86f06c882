"""The lexer and the splitter, against what PostgreSQL's own do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.script import LITERAL, PARAMETER, Piece, pieces, split, tokenize
from pgdual.errors import UsageError

WORDS = {
    "select 1": ["select", LITERAL],
    "SELECT Foo$1 , _a9 FROM Größe": ["select", "foo$1", ",", "_a9", "from", "größe"],
    "select ÄB": ["select", "Äb"],  # the server folds ASCII letters only
    'select "A""b", "x"': ["select", '"A"b', ",", '"x'],
    'select U&"d\\0061t" from x': ["select", '"U&"d\\0061t"', "from", "x"],
    "select 'it''s; $1 -- no'": ["select", LITERAL],
    r"select 'a\' , b": ["select", LITERAL, ",", "b"],
    r"select E'a\' , b', c": ["select", LITERAL, ",", "c"],
    r"select e'\\', c": ["select", LITERAL, ",", "c"],
    "select E'a'\n 'b\\' c', d": ["select", LITERAL, ",", "d"],
    "select E'a' -- x\n 'b\\' c', d": ["select", LITERAL, ",", "d"],
    "select E'a' 'b'": ["select", LITERAL, LITERAL],
    "select B'1', x'f', N'n', U&'\\0041'": ["select", *[LITERAL, ","] * 3, LITERAL],
    "select $$a;'$1$$, $t$ $$ $x$ $t$, $1": ["select", LITERAL, ",", LITERAL, ",", PARAMETER],
    "select $ä$ $$ $ä$": ["select", LITERAL],
    "select a$b$c": ["select", "a$b$c"],
    "select 1e5, 1.5, .5, 0xff, 1_000, 1e+5": [
        *["select", LITERAL, ",", LITERAL, ",", ".", LITERAL],
        *[",", LITERAL, ",", LITERAL, ",", LITERAL],
    ],
    "select a[1:2], x::int, f(a => 1, b := 2)": [
        *["select", "a", "[", LITERAL, ":", LITERAL, "]", ",", "x", "::", "int", ","],
        *["f", "(", "a", "=>", LITERAL, ",", "b", ":=", LITERAL, ")"],
    ],
    "a/*b*/c": ["a", "c"],
    "a/* /* ; */ '*/c": ["a", "c"],
    "a /**/ b /* * / ** */ c /***/ d": ["a", "b", "c", "d"],
    "a--b\nc": ["a", "c"],
    "a - -b": ["a", "-", "-", "b"],
    "a ?| b": ["a", "?", "|", "b"],
    "select 1for update": ["select", LITERAL, "for", "update"],
    "\ufeffselect": ["\ufeffselect"],
    "a\u00a0b": ["a\u00a0b"],  # to the server a letter
    " \t\r\n\f\v": [],
}


@pytest.mark.parametrize(("text", "words"), WORDS.items())
def test_words(text, words):
    """A text is cut where the server cuts it."""
    assert tokenize(text).words == words


@pytest.mark.parametrize(
    ("text", "what"),
    {
        "select 'a": "the string that opens with ' on line 1",
        "select\n\n E'a\\'": "the string that opens with E' on line 3",
        'select\n"a': 'the quoted name that opens with " on line 2',
        "select $x$ $X$": r"the string that opens with \$x\$ on line 1",
        "a /* /* */": "the comment that opens with /\\* on line 1",
        "select U&'": "the string that opens with U&' on line 1",
    }.items(),
)
def test_what_never_ends_is_refused(text, what):
    """The message says what never ends and where it began."""
    with pytest.raises(UsageError, match=what):
        split(text)


def test_a_parameter_has_a_highest_number():
    """A number that Bind could not count is refused before int() could choke on it."""
    assert tokenize("select $65535").parameters(0, 2) == 65535
    for number in ("65536", "9" * 5000):
        with pytest.raises(UsageError, match="at most 65535 parameters"):
            tokenize("select $" + number)


def test_placeholders_of_psycopg_are_seen_outside_of_quotes():
    """`%s` in a literal, a name or a comment is none."""
    assert tokenize("select %s, %b").percent == "%s"
    assert tokenize("select a % b, %(name)s").percent == "%(name)s"
    for text in ("select '%s'", 'select "%s"', "select 1 /* %s */ -- %s", "select a %sum", "select 5 % 3"):
        assert tokenize(text).percent is None


STATEMENTS = {
    "": [],
    ";;; -- nothing\n /* ; */ ;": [],
    "select 1": ["select 1"],
    " select 1 ; ": ["select 1"],
    "select 1; select 2": ["select 1", "select 2"],
    "select ';'; select \";\"; select $$;$$ -- ;\n;": ["select ';'", 'select ";"', "select $$;$$"],
    "create rule r as on insert to t do (select 1; select 2); select 3": [
        "create rule r as on insert to t do (select 1; select 2)",
        "select 3",
    ],
    "create function f() returns int begin atomic select 1; select case when a then 2 end; end; select 3": [
        "create function f() returns int begin atomic select 1; select case when a then 2 end; end",
        "select 3",
    ],
    "create or replace procedure p() begin atomic insert into t values (1); end; call p()": [
        "create or replace procedure p() begin atomic insert into t values (1); end",
        "call p()",
    ],
    "create function f() returns int begin atomic select t.end, t.case from t; end; select 1": [
        "create function f() returns int begin atomic select t.end, t.case from t; end",
        "select 1",
    ],
    "create function f() returns int language sql as 'select 1; select 2'; select 3": [
        "create function f() returns int language sql as 'select 1; select 2'",
        "select 3",
    ],
    "begin; select 1; end; select 2": ["begin", "select 1", "end", "select 2"],
    "begin atomic; select 1": ["begin atomic", "select 1"],
    "create table t (a int); insert into t values (1)": [
        "create table t (a int)",
        "insert into t values (1)",
    ],
    "select 1); select 2": ["select 1)", "select 2"],
    "select (1; select 2": ["select (1; select 2"],
    "do $$ begin perform 1; end $$; select 1": ["do $$ begin perform 1; end $$", "select 1"],
}


@pytest.mark.parametrize(("text", "statements"), STATEMENTS.items())
def test_statements(text, statements):
    """A semicolon ends a statement where psql thinks so."""
    assert [piece.sql for piece in split(text)] == statements


def test_lines():
    """A piece knows the line of its first word, comments before it left out."""
    text = "-- a\n\nselect 1,\n 2;\n\n/* b\n */ select '\n';select 4;\r\nselect 5"
    assert split(text) == [
        Piece("select 1,\n 2", 3),
        Piece("select '\n'", 7),
        Piece("select 4", 8),
        Piece("select 5", 9),
    ]


def test_a_piece_may_begin_with_a_parameter():
    """Both characters of `$1` belong to its statement."""
    assert split("; $1 and 2") == [Piece("$1 and 2", 1)]


def test_pieces_of_words():
    """A piece is the range of its words."""
    assert pieces(["a", "b", ";", ";", "c"]) == [(0, 2), (4, 5)]


ATOMS = [*"aE1$'\"/*-;()\\ \n%.:=UX&_", "begin ", "atomic ", "create function ", "$t$", "end ", "case "]
TEXT = st.lists(st.sampled_from(ATOMS), max_size=60).map("".join)


@given(TEXT)
def test_joined_pieces_are_the_same_pieces(text):
    """Splitting loses no statement: what was split and joined splits into the same."""
    try:
        found = [piece.sql for piece in split(text)]
    except UsageError:
        return
    assert [piece.sql for piece in split(";\n".join(found))] == found


@given(TEXT)
def test_every_word_stands_where_it_says(text):
    """Words do not overlap, and between them there is only space and comments."""
    try:
        tokens = tokenize(text)
    except UsageError:
        return
    end = 0
    for start, stop in zip(tokens.starts, tokens.ends, strict=True):
        assert end <= start < stop
        assert tokenize(text[end:start] + "\n").words == []
        end = stop


def test_many_open_quotes_take_no_time_to_refuse():
    """The lexer is linear: a long text that never ends does not backtrack."""
    for text in (
        "E'" + "\\'" * 50_000,
        "/*" * 50_000,
        "'" + "''" * 50_000,
        "/" + "*" * 100_000,
        "$a$" * 33_333,
    ):
        with pytest.raises(UsageError, match="never ends"):
            tokenize(text)
