"""What has to agree before a release."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "release.py"
DATED = "# Changelog\n\n## [1.2.0] - 2026-01-31\n\n## [1.1.0] - 2025-01-31\n"


def problems(*args: Any) -> list[str]:
    if not SCRIPT.exists():
        pytest.skip("a source distribution has no .ci")
    found: list[str] = runpy.run_path(str(SCRIPT))["problems"](*args)
    return found


def test_a_tagged_and_dated_version_is_released() -> None:
    """Version, tag and the newest part of the changelog are the same."""
    assert problems("1.2.0", ["v1.2.0"], DATED) == []


@pytest.mark.parametrize(
    ("version", "tags", "changelog", "says"),
    [
        ("1.2.0", [], DATED, "git tag v1.2.0"),
        ("1.2.0", ["v1.2.0", "v1.3.0"], DATED, "v1.3.0"),
        ("1.1.0", ["v1.1.0"], DATED, "the newest part is '[1.2.0]"),
        ("1.2.0", ["v1.2.0"], "## [Unreleased] - 1.2.0\n", "Unreleased"),
    ],
)
def test_what_differs_is_named(version: str, tags: list[str], changelog: str, says: str) -> None:
    """A missing tag, another tag, an old part and a part without a day are each refused."""
    [problem] = problems(version, tags, changelog)
    assert says in problem


def test_a_rehearsal_needs_no_tag() -> None:
    """A rehearsal looks at the version alone."""
    assert problems("1.2.0", [], "## [Unreleased] - 1.2.0\n", True) == []
    assert problems("1.3.0", [], "## [Unreleased] - 1.2.0\n", True) != []
