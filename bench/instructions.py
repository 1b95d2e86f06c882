"""How many machine instructions does a call take? A figure without noise, to hold a change against.

``python -m bench.instructions`` runs each kind of call twice under valgrind, a few times and many times, in a
fresh process: the difference over the difference of the counts is one call, with neither start nor warm-up in
it. Only the client is counted, its C parts too; the server runs outside. What was reached before is in
instructions.json, for each Python and psycopg; three percent more fail. ``--update`` keeps the new figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.database import BALANCE, SELECT, UPDATE, database, keys
from bench.fresh import ROOT

KEPT = Path(__file__).with_name("instructions.json")
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no")
FEW, MANY = 200, 1_200
TOLERANCE = 1.03
COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


async def _async(kind: str, dsn: str, count: int) -> None:
    from bench.clients import pgdual_async  # noqa: PLC0415  # the blocking kind does not load this face

    key = keys()
    # One wire: to open others takes place beside the calls, in the few of one run and in the many of another.
    async with pgdual_async(dsn, 1) as db:

        async def transaction() -> None:
            wanted = key()
            async with db.transaction() as tx:
                await tx.execute(UPDATE, wanted)
                await tx.fetchval(BALANCE, wanted)

        async def select() -> None:
            await db.fetchrow(SELECT, key())

        call = transaction if kind == "transaction" else select
        gc.freeze()
        for _ in range(count):
            await call()


def _blocking(dsn: str, count: int) -> None:
    from bench.clients import pgdual_blocking  # noqa: PLC0415

    key = keys()
    with pgdual_blocking(dsn, 1) as db:
        gc.freeze()
        for _ in range(count):
            db.fetchrow(SELECT, key())


KINDS = ("select", "transaction", "blocking select")


def play(kind: str, count: int, dsn: str) -> None:
    """Make *count* calls of *kind*."""
    if kind == "blocking select":
        _blocking(dsn, count)
    else:
        asyncio.run(_async(kind, dsn, count))


def _counted(kind: str, count: int, dsn: str) -> int:
    """Return the instructions of a whole process that makes *count* calls."""
    program = f"from bench.instructions import play; play({kind!r}, {count}, {dsn!r})"
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [*VALGRIND, f"--cachegrind-out-file={folder}/out", sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    found = COUNTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr[-2_000:])
    return int(found[1].replace(",", ""))


def a_call(kind: str, dsn: str) -> int:
    """Return the instructions of one call."""
    return (_counted(kind, MANY, dsn) - _counted(kind, FEW, dsn)) // (MANY - FEW)


def builds() -> str:
    """Return what the figures depend on besides our code."""
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    return f"{python}, psycopg-binary {version('psycopg-binary')}"


def main(arguments: list[str] | None = None) -> int:
    """Count, compare and print; return 1 where a call takes more than it did."""
    parser = argparse.ArgumentParser("python -m bench.instructions", description="instructions a call")
    parser.add_argument("--update", action="store_true", help="keep the new figures")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("not run: no valgrind on PATH")
        return 0
    kept: dict[str, Any] = json.loads(KEPT.read_text())
    before = kept.get(builds(), {})
    print(builds() if before else f"{builds()}: nothing kept to compare with")
    with database() as dsn:
        now = {kind: _told(kind, a_call(kind, dsn), before.get(kind)) for kind in KINDS}
    if options.update:
        KEPT.write_text(json.dumps(kept | {builds(): now}, indent=1) + "\n")
        return 0
    return int(any(now[kind] > before[kind] * TOLERANCE for kind in KINDS if kind in before))


def _told(kind: str, count: int, before: int | None) -> int:
    change = f"{count / before - 1:+.1%} of {before:,}" if before else ""
    print(f"{kind:<20} {count:>10,}  {change}", flush=True)
    return count


if __name__ == "__main__":
    sys.exit(main())
