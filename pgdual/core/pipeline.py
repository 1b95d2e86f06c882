"""The protocol over one libpq connection, without waiting: what was queued, what is owed, what came.

The connection stays in pipeline mode. Each call is a *job*: a group of messages that ends in a Sync of
its own, so that one job's error never touches another (L1). Results come back in the order of the jobs;
a job is answered at its Sync and not before, for a deferred constraint or a serialization failure
arrives after the statement's own result (L2). `send` queues and starts to flush, `receive` takes what
the socket brought and returns the jobs that are answered. Who waits, and how, is the wire's business.

A prepared statement's name is a digest of its text (N1). It is good for the parameter types that it was
described with, so one that was described anew since is prepared anew on every connection. What the server
says of a prepared statement in an error is believed here, inside of a transaction and outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import psycopg
from psycopg import capabilities
from psycopg.adapt import Transformer as NewTransformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from pgdual.errors import UsageError

from .loaders import REFUSED
from .record import checked_shape
from .rows import ROWS, VALUE, Context, Prepared, made
from .statement import Statement, check_arguments
from .types import Types, refusal

# What a job makes of its result, beside rows.
STATUS, MANY, DESCRIBE, COMMAND, SCRIPT = range(VALUE + 1, VALUE + 6)

_FATAL = int(ExecStatus.FATAL_ERROR)
_SYNC = int(ExecStatus.PIPELINE_SYNC)
_ABORTED = int(ExecStatus.PIPELINE_ABORTED)
_DONE = {int(ExecStatus.COMMAND_OK), int(ExecStatus.TUPLES_OK)}
_CHUNK = int(ExecStatus.TUPLES_CHUNK)
_IDLE = int(TransactionStatus.IDLE)
# Many rows are asked for in parts, so that they are made into objects while the server still sends: those
# of a statement that had as many the last time. Source: bench row 12.
LARGE, CHUNK = 1000, 128
_CAN_CHUNK = capabilities.has_stream_chunked()
# Statements that one connection keeps prepared (N3). Source: asyncpg keeps 100, JDBC 256.
PREPARED = 256
# L6: a connection that held a larger message in memory is closed when it is free, to be rid of it.
SWOLLEN = 8 << 20  # bytes
# N3: a statement is called with few combinations of argument classes; past this they start anew.
PLANS = 32
_READ_ONLY = b"default_transaction_read_only"
_TIME_ZONE = b"TimeZone"
_NOT_PREPARED, _PREPARED_ALREADY, _NOT_SUPPORTED = "26000", "42P05", "0A000"
# Source: plancache.c; the message is translated, the routine's name is not.
_CACHED_PLAN = "RevalidateCachedQuery"


class Job:
    """One call on its way through a pipeline."""

    # Defaults live on the class: a call sets the few that differ, which is cheaper than twenty slots.
    shape: Any = None
    column: int | str = 0
    prelude: tuple[bytes, ...] = ()
    text = b""
    buffers: Sequence[Any] | None = None
    formats: list[int] | None = None
    future: Any = None
    value: Any = None
    error: Exception | None = None
    prepared: Any = None
    parses = False  # its group makes the server parse the statement
    closes: Sequence[bytes] = ()  # prepared statements that its group closes
    lost = False  # the connection went before it was answered
    placed = False  # it counts in its wire's load
    abandoned = False  # nobody waits for its answer
    expired = False  # its deadline has passed and the server was asked to cancel it
    rows = 0  # that came back
    lead = 0  # results that come before its own: BEGIN, Parse, Close
    started = 0.0  # monotonic seconds: when the caller called, and when it was sent
    sent = 0.0
    deadline = inf
    service = 0.0  # seconds that it is expected to take

    def __init__(self, want: int, statement: Statement, arguments: Sequence[Any] = ()) -> None:
        self.want = want
        self.statement = statement
        self.arguments = arguments

    @property
    def into(self) -> Any:
        """What a row is made into; None for a Record.

        Raises:
            UsageError: On setting it to what is no row shape.
        """
        return self.shape

    @into.setter
    def into(self, shape: Any) -> None:
        self.shape = checked_shape(shape)

    def encode(self, types: Types) -> None:
        """Turn the arguments into bytes for the parameter types that the server described (Q5).

        Raises:
            UsageError: An argument does not fit; it is named.
        """
        statement, arguments = self.statement, self.arguments
        plan = plan_of(statement, tuple(map(type, arguments)), types)
        self.buffers, self.formats = encoded(plan, statement, arguments, types)


def plan_of(statement: Statement, classes: tuple[type, ...], types: Types) -> Any:
    """Return how arguments of these classes are dumped for *statement*, which has been described.

    Raises:
        UsageError: There are too few or too many, or one does not fit.
    """
    plan = statement.plans.get(classes)
    if plan is None:
        check_arguments(statement, len(classes))
        assert statement.types is not None
        if len(statement.plans) >= PLANS:
            statement.plans.clear()
        plan = statement.plans[classes] = types.plan(classes, statement.types)
    return plan


def encoded(plan: Any, statement: Statement, arguments: Sequence[Any], types: Types) -> Any:
    """Return the arguments' bytes and their formats.

    Raises:
        UsageError: An argument's own dumper refuses it; it is named.
    """
    try:
        return plan.encode(arguments)
    except Exception as error:
        raise refusal(types, statement.types or (), arguments, plan, error) from error


def _row_class(row: Any) -> type:
    if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Sequence):
        raise UsageError(f"a row of parameters is a list or tuple, not {type(row).__name__}")
    return type(row)


# What stands for a statement in a job that has none: one of pgdual's own commands.
_COMMAND: Any = None


def command(text: bytes) -> Job:
    """Return a job that runs one of pgdual's own commands: BEGIN, COMMIT, SAVEPOINT, SET."""
    job = Job(COMMAND, _COMMAND)
    job.text = text
    return job


class Pipeline:
    """The jobs of one connection, in the order in which they were sent."""

    __slots__ = (
        "_connection",
        "_context",
        "_outdated",
        "_partial",
        "_types",
        "_zone",
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
        self.unnamed = unnamed
        self.owed: deque[Job] = deque()
        self.lost: Exception | None = None
        self.swollen = False  # libpq's buffers have grown, and never shrink
        self._partial = False
        self.enter()

    def enter(self) -> None:
        """Start, or start again after psycopg or a DISCARD ALL had the connection: nothing is prepared."""
        self.prepared: dict[bytes, Prepared] = {}
        self._outdated: set[bytes] = set()
        self._context = Context(self._types.adapters, self._connection)
        self._zone = self.pgconn.parameter_status(_TIME_ZONE)
        self.pgconn.nonblocking = 1
        self.pgconn.enter_pipeline_mode()

    def leave(self) -> None:
        """Hand the connection to psycopg: out of pipeline mode, as psycopg expects it."""
        self.pgconn.exit_pipeline_mode()
        self.pgconn.nonblocking = 0

    @property
    def is_idle(self) -> bool:
        """True if nothing is owed and no transaction is open."""
        return not self.owed and self.lost is None and self.pgconn.transaction_status == _IDLE

    @property
    def read_only(self) -> bool | None:
        """What the server says of default_transaction_read_only; None before PostgreSQL 14 (Q2)."""
        value = self.pgconn.parameter_status(_READ_ONLY)
        return None if value is None else value == b"on"

    # -- sending ---------------------------------------------------------------------------------

    def send(self, job: Job) -> None:
        """Queue *job* with a Sync of its own and start to flush.

        Raises:
            psycopg.OperationalError: The connection is gone; the job was not sent.
        """
        pgconn = self.pgconn
        if job.prelude:
            self._send_prelude(job)
        if job.want >= DESCRIBE:
            self._send_other(job)
            return
        statement = job.statement
        prepared = self.prepared.get(statement.name)
        if prepared is None or prepared.plans is not statement.plans:
            prepared = self._send_parse(job)
        job.prepared = prepared
        if self.unnamed:
            pgconn.send_query_params(
                statement.query,
                job.buffers,
                statement.types,
                job.formats,
                statement.result_format,
            )
        else:
            pgconn.send_query_prepared(
                statement.name,
                job.buffers,
                job.formats,
                statement.result_format,
            )
        if prepared.is_large and job.want == ROWS and not job.lead and not self.owed:
            pgconn.set_chunked_rows_mode(CHUNK)
        pgconn.pipeline_sync()
        self.owed.append(job)

    def _send_prelude(self, job: Job) -> None:
        for text in job.prelude:
            self.pgconn.send_query_params(text, None)
        job.lead += len(job.prelude)

    def adopt(self, statement: Statement) -> None:
        """Take *statement*, which was described here, for prepared with the types that it has now."""
        if not self.unnamed:
            self.prepared[statement.name] = Prepared(statement.plans)

    def _send_parse(self, job: Job) -> Prepared:
        statement = job.statement
        prepared = Prepared(statement.plans)
        if self.unnamed:
            return prepared
        held, outdated = self.prepared, self._outdated
        if held.pop(statement.name, None) is not None:
            outdated.add(statement.name)
        elif len(held) >= PREPARED:
            oldest = next(iter(held))
            del held[oldest]
            outdated.add(oldest)
        if outdated:
            self._send_closes(job)
        self.pgconn.send_prepare(statement.name, statement.query)
        job.lead += 1
        job.parses = True
        held[statement.name] = prepared
        return prepared

    def _send_closes(self, job: Job) -> None:
        job.closes = [name for name in self._outdated if name not in self.prepared]
        self._outdated.clear()
        for name in job.closes:
            self.pgconn.send_close_prepared(name)
        job.lead += len(job.closes)

    def _send_other(self, job: Job) -> None:
        if job.want == SCRIPT:
            self._send_script(job)
            return
        if job.want == COMMAND:
            self.pgconn.send_query_params(job.text, None)
        else:
            self._send_describe(job)
        self.pgconn.pipeline_sync()
        self.owed.append(job)

    def _send_describe(self, job: Job) -> None:
        statement = job.statement
        name = b"" if self.unnamed else statement.name
        if self.unnamed:
            self.pgconn.send_prepare(b"", statement.query)
            job.lead += 1
        elif statement.name not in self.prepared:
            job.prepared = self._send_parse(job)
        self.pgconn.send_describe_prepared(name)

    def _send_script(self, job: Job) -> None:
        # The simple protocol has no place in a pipeline; the wire is alone, so nothing else is owed.
        self.pgconn.exit_pipeline_mode()
        self.pgconn.send_query(job.statement.query)
        self.owed.append(job)

    def again(self, job: Job) -> None:
        """Make *job* as it was before it was sent."""
        job.error = job.future = job.value = job.prepared = None
        job.lost = job.parses = job.expired = False
        job.lead, job.rows, job.closes = 0, 0, ()

    def begin_many(self, job: Job) -> None:
        """Queue the start of an executemany: what goes before its rows."""
        self._send_prelude(job)
        job.prepared = self.prepared.get(job.statement.name) or self._send_parse(job)
        job.value = 0
        self.owed.append(job)

    def send_rows(self, job: Job, rows: Iterable[Sequence[Any]], first: int) -> int:
        """Queue rows of an executemany, the first of them numbered *first*; return the next number.

        Raises:
            UsageError: A row does not fit; it is numbered.
        """
        statement, types = job.statement, self._types
        send, name = self.pgconn.send_query_prepared, statement.name
        known, shape, number = None, None, first
        try:
            for number, row in enumerate(rows, first):
                if type(row) is not shape:
                    shape = _row_class(row)
                classes = tuple(map(type, row))
                if classes != known:
                    plan, known = plan_of(statement, classes, types), classes
                    dump, py_formats, formats = plan.transformer.dump_sequence, plan.py_formats, plan.formats
                    is_plain = not plan.bounds and not plan.converters
                if is_plain:  # the common case of `encoded`, without its calls
                    try:
                        buffers = dump(row, py_formats)
                    except Exception as error:
                        raise refusal(types, statement.types or (), row, plan, error) from error
                else:
                    buffers, formats = encoded(plan, statement, row, types)
                if self.unnamed:
                    self.pgconn.send_query_params(statement.query, buffers, statement.types, formats)
                else:
                    send(name, buffers, formats)
                first = number + 1
        except UsageError as error:
            raise UsageError(f"row {number}: {error}") from error.__cause__
        return first

    def end_many(self, texts: Sequence[bytes]) -> None:
        """Queue the end of an executemany: COMMIT, or what undoes the rows, and the Sync."""
        for text in texts:
            self.pgconn.send_query_params(text, None)
        self.pgconn.pipeline_sync()

    # -- receiving -------------------------------------------------------------------------------

    def receive(self) -> list[Job]:
        """Take what the socket brought and return the jobs that are answered, in order.

        After a loss `lost` is set, and the jobs still owed will never be answered.
        """
        pgconn = self.pgconn
        try:
            pgconn.consume_input()
        except psycopg.OperationalError as error:
            self.lost = error
        owed = self.owed
        finished: list[Job] = []
        while owed and not pgconn.is_busy():
            job = owed[0]
            result = pgconn.get_result()
            if result is None:
                if job.want != SCRIPT or self.lost is not None:
                    break
                finished.append(owed.popleft())
                pgconn.enter_pipeline_mode()
                continue
            if job.want == MANY:
                result = self._count(job, result)
                if result is None:
                    continue
            if result.status == _SYNC:
                finished.append(owed.popleft())
            else:
                self._take(job, result)
                if result.status != _CHUNK and job.want != SCRIPT:
                    pgconn.get_result()  # the None that ends a command's results, there at once
        if owed and not finished:
            self._partial = True  # its answer did not fit into one read
        return finished

    def _take(self, job: Job, result: PGresult) -> None:
        status = result.status
        if status == _FATAL:
            self._fail(job, result)
        elif status == _ABORTED or job.error is not None:
            return
        elif job.lead:
            job.lead -= 1
        elif job.want <= STATUS:
            try:
                value = self._value(job, result)
                if job.value is None:
                    job.value = value
                else:
                    job.value += value  # another part of many rows
            except Exception as error:
                job.error = error
        else:
            self._take_other(job, result)

    def _count(self, job: Job, result: PGresult) -> PGresult | None:
        # The answers to the rows of an executemany, for as long as they are there: there may be very many.
        get, is_busy = self.pgconn.get_result, self.pgconn.is_busy
        following: PGresult | None = result
        while following is not None and following.status in _DONE and not job.lead and job.error is None:
            job.rows += 1
            job.value += following.command_tuples or 0
            get()
            following = None if is_busy() else get()
        return following

    def _fail(self, job: Job, result: PGresult) -> None:
        # L2: an error after the result replaces the result.
        error = job.error = error_from_result(result, encoding="utf-8")
        statement = job.statement
        if job.lead and job.parses:
            self.prepared.pop(statement.name, None)
            self._outdated.update(job.closes)
        if error.sqlstate == _PREPARED_ALREADY and job.parses:
            self.adopt(statement)
        elif error.sqlstate == _NOT_PREPARED:
            self.prepared.pop(statement.name, None)
        elif not job.parses and is_outdated(error):
            error.outdated = True  # type: ignore[attr-defined]
            self.prepared.pop(statement.name, None)
            self._outdated.add(statement.name)
            statement.types = None

    def _take_other(self, job: Job, result: PGresult) -> None:
        if job.want == DESCRIBE:
            job.value = (
                tuple(result.param_type(index) for index in range(result.nparams)),
                tuple(result.ftype(index) for index in range(result.nfields)),
            )
        else:
            job.value = (result.command_status or b"").decode()

    def _value(self, job: Job, result: PGresult) -> Any:
        if job.want == STATUS:
            return (result.command_status or b"").decode()
        if self._partial:
            self._weigh_rows(result)
        prepared = job.prepared
        transformer = prepared.transformer or self._learn(prepared, result)
        transformer.set_pgresult(result, set_loaders=False)
        job.rows += result.ntuples
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

    def _learn(self, prepared: Prepared, result: PGresult) -> Any:
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


def check_returned(connection: Any) -> None:
    """Hold a psycopg connection that comes back from a borrower against what a pipeline can start on.

    Raises:
        psycopg.OperationalError: It is closed, in pipeline mode, or in the middle of something.
    """
    pgconn: PGconn = connection.pgconn
    if connection.closed or pgconn.pipeline_status or pgconn.transaction_status != _IDLE:
        raise psycopg.OperationalError("it is closed, in pipeline mode or in the middle of something")


def is_outdated(error: psycopg.Error) -> bool:
    """True if the server could not plan a statement again that it could once: what it names has changed.

    Either its columns would be others, or it makes no sense any more for the parameter types that it was
    prepared with. In both cases it was not run.
    """
    diag = error.diag
    if error.sqlstate == _NOT_SUPPORTED:
        return diag.source_function == _CACHED_PLAN
    # An error of the text's own has a place in it; one from within a function has a context.
    return str(error.sqlstate)[:2] == "42" and diag.statement_position is not None and diag.context is None
