"""How long does `import pgdual.aio` take beside its own foundation? Row 17.

Each import happens in a fresh interpreter that times itself, so the interpreter's start is left out. A round
is the quickest of three imports, however long a round is meant to be: what is slower had the disk or the
neighbours in it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise

FOUNDATION = "psycopg_pool, pydantic_settings"
PROGRAM = "import time; start = time.perf_counter(); import {0}; print((time.perf_counter() - start) * 1e3)"
IMPORTS = 3
ROOT = Path(__file__).resolve().parents[1]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _import(modules: str) -> Sample:
    """Import *modules* in a fresh interpreter; the CPU figure is the whole process'."""
    cpu = _cpu()
    # -P and PYTHONPATH for both alike: the same length of sys.path is searched. Byte code is kept for both,
    # as it is for what pip installs: the best of three has it.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM.format(modules)],
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1])
    return Sample(float(run.stdout), _cpu() - cpu)


def _quickest(modules: str) -> Sample:
    return min((_import(modules) for _ in range(IMPORTS)), key=lambda sample: sample.figure)


def _side(modules: str) -> Side:
    return Side(lambda: None, lambda _seconds: _quickest(modules))


def _contest(_stage: Stage) -> tuple[Side, Side]:
    return _side("pgdual.aio"), _side(FOUNDATION)


PROMISE = Promise("17", "import pgdual.aio", "its foundation", 1.05, 1.2, "ms", lower_is_better=True)
QUESTIONS = [Question(PROMISE, _contest, is_async=False)]
