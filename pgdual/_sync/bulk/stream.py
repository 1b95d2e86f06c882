# Generated from pgdual/_async/bulk/stream.py by _generate.py. Do not edit.
"""stream: the rows of a query as they are asked for, in constant memory.

A cursor of the server's in a transaction: the caller's, or one of the stream's own. Rows come *chunk* at a
time, the next chunk when the last row was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from psycopg import Error

from pgdual._sync import runtime
from pgdual.core.job import STATUS, Job
from pgdual.core.record import checked_shape
from pgdual.core.rows import RESULT, ROWS
from pgdual.core.statement import check_arguments
from pgdual.errors import PgdualError, UsageError

T = TypeVar("T")
_QUERIES = ("SELECT", "VALUES", "TABLE", "WITH")


class StreamEndError(PgdualError):
    """The stream was left before its end: its transaction is rolled back."""


class Stream(Generic[T]):
    """The rows of one query; made by `stream`, to be iterated once, best inside of its own `with`."""

    _want = ROWS

    def __init__(
        self,
        database: Any,
        sql: str,
        args: Sequence[Any],
        chunk: int,
        into: Any,
        timeout: Any,
    ) -> None:
        statement = database._statements.get(sql)
        check_arguments(statement, len(args))
        if statement.verb not in _QUERIES:
            raise UsageError(f"only a query can be streamed, not {statement.verb or 'a script'}")
        if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
            raise UsageError(f"chunk={chunk!r}: give a number of rows above 0")
        self._database = database
        self._args = args
        self._chunk = chunk
        self._shape = checked_shape(into)
        self._timeout = timeout
        # Named by the text, so that FETCH of this name always has these columns and may stay prepared.
        self._name = f'"{statement.name.decode()}_stream"'
        self._declare = f"DECLARE {self._name} NO SCROLL CURSOR FOR {sql}"
        self._rows: deque[T] = deque()
        self._session: Any = None
        self._block: Any = None
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._rows:
            if self._is_over:
                raise StopIteration
            self._fetch()
            if not self._rows:
                raise StopIteration
        return self._rows.popleft()

    def close(self) -> None:
        """Close the cursor, and end the transaction where it is the stream's own; again does nothing."""
        session, self._session = self._session, None
        is_done, self._is_over = self._is_over, True
        self._rows.clear()
        if session is None:
            return
        if self._block is None:
            session.end(None if is_done else StreamEndError("the stream was closed"))
        elif session.failed is None and not session.is_over:
            self._perform(session, self._job(STATUS, f"CLOSE {self._name}"))

    def _fetch(self) -> None:
        try:
            if self._session is None:
                self._open()
            job = self._job(self._want, f"FETCH FORWARD {self._chunk} FROM {self._name}")
            count = self._keep(self._perform(self._session, job))
        except BaseException as error:
            self._is_over = True
            session, self._session = self._session, None
            if session is not None and self._block is None:
                session.end(error)
            raise
        if count < self._chunk:
            self._is_over = True
            rest = deque(self._rows)
            self.close()
            self._rows = rest

    def _open(self) -> None:
        self._session, self._block = self._database._session_for("what a stream reads is not kept")
        self._session.log.turn_off("what a stream reads is not kept")
        self._perform(self._session, self._job(STATUS, self._declare, self._args))

    def _job(self, want: int, sql: str, args: Sequence[Any] = ()) -> Job:
        job = Job(want, self._database._statements.get(sql), args)
        job.shape, job.column, job.label = self._shape, RESULT, self._database.label
        return job

    def _keep(self, rows: Any) -> int:
        self._rows.extend(rows)
        return len(rows)

    def _perform(self, session: Any, job: Job) -> Any:
        return session.perform(self._block, job, self._timeout)

    def __del__(self) -> None:
        # Who breaks out of the loop without `with`: the transaction must not stay open. A cursor in the
        # caller's own ends with it.
        session = getattr(self, "_session", None)
        if session is not None and self._block is None and session.fleet.home is runtime.here():
            self._session = None
            runtime.background(dropped, session)


def dropped(session: Any) -> None:
    """End the transaction of a stream that nobody has closed."""
    try:
        session.end(StreamEndError("the stream was dropped"))
    except (Error, PgdualError):
        return  # its connection is gone, and nobody waits to hear of it
