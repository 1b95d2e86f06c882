"""What may be done about an error: one table, by SQLSTATE and by what is known of the statement.

The one question behind it is whether the statement can have had an effect. A statement that was not
sent, or that the server refused before running it, may be sent again; a READ may be sent again whatever
became of it; a write whose answer was lost may not (O1).
"""

from __future__ import annotations

from enum import Enum

from .job import Job


class Verdict(Enum):
    """What the one loop does next."""

    RAISE = "raise"
    AGAIN = "send it again"
    AS_WRITE = "send it again on a session that may write"
    UNKNOWN = "raise OutcomeUnknownError"


# Source: PostgreSQL's errcodes.txt.
_BY_STATE = {
    "26000": Verdict.AGAIN,  # the prepared statement does not exist; the pipeline knows now
    "42P05": Verdict.AGAIN,  # it exists already
}
_READ_ONLY = "25006"


def judge(job: Job, error: Exception, is_read: bool) -> Verdict:
    """Return what to do after *job* ended in *error* outside of a transaction, sent as a READ or not."""
    if job.lost:
        return Verdict.AGAIN if is_read else Verdict.UNKNOWN
    state = getattr(error, "sqlstate", None)
    if state == _READ_ONLY and is_read:
        return Verdict.AS_WRITE
    if getattr(error, "outdated", False):
        return Verdict.AGAIN
    return _BY_STATE.get(state or "", Verdict.RAISE)


# A server that answers a connection attempt with one of these will not answer otherwise in a moment.
# libpq gives no SQLSTATE for a failed attempt, so the words of the message have to do.
_FINAL = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied for database",
    "no password supplied",
    "is not permitted to log in",
    "invalid connection option",
    "invalid sslmode value",
    "unrecognized configuration parameter",
    "server does not support SSL",
    "certificate verify failed",
)


def is_final(error: Exception) -> bool:
    """True if connecting again would fail the same way: a wrong password, no such database."""
    text = str(error)
    return any(words in text for words in _FINAL)
