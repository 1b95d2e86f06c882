"""What came over one connection: results into values, and which jobs are answered.

Results come back in the order of the jobs. A job is answered at its Sync and not before: a deferred
constraint or a serialization failure arrives after the statement's own result (L2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import psycopg
from psycopg import capabilities
from psycopg.adapt import Transformer as NewTransformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq import PGconn as AnyPGconn
from psycopg.pq.abc import PGconn, PGresult

from pgdual.errors import UsageError

from .caused import caused
from .job import COMMAND, DESCRIBE, MANY, RETURNED, SCRIPT, STATUS, Job
from .loaders import REFUSED
from .rows import Context, Prepared, made
from .statement import READ, Statement
from .types import Types

_FATAL: Final = int(ExecStatus.FATAL_ERROR)
_SYNC: Final = int(ExecStatus.PIPELINE_SYNC)
_ABORTED: Final = int(ExecStatus.PIPELINE_ABORTED)
_COMMAND_OK: Final = int(ExecStatus.COMMAND_OK)
_TUPLES_OK: Final = int(ExecStatus.TUPLES_OK)
IDLE: Final = int(TransactionStatus.IDLE)
_CHUNK: Final = int(ExecStatus.TUPLES_CHUNK)
# Many rows are asked for in parts, so that they are made into objects while the server still sends: those
# of a statement that had as many the last time. Source: bench row 12.
LARGE: Final = 1000
BURST: Final = 16  # parts that are taken in one go
_CAN_CHUNK: Final = capabilities.has_stream_chunked()
# L6: a connection that held a larger message in memory is closed when it is free, to be rid of it.
SWOLLEN = 8 << 20  # bytes
_TIME_ZONE = b"TimeZone"
_IN_STANDBY = b"in_hot_standby"  # reported by PostgreSQL 14 and later
_READ_ONLY_SESSION = "25006"
_NOT_PREPARED, _PREPARED_ALREADY, _NOT_SUPPORTED = "26000", "42P05", "0A000"
# Source: plancache.c; the message is translated, the routine's name is not.
_CACHED_PLAN = "RevalidateCachedQuery"


class Results:
    """The receiving half of a pipeline."""

    __slots__ = (
        "_connection",
        "_context",
        "_outdated",
        "_partial",
        "_types",
        "_zone",
        "is_busy",
        "lost",
        "owed",
        "pgconn",
        "prepared",
        "swollen",
        "unnamed",
    )

    def __init__(self, connection: Any, types: Types, unnamed: bool) -> None:
        self._connection = connection
        self._types = types
        self.pgconn: PGconn = connection.pgconn
        self.unnamed: bool = unnamed
        # Says whether a result would have to be waited for; a wire may know a better way to ask.
        self.is_busy: Callable[[Any], Any] = AnyPGconn.is_busy
        self.owed: deque[Job] = deque()
        self.lost: Exception | None = None
        self.swollen: bool = False  # libpq's buffers have grown, and never shrink
        self._partial = False
        self.forget()

    def forget(self) -> None:
        """Start with a session in which nothing is prepared."""
        self.prepared: dict[bytes, Prepared] = {}
        self._outdated: set[bytes] = set()
        self._context = Context(self._types.adapters, self._connection)
        self._zone = self.pgconn.parameter_status(_TIME_ZONE)

    @property
    def in_standby(self) -> bool:
        """True if the server says that it is a standby.

        It then refuses BEGIN READ WRITE, as 0A000; a block that begins without it is refused what it writes,
        as 25006, and nothing else.
        """
        return self.pgconn.parameter_status(_IN_STANDBY) == b"on"

    def adopt(self, statement: Statement) -> None:
        """Take *statement*, which was described here, for prepared with the types that it has now."""
        if not self.unnamed:
            self.prepared[statement.name] = Prepared(statement.plans)

    def receive(self) -> list[Job]:
        """Take what the socket brought and return the jobs that are answered, in order.

        After a loss `lost` is set, and the jobs still owed will never be answered.
        """
        pgconn, owed, is_busy = self.pgconn, self.owed, self.is_busy
        finished: list[Job] = []
        chunks = 0
        try:
            pgconn.consume_input()
        except psycopg.OperationalError as error:
            self.lost = error
        while owed and (not is_busy(pgconn) or (chunks and self._has_more(chunks))):
            result = pgconn.get_result()
            job = owed[0]
            if result is None:
                if job.want != SCRIPT or self.lost is not None:
                    break
                finished.append(self._end_script(job))
                continue
            status = result.status
            if status == _SYNC:
                finished.append(owed.popleft())
            elif status in (_COMMAND_OK, _TUPLES_OK) and job.want <= COMMAND and job.error is None:
                if job.lead:  # the common cases of `_take`, without its call
                    job.lead -= 1
                elif job.want >= STATUS:
                    job.value = (result.command_status or b"").decode()
                else:
                    self._load(job, result)
                pgconn.get_result()  # the None that ends a command's results, there at once
            elif job.want != MANY:
                self._take(job, result, status)
                if status == _CHUNK:
                    chunks += 1
                elif job.want != SCRIPT:
                    pgconn.get_result()
            elif self._count(job, result):
                finished.append(owed.popleft())
        if owed and not finished:
            self._partial = True  # its answer did not fit into one read
        return finished

    def _has_more(self, chunks: int) -> bool:
        # While a part of many rows was made into objects the next one has come, as a rule: to look costs less
        # than a turn of the event loop, which has its own after a while. Source: bench row 13.
        if chunks % BURST == 0:
            return False
        try:
            self.pgconn.consume_input()
        except psycopg.OperationalError as error:
            self.lost = error
        return not self.is_busy(self.pgconn)

    def _end_script(self, job: Job) -> Job:
        if job.placed and job.error is None and self.pgconn.transaction_status != IDLE:
            job.error = UsageError(
                "the script left a transaction open, and it was rolled back; end it with COMMIT, or run it "
                "without BEGIN inside db.transaction()"
            )
        self.pgconn.enter_pipeline_mode()
        return self.owed.popleft()

    def _take(self, job: Job, result: PGresult, status: int) -> None:
        if status == _FATAL:
            self._fail(job, result)
        elif status == _ABORTED or job.error is not None:
            return
        elif job.lead:
            job.lead -= 1
        elif job.want < STATUS:
            self._load(job, result)
        elif job.want == DESCRIBE:
            job.value = (
                tuple(result.param_type(index) for index in range(result.nparams)),
                tuple(result.ftype(index) for index in range(result.nfields)),
            )
        else:
            job.value = (result.command_status or b"").decode()

    def _count(self, job: Job, result: PGresult) -> bool:
        # The answers to the rows of an executemany, for as long as they are there: there may be very many.
        pgconn, get, is_busy = self.pgconn, self.pgconn.get_result, self.is_busy
        while (status := result.status) != _SYNC:
            if status in (_COMMAND_OK, _TUPLES_OK) and not job.lead and job.error is None:
                if job.gathered is not None:
                    self._gather(job, result)
                job.rows += 1
                job.value += result.command_tuples or 0
            else:
                self._take(job, result, status)
            get()
            following = None if is_busy(pgconn) else get()
            if following is None:
                return False
            result = following
        return True

    def _gather(self, job: Job, result: PGresult) -> None:
        assert job.gathered is not None
        answered = job.rows  # it counts the rows that were sent, not those that came
        try:
            job.gathered += self._value(job, result)
        except Exception as error:
            job.error = _raisable(error)
            answered -= 1  # the error is this row's
        job.rows = answered

    def _fail(self, job: Job, result: PGresult) -> None:
        # L2: an error after the result replaces the result.
        error = error_from_result(result, encoding="utf-8")
        if error.sqlstate is None:  # libpq's own words for a lost connection
            error = psycopg.OperationalError(str(error))
        job.error = error
        if error.sqlstate == _READ_ONLY_SESSION:
            error.in_standby = self.in_standby  # type: ignore[attr-defined]
        statement = job.statement
        if job.lead and job.parses:
            self.prepared.pop(statement.name, None)
            self._outdated.update(job.closes)
        if error.sqlstate == _PREPARED_ALREADY and job.parses:
            self.adopt(statement)
        elif statement is None:
            return  # one of pgdual's own commands: what a trigger said, and in its own words
        elif error.sqlstate == _NOT_PREPARED:
            self.prepared.pop(statement.name, None)
        elif not self._is_parsed_anew(job) and is_outdated(error):
            self._outdate(job, error)

    def _outdate(self, job: Job, error: psycopg.Error) -> None:
        """Have the job's statement prepared and described anew, and say on *error* that it was outdated."""
        statement = job.statement
        error.outdated = True  # type: ignore[attr-defined]
        self.prepared.pop(statement.name, None)
        if not self.unnamed:
            self._outdated.add(statement.name)
        if job.prepared is None or job.prepared.plans is statement.plans:
            statement.types = None  # else it has been described anew since

    def _is_parsed_anew(self, job: Job) -> bool:
        # Then it is the text itself that is wrong; any other job sends it there once more.
        return job.want == DESCRIBE and (job.parses or self.unnamed)

    def _load(self, job: Job, result: PGresult) -> None:
        try:
            if job.value is None:
                job.value = self._value(job, result)
            else:
                job.value += self._value(job, result)  # another part of many rows
        except Exception as error:
            job.error = _raisable(error)

    def _value(self, job: Job, result: PGresult) -> Any:
        if self._partial:
            self._weigh_rows(result)
        prepared = job.prepared
        transformer = prepared.transformer or self._learn(job, prepared, result)
        transformer.set_pgresult(result, set_loaders=False)
        job.rows += result.ntuples
        if job.keeps and job.rows <= RETURNED:
            job.results = (*job.results, result)
        prepared.is_large = _CAN_CHUNK and job.rows >= LARGE
        try:
            return made(job, prepared, transformer, result.ntuples)
        except REFUSED:
            forgiving = NewTransformer(Context(self._types.forgiving, self._connection))
            forgiving.set_pgresult(result)
            return made(job, prepared, forgiving, result.ntuples)
        finally:
            transformer.set_pgresult(None, set_loaders=False)

    def weigh(self, values: Iterable[Any]) -> None:
        """Note that libpq had to hold *values*, the parts of one message, all at once (L6)."""
        if sum(len(value) for value in values if value is not None) > SWOLLEN:
            self.swollen = True

    def _weigh_rows(self, result: PGresult) -> None:
        self._partial = False
        for row in {0, result.ntuples - 1} if result.ntuples else ():
            self.weigh(result.get_value(row, column) for column in range(result.nfields))

    def _check_columns(self, job: Job, result: PGresult) -> None:
        # Q6: a column that came to the table since it was described may have no binary loader.
        statement, fields = job.statement, range(result.nfields)
        if not (statement.kind is READ or job.gathered is not None) or not fields or not result.fformat(0):
            return
        if not self._types.is_binary(result.ftype(field) for field in fields):
            error = psycopg.errors.FeatureNotSupported("the columns have changed since they were described")
            self._outdate(job, error)
            raise error

    def _learn(self, job: Job, prepared: Prepared, result: PGresult) -> Any:
        self._check_columns(job, result)
        transformer = prepared.learn(result, self._context)
        if self.pgconn.parameter_status(_TIME_ZONE) != self._zone:
            # L7: a transaction has SET another time zone, which loaders keep; they are for this time only.
            prepared.transformer = None
        return transformer

    def lose(self) -> list[Job]:
        """Give up on everything owed, and return it."""
        lost, self.owed = list(self.owed), deque()
        for job in lost:
            job.lost = True
            if job.error is None:
                job.error = self.lost
        return lost


def is_outdated(error: psycopg.Error) -> bool:
    """True if the server could not plan a statement again that it could once: what it names has changed.

    Either its columns would be others, or it makes no sense any more for the parameter types that it was
    prepared with. In both cases it was not run.
    """
    diag = error.diag
    if error.sqlstate == _NOT_SUPPORTED:
        return diag.source_function == _CACHED_PLAN and diag.context is None
    # An error of the text's own has a place in it; one from within a function has a context.
    return str(error.sqlstate)[:2] == "42" and diag.statement_position is not None and diag.context is None


def _raisable(error: Exception) -> Exception:
    # No coroutine can raise a StopIteration, and no future takes one.
    if isinstance(error, StopIteration):
        return caused(RuntimeError("what was given as into= raised StopIteration"), error)
    return error
