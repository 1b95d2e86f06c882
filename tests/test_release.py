"""What has to agree before a release, and on what it has to be tried."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "release.py"
DATED = "# Changelog\n\n## [1.2.0] - 2026-01-31\n\n## [1.1.0] - 2025-01-31\n"
OPEN = "## [Unreleased] - 1.2.0\n"
SAID = """\
pgdual 1.2.0, pure Python, on Python 3.11.7 and PostgreSQL 18.6
pgdual 1.2.0, compiled, on Python 3.11.7 and PostgreSQL 15.18 (Debian 15.18-0+deb12u1)
pgdual 1.2.0.dev3+g1234, compiled, on Python 3.12.1 and PostgreSQL 14.23
"""


@pytest.fixture
def release() -> dict[str, Any]:
    if not SCRIPT.exists():
        pytest.skip("a source distribution has no .ci")
    return runpy.run_path(str(SCRIPT))


def test_a_tagged_and_dated_version_is_released(release):
    """Tag and the newest part of the changelog are the same, and all is committed."""
    assert release["problems"](["v1.2.0"], ["v1.1.0"], DATED) == []


@pytest.mark.parametrize(
    ("here", "before", "changelog", "changed", "says"),
    [
        ([], [], DATED, "", "git tag v1.2.0"),
        (["v1.2.0", "v1.3.0"], [], DATED, "", "v1.3.0"),
        (["v1.1.0"], [], DATED, "", "CHANGELOG.md says 1.2.0"),
        (["v1.2.0"], [], OPEN, "", "Unreleased"),
        (["v1.2.0"], [], DATED, " M README.md", "README.md"),
    ],
)
def test_what_differs_is_named(release, here, before, changelog, changed, says):
    """A missing tag, another tag, a part without a day and a changed file are each refused."""
    [problem] = release["problems"](here, before, changelog, changed)
    assert says in problem


def test_a_rehearsal_needs_no_tag(release):
    """A rehearsal looks at the changelog alone: its newest part may be open, and is of no older tag."""
    assert release["problems"]([], ["v1.1.0"], OPEN, " M README.md", True) == []
    assert release["problems"]([], [], DATED, "", True) == []
    [problem] = release["problems"]([], ["v1.2.0"], OPEN, "", True)
    assert "v1.2.0 is an older commit" in problem
    [problem] = release["problems"]([], [], "## News\n", "", True)
    assert "'News'" in problem


def test_the_matrix_has_every_python_and_server(release):
    """What was tried stands in the table with the server's version; pure Python does not count."""
    found = release["tried"](SAID)
    assert found == {("3.11", "15"): "15.18", ("3.12", "14"): "14.23"}
    lines = release["table"](["3.11", "3.12"], found).splitlines()
    assert lines[0].split() == ["PostgreSQL", "14", "15", "16", "17", "18"]
    assert lines[1].split("  ")[0] == "Python 3.11"
    assert lines[1].split()[2:5] == ["not", "here", "15.18"]
    missing = release["gaps"](["3.11", "3.12"], found)
    assert len(missing) == 8
    assert missing[0] == "not tried: Python 3.11 with PostgreSQL 14"


def test_the_supported_pythons_are_known(release):
    """They are those of pyproject.toml."""
    assert release["supported"]()[0] == "3.11"
