"""Jobs before they are sent, and what a pipeline says for them; the answers are fuzzed elsewhere."""

from math import inf

import psycopg
import pytest
from psycopg.errors import lookup
from psycopg.pq import DiagnosticField, TransactionStatus

from pgdual.core.job import COMMAND, MANY, PLANS, STATUS, Job, begin, command
from pgdual.core.pipeline import FIRST, LONG, PART, check_returned, in_parts, is_incident
from pgdual.core.results import is_outdated
from pgdual.core.rows import ROWS
from pgdual.core.statement import Statement
from pgdual.core.types import Types
from pgdual.errors import ClientClosedError, QueryTimeoutError, UsageError

from .played import Connection, Tape, checked

INT4, TEXT, FLOAT8 = 23, 25, 701  # from pg_type


@pytest.fixture
def types():
    return Types()


def insert():
    statement = Statement("insert into t values ($1, $2)")
    statement.described((INT4, TEXT), 1)
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


def test_a_shape_is_checked_when_it_is_set(types):
    """What no row can be made into is refused before the job is sent."""
    job = Job(ROWS, Statement("select 1"))
    job.into = dict
    assert job.into is dict
    with pytest.raises(UsageError, match="row shape"):
        job.into = list
    assert job.into is dict


def test_plans_are_bounded(types):
    """N3: a statement called with ever new classes keeps a bounded number of plans."""
    statement = insert()
    for number in range(3 * PLANS):
        kind = type(f"Text{number}", (str,), {})
        Job(STATUS, statement, (number, kind("a"))).encode(types)
        assert 0 < len(statement.plans) <= PLANS


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def pipeline(tape, types):
    return checked(Connection(tape), types)


def test_what_is_owed_is_lost_with_the_connection(pipeline):
    """L2: what was not answered is lost; an error that had come for it already stands."""
    pipeline.lost = psycopg.OperationalError("gone")
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


def test_the_connection_is_lent_and_taken_back(pipeline, tape):
    """psycopg gets it blocking and out of pipeline mode; afterwards nothing is known to be prepared."""
    assert (tape.pipeline_status, tape.nonblocking) == (1, 1)
    job = Job(STATUS, insert(), (1, "a"))
    pipeline.send(job)
    assert list(pipeline.prepared) == [job.statement.name]
    pipeline.leave()
    assert (tape.pipeline_status, tape.nonblocking) == (0, 0)
    pipeline.enter()
    assert (tape.pipeline_status, tape.nonblocking, pipeline.prepared) == (1, 1, {})


@pytest.mark.parametrize(
    ("reported", "read_only", "sound"),
    [
        (None, True, True),
        (b"on", True, True),
        (b"off", True, False),
        (b"on", False, False),
        (b"off", False, True),
    ],
)
def test_the_mode_that_the_server_reports(pipeline, tape, reported, read_only, sound):
    """Q2: a wire is sound in the mode that it is thought to have; before PostgreSQL 14 none is reported."""
    tape.session[b"default_transaction_read_only"] = reported
    assert pipeline.is_sound(read_only) is sound
    pipeline.pooled = True  # N2: then what the session says is another client's
    assert pipeline.is_sound(read_only)


def test_what_is_not_sound(pipeline, tape):
    """A wire goes back neither in the middle of something, nor in a transaction, nor swollen, nor lost."""
    assert pipeline.is_sound(read_only=False)
    pipeline.pooled = True
    job = command(b"BEGIN")
    pipeline.owed.append(job)
    assert not pipeline.is_sound(read_only=False)
    pipeline.owed.clear()
    for name, bad, good in (("swollen", True, False), ("lost", psycopg.OperationalError(), None)):
        setattr(pipeline, name, bad)
        assert not pipeline.is_sound(read_only=False)
        setattr(pipeline, name, good)
    tape.transaction_status = TransactionStatus.INTRANS
    assert not pipeline.is_sound(read_only=False)


@pytest.mark.parametrize(
    ("sql", "placed", "guarded"),
    [("select 1", True, True), ("select 1", False, False), ("delete from t", True, False)],
)
def test_behind_a_pooler(pipeline, tape, sql, placed, guarded):
    """N2: unnamed, and a READ outside of a transaction is guarded within its own group."""
    pipeline.unnamed = pipeline.pooled = True
    job = Job(STATUS, Statement(sql))
    job.statement.described((), 1)
    job.placed = placed
    pipeline.send(job)
    *before, (how, text, *_), sync = tape.sent
    assert (how, text, sync) == ("query_params", sql.encode(), ("sync",))
    assert [b"transaction_read_only" in said[1] for said in before] == [True] * guarded
    assert (job.lead, pipeline.prepared) == (len(before), {})


@pytest.fixture
def many(pipeline):
    """An executemany that has begun."""
    job = Job(MANY, insert())
    pipeline.send(job)
    return job


def sent_rows(tape):
    """Return the parameters and formats of the rows that were sent."""
    named = [said[2:4] for said in tape.sent if said[0] == "query_prepared"]
    unnamed = [(said[2], said[4]) for said in tape.sent if said[0] == "query_params"]
    return [([bytes(data) for data in values], formats) for values, formats in named + unnamed]


def test_rows_are_dumped_as_they_are(pipeline, tape, many):
    """Each row by the classes of its values, tuple or list; the numbers go on."""
    assert pipeline.send_rows(many, [(1, "a"), [2, "b"], ("3", "c")], 1) == 4
    one, two = (1).to_bytes(4), (2).to_bytes(4)
    assert sent_rows(tape) == [([one, b"a"], [1, 0]), ([two, b"b"], [1, 0]), ([b"3", b"c"], [0, 0])]
    assert pipeline.send_rows(many, [], 4) == 4
    assert ("sync",) not in tape.sent
    pipeline.end_many([b"COMMIT"])
    assert tape.sent[-2:] == [("query_params", b"COMMIT", None), ("sync",)]


@pytest.mark.parametrize("lists", [False, True])
def test_rows_that_are_alike(pipeline, tape, many, lists):
    """A list of them is sent as one by one, and what returns comes in the statement's form."""
    many.gathered = []
    rows = [(1, "a"), [2, "b"]]
    assert pipeline.send_rows(many, rows if lists else iter(rows), 5) == 7
    assert sent_rows(tape) == [([one.to_bytes(4), text], [1, 0]) for one, text in ((1, b"a"), (2, b"b"))]
    assert [said[4] for said in tape.sent if said[0] == "query_prepared"] == [1, 1]


def test_a_loss_as_rows_are_sent(pipeline, tape, many, monkeypatch):
    """It is the connection's, and no row's."""

    def send(*_args):
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(tape, "send_query_prepared", send, raising=False)
    with pytest.raises(psycopg.OperationalError, match="gone"):
        pipeline.send_rows(many, [(1, "a")], 1)


def test_rows_in_parts():
    """A list is cut, into a small part first; what an iterator gives is read as it is asked for."""
    given = list(range(FIRST + PART + 2))
    for rows in (given, tuple(given)):
        parts = list(in_parts(rows))
        assert [(most, len(part)) for most, part in parts] == [(FIRST, FIRST), (PART, PART), (PART, 2)]
        assert [row for _, part in parts for row in part] == given
    assert list(in_parts([])) == [(FIRST, [])]
    left = iter(given)
    parts = in_parts(left)
    most, part = next(parts)
    assert (most, next(left)) == (PART, 0)
    assert (list(part), list(next(parts)[1])) == (given[1 : PART + 1], given[PART + 1 :])


def test_rows_behind_a_pooler(pipeline, tape):
    """N1, N2: their statement has no name, and is parsed for them."""
    pipeline.unnamed = True
    job = Job(MANY, insert())
    pipeline.send(job)
    pipeline.send_rows(job, [(1, "a")], 1)
    pipeline.send_rows(job, iter([(2, "b")]), 2)
    assert tape.sent == [
        ("prepare", b"", job.statement.query, (INT4, TEXT)),
        ("query_prepared", b"", [(1).to_bytes(4), b"a"], [1, 0]),
        ("query_prepared", b"", [(2).to_bytes(4), b"b"], [1, 0]),
    ]
    assert job.lead == 1


def test_very_many_rows(pipeline, tape):
    """N1: to parse the statement once more, without a name, is cheaper than to look it up for each."""
    name, many = insert().name, [()] * LONG
    for rows, gathered, bound in (
        (many, None, b""),
        ((), None, name),
        (iter(many), None, name),
        (many, [], name),
    ):
        job = Job(MANY, insert())
        job.feed, job.gathered = rows, gathered
        pipeline.send(job)
        assert (job.bound, job.lead, tape.sent[-1][:2]) == (bound, 1, ("prepare", bound))
        pipeline.forget()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((2**31, "a"), r"row 3: argument \$1 \(int\)"),  # what has bounds is looked at before
        ((3, "nul \0"), r"row 3: argument \$2 \(str\)"),
        (("1", "nul \0"), r"row 3: argument \$2 \(str\)"),  # else the dumper refuses
        ((1.5, "a"), r"row 3: argument \$1 is integer"),
        ((1,), "row 3: statement takes 2 arguments"),
        ({1, "a"}, "row 3: it is a set"),
    ],
)
def test_a_row_that_does_not_fit(pipeline, tape, many, row, words):
    """Q5: it is refused by its number, and the rows before it were sent."""
    with pytest.raises(UsageError, match=words):
        pipeline.send_rows(many, [(2, "b"), row], 2)
    assert len(sent_rows(tape)) == 1
    with pytest.raises(UsageError, match=words):
        pipeline.send_rows(many, [row], 3)


def test_rows_of_a_text_that_another_wire_describes_anew(pipeline, tape, many):
    """Q5: rows are dumped for the types that their statement was prepared with, whatever it has now."""
    statement = many.statement
    statement.types = None  # outdated
    number = pipeline.send_rows(many, [("1", "a")], 1)
    statement.described((FLOAT8, TEXT), 1)
    pipeline.send_rows(many, [(2, "b")], number)
    assert sent_rows(tape) == [([b"1", b"a"], [0, 0]), ([(2).to_bytes(4), b"b"], [1, 0])]
    later = Job(STATUS, statement, (2, "b"))
    later.encode(pipeline._types)
    pipeline.send(later)
    assert ("prepare", statement.name, statement.query, (FLOAT8, TEXT)) in tape.sent


def test_what_stays_prepared(pipeline, many):
    """A connection that was only lent has what it had; one that was made anew has nothing."""
    pipeline.enter(is_anew=False)
    assert [*pipeline.prepared] == [many.statement.name]
    pipeline.enter()
    assert not pipeline.prepared


def test_incidents():
    """B2: a loss or a silence with somebody waiting; not what was given up, nor a client that closes."""
    waiting, abandoned, aside = (Job(STATUS, insert()) for _ in range(3))
    abandoned.abandoned = aside.aside = True
    silences = [psycopg.OperationalError(), QueryTimeoutError("late", "unknown")]
    for error in silences:
        assert is_incident(error, [abandoned, waiting])
        assert not is_incident(error, [abandoned, aside])
        assert not is_incident(error, [])
    assert not is_incident(ClientClosedError("closed"), [waiting])


def test_what_a_borrower_may_leave(tape):
    """A connection that is closed, in pipeline mode or in a transaction is not taken back."""
    connection = Connection(tape)
    check_returned(connection)
    for owner, name, bad in (
        (connection, "closed", True),
        (tape, "pipeline_status", 1),
        (tape, "transaction_status", TransactionStatus.INERROR),
    ):
        good = getattr(owner, name)
        setattr(owner, name, bad)
        with pytest.raises(psycopg.OperationalError):
            check_returned(connection)
        setattr(owner, name, good)


@pytest.mark.parametrize(
    ("sql", "sent"), [("select 1", b"select 1 /*x*/"), ("select 1 -- a", b"select 1 -- a\n/*x*/")]
)
def test_a_comment_goes_with_the_text_and_not_with_the_name(pipeline, tape, sql, sent):
    """W3: a comment is sent with one call's text, unnamed; what is prepared has none."""
    job = Job(ROWS, Statement(sql))
    job.comment = b"/*x*/"
    pipeline.send(job)
    assert [one[1] for one in tape.sent if one[0] == "query_params"] == [sent]
    assert [one[2] for one in tape.sent if one[0] == "prepare"] == [sql.encode()]


@pytest.mark.parametrize(
    ("options", "text"),
    [((False,), b"BEGIN"), ((True,), b"BEGIN READ WRITE"), ((True, " X", True), b"BEGIN X READ ONLY")],
)
def test_the_text_of_begin(options, text):
    """T2: BEGIN says what the session's own mode does not."""
    assert begin(*options) == text


def test_a_held_job_leaves_with_the_next_flush(monkeypatch, types):
    """L1: its Sync is queued, and not sent, so that what comes after it can leave together with it."""
    tape, synced = Tape(), []
    monkeypatch.setattr("pgdual.core.pipeline.send_sync", synced.append)
    pipeline = checked(Connection(tape), types)
    pipeline.holds = True
    pipeline.send(Job(ROWS, insert()))
    assert synced == [tape]
    assert ("sync",) not in tape.sent
