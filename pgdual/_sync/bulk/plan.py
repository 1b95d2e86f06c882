# Generated from pgdual/_async/bulk/plan.py by _generate.py. Do not edit.
"""What a backfill does, where it keeps how far it has come, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg.sql import SQL, Composed, Identifier

from pgdual.core.columns import raw, table_name
from pgdual.core.script import split
from pgdual.errors import UsageError

_QUERIES = ("SELECT", "VALUES", "TABLE", "WITH")

TABLE = """
CREATE TABLE IF NOT EXISTS pgdual_backfill (
    name text, part int, last_key text, until_key text, rows bigint NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false, started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (name, part)
)
"""
# Two that begin at the same time must not divide the keys differently.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('pgdual_backfill'), hashtext($1))"
PARTS = "SELECT part, rows, done, last_key FROM pgdual_backfill WHERE name = $1 ORDER BY part"
ENTER = "INSERT INTO pgdual_backfill (name, part, last_key, until_key) VALUES ($1, $2, $3, $4)"
READ = "SELECT last_key, until_key, rows, done FROM pgdual_backfill WHERE name = $1 AND part = $2 FOR UPDATE"
MOVE = """
UPDATE pgdual_backfill SET last_key = coalesce($3, last_key), rows = rows + $4, done = $5, updated_at = now()
WHERE name = $1 AND part = $2
"""


class Progress(NamedTuple):
    """How far a backfill has come.

    Rows in all runs and in this one, this run's seconds, the size of the next batch, the key it comes
    after, whether all is done, and how many rows there are, as the server estimates (0: unknown).
    """

    name: str
    rows: int
    now: int
    seconds: float
    batch: int
    last_key: str | None
    done: bool
    total: int = 0

    @property
    def rate(self) -> float:
        """Rows a second, in this run."""
        return self.now / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """The seconds that it will take, by the estimate and the rate; None if nobody knows."""
        if self.done:
            return 0.0
        return (self.total - self.rows) / self.rate if self.rate and self.total > self.rows else None


class Plan(NamedTuple):
    """What a backfill does."""

    name: str
    source: Composed
    key: Identifier
    transform: Callable[[list[Any]], Any] | None
    target: Any

    def batch(self, last: str | None, until: str | None, size: int) -> tuple[str, list[Any]]:
        """Return the query for the rows behind the key *last*, up to the key *until*, and its arguments."""
        bounds = [(sign, key) for sign, key in ((">", last), ("<=", until)) if key is not None]
        # The key's own type decides what is behind it: the server parses the text.
        said = [raw(f"s.{{}} {sign} ${at}").format(self.key) for at, (sign, _) in enumerate(bounds, 1)]
        where = SQL(" WHERE {}").format(SQL(" AND ").join(said)) if said else SQL("")
        text = SQL("SELECT s.*, s.{0}::text AS pgdual_key FROM ({1}) AS s{2} ORDER BY s.{0} LIMIT {3}")
        limit = raw(f"${len(bounds) + 1}")
        sql = text.format(self.key, self.source, where, limit).as_string()
        return sql, [*(key for _, key in bounds), size]

    def ends(self, parts: int) -> str:
        """Return the query for the keys at which each of *parts* parts ends, but the last."""
        shares = ", ".join(str(at / parts) for at in range(1, parts))
        text = SQL("SELECT (percentile_disc(ARRAY[{}]) WITHIN GROUP (ORDER BY s.{}))::text[] FROM ({}) AS s")
        return text.format(raw(shares), self.key, self.source).as_string()

    def estimate(self) -> str:
        """Return the statement that has the server estimate how many rows there are."""
        return SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM ({}) AS s").format(self.source).as_string()


def plan_of(database: Any, source: str, transform: Any, target: Any, key: str, name: str) -> Plan:
    """Return the plan.

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
        inner = SQL("{}").format(raw(split(source)[0].sql))
    return Plan(name, inner, Identifier(key), transform, target)
