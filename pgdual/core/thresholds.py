"""When something took too long or is used up, and in which words that is said (W2).

Each function makes a `Line`: the guide's words, and the same as plain fields, which JSON formatters and
structlog take as they are. Who measures brings the figures, who logs has the logger; here is neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil, inf
from typing import Any, NamedTuple

from pgdual.settings import Settings

from .job import MANY, SCRIPT, STATUS
from .rows import ROW, ROWS, VALUE

# How much of one argument is written (api.md), how many of them, and how much of a text.
WIDTH = 64
MOST = 20
LENGTH = 1000
# How long nothing more is said of a pool that crosses the threshold, for it may with every call.
QUIET = 1.0  # seconds
# What a call was, by what it wanted of its result.
OPERATIONS = {
    ROWS: "FETCH",
    ROW: "FETCHROW",
    VALUE: "FETCHVAL",
    STATUS: "EXECUTE",
    MANY: "EXECUTEMANY",
    SCRIPT: "EXECUTE",
}
# ALTER ROLE ... PASSWORD 'x', and the connection strings of dblink, CREATE SUBSCRIPTION and their like.
_CONCEALED = (  # compiled where a line is written: it is a millisecond of an import (bench row 17)
    r"(?i)(password\s*=?\s*)(?:e'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')"
    r"|(password=)[^\s'\",;)$]+|(://[^\s:/@']*:)[^\s@']+(?=@)"
)


class Line(NamedTuple):
    """A line for a log: which logger's, the words, and the same as plain values."""

    logger: str
    text: str
    fields: dict[str, Any]


class Thresholds(NamedTuple):
    """When a line is due; seconds, and a share of the pool.

    Args:
        shows_arguments: Whether the arguments of a slow query are written, each cut at 64 characters.
    """

    query: float = inf
    acquire: float = inf
    transaction: float = inf
    exhaustion: float = inf
    leak: float | None = None
    shows_arguments: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """Return those of *settings*."""
        return cls(
            settings.slow_query_threshold_ms / 1e3,
            settings.slow_acquire_threshold_ms / 1e3,
            settings.long_transaction_threshold_ms / 1e3,
            settings.pool_exhaustion_threshold,
            settings.leak_threshold,
            settings.log_query_args,
        )

    @property
    def least(self) -> float:
        """The seconds that waiting and running must take together before a call deserves a look."""
        return min(self.query, self.acquire)

    def needed(self, max_size: int) -> int:
        """Return how many active connections of *max_size* are too many."""
        # Rounded first: a product of the kind of 0.07 * 100 is 7.000000000000001, and must not become 8.
        return max(ceil(round(min(self.exhaustion, 2.0) * max_size, 9)), 1)

    def slow_query(self, database: str, job: Any, spent: float) -> Line:
        """Return what is said of a call that ran *spent* seconds."""
        sql = plain(job.statement.sql)
        operation = OPERATIONS[job.want]
        shown = self.shown(job.arguments)
        text = f"[SLOW QUERY] {database} {operation} took {spent * 1e3:.0f}ms: {sql}"
        fields: dict[str, Any] = {
            "database": database,
            "operation": operation,
            "duration_ms": round(spent * 1e3, 3),
            "threshold_ms": self.query * 1e3,
            "statement": sql,
            "argument_count": len(job.arguments),
            "label": job.label,
        }
        if self.shows_arguments:
            fields["arguments"] = shown
        if job.arguments:
            text += f" | args: {', '.join(shown) or f'{len(job.arguments)} hidden (DB_LOG_QUERY_ARGS)'}"
        return Line("query", text, fields)

    def shown(self, arguments: Sequence[Any]) -> list[str]:
        """Return the arguments as they may be written, none where they are hidden."""
        if not self.shows_arguments:
            return []
        shown = [_cut(argument) for argument in arguments[:MOST]]
        rest = len(arguments) - len(shown)
        return [*shown, f"... {rest} more"] if rest else shown

    def slow_acquire(self, database: str, waited: float) -> Line:
        """Return what is said of a call that waited *waited* seconds for its turn on a connection."""
        return Line(
            "pool",
            f"[SLOW ACQUIRE] {database} took {waited * 1e3:.0f}ms to get a connection "
            f"(threshold: {self.acquire * 1e3:.0f}ms)",
            _durations(database, waited, self.acquire),
        )

    def long_transaction(self, database: str, seconds: float, label: str | None = None) -> Line:
        """Return what is said of a transaction that was open for *seconds*."""
        return Line(
            "transaction",
            f"[LONG TRANSACTION] {database} transaction took {seconds * 1e3:.0f}ms "
            f"(threshold: {self.transaction * 1e3:.0f}ms)",
            {**_durations(database, seconds, self.transaction), "label": label},
        )

    def exhausted(self, database: str, active: int, max_size: int) -> Line:
        """Return what is said of a pool with *active* of *max_size* connections in use."""
        used = active / max_size
        return Line(
            "pool",
            f"[POOL EXHAUSTION] {database} pool at {active}/{max_size} active connections "
            f"({used * 100:.0f}% usage, {max_size - active} free)",
            {
                "database": database,
                "active": active,
                "max_size": max_size,
                "free": max_size - active,
                "usage": round(used, 4),
                "threshold": self.exhaustion,
            },
        )

    def leaked(self, database: str, what: str, seconds: float, stack: str) -> Line:
        """Return what is said of *what* that somebody has held for *seconds* and holds still.

        Args:
            what: "transaction" or "connection".
            stack: Where it was taken.
        """
        limit = self.leak or 0.0
        return Line(
            "transaction" if what == "transaction" else "pool",
            f"[LEAK] {database} {what} held for {seconds:.1f}s (threshold: {limit:g}s), taken at:\n{stack}",
            {**_durations(database, seconds, limit), "held": what, "stack": stack},
        )


def opened(database: str, failures: int, seconds: float) -> Line:
    """Return what is said of a breaker that *failures* in a row have opened for *seconds*."""
    return Line(
        "breaker",
        f"[CIRCUIT OPEN] {database} after {failures} failures; next probe in {seconds:.1f}s",
        {"database": database, "failures": failures, "retry_after_ms": seconds * 1e3},
    )


class Crossing:
    """Whether a pool is used up: said once a crossing, but not of each where one follows the other."""

    __slots__ = ("_said", "is_over")

    def __init__(self) -> None:
        self.is_over: bool = False
        self._said = -inf

    def rise(self, moment: float) -> bool:
        """Hear that the threshold is reached at *moment*; return True if that is to be said."""
        before, self.is_over = self.is_over, True
        if before or moment < self._said + QUIET:
            return False
        self._said = moment
        return True

    def fall(self) -> None:
        """Hear that less is used than the threshold."""
        self.is_over = False


def plain(sql: str) -> str:
    """Return a text on one line, cut at 1000 characters, without the passwords written in it."""
    line = re.sub(_CONCEALED, r"\1\2\3***", " ".join(sql.split()))
    short = line if len(line) <= LENGTH else line[: LENGTH - 3] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def _cut(argument: Any) -> str:
    if isinstance(argument, str | bytes | bytearray) and len(argument) > WIDTH:
        argument = argument[:WIDTH]  # a megabyte is not written out to be thrown away
    try:
        text = repr(argument)
    except Exception as error:  # a user's own type
        text = f"<{type(argument).__name__}: {type(error).__name__} in repr>"
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def _durations(database: str, seconds: float, threshold: float) -> dict[str, Any]:
    return {
        "database": database,
        "duration_ms": round(seconds * 1e3, 3),
        "threshold_ms": threshold * 1e3,
    }
