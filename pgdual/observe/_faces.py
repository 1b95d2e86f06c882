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
from pgdual.core.job import MANY

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
        for name in ("_run", "_run_many"):
            for kind in waiting:
                self._put(kind, name, self._async_run)
            for kind in blocking:
                self._put(kind, name, self._run)

    def _put(self, kind: type, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(kind, name)
        self._before.append((kind, name, original))
        setattr(kind, name, make(original))

    def restore(self) -> None:
        """Listen no more."""
        while self._before:
            kind, name, original = self._before.pop()
            setattr(kind, name, original)

    def _begun(self, target: Any, job: Any) -> tuple[str, str, float, Any]:
        """Return the database, the operation, the time and the span of a call that begins."""
        job.told = True
        is_many = job.want == MANY
        name, verb = _name(target), job.statement.verb
        operation = f"BATCH {verb}" if is_many else verb
        spans, span = self._spans, None
        if spans is not None:
            span = spans.begin(name, operation, job.statement, None if is_many else job)
        return name, operation, now(), span

    def _ended(self, face: str, begun: tuple[str, str, float, Any], error: Any = None) -> None:
        name, operation, started, span = begun
        if self._record is not None:
            kind = "" if error is None else kind_of(error)
            self._record(name, face, operation, now() - started, kind)
        if span is not None:
            self._spans.end(span, error)

    def _async_run(self, original: Any) -> Any:
        async def run(target: Any, job: Any, timeout: Any) -> Any:
            if job.told:
                return await original(target, job, timeout)
            begun = self._begun(target, job)
            try:
                value = await original(target, job, timeout)
            except BaseException as error:
                self._ended("async", begun, error)
                raise
            self._ended("async", begun)
            return value

        return run

    def _run(self, original: Any) -> Any:
        def run(target: Any, job: Any, timeout: Any) -> Any:
            if job.told:
                return original(target, job, timeout)
            begun = self._begun(target, job)
            try:
                value = original(target, job, timeout)
            except BaseException as error:
                self._ended("sync", begun, error)
                raise
            self._ended("sync", begun)
            return value

        return run


def _name(target: Any) -> str:
    return str(getattr(target, "name", None) or target._database.name)
