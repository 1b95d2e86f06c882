"""The log of a transaction, and how a second run of it is held against the first (T5).

A block of code cannot be run twice, but what it said to the server can. When a transaction is rolled back
for another's sake, or its connection is lost before COMMIT was sent, its statements are sent again in a new
one, and every answer is held against the one that the block has seen. If all are equal, the block goes on.

Why that is as good as a first run: all that a block knows of the database is what its statements answered.
If the second run answers the same, the block, had it only begun later, would have sent the same statements
and stood where it stands now: the second run is that later first run, and the first one, which was rolled
back, left nothing. This holds at each isolation level, for the server keeps the level's promise to the
second run by itself: at READ COMMITTED each of its statements saw what was committed when it was sent; at
REPEATABLE READ and SERIALIZABLE all of them saw the one snapshot of the second run, and the conflicts of
the second run are found as those of any other transaction. Nothing of the first run counts any more but its
answers, and they are the second run's, too.

What lies outside of it, and what becomes of it:

- locks taken for their own sake (FOR UPDATE, LOCK, advisory): they were free between the runs. After a
  conflict that is as in any retry; after a loss, of which the block may hear late, there is no replay;
- values that differ from run to run, now() or an identity column returned to the block: they are seen to
  differ, and the original error is raised. Not returned, they are those of the second run;
- sequences and other things outside of transactions, such as dblink: they have moved on twice;
- notices are not compared; functions that pgdual does not know, CALL, DO and scripts turn replay off.

Errors are compared by all that they say, rows as the server sent them, byte for byte. Without an ORDER BY
their order does not count, but for `fetchrow` and `fetchval` the first row does, which is all that the block
has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from psycopg.pq.abc import PGresult

from .job import RETURNED, Job
from .rows import ROWS
from .statement import Statement

STATEMENTS: Final = 1000
"""How many statements, or rows of an executemany, are kept before replay is given up."""
_WORDS = ("schema_name", "table_name", "column_name", "datatype_name", "constraint_name")
"""What an error of the server's says beside its text, which has the message, the detail and the hint."""
_FROZEN = {int, str, float, bool, bytes, type(None), Decimal, UUID, date, datetime, time, timedelta}


class Log:
    """What one transaction said so far, and what it was answered.

    A step is a text of pgdual's own, such as SAVEPOINT, which is sent with what follows, or a job that was
    answered. A job keeps its parameters as they were encoded: what its caller does to them later changes
    nothing.

    Args:
        off: Why nothing is kept, None to keep.
    """

    __slots__ = ("_copies", "_rows", "locks", "off", "steps")

    def __init__(self, off: str | None = None) -> None:
        self.off = off
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.steps: list[bytes | Job] = []
        self.locks: bool = False
        self._rows = self._copies = 0

    def add(self, job: Job) -> None:
        """Keep *job*, which was answered; to be called unless it is off."""
        statement: Statement = job.statement
        if statement.leaves_traces:
            self.turn_off("a statement in it may do more than can be seen")
            return
        if statement.locks:
            self.locks = True
        steps = self.steps
        steps.append(job)
        rows = self._rows = self._rows + job.rows
        if rows > RETURNED or len(steps) > STATEMENTS:
            self.turn_off("it is too large to be kept")
            return
        job.future = None
        job.arguments = ()
        if job.results:
            job.value = None  # the caller's: compared is what it was made of

    def say(self, texts: Iterable[bytes]) -> None:
        """Keep texts of pgdual's own."""
        if self.off is None:
            self.steps.extend(texts)

    def turn_off(self, reason: str) -> None:
        """Keep nothing any more, for *reason*."""
        self.clear()
        self.off = self.off or reason

    def copied(self, job: Job) -> Iterator[Sequence[Any]]:
        """Return the rows of an executemany, which are kept on *job* when all were read."""
        kept: list[Sequence[Any]] = []
        for row in job.feed:
            if self.off is None:
                self._copy(row, kept)
            yield row
        job.feed = kept

    def _copy(self, row: Sequence[Any], kept: list[Sequence[Any]]) -> None:
        try:
            kept.append([value if type(value) in _FROZEN else deepcopy(value) for value in row])
        except Exception:  # of a value that cannot be copied: it is the caller's
            self.turn_off("a parameter in it cannot be copied")
        self._copies += 1
        if self._copies > STATEMENTS:
            self.turn_off("it is too large to be kept")


def again(job: Job) -> Job:
    """Return a job that says what *job* said."""
    twin = Job(job.want, job.statement)
    twin.buffers, twin.formats, twin.feed = job.buffers, job.formats, job.feed
    twin.keeps, twin.label = True, job.label
    return twin


def difference(first: Job, second: Job) -> str | None:
    """Return in which way the second run's answer is another than the first's; None if it is equal."""
    if first.error is not None or second.error is not None:
        was, found = _failure(first), _failure(second)
        return None if found == was else f"it ended in {found} where it was {was}"
    if not (first.results or second.results):
        return None if first.value == second.value else f"it answered {second.value!r}, was {first.value!r}"
    if _columns(first.results) != _columns(second.results):
        return "its columns are others"
    return None if seen(first) == seen(second) else "its rows are others"


def _failure(job: Job) -> str:
    """Return what the caller of *job* can have seen of its error: which constraint, which row."""
    error = job.error
    if error is None:
        return "no error"
    diag = getattr(error, "diag", None)
    words = f"{getattr(error, 'sqlstate', None) or type(error).__name__} {error}".split()
    return " ".join([*words, *filter(None, (getattr(diag, field, None) for field in _WORDS))])


def _columns(results: Sequence[PGresult]) -> list[tuple[Any, int]]:
    return (
        [(results[0].fname(at), results[0].ftype(at)) for at in range(results[0].nfields)] if results else []
    )


def seen(job: Job) -> Any:
    """Return what the caller of *job* can have seen of its rows, to be compared."""
    rows = _rows(job.results)
    if job.want != ROWS:
        return next(rows, None)
    return list(rows) if job.statement.ordered else Counter(rows)


def _rows(results: Sequence[PGresult]) -> Iterator[tuple[bytes | None, ...]]:
    for result in results:
        columns = range(result.nfields)
        for row in range(result.ntuples):
            yield tuple(result.get_value(row, column) for column in columns)


# -- commit tokens (T6) -------------------------------------------------------------------------------

PLACE = """
SELECT quote_ident(nspname) || '.pgdual_commit' AS place,
    has_column_privilege(c.oid, 'token', 'INSERT') AND has_column_privilege(c.oid, 'void', 'INSERT')
    AND has_column_privilege(c.oid, 'token', 'SELECT') AND has_column_privilege(c.oid, 'void', 'SELECT')
    AND has_column_privilege(c.oid, 'void', 'UPDATE') AS allowed
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass('pgdual_commit')
"""
"""What finds the table of tokens, and whether it may be asked: no row if there is none.

Its place is found before a transaction begins, and named from then on: within one the path may be another,
and who asks afterwards has to look where the token was left.
"""


def question(place: str) -> str:
    """Return what asks what became of a COMMIT whose answer was lost: false if it was done.

    The token travels in the COMMIT's own group. If it is there, that was committed. If it is not, it is put
    there, marked: the COMMIT then never was and never can be done, for its own token would be there twice.
    Asked again it says the same, and while the old server process is still at it, it waits.
    """
    return (
        f"INSERT INTO {place} AS given (token, void) VALUES ($1, true) "  # noqa: S608 - quoted by the server
        "ON CONFLICT (token) DO UPDATE SET void = given.void RETURNING void"
    )


def given(place: str, token: UUID) -> bytes:
    """Return the text that leaves *token*, to be sent in one group with COMMIT."""
    return f"INSERT INTO {place} (token) VALUES ('{token}')".encode()  # noqa: S608 - a UUID
