"""Imports point one way: errors <- dsn, environment <- settings <- core <- bodies <- faces <- rest <- cli."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["_generate errors", "dsn environment", "settings", "core", "monitor", "_async _sync", "aio sync"]
LAYERS += ["sources observe embedded testing migrations", "cli", "__init__ __main__"]
LAYER = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms.split()}
SIDES = [{"_async", "aio"}, {"_sync", "sync"}]
WAITING = {"asyncio", "selectors", "threading", "time", "psycopg_pool"}
WAITERS = {
    PurePath("pgdual", body, file)
    for body in ("_async", "_sync")
    for file in ("runtime.py", "wire.py", "lock.py")
}
WAITERS |= {PurePath("pgdual/_async/answer.py"), PurePath("pgdual/_async/deadlines.py")}


def imported(path: PurePath, source: str) -> Iterator[str]:
    """Yield the full dotted name of everything *source* imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = path.parts[: len(path.parts) - node.level] if node.level else ()
            base = [*start, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def breaches(path: PurePath, source: str) -> list[str]:
    """Return what *source*, standing at *path*, imports and may not."""
    here, found = PurePath(path.parts[1]).stem, []
    for name in imported(path, source):
        package, _, rest = name.partition(".")
        room = rest.split(".")[0]
        if package == "pgdual":
            other_side = any(here in side and room in SIDES[not index] for index, side in enumerate(SIDES))
            # A name that is no room is one of `pgdual/__init__.py`, the top.
            if other_side or LAYER.get(room, LAYER["__init__"]) > LAYER[here]:
                found.append(name)
        elif package in WAITING and here in {"core", "_async", "_sync"} and path not in WAITERS:
            found.append(name)
    return found


FILES = [path.relative_to(ROOT) for path in sorted((ROOT / "pgdual").rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    """No file imports from a layer above it, from the other body, or a way to wait it may not have."""
    assert breaches(path, (ROOT / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("pgdual/errors.py", "from pgdual.settings import Settings", "pgdual.settings.Settings"),
        ("pgdual/dsn.py", "from pgdual.settings import Database", "pgdual.settings.Database"),
        ("pgdual/environment.py", "from . import settings", "pgdual.settings"),
        ("pgdual/settings.py", "from . import core", "pgdual.core"),
        ("pgdual/core/a.py", "def f():\n    from .._async.db import AsyncDB", "pgdual._async.db.AsyncDB"),
        ("pgdual/core/a.py", "from pgdual import Record", "pgdual.Record"),
        ("pgdual/core/a.py", "import pgdual", "pgdual"),
        ("pgdual/core/a.py", "from time import monotonic", "time.monotonic"),
        ("pgdual/_async/db.py", "import asyncio.events", "asyncio.events"),
        ("pgdual/_async/bulk/copy.py", "from ..._sync import db", "pgdual._sync.db"),
        ("pgdual/_async/bulk/wire.py", "import threading", "threading"),
        ("pgdual/_sync/db.py", "from pgdual import _async", "pgdual._async"),
        ("pgdual/_sync/wire.py", "from .._async.wire import Wire", "pgdual._async.wire.Wire"),
        ("pgdual/sync.py", "from .aio import db", "pgdual.aio.db"),
        ("pgdual/aio.py", "from . import testing", "pgdual.testing"),
        ("pgdual/testing.py", "from .cli import main", "pgdual.cli.main"),
    ],
)
def test_a_breach_is_seen(path: str, source: str, breach: str) -> None:
    """Each kind of forbidden import is found, also inside a function and relative."""
    assert breaches(PurePath(path), source) == [breach]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "pgdual/core/a.py",
            "from ..errors import PgdualError\nfrom . import record\nimport selectors_of_mine",
        ),
        ("pgdual/_sync/wire.py", "import time, selectors\nfrom ..core.pipeline import Pipeline"),
        (
            "pgdual/testing.py",
            "import asyncio\nfrom .embedded.postgres import Postgres\nfrom . import aio, sync",
        ),
        ("pgdual/__init__.py", "from .cli import main\nfrom pgdual import aio"),
    ],
)
def test_the_right_way_is_free(path: str, source: str) -> None:
    """Downwards, inside a room, and above the bodies, nothing is forbidden."""
    assert breaches(PurePath(path), source) == []
