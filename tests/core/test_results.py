"""What is made of the results of one job, told by a tape (the order of many is fuzzed elsewhere)."""

import datetime as dt
import gc

import psycopg
import pytest
from psycopg.pq import ExecStatus

from pgdual.core import results
from pgdual.core.job import MANY, STATUS, Job
from pgdual.core.rows import MANY_ROWS, RESULT, ROWS, VALUE
from pgdual.core.statement import Statement
from pgdual.core.types import Types
from pgdual.errors import UsageError

from .played import INT8, Connection, Result, Rows, Tape, checked

DATE, TSVECTOR = 1082, 3614  # from pg_type
SYNC = Result(ExecStatus.PIPELINE_SYNC)


@pytest.fixture(scope="module")
def rows():
    return Rows()


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def pipeline(tape, rows):
    connection = Connection(tape)
    made = checked(connection, Types())
    connection.pgconn = rows.pgconn  # what loaders ask for an encoding has to be a real one
    return made


def answered(pipeline, tape, job, *found):
    """Return *job* once it was sent and all that was *found* has come for it."""
    job.statement.described((), job.statement.result_format)
    pipeline.send(job)
    tape.coming.append(
        [part for result in (Result(ExecStatus.COMMAND_OK), *found) for part in (result, None)]
    )
    tape.coming.append([SYNC])
    assert pipeline.receive() == []
    assert pipeline.receive() == [job]
    return job


@pytest.mark.parametrize(
    ("data", "day"), [(b"\0\0\0\0", dt.date(2000, 1, 1)), (b"\x7f\xff\xff\xff", dt.date.max)]
)
def test_the_collector_is_on_again_after_many_rows(pipeline, tape, rows, data, day):
    """It waits while they are made, which a loader that refuses one ends as well."""
    found = rows.of([(b"day", DATE)], [[data]] * MANY_ROWS)
    job = answered(pipeline, tape, Job(ROWS, Statement("select day from t")), found)
    assert [*map(tuple, job.value)] == [(day,)] * MANY_ROWS
    assert gc.isenabled()


def test_infinity_in_a_row(pipeline, tape, rows):
    """What the quick loaders refuse is read by the forgiving ones, the whole result and this time only."""
    found = rows.of([(b"day", DATE)], [[b"\0\0\0\0"], [b"\x7f\xff\xff\xff"]])
    job = answered(pipeline, tape, Job(ROWS, Statement("select day from t")), found)
    assert (job.error, job.rows) == (None, 2)
    assert [*map(tuple, job.value)] == [(dt.date(2000, 1, 1),), (dt.date.max,)]


def test_a_result_as_it_is(pipeline, tape, rows):
    """Who makes columns of a result is given what libpq has."""
    job = Job(VALUE, Statement("select 1"))
    job.column = RESULT
    result = rows([(7, 8)])
    assert answered(pipeline, tape, job, result).value is result


@pytest.mark.parametrize(("column", "value"), [(0, 7), (1, 8), (-1, 8), ("row", 8)])
def test_a_value_by_its_column(pipeline, tape, rows, column, value):
    """A column is asked for by position, from either end, or by name."""
    job = Job(VALUE, Statement("select 1"))
    job.column = column
    assert answered(pipeline, tape, job, rows([(7, 8)])).value == value


def test_what_cannot_be_made_of_a_row(pipeline, tape, rows):
    """An error in the making of rows is the job's own answer."""
    job = Job(VALUE, Statement("select 1"))
    job.column = "other"
    assert isinstance(answered(pipeline, tape, job, rows([(7, 8)])).error, UsageError)
    assert pipeline.is_idle
    job = Job(ROWS, Statement("select 2"))
    job.into = type("Model", (), {"model_validate": lambda values: {}[min(values)]})
    assert isinstance(answered(pipeline, tape, job, rows([(7, 8)])).error, KeyError)


def test_what_many_statements_return(pipeline, tape, rows):
    """The rows of a fetchmany come in order, and what is counted are statements; an error is its answer."""
    job = Job(MANY, Statement("update t set a = 1 returning a, b"))
    job.gathered = []
    answered(pipeline, tape, job, rows([(7, 8)]), rows([(9, 10), (11, 12)]))
    assert [*map(tuple, job.gathered)] == [(7, 8), (9, 10), (11, 12)]
    assert (job.error, job.rows) == (None, 2)
    job = Job(MANY, Statement("update t set a = 2 returning a, b"))
    job.gathered, job.into = [], type("Model", (), {"model_validate": lambda values: {}[min(values)]})
    assert isinstance(answered(pipeline, tape, job, rows([(7, 8)]), rows([(9, 10)])).error, KeyError)
    assert (job.gathered, job.rows) == ([], 0)


@pytest.mark.parametrize(("reported", "expected"), [(b"on", True), (b"off", False), (None, False)])
def test_a_refusal_to_write(pipeline, tape, reported, expected):
    """25006 says whether the server is a standby, in which case another is to be looked for."""
    tape.session[b"in_hot_standby"] = reported
    refused = Result(ExecStatus.FATAL_ERROR, error=("25006", None, "PreventCommandIfReadOnly"))
    job = answered(pipeline, tape, Job(STATUS, Statement("delete from t")), refused)
    assert job.error.in_standby is expected


@pytest.mark.parametrize(("size", "swollen"), [(50, False), (51, True)])
def test_a_large_message(pipeline, tape, rows, monkeypatch, size, swollen):
    """L6: a connection is not kept whose buffers had to hold a message beyond the bound."""
    monkeypatch.setattr(results, "SWOLLEN", 100)
    wide = [(b"a", TSVECTOR), (b"b", TSVECTOR), (b"c", TSVECTOR)]
    last = [b"x" * size, b"y" * 50, None]
    job = Job(ROWS, Statement("select a, b, c from t"))
    job.statement.result_format = 0
    tape.coming.append([])  # a look at the socket that finds a part of it
    job.statement.described((), 0)
    pipeline.send(job)
    assert pipeline.receive() == []
    tape.coming.append(
        [Result(ExecStatus.COMMAND_OK), None, rows.of(wide, [[b"", b"", b""], last], form=0), None]
    )
    tape.coming.append([SYNC])
    pipeline.receive()
    assert pipeline.receive() == [job]
    assert job.value[1] == ("x" * size, "y" * 50, None)
    assert pipeline.swollen is swollen
    assert pipeline.is_sound(read_only=False) is not swollen


@pytest.mark.parametrize(
    ("sql", "form", "outdated"),
    [("select words from t", 1, True), ("select words from t", 0, False), ("select f()", 1, False)],
)
def test_a_column_of_another_type(pipeline, tape, rows, sql, form, outdated):
    """Q6: a READ whose new column has no binary loader is asked for anew, in text, and gives no raw bytes."""
    statement = Statement(sql)
    job = answered(pipeline, tape, Job(ROWS, statement), rows.of([(b"words", TSVECTOR)], [[b"'a'"]], form))
    assert isinstance(job.error, psycopg.errors.FeatureNotSupported) is outdated
    assert getattr(job.error, "outdated", False) is outdated
    assert (statement.types is None) is outdated
    if form == 0:
        assert job.value == [("'a'",)]


@pytest.mark.parametrize("anew", [False, True])
def test_what_is_outdated_and_what_was(pipeline, tape, anew):
    """An outdated statement is prepared anew, and described anew unless another wire has by now."""
    statement = Statement("select a from t")
    statement.described((), 1)
    job = Job(ROWS, statement)
    pipeline.send(job)
    if anew:
        statement.described((), 0)
    gone = Result(ExecStatus.FATAL_ERROR, error=("42703", "8", "errorMissingColumn"))
    tape.coming.append([Result(ExecStatus.COMMAND_OK), None, gone, None, SYNC])
    assert pipeline.receive() == [job]
    assert job.error.outdated
    assert statement.types == (() if anew else None)
    pipeline.again(job)
    tape.sent.clear()
    pipeline.send(job)
    assert [said[0] for said in tape.sent] == ["close_prepared", "prepare", "query_prepared", "sync"]


def test_a_loss_among_many_rows(pipeline, tape, rows):
    """L2: parts of many rows that came before the connection went are no answer."""
    job = Job(ROWS, Statement("select 1"))
    job.statement.described((), 1)
    pipeline.send(job)
    part = rows.of([(b"a", INT8)], [[bytes(8)]], status=ExecStatus.TUPLES_CHUNK)
    tape.coming += [[Result(ExecStatus.COMMAND_OK), None, part], psycopg.OperationalError("gone")]
    assert pipeline.receive() == []
    assert str(pipeline.lost) == "gone"
    assert pipeline.lose() == [job]
    assert (job.lost, job.error) == (True, pipeline.lost)


def test_what_rows_were_made_of_is_kept(pipeline, tape, rows):
    """T5: a job of a transaction keeps the results themselves, for the rows are the caller's."""
    job = Job(ROWS, Statement("select job, row from t"))
    job.keeps = True
    result = rows([(1, 2)])
    answered(pipeline, tape, job, result)
    assert job.results == (result,)
