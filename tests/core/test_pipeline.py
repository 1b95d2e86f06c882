"""Jobs: what they are before they are sent, and how their arguments are dumped (the rest needs a server)."""

from collections import deque
from math import inf

import psycopg
import pytest
from psycopg.errors import lookup
from psycopg.pq import DiagnosticField

from pgdual.core.job import COMMAND, PLANS, STATUS, Job, command
from pgdual.core.pipeline import Pipeline
from pgdual.core.results import is_outdated
from pgdual.core.rows import ROWS
from pgdual.core.statement import Statement
from pgdual.core.types import Types
from pgdual.errors import UsageError

INT4, TEXT = 23, 25  # from pg_type


@pytest.fixture
def types():
    return Types()


def insert():
    statement = Statement("insert into t values ($1, $2)")
    statement.types = (INT4, TEXT)
    return statement


def test_a_job_begins_with_nothing():
    """A job that was not sent has no answer, no deadline, no place on a wire and nothing before it."""
    statement = Statement("select 1")
    job = Job(ROWS, statement)
    assert (job.want, job.statement, job.arguments) == (ROWS, statement, ())
    assert (job.future, job.value, job.error, job.buffers) == (None, None, None, None)
    assert not any([job.parses, job.lost, job.placed, job.abandoned, job.expired])
    assert (job.lead, job.rows, job.prelude, job.deadline) == (0, 0, (), inf)


def test_jobs_share_no_state():
    """What is set on one job is not there on the next."""
    one, other = command(b"BEGIN"), command(b"COMMIT")
    one.lead, one.lost = 3, True
    assert (one.want, one.text, other.text) == (COMMAND, b"BEGIN", b"COMMIT")
    assert (other.lead, other.lost) == (0, False)


def test_arguments_are_dumped_for_the_servers_types(types):
    """Q5: what the server named decides the bytes; one plan serves all calls with the same classes."""
    statement = insert()
    for number in (1, 2):
        job = Job(STATUS, statement, (number, "a"))
        job.encode(types)
        assert [bytes(buffer) for buffer in job.buffers] == [number.to_bytes(4), b"a"]
        assert len(job.formats) == 2
    assert list(statement.plans) == [(int, str)]


def test_an_argument_that_does_not_fit_is_named(types):
    """Q5: before anything is sent, by its class or by its value."""
    for wrong in ([1], 2**31):
        with pytest.raises(UsageError, match=r"\$1"):
            Job(STATUS, insert(), (wrong, "a")).encode(types)


def test_plans_are_bounded(types):
    """N3: a statement called with ever new classes keeps a bounded number of plans."""
    statement = insert()
    for number in range(3 * PLANS):
        kind = type(f"Text{number}", (str,), {})
        Job(STATUS, statement, (number, kind("a"))).encode(types)
        assert 0 < len(statement.plans) <= PLANS


@pytest.fixture
def pipeline():
    """A pipeline that was never connected."""
    made = object.__new__(Pipeline)
    made.owed, made.prepared, made.lost = deque(), {}, psycopg.OperationalError("gone")
    return made


def test_what_is_owed_is_lost_with_the_connection(pipeline):
    """L2: what was not answered is lost; an error that had come for it already stands."""
    failed, waiting = Job(ROWS, Statement("select 1")), Job(ROWS, Statement("select 2"))
    failed.error = known = psycopg.Error("known")
    pipeline.owed.extend([failed, waiting])
    assert pipeline.lose() == [failed, waiting]
    assert (failed.lost, failed.error) == (True, known)
    assert (waiting.lost, waiting.error) == (True, pipeline.lost)
    assert not pipeline.owed


def test_again_is_as_before(pipeline, types):
    """A job that is to be sent again has its arguments and nothing of its first try."""
    job = Job(STATUS, insert(), (1, "a"))
    job.encode(types)
    buffers = job.buffers
    job.error, job.future, job.value, job.lead = ValueError(), object(), 5, 2
    job.lost = job.parses = job.expired = True
    pipeline.again(job)
    assert (job.error, job.future, job.value, job.lead) == (None, None, None, 0)
    assert not any([job.lost, job.parses, job.expired])
    assert job.buffers is buffers


class Result:
    """What libpq keeps of an error."""

    def __init__(self, routine):
        self.routine = routine

    def error_field(self, field):
        return self.routine if field == DiagnosticField.SOURCE_FUNCTION else None


@pytest.mark.parametrize(
    ("state", "result", "outdated"),
    [
        ("0A000", Result(b"RevalidateCachedQuery"), True),
        ("0A000", Result(b"transformSetOperationStmt"), False),
        ("0A000", None, False),
        ("26000", Result(b"RevalidateCachedQuery"), False),
    ],
)
def test_outdated_statements(state, result, outdated):
    """A changed result type is told from what is not supported by the routine, whatever the language."""
    assert is_outdated(lookup(state)("told in any language", info=result)) is outdated
