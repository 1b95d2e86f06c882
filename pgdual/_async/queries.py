"""The calls that a database and a transaction share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, overload

from pgdual.core.job import MANY, SCRIPT, STATUS, Job
from pgdual.core.record import Record
from pgdual.core.rows import ROW, ROWS, VALUE
from pgdual.core.statement import Kind, Statements, check_arguments, check_many, check_rows

from .call import DEFAULT, Default

T = TypeVar("T")
Timeout = float | Default | None


class AsyncQueries:
    """fetch, fetchrow, fetchval, execute, executemany and fetchmany."""

    _statements: Statements
    label: str | None = None  # what its calls are counted under, beside the whole

    def _run(self, job: Job, timeout: Timeout) -> Any:
        raise NotImplementedError

    async def _run_many(self, job: Job, timeout: Timeout) -> int:
        raise NotImplementedError

    def _only_once(self) -> Any:
        """Return a transaction that is committed once (T6)."""
        raise NotImplementedError

    def _job(self, want: int, sql: str, arguments: Sequence[Any], idempotent: bool = False) -> Job:
        statement = self._statements.get(sql)
        if len(arguments) != statement.parameters or statement.percent is not None:
            check_arguments(statement, len(arguments))
        job = Job(want, statement, arguments)
        if idempotent:
            job.idempotent = True
        return job

    def _job_of_many(self, sql: str, rows: Iterable[Sequence[Any]], gathered: list[Any] | None = None) -> Job:
        statement = self._statements.get(sql)
        check_many(statement)
        check_rows(rows)
        job = Job(MANY, statement)
        job.feed, job.gathered, job.label = rows, gathered, self.label
        return job

    @overload
    async def fetch(
        self, sql: str, *args: Any, into: None = None, timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> list[Record]: ...
    @overload
    async def fetch(
        self, sql: str, *args: Any, into: type[T], timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> list[T]: ...
    async def fetch(
        self, sql: str, *args: Any, into: Any = None, timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> Any:
        """Return all rows, an empty list if there are none.

        From a hundred rows on Python's garbage collector waits while they are made, and looks at them once;
        not with a class of yours for `into`, whose code would run meanwhile.

        Args:
            sql: One statement, its parameters written $1, $2 ...
            args: The parameters; a str fits any type and is parsed by the server.
            into: `tuple`, `dict`, a dataclass, a pydantic model or a msgspec Struct; a Record otherwise.
            timeout: Seconds for the statement; None for no limit.
            idempotent: That a late or repeated run of a statement that writes does no harm: it is sent again
                where its answer was lost. In a transaction it has no effect.

        Raises:
            CircuitOpenError: The database is known not to answer.
            UsageError: The call is wrong; nothing was run.
            PoolTimeoutError: No connection came free in time.
            QueryTimeoutError: No answer came in time.
            OutcomeUnknownError: It writes, and its answer was lost.
            psycopg.Error: What the server said.
        """
        job = self._job(ROWS, sql, args, idempotent)
        if into is not None:
            job.into = into
        return await self._run(job, timeout)

    @overload
    async def fetchrow(
        self, sql: str, *args: Any, into: None = None, timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> Record | None: ...
    @overload
    async def fetchrow(
        self, sql: str, *args: Any, into: type[T], timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> T | None: ...
    async def fetchrow(
        self, sql: str, *args: Any, into: Any = None, timeout: Timeout = DEFAULT, idempotent: bool = False
    ) -> Any:
        """Return the first row, or None if there is none.

        The server still sends all of them: write LIMIT 1 where there may be many. Arguments and errors
        are those of `fetch`.
        """
        job = self._job(ROW, sql, args, idempotent)
        if into is not None:
            job.into = into
        return await self._run(job, timeout)

    async def fetchval(
        self,
        sql: str,
        *args: Any,
        column: int | str = 0,
        timeout: Timeout = DEFAULT,
        idempotent: bool = False,
    ) -> Any:
        """Return one value of the first row, or None if there is no row.

        Args:
            column: The position (from 0) or the name of the column.
        """
        job = self._job(VALUE, sql, args, idempotent)
        job.column = column
        return await self._run(job, timeout)

    async def execute(
        self,
        sql: str,
        *args: Any,
        timeout: Timeout = DEFAULT,
        idempotent: bool = False,
        once: bool = False,
    ) -> str:
        """Run a statement and return its status, such as "UPDATE 1".

        Without arguments *sql* may be a script of several statements; the status is the last one's.

        Args:
            once: Where its answer is lost, find out whether it was done, and do it if not (`transaction`).
        """
        if once:
            async with self._only_once() as tx:
                return str(await tx.execute(sql, *args, timeout=timeout))
        job = self._job(STATUS, sql, args, idempotent)
        if job.statement.kind is Kind.SCRIPT:
            job.want = SCRIPT
        status: str = await self._run(job, timeout)
        return status

    async def executemany(
        self, sql: str, rows: Iterable[Sequence[Any]], timeout: Timeout = DEFAULT, once: bool = False
    ) -> int:
        """Run one statement for each of *rows* and return how many rows were touched in all.

        All or nothing, in one trip: the rows are sent without waiting for each answer.

        Args:
            rows: Sequences of parameters; any iterable, read as it is sent.
            once: As in `execute`.

        Raises:
            UsageError: A row does not fit; it is numbered (from 1), and nothing stays done.
        """
        if once:
            async with self._only_once() as tx:
                return int(await tx.executemany(sql, rows, timeout=timeout))
        return await self._run_many(self._job_of_many(sql, rows), timeout)

    async def fetchmany(
        self, sql: str, rows: Iterable[Sequence[Any]], timeout: Timeout = DEFAULT
    ) -> list[Record]:
        """Run one statement for each of *rows* and return what all of them return, in the order of *rows*.

        All or nothing, in one trip, as `executemany`; for INSERT ... RETURNING and the like. In a
        transaction it turns replay off.

        Args:
            rows: Sequences of parameters; any iterable, read as it is sent.

        Raises:
            UsageError: A row does not fit; it is numbered (from 1), and nothing stays done.
        """
        returned: list[Record] = []
        await self._run_many(self._job_of_many(sql, rows, returned), timeout)
        return returned
