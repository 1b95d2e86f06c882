"""What a health check asks and says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from .job import Job
from .rows import ROW
from .statement import Statement

# A standby that has replayed all that it received is not behind, however long ago the last change was.
_TEXT = """SELECT pg_is_in_recovery(), current_setting('server_version'),
CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0::float8
ELSE 1e3 * extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END"""


@cache
def _statement() -> Statement:
    # Made when it is first asked: to read a text for the first time takes 10 ms, which an import would have.
    statement = Statement(_TEXT)
    statement.described((), 1)  # no parameters, and columns that have binary loaders: nothing is to be asked
    return statement


def question(deadline: float) -> Job:
    """Return the job whose value `report` takes as its *answer*; the breaker hears nothing of it (B3)."""
    job = Job(ROW, _statement())
    job.admitted = job.aside = True
    job.deadline = deadline
    return job


def report(
    database: str,
    pool: dict[str, int],
    breaker: str,
    *,
    latency: float | None = None,
    answer: Sequence[Any] | None = None,
    error: Exception | None = None,
) -> dict[str, Any]:
    """Return plain values, the guide's keys included.

    Args:
        pool: size, min_size, max_size and what else the pool counts.
        breaker: The breaker's state.
        latency: Seconds that the probe took; None if it failed.
        answer: What the server said to `question`; None if it did not.
        error: Why the probe failed.
    """
    in_recovery, version, lag = (None, None, None) if answer is None else answer
    role = None if in_recovery is None else "standby" if in_recovery else "primary"
    return {
        "database": database,
        "status": "healthy" if error is None else "unhealthy",
        "pool_info": pool,
        "pool_size": pool["size"],
        "pool_max": pool["max_size"],
        "breaker": breaker,
        "role": role,
        "in_recovery": in_recovery,
        "replication_lag_ms": _rounded(lag) if in_recovery else None,
        "server_version": None if version is None else str(version).partition(" ")[0],
        "latency_ms": None if latency is None else _rounded(latency * 1e3),
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
