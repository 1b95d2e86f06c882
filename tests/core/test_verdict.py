"""What may be done about an error, by the table of semantics.md; nothing unknown is sent again (O1)."""

import psycopg
import pytest
from psycopg.errors import lookup

from pgdual.core.job import Job
from pgdual.core.rows import ROWS
from pgdual.core.statement import Kind, Statement
from pgdual.core.verdict import Verdict, is_final, judge

READ = "select 1"
WRITE = "update t set a = 1"
CALL = "call p()"
SCRIPT = "select 1; select 2"
TEXTS = [READ, WRITE, CALL, SCRIPT]
LOST = psycopg.OperationalError("server closed the connection unexpectedly")


def error(state, *, outdated=False):
    made = lookup(state)("what the server said")
    made.outdated = outdated  # as the pipeline marks it
    return made


def verdict_on(sql, problem, *, lost=False):
    statement = Statement(sql)
    job = Job(ROWS, statement)
    job.lost = lost
    return judge(job, problem, statement.kind is Kind.READ)


@pytest.mark.parametrize("sql", TEXTS)
@pytest.mark.parametrize(
    ("problem", "verdict"),
    [
        (error("26000"), Verdict.AGAIN),
        (error("42P05"), Verdict.AGAIN),
        (error("0A000", outdated=True), Verdict.AGAIN),
        (error("0A000"), Verdict.RAISE),
        (lookup("0A000")("made by hand"), Verdict.RAISE),
        (error("57014"), Verdict.RAISE),
        (error("25P03"), Verdict.RAISE),
        (error("23505"), Verdict.RAISE),
        (error("42601"), Verdict.RAISE),
        (error("22003"), Verdict.RAISE),
        (ValueError("not the server's"), Verdict.RAISE),
        (psycopg.OperationalError("no state"), Verdict.RAISE),
    ],
    ids=lambda value: getattr(value, "sqlstate", None) or str(value),
)
def test_an_answer_has_one_verdict_whatever_the_text(sql, problem, verdict):
    """An answer of the server that says what it is, is judged by its state alone."""
    assert verdict_on(sql, problem) is verdict


@pytest.mark.parametrize(
    ("sql", "verdict"),
    [(READ, Verdict.AS_WRITE), (WRITE, Verdict.RAISE), (CALL, Verdict.RAISE), (SCRIPT, Verdict.RAISE)],
)
def test_a_read_that_writes_is_sent_as_a_write(sql, verdict):
    """Q2: 25006 on what was taken for a READ means that it is none; on others it is the user's."""
    assert verdict_on(sql, error("25006")) is verdict


@pytest.mark.parametrize(
    ("sql", "verdict"),
    [(READ, Verdict.AGAIN), (WRITE, Verdict.UNKNOWN), (CALL, Verdict.UNKNOWN), (SCRIPT, Verdict.UNKNOWN)],
)
@pytest.mark.parametrize("problem", [LOST, error("57P01"), error("26000"), error("25006"), ValueError("x")])
def test_what_was_lost_in_flight(sql, verdict, problem):
    """O1: a READ whose answer was lost is sent again, anything else never, whatever error came with it."""
    assert verdict_on(sql, problem, lost=True) is verdict


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ('connection failed: FATAL:  password authentication failed for user "u"', True),
        ('FATAL:  database "nowhere" does not exist', True),
        ("FATAL:  no pg_hba.conf entry for host", True),
        ("fe_sendauth: no password supplied", True),
        ('FATAL:  role "u" is not permitted to log in', True),
        ("server does not support SSL, but SSL was required", True),
        ("SSL error: certificate verify failed", True),
        ('FATAL:  permission denied for database "d"', True),
        ('invalid connection option "nonsense"', True),
        ("connection refused", False),
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  sorry, too many clients already", False),
        ("", False),
    ],
)
def test_some_attempts_are_not_worth_another(text, final):
    """Connecting is not tried again where the server would say the same for ever."""
    assert is_final(psycopg.OperationalError(text)) is final
