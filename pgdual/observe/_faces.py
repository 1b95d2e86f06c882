"""How both faces are listened to while somebody wants to know, and cost nothing otherwise.

The one method that every call of a face goes through is put in another's place, for databases and for
transactions. A call in a transaction goes through two of them; the first one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic as now
from typing import Any

from pgdual._async.db import AsyncDB
from pgdual._async.transaction import AsyncTransaction
from pgdual._sync.db import DB
from pgdual._sync.transaction import Transaction

# database, face, operation, seconds, type of the error or ""
Record = Callable[[str, str, str, float, str], None]


def kind_of(error: BaseException) -> str:
    """Return what `error.type` is: the SQLSTATE, or the class where the server said nothing."""
    return getattr(error, "sqlstate", None) or type(error).__qualname__


class Faces:
    """The methods that were put in place, and those that were there before."""

    def __init__(self, record: Record | None, spans: Any) -> None:
        self._record = record
        self._spans = spans
        self._before: list[tuple[type, str, Any]] = []

    def patch(self) -> None:
        """Listen from now on."""
        waiting: tuple[type, ...] = (AsyncDB, AsyncTransaction)
        blocking: tuple[type, ...] = (DB, Transaction)
        for kind in waiting:
            self._put(kind, "_run", self._async_run)
            self._put(kind, "_run_many", self._async_many)
        for kind in blocking:
            self._put(kind, "_run", self._run)
            self._put(kind, "_run_many", self._many)

    def _put(self, kind: type, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(kind, name)
        self._before.append((kind, name, original))
        setattr(kind, name, make(original))

    def restore(self) -> None:
        """Listen no more."""
        while self._before:
            kind, name, original = self._before.pop()
            setattr(kind, name, original)

    def _ended(self, name: str, face: str, operation: str, started: float, error: Any, span: Any) -> None:
        if self._record is not None:
            kind = "" if error is None else kind_of(error)
            self._record(name, face, operation, now() - started, kind)
        if span is not None:
            self._spans.end(span, error)

    def _async_run(self, original: Any) -> Any:
        ended, spans = self._ended, self._spans

        async def run(self: Any, job: Any, timeout: Any) -> Any:
            if "told" in job.__dict__:
                return await original(self, job, timeout)
            job.told = True
            name, operation, started = _name(self), job.statement.verb, now()
            span = None if spans is None else spans.begin(name, operation, job.statement, job)
            try:
                value = await original(self, job, timeout)
            except BaseException as error:
                ended(name, "async", operation, started, error, span)
                raise
            ended(name, "async", operation, started, None, span)
            return value

        return run

    def _run(self, original: Any) -> Any:
        ended, spans = self._ended, self._spans

        def run(self: Any, job: Any, timeout: Any) -> Any:
            if "told" in job.__dict__:
                return original(self, job, timeout)
            job.told = True
            name, operation, started = _name(self), job.statement.verb, now()
            span = None if spans is None else spans.begin(name, operation, job.statement, job)
            try:
                value = original(self, job, timeout)
            except BaseException as error:
                ended(name, "sync", operation, started, error, span)
                raise
            ended(name, "sync", operation, started, None, span)
            return value

        return run

    def _async_many(self, original: Any) -> Any:
        ended, spans = self._ended, self._spans

        async def run_many(self: Any, statement: Any, rows: Any, timeout: Any, *more: Any) -> Any:
            if isinstance(rows, _Told):
                return await original(self, statement, rows.rows, timeout, *more)
            name, operation, started = _name(self), f"BATCH {statement.verb}", now()
            span = None if spans is None else spans.begin(name, operation, statement, None)
            try:
                touched = await original(self, statement, _told(self, rows), timeout, *more)
            except BaseException as error:
                ended(name, "async", operation, started, error, span)
                raise
            ended(name, "async", operation, started, None, span)
            return touched

        return run_many

    def _many(self, original: Any) -> Any:
        ended, spans = self._ended, self._spans

        def run_many(self: Any, statement: Any, rows: Any, timeout: Any, *more: Any) -> Any:
            if isinstance(rows, _Told):
                return original(self, statement, rows.rows, timeout, *more)
            name, operation, started = _name(self), f"BATCH {statement.verb}", now()
            span = None if spans is None else spans.begin(name, operation, statement, None)
            try:
                touched = original(self, statement, _told(self, rows), timeout, *more)
            except BaseException as error:
                ended(name, "sync", operation, started, error, span)
                raise
            ended(name, "sync", operation, started, None, span)
            return touched

        return run_many


class _Told:
    """The rows of an executemany that is being told of already; iterated where no transaction takes it."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows)


def _told(target: Any, rows: Any) -> Any:
    # Only a database hands an executemany on, to the transaction that is open.
    return _Told(rows) if isinstance(target, (AsyncDB, DB)) else rows


def _name(target: Any) -> str:
    return str(getattr(target, "name", None) or target._database.name)
