"""What a health check says: plain values under the guide's keys."""

import json

import pytest

from pgdual.core.health import question, report

POOL = {"size": 3, "min_size": 2, "max_size": 9, "idle": 1}


def test_a_healthy_primary():
    """A probe that was answered: healthy, its latency in milliseconds, the pool's figures twice."""
    found = report("main", POOL, "closed", latency=0.0012345678, answer=(False, "18.6 (Debian 1)", None))
    assert found == {
        "database": "main",
        "status": "healthy",
        "pool_info": POOL,
        "pool_size": 3,
        "pool_max": 9,
        "breaker": "closed",
        "role": "primary",
        "in_recovery": False,
        "replication_lag_ms": None,
        "server_version": "18.6",
        "latency_ms": 1.235,
        "error": None,
    }
    assert json.loads(json.dumps(found)) == found


def test_a_failed_probe():
    """A probe that failed: unhealthy, why, and nothing that is not known."""
    found = report("vb", POOL, "open", error=TimeoutError("no answer"))
    assert (found["status"], found["error"]) == ("unhealthy", "TimeoutError: no answer")
    assert found["breaker"] == "open"
    for key in ("role", "in_recovery", "replication_lag_ms", "server_version", "latency_ms"):
        assert found[key] is None


@pytest.mark.parametrize(("lag", "shown"), [(None, None), (0.0, 0.0), (1234.56789, 1234.568)])
def test_a_standby(lag, shown):
    """A standby says how far it is behind, where it knows."""
    found = report("main", POOL, "closed", latency=0.0, answer=(True, "18.6", lag))
    assert (found["role"], found["in_recovery"], found["replication_lag_ms"]) == ("standby", True, shown)


def test_the_question_is_no_users_call():
    """B3: the breaker lets it through and does not count what becomes of it; it has its own deadline."""
    job = question(12.5)
    assert job.admitted
    assert job.aside
    assert job.deadline == 12.5
    assert question(1.0) is not job
