# Generated from pgdual/_async/labelled.py by _generate.py. Do not edit.
"""A database under a label: what goes through it is counted apart as well (W1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgdual.core.job import Job
from pgdual.core.statement import Statement

from .bulk.calls import Bulk
from .call import DEFAULT
from .queries import Timeout
from .transaction import Transaction, Isolation


class Labelled(Bulk):
    """The calls and transactions of a database that have a label; made by `db.labelled(...)`.

    It is the same database: the same connections, the same open transaction of the task.
    """

    def __init__(self, database: Any, label: str) -> None:
        self.database = database
        self._statements = database._statements
        self._types = database._types
        self.label: str | None = label

    def _job(self, want: int, sql: str, arguments: Sequence[Any], idempotent: bool = False) -> Job:
        job: Job = self.database._job(want, sql, arguments, idempotent)
        job.label = self.label
        return job

    def _run(self, job: Job, timeout: Timeout) -> Any:
        return self.database._run(job, timeout)

    def _only_once(self) -> Transaction:
        self.database._only_once()  # refused in a transaction
        return self.transaction(once=True)

    def _run_many(self, job: Job, timeout: Timeout) -> int:
        return int(self.database._run_many(job, timeout))

    def _lent(
        self, statement: Statement, work: Any, is_limited: bool, timeout: Timeout = DEFAULT
    ) -> Any:
        return self.database._lent(statement, work, is_limited, timeout)

    def _session_for(self, reason: str) -> tuple[Any, Any]:
        session: tuple[Any, Any] = self.database._session_for(reason)
        return session

    def transaction(
        self,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        replay: bool = True,
        once: bool = False,
    ) -> Transaction:
        """Return a transaction as `db.transaction` does, which is counted under the label with its calls."""
        return LabelledTransaction(self, isolation, readonly, deferrable, replay, once)

    def stats(self) -> dict[str, Any]:
        """Return the counters and percentiles of this label, durations in milliseconds."""
        return {"database": self.database.name, "label": self.label, **self._summary()}

    def _summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self.database._meter.labelled(self.label).summary()
        return summary

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label} of {self.database.name}>"


class LabelledTransaction(Transaction):
    """A transaction whose own calls have a label; a call on `db` that joins it has none."""

    def __init__(self, labelled: Labelled, *options: Any) -> None:
        super().__init__(labelled.database, *options)
        self.label = labelled.label

    def _job(self, want: int, sql: str, arguments: Sequence[Any], idempotent: bool = False) -> Job:
        job = super()._job(want, sql, arguments, idempotent)
        job.label = self.label
        return job
