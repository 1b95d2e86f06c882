"""How long does `import pgdual.aio` take beside its own foundation? Row 17.

Each import happens in a fresh interpreter that times itself, so the interpreter's start is left out. A round
is the quickest of three imports, however long a round is meant to be: what is slower had the disk or the
neighbours in it.
"""

from __future__ import annotations

from bench import fresh
from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise

FOUNDATION = "psycopg_pool, pydantic_settings"
PROGRAM = "import time; start = time.perf_counter(); import {0}; print((time.perf_counter() - start) * 1e3)"
IMPORTS = 3


def _import(modules: str) -> Sample:
    """Import *modules* in a fresh interpreter; the CPU figure is the whole process'."""
    printed, cpu = fresh.run(PROGRAM.format(modules))
    return Sample(float(printed), cpu)


def _quickest(modules: str) -> Sample:
    return min((_import(modules) for _ in range(IMPORTS)), key=lambda sample: sample.figure)


def _side(modules: str) -> Side:
    return Side(lambda: None, lambda _seconds: _quickest(modules))


def _contest(_stage: Stage) -> tuple[Side, Side]:
    return _side("pgdual.aio"), _side(FOUNDATION)


PROMISE = Promise("17", "import pgdual.aio", "its foundation", 1.05, 1.2, "ms", lower_is_better=True)
QUESTIONS = [Question(PROMISE, _contest, is_async=False, is_slow=True)]
