"""The code of README and docs runs as it stands, against real servers.

A `python` block is a program, which prints something. A block with a title is a file: programs after it on
its page may import it, and its commands may name it. `sh` blocks run in test_doc_commands.py. What stands as
`text` is no code.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pgdual.embedded import Postgres
from pgdual.testing import fresh_database

from .sources.kafka import MockKafka

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "schemas"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"""^```(?P<language>python|sh|sql|ini|text)(\ title="(?P<title>[\w./]+)")?\n(?P<code>.*?)^```$""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
READ_BY_PYTEST = re.compile(r"(test_\w+|conftest)\.py|pytest\.ini")
NOTHING: Mapping[str, str] = {}
UNTOLD = re.compile(r"^```(?!python|sh|sql|ini|text|$)(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """A piece of code on a page."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(page, line, match["language"], match["title"], match["code"]))
    return found


PROGRAMS = [block for block in blocks() if block.language == "python" and block.title is None]
FILES = [block for block in blocks() if block.title is not None]
TEXTS = [block for block in blocks() if block.language == "text"]


def files_of(page: Path, folder: Path, before: int | None = None) -> Path:
    """Write the files that *page* shows into *folder*; return it."""
    folder.mkdir(exist_ok=True)
    if not (folder / "schemas").exists():
        (folder / "schemas").symlink_to(SCHEMAS)
    for block in FILES:
        if block.page == page and (before is None or block.line < before):
            file = folder / str(block.title)
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def outcomes(main_server: Postgres, vb_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of each program, by its place."""
    programs = []
    for number, block in enumerate(PROGRAMS):
        folder = files_of(block.page, tmp_path_factory.mktemp(f"block{number}"), block.line)
        file = folder / f"line_{block.line}.py"
        file.write_text(block.code, encoding="utf-8")
        programs.append({"file": str(file), "folder": str(folder)})
    dsns = [next(fresh_database(server)) for server in (main_server, vb_server)]
    names = ("tradecore.sql", "tradecore_vb.sql")
    schemas = {dsn: (SCHEMAS / name).read_text("utf-8") for dsn, name in zip(dsns, names, strict=True)}
    command = [sys.executable, "-P", "-W", "error", "-m", "tests.documents"]
    few = {
        "PG_POOL_MIN_SIZE": "1",
        "VB_PG_POOL_MIN_SIZE": "1",
    }  # a program lives for some tens of milliseconds
    given = {"POSTGRES_DSN": dsns[0], "VB_POSTGRES_DSN": dsns[1], **few}
    with MockKafka(trades=3) as kafka:
        given["KAFKA_SERVERS"] = kafka.address
        done = run(command, ROOT, json.dumps({"schemas": schemas, "programs": programs}), given)
    assert done.returncode == 0, done.stderr
    return dict(zip((block.name for block in PROGRAMS), json.loads(done.stdout), strict=True))


def run(
    command: list[str], folder: Path, said: str = "", given: Mapping[str, str] = NOTHING
) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder*; it imports what these tests import."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **given},
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
def test_the_program_runs(block: Block, outcomes: dict[str, Any]) -> None:
    """It ends well, prints something and warns of nothing."""
    done = outcomes[block.name]
    assert done["status"] == 0, done["errors"]
    assert done["out"]
    assert done["errors"] == ""


@pytest.mark.parametrize("block", FILES, ids=lambda block: block.name)
def test_a_file_is_used(block: Block) -> None:
    """A file is one that pytest reads, or is named by another block of its page: import, command or path."""
    path = Path(str(block.title))
    others = [other for other in blocks() if other.page == block.page and other is not block]
    named = re.compile(rf"^from {path.stem} import|\b{path.stem}:app\b|\b{path.name}\b", re.MULTILINE)
    assert READ_BY_PYTEST.fullmatch(path.name) or any(named.search(other.code) for other in others)


@pytest.mark.parametrize("block", TEXTS, ids=lambda block: block.name)
def test_a_text_is_no_python(block: Block) -> None:
    """Code that could run is not hidden from these tests: what stands as text cannot be parsed."""
    with pytest.raises(SyntaxError):
        compile(block.code, block.name, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_says_what_it_is(page: Path) -> None:
    """A block is code that runs, a command, a file, or marked as text; and links lead to files."""
    text = page.read_text(encoding="utf-8")
    assert UNTOLD.findall(text) == []
    assert text.count("\n```") == 2 * sum(block.page == page for block in blocks())
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
