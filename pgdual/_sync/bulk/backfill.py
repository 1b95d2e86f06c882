# Generated from pgdual/_async/bulk/backfill.py by _generate.py. Do not edit.
"""backfill: rows of one place into another, batch by batch, so that nothing is lost or done twice.

Each batch is one transaction: the checkpoint's row is locked and read, the rows behind its key are read
and written, the checkpoint is moved, COMMIT. So the checkpoint is what was done, whatever becomes of the
process, the connection or the server in between; a run after that goes on from there, and two runs at a
time take turns. That is also why a COMMIT whose answer was lost may be passed over here (O1): the next
batch reads whether it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, NamedTuple, TypeVar

from psycopg.sql import SQL, Identifier

from pgdual._sync.runtime import now
from pgdual.core.columns import raw, table_name
from pgdual.errors import OutcomeUnknownError, UsageError

from .feed import come

T = TypeVar("T")
LARGEST = 50_000  # rows of a batch: they stand in memory, twice
DOUBTS = 5  # how many lost COMMITs in a row are passed over
_QUERIES = ("SELECT", "VALUES", "TABLE", "WITH")

TABLE = """
CREATE TABLE IF NOT EXISTS pgdual_backfill (
    name text PRIMARY KEY, last_key text, rows bigint NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
)
"""
_ENTER = "INSERT INTO pgdual_backfill (name) VALUES ($1) ON CONFLICT (name) DO NOTHING"
_READ = "SELECT last_key, rows, done FROM pgdual_backfill WHERE name = $1 FOR UPDATE"
_MOVE = """
UPDATE pgdual_backfill SET last_key = coalesce($2, last_key), rows = rows + $3, done = $4, updated_at = now()
WHERE name = $1
"""


class Progress(NamedTuple):
    """How far a backfill has come: rows in all runs and in this one, this run's seconds, the next batch."""

    name: str
    rows: int
    now: int
    seconds: float
    batch: int
    last_key: str | None
    done: bool


class Plan(NamedTuple):
    """What a backfill does."""

    name: str
    first: str  # the query for the first batch, and for those behind a key
    next: str
    transform: Callable[[list[Any]], Any] | None
    target: Any
    key: str


def plan_of(database: Any, source: str, transform: Any, target: Any, key: str, name: str) -> Plan:
    """Return the plan, whose queries are made once.

    Raises:
        UsageError: An argument is wrong.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"checkpoint={name!r}: give the name under which the backfill is remembered")
    if not callable(target):
        table_name(target)
    try:
        inner = SQL("SELECT * FROM {}").format(table_name(source))
    except UsageError:
        statement = database._statements.get(source)
        if statement.verb not in _QUERIES or statement.parameters:
            raise UsageError("source is neither a table's name nor one query without parameters") from None
        inner = SQL("{}").format(raw(source.rstrip().removesuffix(";")))
    column = Identifier(key)
    text = SQL("SELECT s.*, s.{0}::text AS pgdual_key FROM ({1}\n) AS s{2} ORDER BY s.{0} LIMIT {3}")
    first = text.format(column, inner, SQL(""), SQL("$1")).as_string()
    # The key's own type decides what is behind it: the server parses the text.
    behind = SQL(" WHERE s.{} > $1").format(column)
    following = text.format(column, inner, behind, SQL("$2")).as_string()
    return Plan(name, first, following, transform, target, key)


class Run:
    """One run of a backfill."""

    def __init__(self, database: Any, plan: Plan, batch: int, seconds: float, dry_run: bool) -> None:
        self._database = database
        self._plan = plan
        self._batch = batch
        self._seconds = seconds
        self._dry_run = dry_run
        self._begun = now()
        self._now = 0
        self._last: str | None = None  # of a dry run

    def step(self) -> Progress:
        """Do one batch."""
        started, doubts = now(), 0
        while True:
            try:
                count, progress = self._database.run(self._dry if self._dry_run else self._one)
                break
            except OutcomeUnknownError:
                doubts += 1
                if doubts == DOUBTS:
                    raise
        self._now += count
        self._adapt(now() - started, count)
        seconds = now() - self._begun
        step: Progress = progress._replace(now=self._now, seconds=seconds, batch=self._batch)
        return step

    def _adapt(self, spent: float, count: int) -> None:
        # By half or double at most: one slow batch, behind somebody's lock, says little.
        if count == self._batch:
            factor = min(max(self._seconds / max(spent, 1e-6), 0.5), 2.0)
            self._batch = min(max(int(self._batch * factor), 1), LARGEST)

    def _one(self, tx: Any) -> tuple[int, Progress]:
        plan = self._plan
        tx.execute(_ENTER, plan.name)
        last, rows, done = tx.fetchrow(_READ, plan.name)
        found = [] if done else self._rows(tx, last)
        if found:
            self._write(tx, found)
            last = found[-1].pgdual_key
        is_done = done or len(found) < self._batch
        tx.execute(_MOVE, plan.name, last, len(found), is_done)
        return len(found), Progress(plan.name, rows + len(found), 0, 0.0, 0, last, is_done)

    def _dry(self, tx: Any) -> tuple[int, Progress]:
        found = self._rows(tx, self._last)
        if found and self._plan.transform is not None:
            come(self._plan.transform(_plain(found)))
        self._last = found[-1].pgdual_key if found else self._last
        rows = self._now + len(found)
        return len(found), Progress(self._plan.name, rows, 0, 0.0, 0, self._last, len(found) < self._batch)

    def _rows(self, tx: Any, last: str | None) -> list[Any]:
        if last is None:
            found = tx.fetch(self._plan.first, self._batch)
        else:
            found = tx.fetch(self._plan.next, last, self._batch)
        keys = [row.pgdual_key for row in found]
        if None in keys or len(set(keys)) < len(keys):
            raise UsageError(f"key={self._plan.key!r}: a value of it is NULL or stands twice in the source")
        return list(found)

    def _write(self, tx: Any, found: list[Any]) -> None:
        plan = self._plan
        given: Any = _plain(found)
        if plan.transform is not None:
            given = come(plan.transform(given))
            if not isinstance(given, Iterable):
                raise UsageError(f"transform returned a {type(given).__name__}: give a list of rows")
        if callable(plan.target):
            come(plan.target(tx, given))
        else:
            tx.upsert_many(plan.target, given, plan.key)


def _plain(found: list[Any]) -> list[dict[str, Any]]:
    rows = [row.asdict() for row in found]
    for row in rows:
        del row["pgdual_key"]
    return rows


class Backfills:
    """What a database has of backfills."""

    def backfill(
        self,
        source: str,
        transform: Callable[[list[dict[str, Any]]], Any] | None,
        target: Any,
        *,
        key: str,
        checkpoint: str,
        batch: int = 1_000,
        seconds: float = 0.2,
        dry_run: bool = False,
        progress: Callable[[Progress], Any] | None = None,
    ) -> Progress:
        """Write what *source* holds to *target* in batches; return how far it came, at the end all of it.

        Each batch is a transaction of its own, the checkpoint (a row of the table `pgdual_backfill`, which
        is made) included: after Ctrl-C, kill -9 or a failover the same call goes on where it was, and does
        nothing once it is done. On a conflict or a lost connection a batch is run again.

        Args:
            source: A table's name as in SQL, or a query without parameters.
            transform: Makes the rows to write of a batch of rows, both lists of dicts; may be async on the
                async face; None: as they are. It may be called again for the same rows.
            target: A table's name, whose rows are upserted by *key*, or a function of `(tx, rows)`.
            key: A column of the source that is unique, not NULL, has an index, and only grows.
            checkpoint: The name under which it is remembered.
            batch: Rows of the first batch.
            seconds: What a batch should take: the next one is made smaller or larger, 50,000 rows at most.
            dry_run: All is read and transformed, from the beginning, and nothing is written.
            progress: Called after each batch.

        Raises:
            UsageError: An argument is wrong, the key is NULL or not unique, or a transaction is open.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= LARGEST:
            raise UsageError(f"batch={batch!r}: give a number of rows from 1 to {LARGEST}")
        if not 0 < seconds < inf:
            raise UsageError(f"seconds={seconds!r}: give seconds above 0")
        run = Run(
            self, plan_of(self, source, transform, target, key, checkpoint), batch, seconds, dry_run
        )
        if not dry_run:
            self.execute(TABLE)  # type: ignore[attr-defined]
        while True:
            state = run.step()
            if progress is not None:
                come(progress(state))
            if state.done:
                return state
