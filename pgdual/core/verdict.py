"""What may be done about an error: one table, by what failed and by what the statement is.

The one question behind it is whether the statement can have had an effect. A statement that was not
sent, or that the server refused or rolled back, may be sent again; a READ may be sent again whatever
became of it; a write whose answer was lost may not (O1), unless its user said that a repeated run is
harmless.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .job import Job
from .statement import SCRIPT


class Verdict(Enum):
    """What the one loop does next."""

    RAISE = "raise"
    AGAIN = "send it again, at once"
    AFTER_LOSS = "send it again on another connection"
    AFTER_CONFLICT = "send it again: it was rolled back"
    AS_WRITE = "send it again on a session that may write"
    ELSEWHERE = "give up this server's connections, and send it again"
    UNKNOWN = "raise OutcomeUnknownError"


class Failure(Enum):
    """What became of a statement that failed."""

    LOST = "its connection was lost before the answer came"
    CONFLICT = "deadlock or serialization failure: it was rolled back"
    STANDBY = "the server refuses to write: it is a standby now"
    READ_ONLY = "the session refuses to write"
    UNPREPARED = "the prepared statement is gone, outdated or there already: it was not run"
    OTHER = "any other error"


class Row(NamedTuple):
    """A row of the table: what is done about one failure, by the statement."""

    read: Verdict
    write: Verdict
    commits: Verdict  # CALL, DO or a script: it may have committed inside
    idempotent: Verdict  # a repeated run is harmless, says the user


_RAISE, _AGAIN, _UNKNOWN = Verdict.RAISE, Verdict.AGAIN, Verdict.UNKNOWN
_LOSS, _CONFLICT, _ELSEWHERE = Verdict.AFTER_LOSS, Verdict.AFTER_CONFLICT, Verdict.ELSEWHERE
TABLE = {
    Failure.LOST: Row(_LOSS, _UNKNOWN, _UNKNOWN, _LOSS),
    Failure.CONFLICT: Row(_CONFLICT, _CONFLICT, _RAISE, _CONFLICT),
    Failure.STANDBY: Row(_ELSEWHERE, _ELSEWHERE, _ELSEWHERE, _ELSEWHERE),
    Failure.READ_ONLY: Row(Verdict.AS_WRITE, _RAISE, _RAISE, _RAISE),
    Failure.UNPREPARED: Row(_AGAIN, _AGAIN, _AGAIN, _AGAIN),
    Failure.OTHER: Row(_RAISE, _RAISE, _RAISE, _RAISE),
}
# Source: PostgreSQL's errcodes.txt.
_BY_STATE = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "25006": Failure.READ_ONLY,
    "26000": Failure.UNPREPARED,
    "42P05": Failure.UNPREPARED,
}


def failure(job: Job, error: Exception) -> Failure:
    """Return what became of *job*, which ended in *error*."""
    if job.lost:
        return Failure.LOST
    if getattr(error, "outdated", False):
        return Failure.UNPREPARED
    found = _BY_STATE.get(getattr(error, "sqlstate", None) or "", Failure.OTHER)
    if found is Failure.READ_ONLY and getattr(error, "in_standby", False):
        return Failure.STANDBY
    if found is Failure.UNPREPARED and (job.statement.kind is SCRIPT or _is_from_within(error)):
        return Failure.OTHER  # nothing of ours is prepared in it, or it was run
    return found


def _is_from_within(error: Exception) -> bool:
    # What the server says of a statement itself has no context; what a function in it raises has one.
    diag = getattr(error, "diag", None)
    return diag is not None and diag.context is not None


def reason_to_replay(error: Exception, lost: bool) -> Failure | None:
    """Return for what a transaction is run again that ended in *error*, or whose wire was *lost*.

    Source: the last column of the retry table (T5).
    """
    if lost:
        return Failure.LOST
    if getattr(error, "outdated", False):
        return Failure.UNPREPARED
    found = _BY_STATE.get(getattr(error, "sqlstate", None) or "")
    if found is Failure.READ_ONLY:
        return Failure.STANDBY if getattr(error, "in_standby", False) else None
    return None if found is Failure.UNPREPARED and _is_from_within(error) else found


def judge(job: Job, error: Exception, is_read: bool) -> Verdict:
    """Return what to do after *job* ended in *error* outside of a transaction, sent as a READ or not."""
    found = failure(job, error)
    row = TABLE[found]
    if is_read:
        return row.read
    if job.statement.may_commit and not (found is Failure.LOST and job.idempotent):
        return row.commits
    return row.idempotent if job.idempotent else row.write


# A server that answers a connection attempt with one of these will not answer otherwise in a moment.
# libpq keeps the SQLSTATE of a failed attempt to itself, so the words of the message have to do. A server
# whose lc_messages is not English says others: such an attempt is taken for one that may yet succeed, so
# its callers wait for the acquire clock, which says the reason, and it counts as an incident.
_FINAL = (
    "authentication failed",
    "authentication method requirement",
    "channel binding required",
    "channel binding is required",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects connection",
    "requires a valid client certificate",
    "no such user",  # PgBouncer's words, and for the next
    "no such database",
    "does not exist",
    "permission denied for database",
    "no password supplied",
    "is not permitted to log in",
    "invalid connection option",
    "invalid sslmode value",
    "unrecognized configuration parameter",
    "invalid value for parameter",
    "server does not support SSL",
    "certificate verify failed",
    "does not match host name",
)
# 53300: the server is well, and full.
_FULL = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "no more connections allowed",  # PgBouncer's
)


def is_final(error: Exception) -> bool:
    """True if connecting again would fail the same way: a wrong password, no such database."""
    return _says(error, _FINAL)


def is_full(error: Exception) -> bool:
    """True if the server takes no more connections just now, which is no incident (B2)."""
    return _says(error, _FULL)


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    text = str(error)
    return any(one in text for one in words)
