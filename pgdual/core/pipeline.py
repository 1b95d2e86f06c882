"""The protocol over one libpq connection, without waiting: what was queued, what is owed, what came.

The connection stays in pipeline mode. Each call is a *job*: a group of messages that ends in a Sync of
its own, so that one job's error never touches another (L1). Results come back in the order of the jobs;
a job is answered at its Sync and not before, for a deferred constraint or a serialization failure
arrives after the statement's own result (L2). `send` queues and starts to flush, `receive` takes what
the socket brought and returns the jobs that are answered. Who waits, and how, is the wire's business.

A prepared statement's name is a digest of its text (N1). What a statement returns cannot change its
columns while it stays prepared (the server refuses with "cached plan must not change result type"),
so its row loaders are looked up once a connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Any

import psycopg
from psycopg.abc import Transformer
from psycopg.adapt import AdaptersMap
from psycopg.adapt import Transformer as NewTransformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from .record import Maker, column_position, maker, names_of, record_class
from .statement import Statement
from .types import REFUSED, Types, refusal

# What a job makes of its result.
ROWS, ROW, VALUE, STATUS, MANY, DESCRIBE, COMMAND, SCRIPT = range(8)

_TUPLES = int(ExecStatus.TUPLES_OK)
_OK = int(ExecStatus.COMMAND_OK)
_FATAL = int(ExecStatus.FATAL_ERROR)
_SYNC = int(ExecStatus.PIPELINE_SYNC)
_ABORTED = int(ExecStatus.PIPELINE_ABORTED)
_IDLE = int(TransactionStatus.IDLE)
# Statements that one connection keeps prepared (N3). Source: asyncpg keeps 100, JDBC 256.
PREPARED = 256
# N3: a statement is called with few combinations of argument classes; past this they start anew.
PLANS = 32
_READ_ONLY = b"default_transaction_read_only"


class Job:
    """One call on its way through a pipeline."""

    # Defaults live on the class: a call sets the few that differ, which is cheaper than twenty slots.
    into: Any = None
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

    def encode(self, types: Types) -> None:
        """Turn the arguments into bytes for the parameter types that the server described (Q5).

        Raises:
            UsageError: An argument does not fit; it is named.
        """
        statement, arguments = self.statement, self.arguments
        classes = tuple(map(type, arguments))
        plan = statement.plans.get(classes)
        if plan is None:
            plan = _new_plan(statement, classes, types)
        try:
            self.buffers, self.formats = plan.encode(arguments)
        except REFUSED as error:
            raise refusal(arguments, plan, error) from None


def _new_plan(statement: Statement, classes: tuple[type, ...], types: Types) -> Any:
    assert statement.types is not None
    if len(statement.plans) >= PLANS:
        statement.plans.clear()
    plan = statement.plans[classes] = types.plan(classes, statement.types)
    return plan


# What stands for a statement in a job that has none: one of pgdual's own commands.
_COMMAND: Any = None


def command(text: bytes) -> Job:
    """Return a job that runs one of pgdual's own commands: BEGIN, COMMIT, SAVEPOINT, SET."""
    job = Job(COMMAND, _COMMAND)
    job.text = text
    return job


class Prepared:
    """A statement that one connection holds prepared, and what its rows are made of."""

    __slots__ = ("make", "names", "transformer")

    def __init__(self) -> None:
        self.transformer: Transformer | None = None
        self.names: tuple[str, ...] = ()
        self.make: Maker = tuple


class _Context:
    """psycopg's adaptation context: a database's adapters with one connection's time zone."""

    def __init__(self, adapters: AdaptersMap, connection: Any) -> None:
        self.adapters = adapters
        self.connection = connection


class Pipeline:
    """The jobs of one connection, in the order in which they were sent."""

    __slots__ = (
        "_connection",
        "_context",
        "_outdated",
        "_types",
        "lost",
        "owed",
        "pgconn",
        "prepared",
        "unnamed",
    )

    def __init__(self, connection: Any, types: Types, unnamed: bool) -> None:
        self._connection = connection
        self._types = types
        self.pgconn: PGconn = connection.pgconn
        self.unnamed = unnamed
        self.owed: deque[Job] = deque()
        self.lost: Exception | None = None
        self.enter()

    def enter(self) -> None:
        """Start, or start again after psycopg or a DISCARD ALL had the connection: nothing is prepared."""
        self.prepared: dict[bytes, Prepared] = {}
        self._outdated: set[bytes] = set()
        self._context = _Context(self._types.adapters, self._connection)
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
        if prepared is None:
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
        pgconn.pipeline_sync()
        self.owed.append(job)

    def _send_prelude(self, job: Job) -> None:
        for text in job.prelude:
            self.pgconn.send_query_params(text, None)
        job.lead += len(job.prelude)

    def forget(self, statement: Statement) -> None:
        """Prepare *statement* anew before its next use: the server has dropped or outdated it."""
        self.prepared.pop(statement.name, None)
        self._outdated.add(statement.name)

    def hold(self, statement: Statement) -> None:
        """Take *statement* for prepared: the server says that it is."""
        self.prepared[statement.name] = Prepared()

    def _send_parse(self, job: Job) -> Prepared:
        prepared = Prepared()
        if self.unnamed:
            return prepared
        statement = job.statement
        if statement.name in self._outdated:
            self._outdated.discard(statement.name)
            self.pgconn.send_close_prepared(statement.name)
            job.lead += 1
        if len(self.prepared) >= PREPARED:
            oldest = next(iter(self.prepared))
            del self.prepared[oldest]
            self.pgconn.send_close_prepared(oldest)
            job.lead += 1
        self.pgconn.send_prepare(statement.name, statement.query)
        job.lead += 1
        job.parses = True
        self.prepared[statement.name] = prepared
        return prepared

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
        job.lead = 0

    def begin_many(self, job: Job) -> None:
        """Queue the start of an executemany: what goes before its rows."""
        self._send_prelude(job)
        job.prepared = self.prepared.get(job.statement.name) or self._send_parse(job)
        job.value = 0
        self.owed.append(job)

    def send_row(self, job: Job) -> None:
        """Queue one row of an executemany."""
        statement = job.statement
        if self.unnamed:
            self.pgconn.send_query_params(statement.query, job.buffers, statement.types, job.formats)
        else:
            self.pgconn.send_query_prepared(statement.name, job.buffers, job.formats)

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
        ended = False
        while owed and not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                if owed[0].want == SCRIPT and self.lost is None:
                    finished.append(owed.popleft())
                    pgconn.enter_pipeline_mode()
                elif ended:
                    break
                ended = True
                continue
            ended = False
            if result.status == _SYNC:
                finished.append(owed.popleft())
            else:
                self._take(owed[0], result)
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
                job.value = self._load(job, result)
            except Exception as error:
                job.error = error
        else:
            self._take_other(job, result)

    def _fail(self, job: Job, result: PGresult) -> None:
        # L2: an error after the result replaces the result.
        job.error = error_from_result(result, encoding="utf-8")
        if job.lead and job.parses:
            self.prepared.pop(job.statement.name, None)

    def _take_other(self, job: Job, result: PGresult) -> None:
        if job.want == DESCRIBE:
            job.value = (
                tuple(result.param_type(index) for index in range(result.nparams)),
                tuple(result.ftype(index) for index in range(result.nfields)),
            )
        elif job.want == MANY:
            job.value += result.command_tuples or 0
        else:
            job.value = (result.command_status or b"").decode()

    def _load(self, job: Job, result: PGresult) -> Any:
        want = job.want
        if want == STATUS:
            return (result.command_status or b"").decode()
        prepared = job.prepared
        if prepared.transformer is None:
            self._learn(prepared, result)
        transformer = prepared.transformer
        transformer.set_pgresult(result, set_loaders=False)
        try:
            return _rows(job, prepared, transformer, result.ntuples)
        except psycopg.DataError:
            forgiving = NewTransformer(_Context(self._types.forgiving, self._connection))
            forgiving.set_pgresult(result)
            return _rows(job, prepared, forgiving, result.ntuples)
        finally:
            transformer.set_pgresult(None, set_loaders=False)

    def _learn(self, prepared: Prepared, result: PGresult) -> None:
        transformer = NewTransformer(self._context)
        transformer.set_pgresult(result)
        prepared.transformer = transformer
        prepared.names = names_of(result)
        prepared.make = record_class(prepared.names)

    def lose(self) -> list[Job]:
        """Give up on everything owed, and return it."""
        lost, self.owed = list(self.owed), deque()
        for job in lost:
            job.lost = True
            if job.error is None:
                job.error = self.lost
        return lost


def _rows(job: Job, prepared: Prepared, transformer: Transformer, count: int) -> Any:
    want = job.want
    job.rows = count
    if want == VALUE:
        position = job.column if job.column == 0 else column_position(job.column, prepared.names)
        return transformer.load_row(0, tuple)[position] if count else None
    make = prepared.make if job.into is None else maker(job.into, prepared.names)
    if want == ROW:
        return transformer.load_row(0, make) if count else None
    return transformer.load_rows(0, count, make)
