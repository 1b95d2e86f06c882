"""Says what stands in the way of a release: tag, changelog and matrix have to agree.

    python .ci/release.py ready [--rehearsal]
    python .ci/release.py matrix FILE [--rehearsal]

FILE holds what `smoke.py` said on each Python and PostgreSQL. A rehearsal asks for no tag and no date, and
leaves open what this machine has not got, so that a release can be tried before it is made.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVERS = ("14", "15", "16", "17", "18")
SAID = re.compile(r"^pgdual \S+, compiled, on Python (3\.\d+)\.\S+ and PostgreSQL ((\d+)\.\d+)", re.MULTILINE)
SUPPLY = """\
PGDUAL_PG_BINS names further folders of PostgreSQL programs: export PGDUAL_PG_BINS=$(.ci/servers FOLDER)
A Python is found as python3.11, python3.12 ... on PATH."""
Tried = dict[tuple[str, str], str]  # Python and PostgreSQL to the server's full version


def problems(
    here: list[str], before: list[str], changelog: str, changed: str = "", is_rehearsal: bool = False
) -> list[str]:
    """Return what is wrong with releasing a commit that has the tags *here*, after those of *before*."""
    newest = next(iter(re.findall(r"^## (.*)$", changelog, re.MULTILINE)), "")
    named = re.fullmatch(r"\[(\d[\d.]*)\] - \d{4}-\d\d-\d\d", newest)
    if named is None and is_rehearsal:
        named = re.fullmatch(r"\[Unreleased\] - (\d[\d.]*)", newest)
    if named is None:
        return [f"CHANGELOG.md: the newest part is {newest!r}, not '[VERSION] - YEAR-MONTH-DAY'"]
    found = []
    tag = f"v{named[1]}"
    if tag in before:
        found.append(f"CHANGELOG.md: {newest!r} is released, {tag} is an older commit")
    if is_rehearsal:
        return found
    if here != [tag]:
        found.append(f"CHANGELOG.md says {named[1]}, the tags of this commit are {here}: git tag {tag}")
    if changed:
        found.append(f"what is not committed would be in the version's name:\n{changed}")
    return found


def tried(said: str) -> Tried:
    """Return what was tried, out of what `smoke.py` *said*; wheels that are pure Python do not count."""
    return {(python, major): server for python, server, major in SAID.findall(said)}


def table(pythons: list[str], found: Tried) -> str:
    """Return the matrix of Pythons and servers, each with the server's version or what is not here."""
    cells = [[found.get((python, server), "not here") for server in SERVERS] for python in pythons]
    names = [f"Python {python}" for python in pythons]
    rows = [("PostgreSQL", *SERVERS), *((name, *row) for name, row in zip(names, cells, strict=True))]
    return "\n".join(f"{row[0]:<12}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def gaps(pythons: list[str], found: Tried) -> list[str]:
    """Return what of the matrix was not tried."""
    missing = [(python, server) for python in pythons for server in SERVERS if (python, server) not in found]
    return [f"not tried: Python {python} with PostgreSQL {server}" for python, server in missing]


def supported() -> list[str]:
    """Return the Pythons that pyproject.toml names."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    return [found[1] for one in classifiers if (found := re.fullmatch(r".*:: (3\.\d+)", one))]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


def main() -> None:
    """Print the matrix and what is wrong, and fail if anything is."""
    is_rehearsal = "--rehearsal" in sys.argv
    if sys.argv[1] == "ready":
        here, known = (_git("tag", f"--{which}", "HEAD", "v*").split() for which in ("points-at", "merged"))
        before = [tag for tag in known if tag not in here]
        changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
        found = problems(here, before, changelog, _git("status", "--porcelain"), is_rehearsal)
    else:
        cells = tried(Path(sys.argv[2]).read_text("utf-8"))
        sys.stdout.write(table(supported(), cells) + "\n")
        missing = gaps(supported(), cells)
        found = [] if is_rehearsal or not missing else [*missing, SUPPLY]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
