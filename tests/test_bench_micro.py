"""bench/micro.py runs as `nox -s micro` runs it, whatever the suite is set to. No figure is judged."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.fresh import ROOT

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is in the extra `bench`")
QUICK = ("-k", "recorded", "--benchmark-max-time=0.01", "--benchmark-min-rounds=1")


def micro(*options: str) -> str:
    """Return what the session's program says; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.micro", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_first_run_is_kept_and_the_next_is_compared_with_it(tmp_path):
    """To compare with nothing says so and keeps the run; the next run stands beside it."""
    storage = f"--benchmark-storage={tmp_path}"
    first = micro(*QUICK, storage, "--benchmark-compare")
    assert "No benchmark files" in first
    assert "1 passed" in first
    [kept] = tmp_path.rglob("*.json")
    again = micro(*QUICK, storage, "--benchmark-compare")
    assert f"Comparing against benchmarks from: {kept.parent.name}/{kept.name}" in again
    assert "(NOW)" in again


def test_everything_in_it_answers(main_dsn, monkeypatch):
    """Each function runs once, against a real server."""
    monkeypatch.setenv("PGDUAL_BENCH_DSN", main_dsn)
    assert "11 passed" in micro("--benchmark-disable")
