"""copy_out without a target: what COPY gives, a part at a time, as it is asked for.

Nothing is read ahead of the caller: while he takes his time the server waits. In a transaction the COPY has a
savepoint of its own, so that to stop early, which cancels it, undoes nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Self

from psycopg.errors import error_from_result
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus
from psycopg.sql import SQL
from psycopg.waiting import WAIT_R

from pgdual._async import runtime
from pgdual._async.call import DEFAULT, limit_of
from pgdual._async.queries import Timeout
from pgdual._async.runtime import CUTS, owner
from pgdual._async.statements import regain
from pgdual.core.job import STATUS, Job
from pgdual.core.statement import Statement
from pgdual.errors import QueryTimeoutError, UsageError

from .copy import Shape, _source
from .stream import StreamEndError, dropped

PART = 1 << 16  # bytes that are handed over at a time
_REASON = "what COPY says is not kept"


class AsyncParts:
    """The data of one COPY, as an iterator of bytes; made by `copy_out`, to be entered with `with`."""

    count: int | None = None
    """How many rows it were; None until all was read."""

    _session: Any = None
    _block: Any = None  # the caller's, where there is one
    _connection: Any = None  # psycopg's, while it is ours
    _copying: Any = None  # psycopg's block around the COPY, while it is open
    _is_read = _is_over = False
    # What the session looks at, for which this is a block.
    gate: Any = None
    savepoint: bytes = b""
    failed_before: str | None = None

    def __init__(
        self, database: Any, source: str, columns: Sequence[str] | None, shape: Shape, timeout: Timeout
    ) -> None:
        self._options = shape.options()
        self._database = database
        self._source = source
        self._columns = columns
        self._timeout = timeout
        self.owner: object = object()  # nobody's: all others wait until it is over

    async def __aenter__(self) -> Self:
        if self._session is not None or self._is_over:
            raise UsageError("what copy_out returned is entered once; call copy_out again")
        source = await _source(self._database, self._source, self._columns)
        text = SQL("COPY {} TO STDOUT ({})").format(source, self._options).as_string()
        session, block = await self._database._session_for(_REASON)
        self._session, self._block, self._job = session, block, Job(STATUS, Statement(text))
        session.log.turn_off(_REASON)
        try:
            if block is not None:
                self.failed_before, self.gate = session.failed, runtime.Lock()
                self.savepoint = await session.enter(self, block)
            await session.perform(self if self.savepoint else None, self._job, DEFAULT, self._begin)
        except BaseException as error:
            await self._end(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        if self._session is None:
            raise UsageError("enter what copy_out returned with `with`, and iterate inside of it")
        try:
            self._connection.begin()
            part: bytes = await self._connection.wait(self._taken())
        except BaseException as error:
            raise await self._failed(error) from error.__cause__
        if not part:
            await self._end(None)
            raise StopAsyncIteration
        return part

    async def close(self) -> None:
        """End the COPY, which is cancelled where it is not over yet; again does nothing."""
        if self._session is not None:
            await self._end(StreamEndError("the COPY was left before its end"))
        self._is_over = True

    async def _begin(self, job: Job) -> None:
        session, fleet, wire = self._session, self._session.fleet, self._session.wire
        await session.say_before(job, is_limited=False)
        session._feeder = owner()
        connection = self._connection = wire.connection
        try:
            await wire.lend()
            connection.seconds = limit_of(fleet, self._timeout)
            connection.begin()
            copying = connection.cursor().copy(job.statement.sql)
            await copying.__aenter__()
        except BaseException as error:
            await self._give_back(session)
            raise _late(connection, error) from error.__cause__
        self._copying = copying

    def _taken(self) -> Generator[Any, Any, bytes]:
        # For psycopg's wait: what has come, up to PART bytes; it waits only where nothing has.
        pgconn, part = self._connection.pgconn, bytearray()
        while not self._is_read and len(part) < PART:
            count, data = pgconn.get_copy_data(1)
            if count > 0:
                part += data
            elif count < 0:
                self._is_read = True
            elif part:
                break
            else:
                while not (yield WAIT_R):
                    pass
                pgconn.consume_input()
        if not part:
            (result,) = yield from fetch_many(pgconn)
            if result.status != ExecStatus.COMMAND_OK:
                raise error_from_result(result, encoding="utf-8")
            self.count = result.command_tuples
        return bytes(part)

    async def _failed(self, error: BaseException) -> BaseException:
        """End it after *error* and return what the caller is to see of it."""
        if isinstance(error, Exception):
            error = self._session._explained(self._job, _late(self._connection, error))
        await self._end(error)
        return error

    async def _end(self, error: BaseException | None) -> None:
        session, self._session, self._is_over = self._session, None, True
        try:
            try:
                if self._connection is not None:
                    await self._give_back(session)
            finally:
                if self._block is None:
                    await session.end(error)
                elif self.savepoint:
                    await session.leave(self, error)
        except CUTS:
            session.cut_off(None if self._block is None else self)
            raise

    async def _give_back(self, session: Any) -> None:
        connection, self._connection = self._connection, None
        try:
            if self._copying is not None:  # first: it lets go of psycopg's lock, and waits for nothing
                await self._copying.__aexit__(None, None, None)
            await connection.settle(min(connection.seconds, runtime.GRACE))
        finally:
            session._feeder = None
            await regain(session.wire)

    def __del__(self) -> None:
        # Who lets go of it inside of its `with` block, by Ctrl-C: its own transaction must not stay open.
        session = self._session
        if session is not None and self._block is None and session.fleet.home is runtime.here():
            self._session = None
            runtime.background(dropped, session)


def _late(connection: Any, error: BaseException) -> Any:
    """Return *error*, or what stands for it if it is the time limit."""
    if not connection.is_late or not isinstance(error, Exception):
        return error
    return QueryTimeoutError("a part of it was not answered within the time limit", "rolled back")
