"""The pipeline against a scripted server: every job has one answer, its own, however it comes (L1, L2).

A real server cannot be told where to fail, or to send half of an answer; so this is the one place where one
is played. What it plays is libpq's side of pipeline mode: each message has its results and a None, a failed
group is aborted up to its Sync, which comes without a None.
"""

from collections import defaultdict, deque
from contextlib import ExitStack
from itertools import count
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from psycopg.pq import ExecStatus, TransactionStatus

from pgdual.core import pipeline as pipelines
from pgdual.core import results
from pgdual.core.job import COMMAND, DESCRIBE, MANY, SCRIPT, STATUS, Job, command
from pgdual.core.rows import ROW, ROWS, VALUE
from pgdual.core.statement import Statement
from pgdual.core.types import Types
from pgdual.errors import UsageError

from .played import Connection, Result, Rows, checked

ALONE = {SCRIPT, MANY}
MANY_ROWS = 4  # stands for LARGE, so that a few rows are many
TYPES = Types()
# An error that the server may have anywhere: its code, where in the text it is, and the routine that said so.
ERRORS = [
    ("23505", None, "_bt_check_unique"),
    ("40001", None, "PreCommit_CheckForSerializationFailure"),
    ("42P01", "15", "parserOpenTable"),
    ("57014", None, "ProcessInterrupts"),
    ("22012", None, "int4div"),
    ("0A000", None, "RevalidateCachedQuery"),
    ("26000", None, "FetchPreparedStatement"),
    ("42P05", None, "StorePreparedStatement"),
]


class Played:
    """libpq and the server behind it, as far as a pipeline sees them."""

    def __init__(self, draw, rows):
        self.draw = draw
        self.rows = rows
        self.nonblocking = 0
        self.pipeline_status = 0
        self.transaction_status = TransactionStatus.IDLE
        self.session = {}  # what parameter_status answers
        self.prepared = set()
        self.job = None  # whose messages are being sent
        self.answers = {}  # what each job is to have: its value, or the code of its error
        self.synced = []  # the jobs whose Sync has come, in order
        self.told = defaultdict(set)  # the codes of the errors in each job's group
        self.coming = deque()  # lists of results that come in one piece, and the job that a piece ends
        self.here = deque()
        self.failed = None  # the error of the group that is being sent
        self.is_chunked = False
        self.is_gone = self.is_over = self.is_idle = False
        self.last_words = None
        self.number = 0

    # -- what comes ------------------------------------------------------------------------------

    def chance(self, one_in):
        return self.draw(st.integers(1, one_in)) == one_in

    def error(self):
        return self.draw(st.sampled_from(ERRORS))

    def consume_input(self):
        pieces = self.draw(st.sampled_from([4, 1, 0, 2, 3]))
        self.is_idle = not (pieces or self.is_idle)  # nothing comes, but not for ever
        for _ in range(pieces if self.is_idle else max(pieces, 1)):
            if self.coming and not self.is_over:
                piece, ended = self.coming.popleft()
                self.here.extend(piece)
                # libpq says None at the end of a script, and where there is no connection any more.
                if ended is not None and not (self.is_gone and ended.want == SCRIPT):
                    self.synced.append(ended)
        if self.chance(9):
            self.session[b"TimeZone"] = self.draw(st.sampled_from([b"UTC", b"Asia/Tokyo"]))
        if self.is_gone:
            if not self.is_over and self.coming:
                # The server's last words or libpq's own, if something was still to come.
                self.here.append(Result(ExecStatus.FATAL_ERROR, error=self.last_words))
            self.is_over = True
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    def is_busy(self):
        return not self.here and not self.is_over

    def get_result(self):
        if self.here:
            return self.here.popleft()
        assert self.is_over, "libpq would wait here"
        return None

    # -- what is sent ----------------------------------------------------------------------------

    def _check_sending(self):
        if self.is_over:
            raise psycopg.OperationalError("no connection to the server")
        assert self.pipeline_status

    def _say(self, make, code=None, fails=True):
        """Answer one message with what *make* makes, unless its group has failed or now does."""
        self._check_sending()
        if self.failed is None and fails and code is None and self.chance(15):
            code = self.error()
        if self.failed is not None:
            self.coming.append(([Result(ExecStatus.PIPELINE_ABORTED), None], None))
        elif code is not None:
            self._fail(code)
        else:
            *parts, last = make()
            for part in parts:
                self.coming.append(([part], None))
                if self.chance(20):
                    self._fail(self.error())
                    return
            self.coming.append(([last, None], None))

    def _fail(self, code):
        self.failed = code
        self.told[self.job].add(code[0])
        self.coming.append(([Result(ExecStatus.FATAL_ERROR, error=code), None], None))

    def _done(self, tag=b"DONE", **more):
        return [Result(ExecStatus.COMMAND_OK, tag, **more)]

    def send_prepare(self, name, query, types=None):
        if name in self.prepared:
            self._say(None, ("42P05", None, "StorePreparedStatement"))
            return
        self._say(self._done)
        if name and self.failed is None:
            self.prepared.add(name)

    def send_close_prepared(self, name):
        self._say(self._done, fails=False)
        if self.failed is None:
            self.prepared.discard(name)

    def send_describe_prepared(self, name):
        number = self.answers[self.job]
        known = not name or name in self.prepared
        gone = None if known else ("26000", None, "FetchPreparedStatement")
        self.answers[self.job] = (tuple(range(1000, 1000 + number % 7)),) * 2
        self._say(lambda: self._done(fields=number % 7), gone)

    def send_query_prepared(self, name, values, formats=None, result_format=0):
        gone = None if name in self.prepared else ("26000", None, "FetchPreparedStatement")
        self._say(self._main, gone)

    def send_query_params(self, query, values, types=None, formats=None, result_format=0):
        job = self.job
        is_main = query == job.text if job.want == COMMAND else query == job.statement.query
        self._say(self._main if is_main else self._done)

    def _main(self):
        """Return what the job itself is answered with, and remember what it is to make of it."""
        job, want = self.job, self.job.want
        if want == MANY:
            touched = self.draw(st.integers(0, 3))
            self.answers[job] += touched
            return self._done(touched=touched)
        number = self.answers[job]
        if want in (STATUS, COMMAND):
            self.answers[job] = f"DONE {number}"
            return self._done(f"DONE {number}".encode())
        rows = [(number, at) for at in range(self.draw(st.integers(0, MANY_ROWS + 2)))]
        one = rows[0] if rows else None
        self.answers[job] = {ROWS: rows, ROW: one, VALUE: one and number}[want]
        if not self.is_chunked:
            return [self.rows(rows)]
        chunks = [self.rows(rows[at : at + 2], ExecStatus.TUPLES_CHUNK) for at in range(0, len(rows), 2)]
        return [*chunks, self.rows([])]

    def set_chunked_rows_mode(self, size):
        # It is said after the query, for which the script has answered already: it is answered anew.
        assert not self.here
        if self.failed is None:
            while self.coming and self.coming[-1][1] is None:
                self.coming.pop()
            self.is_chunked = True
            self.answers[self.job] = self.number
            self._say(self._main)
            self.is_chunked = False

    def pipeline_sync(self):
        self._check_sending()
        if self.failed is None and self.chance(10):
            self._fail(
                self.draw(st.sampled_from(ERRORS[:4]))
            )  # a deferred constraint, a serialization failure
        if self.failed is not None:
            self.answers[self.job] = self.failed
        self.coming.append(([Result(ExecStatus.PIPELINE_SYNC)], self.job))
        self.failed = None

    def send_query(self, query):
        """Run a script by the simple protocol."""
        assert not self.pipeline_status
        assert not self.here
        assert not self.coming
        if self.is_over:
            raise psycopg.OperationalError("no connection to the server")
        number, parts = self.answers[self.job], self.draw(st.integers(1, 3))
        for at in range(parts):
            if self.chance(10):
                self.answers[self.job] = error = self.draw(st.sampled_from(ERRORS))
                self.told[self.job].add(error[0])
                self.coming.append(([Result(ExecStatus.FATAL_ERROR, error=error)], None))
                break
            status = self.draw(st.sampled_from([ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK]))
            self.answers[self.job] = tag = f"DONE {number} {at}"
            self.coming.append(([Result(status, tag.encode())], None))
        self.coming.append(([None], self.job))

    # -- the rest --------------------------------------------------------------------------------

    def enter_pipeline_mode(self):
        assert not self.here
        self.pipeline_status = 1

    def exit_pipeline_mode(self):
        assert not self.here
        assert not self.coming, "libpq refuses to leave it while results are owed"
        self.pipeline_status = 0

    def parameter_status(self, name):
        return self.session.get(name)

    def lose(self):
        """Have the connection end: after what has come by then, with the server's last words or without."""
        self.is_gone = True
        self.last_words = self.draw(
            st.sampled_from([(None, None, None), ("57P01", None, "ProcessInterrupts")])
        )


class Drive:
    """A pipeline in use, and which jobs are to be answered, in order."""

    def __init__(self, draw, rows, unnamed):
        self.draw = draw
        self.server = Played(draw, rows)
        connection = Connection(self.server)
        self.pipeline = checked(connection, TYPES, unnamed=unnamed)
        connection.pgconn = rows.pgconn  # what loaders ask for an encoding has to be a real one
        self.statements = [Statement(f"select {number}") for number in range(4)]
        for statement in self.statements:
            statement.described((), 1)
        self.scripts = Statement("select 1; select 2")
        self.numbers = count(1)
        self.sent = []
        self.answered = []
        self.again = []  # jobs that were answered with an error and may be sent anew

    def job(self):
        """Return a new job with a number of its own, or one that failed before."""
        if self.again and self.draw(st.booleans()):
            job = self.again.pop()
            self.pipeline.again(job)
            self.sent.remove(job)
            self.server.synced.remove(job)
            self.answered.remove(job)
            return job
        want = self.draw(
            st.sampled_from([ROWS, ROWS, ROWS, ROW, VALUE, STATUS, DESCRIBE, COMMAND, MANY, SCRIPT])
        )
        if want == COMMAND:
            job = command(b"COMMIT")
        else:
            job = Job(want, self.draw(st.sampled_from(self.statements)))
        if want == SCRIPT:
            job.statement, job.placed = self.scripts, self.draw(st.booleans())
        elif want <= STATUS and self.server.chance(8):
            job.statement.described((), 1 - job.statement.result_format)  # anew, by another wire
        elif self.server.chance(5):
            job.prelude = (b"BEGIN", b"SAVEPOINT a")[: self.draw(st.integers(1, 2))]
        return job

    def send(self):
        """Send one job, as a wire does: nothing beside a script or many rows, nothing after a loss."""
        job, pipeline, server = self.job(), self.pipeline, self.server
        owed = pipeline.owed
        while owed and ALONE & {job.want, owed[0].want} and pipeline.lost is None:
            self.receive()
        if pipeline.lost is not None:
            return
        number = next(self.numbers)
        server.job, server.number = job, number
        server.answers[job] = 0 if job.want == MANY else number
        if job.want == MANY and job.statement.types is None:
            job.statement.described(
                (), job.statement.result_format
            )  # it is described again before its rows are
        try:
            if job.want == MANY:
                self.send_many(job)
            else:
                pipeline.send(job)
        except psycopg.OperationalError:
            assert server.is_over
        if job in pipeline.owed:
            self.sent.append(job)

    def send_many(self, job):
        """Send an executemany, whose answers come in between."""
        pipeline = self.pipeline
        pipeline.send(job)
        number = 1
        for _ in range(self.draw(st.integers(0, 2))):
            rows = [()] * self.draw(st.integers(0, 3))
            number = pipeline.send_rows(job, rows, number)
            if self.draw(st.booleans()):
                self.receive()
        pipeline.end_many([b"COMMIT"])

    def receive(self):
        """Take what came, and hold each answer against what the server said to that job."""
        pipeline, server = self.pipeline, self.server
        at = len(self.answered)
        self.answered += pipeline.receive()
        assert pipeline.lost is None or server.is_over
        for job in self.answered[at:]:
            self.check(job)
        self.take_up(self.answered[at:])

    def check(self, job):
        expected = self.server.answers[job]
        assert not job.lost
        if isinstance(expected, tuple) and expected in ERRORS + GONE:
            assert job.error.sqlstate == expected[0]
            event(f"error {expected[0]}")
        else:
            assert job.error is None
            value = [*map(tuple, job.value)] if job.want == ROWS else job.value
            assert value == expected
            assert job.want != ROWS or job.rows == len(expected)

    def take_up(self, finished):
        """Do what a caller does with an answer: take up what was described, send again what may be."""
        for job in finished:
            if job.want == DESCRIBE and job.error is None:
                job.statement.described((), job.statement.result_format)
                self.pipeline.adopt(job.statement)
            elif job.error is not None and job.want <= STATUS:
                self.again.append(job)

    def end(self):
        """Drain the connection; return the jobs that were lost."""
        pipeline, server = self.pipeline, self.server
        while pipeline.owed and pipeline.lost is None:
            self.receive()
        if pipeline.lost is None:
            assert not server.here
            assert not server.coming
            assert pipeline.is_idle
            return []
        return pipeline.lose()


GONE = [("26000", None, "FetchPreparedStatement"), ("42P05", None, "StorePreparedStatement")]


@pytest.fixture(scope="module")
def rows():
    return Rows()


@pytest.fixture(autouse=True, scope="module")
def few_are_many():
    """Ask for rows in parts where there are four of them."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(results, "LARGE", MANY_ROWS))
        stack.enter_context(patch.object(results, "BURST", 2))
        stack.enter_context(patch.object(pipelines, "CHUNK", 2))
        stack.enter_context(patch.object(pipelines, "PREPARED", 3))
        yield


slow = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@settings(slow, max_examples=400)
@given(data=st.data(), unnamed=st.booleans(), length=st.integers(1, 25))
def test_each_job_has_one_answer_and_it_is_its_own(rows, data, unnamed, length):
    """L1, L2: in order and once, at its Sync, with its own value or the error of its own group."""
    drive = Drive(data.draw, rows, unnamed)
    for _ in range(length):
        if data.draw(st.integers(0, 2)):
            drive.send()
        else:
            drive.receive()
    assert drive.end() == []
    assert drive.answered == drive.sent


@settings(slow, max_examples=400)
@given(data=st.data(), unnamed=st.booleans(), before=st.integers(1, 12), after=st.integers(0, 3))
def test_after_a_loss_exactly_the_unanswered_are_lost(rows, data, unnamed, before, after):
    """L2: whose Sync came before the loss is answered, everybody else is lost, whatever had come of it."""
    drive = Drive(data.draw, rows, unnamed)
    server, pipeline = drive.server, drive.pipeline
    for _ in range(before):
        if data.draw(st.integers(0, 2)):
            drive.send()
        else:
            drive.receive()
    server.lose()
    for _ in range(after):
        if data.draw(st.booleans()):
            drive.send()
        else:
            drive.receive()
    while pipeline.lost is None:
        drive.receive()
    lost = drive.end()
    event(f"{min(len(lost), 3)} lost")
    assert drive.answered == [job for job in drive.sent if job in server.synced]
    assert drive.answered + lost == drive.sent
    assert all(job.lost and job.error is not None for job in lost)
    for job in lost:
        # L2: what had come of it is no answer; but an error of the server's own stands.
        assert job.error is pipeline.lost or job.error.sqlstate in server.told[job] | {"57P01", None}
    assert not pipeline.owed
    assert not pipeline.is_idle


@settings(slow, max_examples=150)
@given(data=st.data(), open_at_end=st.booleans())
def test_a_script_is_answered_and_the_pipeline_goes_on(rows, data, open_at_end):
    """After a script, done or failed, the connection is in pipeline mode again and answers the next job."""
    drive = Drive(data.draw, rows, False)
    server = drive.server
    job = Job(SCRIPT, drive.scripts)
    job.placed = True
    server.job, server.answers[job] = job, 1
    drive.pipeline.send(job)
    drive.sent.append(job)
    if open_at_end:
        server.transaction_status = TransactionStatus.INTRANS
    finished = []
    while not finished:
        finished = drive.pipeline.receive()
    assert finished == [job]
    if open_at_end and not isinstance(server.answers[job], tuple):
        assert isinstance(job.error, UsageError)
    else:
        drive.check(job)
    server.transaction_status = TransactionStatus.IDLE
    drive.answered.append(job)
    assert server.pipeline_status
    drive.send()
    assert drive.end() == []
    assert drive.answered == drive.sent
