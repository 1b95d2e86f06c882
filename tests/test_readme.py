"""What the documents say is true: names exist, commands are the ones that are used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgdual import errors

ROOT = Path(__file__).parents[1]
PACKAGE = Path(errors.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_both_faces_are_shown() -> None:
    """There is code for the async and for the blocking face."""
    code = "\n".join(blocks("python"))
    assert "from pgdual.aio import" in code
    assert "from pgdual.sync import" in code


def test_the_first_two_commands_are_demo_and_tests() -> None:
    """The first two shell blocks are one line each, and set up what they run."""
    demo, tests = blocks("sh")[:2]
    for command in (demo, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert demo.endswith(" .venv/bin/pgdual demo\n")
    assert tests.endswith(" .venv/bin/python -m pytest -q -n auto\n")


@pytest.mark.parametrize("document", [".ci/run", "CONTRIBUTING.md"])
def test_the_test_command_is_the_same_everywhere(document: str) -> None:
    """What the README says is what the build runs and the contributor reads."""
    if not (path := ROOT / document).exists():
        pytest.skip(f"a source distribution has no {document}")
    assert blocks("sh")[1].strip() in path.read_text(encoding="utf-8")


def test_the_demo_command_is_the_same_everywhere() -> None:
    """CONTRIBUTING names the README's demo command."""
    if not (path := ROOT / "CONTRIBUTING.md").exists():
        pytest.skip("a source distribution has no CONTRIBUTING.md")
    assert blocks("sh")[0].strip() in path.read_text(encoding="utf-8")


def test_the_errors_exist() -> None:
    """Every name in the right column of the table of errors is one of pgdual.errors."""
    table = (ROOT / "docs/howto/from-asyncpg.md").read_text(encoding="utf-8")
    names = re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE)
    assert len(names) > 20
    assert [name for name in names if name not in errors.__all__] == []


def test_the_settings_exist() -> None:
    """Every variable in the table of settings is known to the settings."""
    known = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py"))
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    table = page.split("| variable ")[1].split("\n\n")[0]
    names = re.findall(r"`([A-Z][A-Z_]+)`", "\n".join(row.split("|")[0] for row in table.split("\n|")[2:]))
    assert len(names) > 8
    assert [name for name in names if f'"{name}"' not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Each relative link names a file that exists."""
    if not (path := ROOT / document).exists():
        pytest.skip(f"a source distribution has no {document}")
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
