"""Where does each microsecond of one fetchrow go? ``python -m bench.steps`` lists them, at 1 task and at 100.

py-spy looks on from outside, a thousand times a second. How often it saw each step, by the innermost function
of pgdual's or asyncio's or by the library below it, shares out the CPU that the calls took unwatched.
``--tree PATH`` plays another tree of pgdual with its bench, an older one, say.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import fresh
from bench.awake import awake
from bench.database import database
from bench.fresh import ROOT
from bench.hotspots import watch

RATE = 1_000  # looks a second
KERNEL = {"send": "kernel: send", "recv": "kernel: recv", "epoll_wait": "kernel: epoll_wait"}
LIBRARIES = {"libpq-": "libpq", "libpq.so": "libpq", "psycopg_binary": "psycopg, in C", "_ctypes": "ctypes"}
COMPILED = re.compile(r"CPy(?:Def|Py)_(?:(_async|_sync)___)?(\w+?)___")
WRITTEN = re.compile(r"\((?:.*/)?((?:pgdual|asyncio)/.*?\.py|selectors\.py|bench/.*?\.py)(?::\d+)?\)$")
LOOP, OPENED = "run_until_complete (", "open_async ("
# Unwatched, and in the same way for each tree: its own bench plays, and process_time says what it took.
UNWATCHED = """
from time import process_time
from bench.hotspots import _question
from bench.harness import Stage
with Stage({dsn!r}) as stage:
    ours, _peer = _question({row!r}).contest(stage)
    ours.round(1.0)
    print(sorted(ours.round(0.5).cpu for _ in range(9))[4] * 1e6)
"""


def step(stack: str) -> str | None:
    """Return which step of a call *stack*, of py-spy's, outermost first, was in; None outside of any."""
    if LOOP not in stack or OPENED in stack:
        return None  # imports, connections that are made
    for frame in reversed(stack.split(";")):
        name = frame.split(" ", 1)[0].removeprefix("__").removeprefix("libc_")
        if name in KERNEL:
            return KERNEL[name]
        for mark, library in LIBRARIES.items():
            if mark in frame:
                return library
        if found := COMPILED.match(frame):
            return "/".join(filter(None, ("pgdual", found[1] or "core", found[2]))) + ".py"
        if found := WRITTEN.search(frame):
            return "asyncio" if found[1].startswith(("asyncio", "selectors")) else found[1]
    return "the rest"


def shares(row: str, dsn: str, tree: Path) -> Counter[str]:
    """Return how often each step was seen while *row* was played from *tree*."""
    with TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        watch(row, dsn, raw, "raw", RATE, tree)
        seen: Counter[str] = Counter()
        for line in raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if found := step(stack):
                seen[found] += int(count)
    return seen


def microseconds(row: str, dsn: str, tree: Path) -> dict[str, float]:
    """Return the CPU microseconds a call of each step of *row*."""
    printed, _cpu = fresh.run(UNWATCHED.format(row=row, dsn=dsn), tree=tree)
    whole, seen = float(printed), shares(row, dsn, tree)
    return {found: whole * count / seen.total() for found, count in seen.most_common()}


def main(arguments: list[str] | None = None) -> int:
    """Watch and print."""
    parser = argparse.ArgumentParser(
        "python -m bench.steps", description="a fetchrow, microsecond by microsecond"
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help="where pgdual and its bench are")
    tree = parser.parse_args(arguments).tree
    with awake(), database() as dsn:
        one, hundred = (microseconds(row, dsn, tree) for row in ("1", "3"))
    print(f"{'CPU us a call':<34} {'1 task':>8} {'100 tasks':>10}")
    print(f"{'the whole':<34} {sum(one.values()):>8.1f} {sum(hundred.values()):>10.1f}")
    for found in dict.fromkeys((*one, *hundred)):
        print(f"{found:<34} {one.get(found, 0):>8.2f} {hundred.get(found, 0):>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
