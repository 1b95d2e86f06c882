"""The protocol over one libpq connection, without waiting: what was queued, what is owed, what came.

The connection stays in pipeline mode. Each call is a *job*: a group of messages that ends in a Sync of
its own, so that one job's error never touches another (L1). Results come back in the order of the jobs;
a job is answered at its Sync and not before, for a deferred constraint or a serialization failure
arrives after the statement's own result (L2). `send` queues and, unless it `holds`, starts to flush;
`receive` takes what the socket brought and returns the jobs that are answered. Who waits, and how, is
the wire's business.

A prepared statement's name is a digest of its text (N1). It is good for the parameter types that it was
described with, so one that was described anew since is prepared anew on every connection. What the server
says of a prepared statement in an error is believed here, inside of a transaction and outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from operator import length_hint
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn

from pgdual.errors import QueryTimeoutError, UsageError

from .caused import caused
from .job import COMMAND, DESCRIBE, MANY, SCRIPT, STATUS, Job, encoded, plan_of
from .libpq import send_sync
from .results import IDLE, Results
from .rows import ROWS, Prepared
from .statement import READ, Statement, check_row
from .types import Types, refusal

# How many rows of a large result come as one part. Source: bench row 12.
CHUNK: Final = 128
# Statements that one connection keeps prepared (N3). Source: asyncpg keeps 100, JDBC 256.
PREPARED: Final = 256
# Rows of an executemany between two looks at the socket, and those before the first, with which the server
# begins while the next are made ready. Source: bench row 11.
PART: Final = 500
FIRST: Final = 60
# Rows of an executemany from which on it pays to do more for all, so that each takes less. Source: row 11.
LONG: Final = 4_000
# N2: behind a pooler a READ is guarded within its own Sync group, which is a transaction by itself: nothing
# has to be ended, whatever becomes of the statement.
_READ_ONLY_GROUP = b"SELECT set_config('transaction_read_only', 'on', true)"
_READ_ONLY = b"default_transaction_read_only"
_ROWS = {tuple, list}
_OPEN = (int(TransactionStatus.INTRANS), int(TransactionStatus.INERROR))


class Pipeline(Results):
    """The jobs of one connection, in the order in which they were sent."""

    __slots__ = ("holds", "pooled")

    def __init__(self, connection: Any, types: Types, *, unnamed: bool, pooled: bool) -> None:
        super().__init__(connection, types, unnamed)
        self.pooled: bool = pooled
        self.holds: bool = False
        self.enter()

    def enter(self, is_anew: bool = True) -> None:
        """Start, or start again after psycopg or a DISCARD ALL had the connection.

        Args:
            is_anew: What was prepared may be gone.
        """
        if is_anew:
            self.forget()
        self.pgconn.nonblocking = 1
        self.pgconn.enter_pipeline_mode()

    def leave(self) -> None:
        """Hand the connection to psycopg: out of pipeline mode, as psycopg expects it."""
        self.pgconn.exit_pipeline_mode()
        self.pgconn.nonblocking = 0

    @property
    def is_idle(self) -> bool:
        """True if nothing is owed and no transaction is open."""
        return not self.owed and self.lost is None and self.pgconn.transaction_status == IDLE

    def is_sound(self, read_only: bool) -> bool:
        """True if it is idle, not swollen, and *read_only* or not as the server sees it too (Q2)."""
        pgconn = self.pgconn
        if self.owed or self.lost is not None or self.swollen or pgconn.transaction_status != IDLE:
            return False
        if self.pooled:
            return True  # N2: the session is many clients', and none of ours
        reported = pgconn.parameter_status(_READ_ONLY)  # None before PostgreSQL 14
        return reported is None or (reported == b"on") is read_only

    # -- sending ---------------------------------------------------------------------------------

    def send(self, job: Job) -> None:
        """Queue *job* with a Sync of its own; of an executemany the start: what goes before its rows.

        Raises:
            psycopg.OperationalError: The connection is gone; the job was not sent.
        """
        pgconn = self.pgconn
        if job.prelude:
            self._send_prelude(job)
        want = job.want
        if want > STATUS:
            self._send_other(job)
            return
        statement: Statement = job.statement
        prepared = self.prepared.get(statement.name)
        if prepared is None or prepared.plans is not statement.plans:
            prepared = self._send_parse(job)
        job.prepared = prepared
        if self.unnamed or job.comment:
            self._send_unnamed(job)
        else:
            pgconn.send_query_prepared(
                statement.name,
                job.buffers,
                job.formats,
                statement.result_format,
            )
        if prepared.is_large and want == ROWS and not job.lead and not self.owed:
            pgconn.set_chunked_rows_mode(CHUNK)
        if self.holds:
            send_sync(pgconn)
        else:
            pgconn.pipeline_sync()
        self.owed.append(job)

    def _send_unnamed(self, job: Job) -> None:
        statement = job.statement
        if self.pooled and job.placed and statement.kind is READ:
            self.pgconn.send_query_params(_READ_ONLY_GROUP, None)
            job.lead += 1
        query = statement.query
        if job.comment:  # on a line of its own where the text may end in a comment
            query += (b"\n" if b"--" in query else b" ") + job.comment
        self.pgconn.send_query_params(
            query, job.buffers, statement.plans.types, job.formats, statement.result_format
        )

    def _send_prelude(self, job: Job) -> None:
        for text in job.prelude:
            self.pgconn.send_query_params(text, None)
        job.lead += len(job.prelude)

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
        # Q5: with the types that the arguments were dumped for, whatever the server would take them for now.
        types = None if job.want == DESCRIBE else statement.plans.types
        self.pgconn.send_prepare(statement.name, statement.query, types)
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
        if job.want == MANY:
            self._send_start(job)
            return
        if job.want == COMMAND:
            self.pgconn.send_query_params(job.text, None)
        else:
            self._send_describe(job)
        self.pgconn.pipeline_sync()
        self.owed.append(job)

    def _send_start(self, job: Job) -> None:
        statement, plans = job.statement, job.statement.plans
        # Rows find what has no name without a look-up. What returns rows keeps its name where it has one: if
        # it were parsed anew it could have other columns than were described (Q6).
        if self.unnamed or (job.gathered is None and is_long(job.feed)):
            prepared, job.bound = Prepared(plans), b""
            self.pgconn.send_prepare(b"", statement.query, plans.types)
            job.lead += 1
        else:
            job.bound, held = statement.name, self.prepared.get(statement.name)
            prepared = held if held is not None and held.plans is plans else self._send_parse(job)
        job.prepared, job.value = prepared, 0
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
        job.results = ()

    def send_rows(self, job: Job, rows: Iterable[Sequence[Any]], first: int) -> int:
        """Queue rows of an executemany, the first of them numbered *first*; return the next number.

        Raises:
            UsageError: A row does not fit; it is numbered.
        """
        if isinstance(rows, (list, tuple)):
            common = alike(job, rows, self._types)
            if common is not None:
                return self._send_alike(job, rows, first, common)
        statement, plans, types = job.statement, job.prepared.plans, self._types
        send, name = self.pgconn.send_query_prepared, job.bound
        known, shape, number = None, None, first
        plan: Any = None
        dump: Any = None
        py_formats, formats, is_plain = None, None, False
        ending = () if job.gathered is None else (statement.result_format,)
        try:
            for number, row in enumerate(rows, first):
                if type(row) is not shape:
                    check_row(statement, row)
                    shape = type(row)
                classes = tuple(map(type, row))
                if classes != known:
                    plan, known = plan_of(statement, plans, classes, types), classes
                    dump, py_formats, formats = plan.transformer.dump_sequence, plan.py_formats, plan.formats
                    is_plain = not plan.bounds and not plan.converters
                if is_plain:  # the common case of `encoded`, without its calls
                    try:
                        buffers = dump(row, py_formats)
                    except Exception as error:
                        raise refusal(types, plans.types, row, plan, error)
                else:
                    buffers, formats = encoded(plan, plans, row, types)
                send(name, buffers, formats, *ending)
                first = number + 1
        except UsageError as error:
            raise caused(UsageError(f"row {number}: {error}"), error.__cause__)
        return first

    def _send_alike(self, job: Job, rows: Sequence[Sequence[Any]], first: int, plan: Any) -> int:
        # What the loop of `send_rows` does, in C.
        ending = () if job.gathered is None else (repeat(job.statement.result_format),)
        left = iter(rows)
        buffers = map(plan.transformer.dump_sequence, left, repeat(plan.py_formats))
        names, formats = repeat(job.bound), repeat(plan.formats)
        try:
            deque(map(self.pgconn.send_query_prepared, names, buffers, formats, *ending), maxlen=0)
        except psycopg.OperationalError:
            raise
        except Exception as error:
            at = len(rows) - length_hint(left) - 1
            reason = refusal(self._types, job.prepared.plans.types, rows[at], plan, error)
            raise caused(UsageError(f"row {first + at}: {reason}"), error)
        return first + len(rows)

    def end_many(self, texts: Sequence[bytes]) -> None:
        """Queue the end of an executemany: COMMIT, or what undoes the rows, and the Sync."""
        for text in texts:
            self.pgconn.send_query_params(text, None)
        self.pgconn.pipeline_sync()


def is_long(feed: Iterable[Sequence[Any]]) -> bool:
    """True if what an executemany was given is known to be very many rows."""
    return isinstance(feed, (list, tuple)) and len(feed) >= LONG


def in_parts(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Iterable[Sequence[Any]]]]:
    """Return *rows* in parts, each after how many it has at most; the one that has fewer is the last.

    Parts of a list or a tuple are such; of anything else they are to be read as they are sent. What was not
    read yet, an iterator may still change.
    """
    # No generators: to end one that is left is a call, in which Ctrl-C would be lost (D4).
    if isinstance(rows, (list, tuple)):
        bounds = [slice(FIRST), *(slice(at, at + PART) for at in range(FIRST, len(rows), PART))]
        return zip(chain((FIRST,), repeat(PART)), map(rows.__getitem__, bounds), strict=False)
    # No small first part: what an early error leaves unread of them cannot be said again (T5).
    iterator = iter(rows)
    return zip(repeat(PART), iter(lambda: islice(iterator, PART), None), strict=False)


def alike(job: Job, rows: Sequence[Sequence[Any]], types: Types) -> Any:
    """Return the plan by which all of *rows* can be dumped as they are, or None if there is none."""
    plans = job.prepared.plans
    if not set(map(type, rows)) <= _ROWS or set(map(len, rows)) != {len(plans.types)}:
        return None
    columns = list(zip(*rows, strict=True))
    classes = [set(map(type, column)) for column in columns]
    if any(len(one) > 1 for one in classes):
        return None
    try:
        plan = plan_of(job.statement, plans, tuple(one.pop() for one in classes), types)
    except UsageError:
        return None  # it says of which row
    fits = all(low <= min(columns[at]) and max(columns[at]) <= high for at, low, high in plan.bounds)
    return plan if fits and not plan.converters else None


def is_incident(error: Exception, jobs: Iterable[Job]) -> bool:
    """True if a connection that ended in *error* with *jobs* in flight tells of a server in trouble (B2)."""
    is_silent = isinstance(error, (psycopg.OperationalError, QueryTimeoutError))
    return is_silent and any(not (job.abandoned or job.aside) for job in jobs)


def check_returned(connection: Any, is_over: bool = True) -> None:
    """Hold a psycopg connection that comes back from a borrower against what a pipeline can start on.

    Args:
        is_over: No transaction may be open on it.

    Raises:
        psycopg.OperationalError: It is closed, in pipeline mode, or in the middle of something.
    """
    pgconn: PGconn = connection.pgconn
    status = (IDLE,) if is_over else (IDLE, *_OPEN)
    if connection.closed or pgconn.pipeline_status or pgconn.transaction_status not in status:
        raise psycopg.OperationalError("it is closed, in pipeline mode or in the middle of something")
