"""How many machine instructions does a call take? A figure without noise, to hold a change against.

``python -m bench.instructions`` runs each kind of call twice under valgrind, a few times and many times, in a
fresh process: the difference over the difference of the counts is one call, with neither start nor warm-up in
it. Only the client is counted, its C parts too; the server runs outside. Three percent more than in the last
release, the newest tag that leads here, fail. instructions.json keeps that one's figures for the builds that
were tried; for any other it is built and counted beside the present.
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
from collections.abc import Callable
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.database import BALANCE, SELECT, UPDATE, database, keys
from bench.fresh import ROOT
from bench.machine import is_compiled

KEPT = Path(__file__).with_name("instructions.json")
SOURCE = Path(__file__).resolve().parents[1]  # where git is asked; ROOT may be a folder with links
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no")
FEW, MANY = 200, 1_200
TOLERANCE = 1.03
COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")
Figures = dict[str, int]  # of each kind of call
PROCESSES = 2  # side by side: how busy the machine is changes no count


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


def _counted(kind: str, count: int, dsn: str, package: Path | None) -> int:
    """Return the instructions of a whole process that makes *count* calls, with pgdual from *package*."""
    program = f"from bench.instructions import play; play({kind!r}, {count}, {dsn!r})"
    path = os.pathsep.join(map(str, filter(None, (package, ROOT))))
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [*VALGRIND, f"--cachegrind-out-file={folder}/out", sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    found = COUNTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr[-2_000:])
    return int(found[1].replace(",", ""))


def calls(dsn: str, package: Path | None = None) -> Figures:
    """Return the instructions of one call of each kind, by what is installed or by *package*."""
    runs = [(kind, count, dsn, package) for kind in KINDS for count in (FEW, MANY)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        found = list(pool.map(lambda run: _counted(*run), runs))
    return {
        kind: (many - few) // (MANY - FEW)
        for kind, few, many in zip(KINDS, found[::2], found[1::2], strict=True)
    }


def release(fallback: str) -> str:
    """Return the last release: the newest tag before this commit, or *fallback* while there is none."""
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or fallback


def _install(name: str, folder: Path) -> Path:
    """Install pgdual as it was at the commit *name*, compiled, in *folder*; return what goes on the path."""
    tree, package = folder / "tree", folder / "package"
    tree.mkdir()
    packed = subprocess.run(["git", "archive", name], cwd=SOURCE, capture_output=True, check=False)
    if packed.returncode:
        raise SystemExit(
            f"{name} is not in this clone, try git fetch --unshallow --tags: {packed.stderr.decode()}"
        )
    subprocess.run(["tar", "-x", "-C", tree], input=packed.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", package, tree], cwd=folder, check=True)
    if not any(package.glob("pgdual/core/pipeline.*.so")):
        raise SystemExit(f"{name} was not compiled: is there a C compiler?")
    return package


def calls_of(name: str, dsn: str) -> Figures:
    """Return the instructions of one call of each kind as of the commit *name*, which is built for it."""
    print(f"{name} is built and counted beside the present", flush=True)
    with TemporaryDirectory() as folder:
        return calls(dsn, _install(name, Path(folder)))


def builds() -> str:
    """Return what the figures depend on besides our code."""
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    return f"{python}, psycopg-binary {version('psycopg-binary')}"


def more(now: Figures, before: Figures) -> list[str]:
    """Return the kinds of calls that take more than they did, beyond the tolerance."""
    return [kind for kind in now if kind in before and now[kind] > before[kind] * TOLERANCE]


def compared(
    known: Figures | None, count: Callable[[], Figures], count_release: Callable[[], Figures]
) -> tuple[Figures, Figures]:
    """Return what a call takes now and what it took in the last release, as *known* or else counted now."""
    before, now = known or count_release(), count()
    if more(now, before):
        # A busy machine moves a count by one or two percent, and another compiler or mypyc makes other code
        # of the same source: what is more twice, and than the release built here, is more.
        again = count()
        now = {kind: min(figure, again[kind]) for kind, figure in now.items()}
        before = count_release() if known and more(now, before) else before
    return now, before


def line(kind: str, now: int, before: int | None) -> str:
    """Return one figure as it is printed."""
    change = f"{now / before - 1:+.1%} of {before:,}" if before else "not counted before"
    return f"{kind:<20} {now:>10,}  {change}"


def hindrance() -> tuple[str, int] | None:
    """Return why nothing can be counted, with the exit code: under CI a guard that cannot run has failed."""
    if shutil.which("valgrind") is None:
        return "not run: no valgrind on PATH", int(bool(os.environ.get("CI")))
    if not is_compiled():
        return "not run: this pgdual is not compiled, nox -s instructions has one that is", 1
    return None


def main(arguments: list[str] | None = None) -> int:
    """Count, compare and print; return 1 where a call takes more than in the last release."""
    parser = argparse.ArgumentParser("python -m bench.instructions", description="instructions a call")
    parser.add_argument(
        "--keep", action="store_true", help="count the last release anew and keep its figures"
    )
    options = parser.parse_args(arguments)
    if reason := hindrance():
        print(reason[0])
        return reason[1]
    compile_dir(str(ROOT / "bench"), quiet=1)  # else the first count has that in it
    kept = json.loads(KEPT.read_text())
    name = release(kept["base"])
    figures = kept["counted"].get(name, {})
    print(f"against {name}, on {builds()}", flush=True)
    with database() as dsn:
        known = None if options.keep else figures.get(builds())
        now, before = compared(known, lambda: calls(dsn), lambda: calls_of(name, dsn))
    print(*(line(kind, now[kind], before.get(kind)) for kind in now), sep="\n")
    if options.keep:
        kept["counted"] = {name: figures | {builds(): before}}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    return int(bool(more(now, before)))


if __name__ == "__main__":
    sys.exit(main())
