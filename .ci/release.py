"""Says what stands in the way of a release: version, tag and changelog have to name the same.

    python .ci/release.py [--rehearsal]

A rehearsal asks for no tag and no date, so that a release can be tried before it is made.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def problems(version: str, tags: list[str], changelog: str, is_rehearsal: bool = False) -> list[str]:
    """Return what is wrong with releasing *version* from a commit with these *tags*."""
    found = []
    newest = next(iter(re.findall(r"^## (.*)$", changelog, re.MULTILINE)), "")
    if is_rehearsal:
        if version not in newest:
            found.append(f"CHANGELOG.md: the newest part is {newest!r}, and not of {version}")
        return found
    if tags != [f"v{version}"]:
        found.append(f"pyproject.toml says {version}, the tags of this commit are {tags}: git tag v{version}")
    if not re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", newest):
        found.append(f"CHANGELOG.md: the newest part is {newest!r}, not '[{version}] - YEAR-MONTH-DAY'")
    return found


def main() -> None:
    """Print what is wrong, and fail if anything is."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    command = ["git", "tag", "--points-at", "HEAD", "v*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if found := problems(version, done.stdout.split(), changelog, "--rehearsal" in sys.argv):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
