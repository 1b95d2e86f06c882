"""The reference has every public name, and nothing that does not exist."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

from pgdual import errors

PAGES = Path(__file__).parents[1] / "docs/reference"
HELD = {
    "pgdual.aio": "aio",
    "pgdual.sync": "sync",
    "pgdual.errors": "errors",
    "pgdual.settings": "settings",
    "pgdual.embedded": "testing",
    "pgdual.testing": "testing",
    "pgdual.observe.opentelemetry": "observe",
    "pgdual.observe.probes": "observe",
    "pgdual.observe.prometheus": "observe",
}
DIRECTIVE = re.compile(r"^::: (pgdual\S*)$", re.MULTILINE)
LINK = re.compile(r"\]\[(pgdual\.\S+?)\]")


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def public(module: ModuleType) -> list[str]:
    """Return the names that *module* exports; the plugin exports its fixtures, and says so nowhere."""
    if (exported := getattr(module, "__all__", None)) is not None:
        return list(exported)
    own = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return [name for name in own if not name.startswith("_")]


def exists(path: str) -> bool:
    """Say whether *path* leads to a module, or to something in one."""
    for parts in range(path.count(".") + 1, 0, -1):
        head = ".".join(path.split(".")[:parts])
        try:
            module = import_module(head)
        except ModuleNotFoundError:
            continue
        rest = path.removeprefix(head).lstrip(".")
        return not rest or attrgetter(rest)(module) is not None
    return False


@pytest.mark.parametrize("module", HELD)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    """By a directive of its own, or named in the text beside what it belongs to."""
    text, names = page(HELD[module]), public(import_module(module))
    assert names
    shown = set(DIRECTIVE.findall(text))
    text += str(import_module(module).__doc__) if module in shown else ""
    assert [name for name in names if f"{module}.{name}" not in shown and f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("*.md")))
def test_what_the_reference_names_exists(name: str) -> None:
    """Directives and links between pages lead to objects."""
    named = [*DIRECTIVE.findall(page(name)), *LINK.findall(page(name))]
    assert named
    assert [path for path in named if not exists(path)] == []


def test_the_faces_have_the_same_pages() -> None:
    """What has a place of its own on the async page has one on the blocking page, or is the same class."""
    here = {path.removeprefix("pgdual.aio.").removeprefix("Async") for path in DIRECTIVE.findall(page("aio"))}
    there = {path.removeprefix("pgdual.sync.") for path in DIRECTIVE.findall(page("sync"))}
    linked = {path.removeprefix("pgdual.aio.") for path in LINK.findall(page("sync"))}
    assert {name for name in here if "." not in name} <= there | linked


def test_the_codes_of_errors_are_right() -> None:
    """The table names the SQLSTATE and the class above."""
    rows = re.findall(r"^\| `(\w+)` \| (\w{5}) \| `(\w+)` \|$", page("errors"), re.MULTILINE)
    known = [getattr(errors, name) for name, *_ in rows]
    told = [(kind.__name__, kind.sqlstate, kind.__base__.__name__) for kind in known]
    assert told == rows
    servers = {name for name in errors.__all__ if getattr(getattr(errors, name), "sqlstate", None)}
    assert servers == {name for name, *_ in rows}
    assert all(inspect.isclass(kind) for kind in known)
