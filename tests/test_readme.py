"""What the documents say is true: their code runs, their commands are the ones that are used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgdual import errors

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def heading_of(block: str) -> str:
    return re.findall(r"^## (.*)$", README[: README.index(block)], re.MULTILINE)[-1]


@pytest.fixture
def environment(main_dsn: str, vb_dsn: str) -> Iterator[dict[str, str]]:
    """An environment with both databases, which have the tables of the schema files."""
    for dsn, name in ((main_dsn, "tradecore.sql"), (vb_dsn, "tradecore_vb.sql")):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute((ROOT / "schemas" / name).read_text(encoding="utf-8"))
    return {**os.environ, "POSTGRES_DSN": main_dsn, "VB_POSTGRES_DSN": vb_dsn}


@pytest.mark.parametrize("block", blocks("python"), ids=heading_of)
def test_the_code_runs(block: str, environment: dict[str, str]) -> None:
    """Each block is a whole program that ends well, prints something and warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


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
    assert tests.endswith(" .venv/bin/python -m pytest -q\n")


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
    table = README.split("## Errors")[1].split("```")[0]
    names = re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE)
    assert len(names) > 20
    assert [name for name in names if name not in errors.__all__] == []


def test_the_settings_exist() -> None:
    """Every variable in the table of settings is known to the settings."""
    known = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pgdual").glob("*.py"))
    table = README.split("## Settings")[1].split("\n## ")[0]
    names = re.findall(r"`([A-Z][A-Z_]+)`", "\n".join(row.split("|")[0] for row in table.split("\n|")[3:]))
    assert len(names) > 8
    assert [name for name in names if f'"{name}"' not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Each relative link names a file that exists."""
    if not (path := ROOT / document).exists():
        pytest.skip(f"a source distribution has no {document}")
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
