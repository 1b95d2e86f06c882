"""What a health check says, from facts."""

from __future__ import annotations

from typing import Any


def report(
    database: str, pool: dict[str, int], breaker: str, *, latency: float | None = None,
    in_recovery: bool | None = None, error: Exception | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return plain values, the guide's keys included.

    Args:
        pool: size, min_size, max_size and what else the pool counts.
        breaker: The breaker's state.
        latency: Seconds that the probe took; None if it failed.
        in_recovery: True on a standby; None if not known.
        error: Why the probe failed.
    """
    role = None if in_recovery is None else "standby" if in_recovery else "primary"
    return {
        "database": database,
        "status": "healthy" if error is None else "unhealthy",
        "pool_info": pool,
        "pool_size": pool["size"],
        "pool_max": pool["max_size"],
        "breaker": breaker,
        "role": role,
        "latency_ms": None if latency is None else round(latency * 1e3, 3),
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }
