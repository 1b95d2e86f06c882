"""W2: when a line is due, and what it says, in the guide's words and in plain fields."""

import json
import logging
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.job import MANY, SCRIPT, STATUS, Job
from pgdual.core.rows import ROW, ROWS, VALUE
from pgdual.core.statement import Statement
from pgdual.core.thresholds import LENGTH, MOST, QUIET, WIDTH, Crossing, Thresholds, opened, plain
from pgdual.settings import Settings

SHOWING = Thresholds(1.0, 0.5, 2.0, 0.9, 30.0, True)
HIDING = Thresholds(1.0, 0.5, 2.0, 0.9, 30.0, False)
SELECT = "SELECT * FROM users\n  WHERE status = $1"


def job(*arguments, want=ROWS, sql=SELECT):
    return Job(want, Statement(sql), arguments)


def test_they_come_from_the_settings(empty_folder):
    """Milliseconds in the settings are seconds here; no leak threshold means none."""
    settings = Settings(
        databases={}, slow_query_threshold_ms=1500, slow_acquire_threshold_ms=250, log_query_args=False
    )
    assert Thresholds.of(settings) == Thresholds(1.5, 0.25, 2.0, 0.9, None, False)
    assert Thresholds.of(settings).least == 0.25
    assert Thresholds().least == inf


def test_the_guides_slow_query():
    """W2: the line of the guide, letter by letter."""
    line = SHOWING.slow_query("main", job("active"), 1.5234)
    assert line.text == (
        "[SLOW QUERY] main FETCH took 1523ms: SELECT * FROM users WHERE status = $1 | args: 'active'"
    )
    assert line.logger == "query"
    assert line.fields == {
        "database": "main",
        "operation": "FETCH",
        "duration_ms": 1523.4,
        "threshold_ms": 1000.0,
        "statement": "SELECT * FROM users WHERE status = $1",
        "argument_count": 1,
        "label": None,
        "arguments": ["'active'"],
    }


def test_hidden_arguments_are_counted_and_nowhere():
    """W2: hidden arguments leave their number, and no trace in the text or the fields."""
    line = HIDING.slow_query("main", job("secret", 2), 2.0)
    assert line.text.endswith("| args: 2 hidden (DB_LOG_QUERY_ARGS)")
    assert line.fields["argument_count"] == 2
    assert "arguments" not in line.fields
    assert "secret" not in repr(line)


@pytest.mark.parametrize("thresholds", [SHOWING, HIDING])
def test_no_arguments_are_not_mentioned(thresholds):
    """W2: a call without arguments says nothing of them."""
    assert "args" not in thresholds.slow_query("main", job(sql="select 1"), 2.0).text


@pytest.mark.parametrize(
    ("want", "sql", "operation"),
    [
        (ROWS, SELECT, "FETCH"),
        (ROW, SELECT, "FETCHROW"),
        (VALUE, SELECT, "FETCHVAL"),
        (STATUS, SELECT, "EXECUTE"),
        (MANY, SELECT, "EXECUTEMANY"),
        (SCRIPT, "select 1; select 2", "EXECUTE"),
    ],
)
def test_operations(want, sql, operation):
    """W2: each method has its word."""
    assert f"main {operation} took" in HIDING.slow_query("main", job(want=want, sql=sql), 2.0).text


class Broken:
    def __repr__(self):
        raise RuntimeError("secret")


ARGUMENTS = st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.lists(st.text()))


@given(st.lists(ARGUMENTS, max_size=MOST * 2))
def test_arguments_are_cut(arguments):
    """W2: no argument takes more than 64 characters, and no call more than twenty of them."""
    shown = SHOWING.shown(arguments)
    assert len(shown) == len(arguments) if len(arguments) <= MOST else len(shown) == MOST + 1
    assert all(len(one) <= WIDTH for one in shown)


def test_large_and_broken_arguments():
    """W2: a megabyte is not written, and an argument whose repr fails is named by its class."""
    long, many, broken = SHOWING.shown(["x" * 1_000_000, bytes(1_000_000), Broken()])
    assert long == "'" + "x" * 60 + "..."
    assert len(many) == WIDTH
    assert broken == "<Broken: RuntimeError in repr>"
    assert SHOWING.shown(range(MOST + 3))[-1] == "... 3 more"


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("alter role bob password 'h7un''t3r2'", "alter role bob password ***"),
        (r"alter role bob password 'a\' valid until 'x'", "alter role bob password *** valid until 'x'"),
        ("ALTER ROLE bob WITH PASSWORD E'a\\'b' LOGIN", "ALTER ROLE bob WITH PASSWORD *** LOGIN"),
        (
            "select dblink_connect('host=x password=h7unt3r2 user=u')",
            "select dblink_connect('host=x password=*** user=u')",
        ),
        ("select f('postgresql://u:h7unt3r2@h/d')", "select f('postgresql://u:***@h/d')"),
        ("select 1 from t where password = $1", "select 1 from t where password = $1"),
        ("create table t (password text not null)", "create table t (password text not null)"),
        ("select\t1\n from  t", "select 1 from t"),
        ("select '\x1b[31m'", "select '?[31m'"),
    ],
)
def test_texts_fit_a_log(sql, shown):
    """W2: a text is one line without control characters, and the passwords written in it are gone."""
    assert plain(sql) == shown


def test_long_texts_are_cut():
    """W2: a text of any length makes a line of a bounded one."""
    assert len(plain("select " + "x" * 10_000)) == LENGTH


def test_the_guides_other_lines():
    """W2: the lines of the design, letter by letter."""
    assert SHOWING.slow_acquire("main", 0.712).text == (
        "[SLOW ACQUIRE] main took 712ms to get a connection (threshold: 500ms)"
    )
    assert SHOWING.exhausted("main", 95, 100).text == (
        "[POOL EXHAUSTION] main pool at 95/100 active connections (95% usage, 5 free)"
    )
    assert SHOWING.long_transaction("main", 3.042).text == (
        "[LONG TRANSACTION] main transaction took 3042ms (threshold: 2000ms)"
    )
    assert opened("main", 5, 30.0).text == "[CIRCUIT OPEN] main after 5 failures; next probe in 30.0s"
    leak = SHOWING.leaked("main", "transaction", 31.24, "  File x, line 1")
    assert leak.text == (
        "[LEAK] main transaction held for 31.2s (threshold: 30s), taken at:\n  File x, line 1"
    )
    assert SHOWING.leaked("main", "connection", 31.0, "").logger == "pool"


def test_fields_are_plain_and_free_of_logging_s_own_names():
    """W2: every field can be given to logging as `extra`, and is JSON as it is."""
    lines = [
        SHOWING.slow_query("main", job("active"), 1.5),
        SHOWING.slow_acquire("main", 0.7),
        SHOWING.exhausted("main", 9, 10),
        SHOWING.long_transaction("main", 3.0, "place_order"),
        SHOWING.leaked("main", "connection", 31.0, "stack"),
        opened("main", 5, 30.0),
    ]
    taken = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    for line in lines:
        assert json.loads(json.dumps(line.fields)) == line.fields
        assert not taken & line.fields.keys()
        assert line.fields["database"] == "main"
        assert line.logger in {"query", "pool", "transaction", "breaker"}


@pytest.mark.parametrize(
    ("share", "max_size", "needed"),
    [
        (0.9, 100, 90), (0.9, 10, 9), (0.9, 20, 18), (0.9, 4, 4), (0.9, 1, 1), (1.0, 7, 7), (0.07, 100, 7),
        (0.001, 4, 1), (inf, 4, 8),
    ],
)  # fmt: skip
def test_how_many_are_too_many(share, max_size, needed):
    """W2: a pool is exhausted from the first count of connections that reaches the share."""
    assert Thresholds(exhaustion=share).needed(max_size) == needed


def test_a_crossing_is_said_once():
    """W2: exhaustion is told of when it is reached, not while it lasts, and once in a while at the most."""
    crossing = Crossing()
    assert [crossing.rise(5.0), crossing.rise(9.0)] == [True, False]
    crossing.fall()
    assert crossing.rise(9.0)
    crossing.fall()
    assert not crossing.rise(9.0 + QUIET / 2)
    crossing.fall()
    assert crossing.rise(9.0 + QUIET)
