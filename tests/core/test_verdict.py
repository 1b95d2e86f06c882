"""What may be done about an error, by the table of semantics.md; nothing unknown is sent again (O1)."""

from types import SimpleNamespace

import psycopg
import pytest
from psycopg.errors import lookup

from pgdual.core.job import Job
from pgdual.core.rows import ROWS
from pgdual.core.statement import Kind, Statement
from pgdual.core.verdict import TABLE, Failure, Verdict, is_final, is_full, judge, reason_to_replay

READ = "select 1"
WRITE = "update t set a = 1"
CALL = "call p()"
SCRIPT = "select 1; select 2"
TEXTS = [READ, WRITE, CALL, SCRIPT]
LOST = psycopg.OperationalError("server closed the connection unexpectedly")


def error(state, **marks):
    made = lookup(state)("what the server said")
    vars(made).update(marks)  # as the pipeline marks it: outdated, in_standby
    return made


def verdict_on(sql, problem, *, lost=False, idempotent=False):
    statement = Statement(sql)
    job = Job(ROWS, statement)
    job.lost, job.idempotent = lost, idempotent
    return judge(job, problem, statement.kind is Kind.READ)


# The rows of the retry table: what failed, and what is done for a READ, a WRITE, CALL, a SCRIPT, and a
# WRITE and a CALL of which the user said that they are idempotent.
CASES = [(READ, False), (WRITE, False), (CALL, False), (SCRIPT, False), (WRITE, True), (CALL, True)]
ROWS_OF_THE_TABLE = {
    "40001": (error("40001"), "CONFLICT CONFLICT RAISE RAISE CONFLICT RAISE"),
    "40P01": (error("40P01"), "CONFLICT CONFLICT RAISE RAISE CONFLICT RAISE"),
    "25006 of a standby": (error("25006", in_standby=True), "ELSEWHERE " * 6),
    "25006": (error("25006", in_standby=False), "AS_WRITE RAISE RAISE RAISE RAISE RAISE"),
    "26000": (error("26000"), "AGAIN AGAIN AGAIN RAISE AGAIN AGAIN"),
    "42P05": (error("42P05"), "AGAIN AGAIN AGAIN RAISE AGAIN AGAIN"),
    "0A000 cached plan": (error("0A000", outdated=True), "AGAIN " * 6),
    "0A000": (error("0A000"), "RAISE " * 6),
    "57014": (error("57014"), "RAISE " * 6),
    "25P03": (error("25P03"), "RAISE " * 6),
    "25P04": (error("25P04"), "RAISE " * 6),
    "22003": (error("22003"), "RAISE " * 6),
    "23505": (error("23505"), "RAISE " * 6),
    "42601": (error("42601"), "RAISE " * 6),
    "53400": (error("53400"), "RAISE " * 6),
    "no state": (psycopg.OperationalError("no state"), "RAISE " * 6),
    "not the server's": (ValueError("x"), "RAISE " * 6),
}
SHORT = {"CONFLICT": Verdict.AFTER_CONFLICT, **Verdict.__members__}


@pytest.mark.parametrize(("problem", "verdicts"), ROWS_OF_THE_TABLE.values(), ids=ROWS_OF_THE_TABLE)
def test_a_row_of_the_table(problem, verdicts):
    """The server's answer is judged by its state and by what the statement is."""
    found = [verdict_on(sql, problem, idempotent=idempotent) for sql, idempotent in CASES]
    assert found == [SHORT[name] for name in verdicts.split()]


@pytest.mark.parametrize(
    "problem",
    [LOST, error("57P01"), error("40001"), error("26000"), error("25006", in_standby=True), ValueError("x")],
)
def test_what_was_lost_in_flight(problem):
    """O1: a READ whose answer was lost is sent again, a WRITE on its user's word, whatever came with it."""
    found = [verdict_on(sql, problem, lost=True, idempotent=idempotent) for sql, idempotent in CASES]
    again, unknown = Verdict.AFTER_LOSS, Verdict.UNKNOWN
    assert found == [again, unknown, unknown, unknown, again, again]


def test_every_failure_has_a_row():
    """The table has no gap."""
    assert set(TABLE) == set(Failure)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("FATAL:  sorry, too many clients already", True),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", True),
        ('FATAL:  too many connections for role "u"', True),
        ("FATAL:  no more connections allowed (max_client_conn)", True),
        ("FATAL:  the database system is starting up", False),
    ],
)
def test_a_full_server_is_no_incident(text, full):
    """B2: 53300 says that the server is well."""
    assert is_full(psycopg.OperationalError(text)) is full


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
        ('FATAL:  pg_hba.conf rejects connection for host "127.0.0.1", user "u"', True),
        ("FATAL:  connection requires a valid client certificate", True),
        ("channel binding required, but server authenticated client without channel binding", True),
        ("channel binding is required, but client does not support it", True),
        ('authentication method requirement "scram-sha-256" failed: server requested SASL', True),
        ("FATAL:  no such user: nobody", True),
        ("FATAL:  no such database: nowhere", True),
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


@pytest.mark.parametrize("state", ["26000", "42P05"])
def test_what_a_function_raised(state):
    """O1: a state that comes from within the statement says that it was run: it is not sent again."""
    problem = Exception("prepared statement does not exist")
    vars(problem).update(sqlstate=state, diag=SimpleNamespace(context="PL/pgSQL function p() line 3"))
    for sql, idempotent in CASES:
        assert verdict_on(sql, problem, idempotent=idempotent) is Verdict.RAISE


# The last column of the retry table: for what a transaction is said again.
REASONS = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "25006 of a standby": Failure.STANDBY,
    "26000": Failure.UNPREPARED,
    "42P05": Failure.UNPREPARED,
    "0A000 cached plan": Failure.UNPREPARED,
}


@pytest.mark.parametrize("name", ROWS_OF_THE_TABLE)
def test_what_a_transaction_is_run_again_for(name):
    """T5: conflicts, failovers and lost statements are reasons for a replay, and nothing else is."""
    problem = ROWS_OF_THE_TABLE[name][0]
    assert reason_to_replay(problem, lost=False) is REASONS.get(name)
    assert reason_to_replay(problem, lost=True) is Failure.LOST


@pytest.mark.parametrize("state", ["26000", "42P05"])
def test_what_a_function_raised_in_a_transaction(state):
    """T5: a function's own error is not that pgdual's statement is gone."""
    problem = Exception("prepared statement does not exist")
    vars(problem).update(sqlstate=state, diag=SimpleNamespace(context="PL/pgSQL function p() line 3"))
    assert reason_to_replay(problem, lost=False) is None
