"""What a health check says: plain values under the guide's keys."""

import json

import pytest

from pgdual.core.health import report

POOL = {"size": 3, "min_size": 2, "max_size": 9, "idle": 1}


def test_a_healthy_primary():
    """A probe that was answered: healthy, its latency in milliseconds, the pool's figures twice."""
    found = report("main", POOL, "closed", latency=0.0012345678, in_recovery=False)
    assert found == {
        "database": "main",
        "status": "healthy",
        "pool_info": POOL,
        "pool_size": 3,
        "pool_max": 9,
        "breaker": "closed",
        "role": "primary",
        "latency_ms": 1.235,
        "error": None,
    }
    assert json.loads(json.dumps(found)) == found


def test_a_failed_probe():
    """A probe that failed: unhealthy, why, and nothing that is not known."""
    found = report("vb", POOL, "open", error=TimeoutError("no answer"))
    assert (found["status"], found["error"]) == ("unhealthy", "TimeoutError: no answer")
    assert found["breaker"] == "open"
    assert (found["role"], found["latency_ms"]) == (None, None)


@pytest.mark.parametrize(("in_recovery", "role"), [(None, None), (True, "standby"), (False, "primary")])
def test_roles(in_recovery, role):
    """The role is known where the server said whether it is in recovery."""
    assert report("main", POOL, "closed", latency=0.0, in_recovery=in_recovery)["role"] == role
