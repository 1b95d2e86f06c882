"""Both faces have one shape: the same names, parameters and defaults."""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from pgdual import aio, sync

QUERIES = {"fetch", "fetchrow", "fetchval", "execute", "executemany", "transaction"}
DB = QUERIES | {"connection", "configure", "register", "pure", "health_check", "stats"}
FACE = {"db", "vb_db", "reference_db", "init_all", "close_all", "fetch_for_db", "get_pool", "Client"}
CLASSES = [("db", "DB", DB), ("transaction", "Transaction", QUERIES), ("client", "Client", {"open", "close"})]


def blocking(text: str) -> str:
    """Return *text* as the blocking side would say it."""
    return re.sub(r"Async(?=[A-Z])", "", text).replace("_async", "_sync").replace("pgdual.aio", "pgdual.sync")


def members(kind: type) -> dict[str, Any]:
    """Return what a user sees of the class *kind*, unbound."""
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


def shape(member: Any) -> str:
    """Return the parameters, defaults and annotations of *member*, or its type when it is not called."""
    plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    plain = plain.fget if isinstance(member, property) else plain
    return f"{type(member).__name__} {inspect.signature(plain)}" if callable(plain) else type(member).__name__


def assert_same(asynchronous: dict[str, Any], synchronous: dict[str, Any], least: set[str]) -> None:
    """Assert that both hold the same names, *least* among them, each of the same shape."""
    renamed = {blocking(name): member for name, member in asynchronous.items()}
    assert renamed.keys() == synchronous.keys()
    assert least <= synchronous.keys()
    for name, member in renamed.items():
        assert (name, blocking(shape(member))) == (name, shape(synchronous[name]))


@pytest.mark.parametrize(("module", "name", "least"), CLASSES, ids=[name for _, name, _ in CLASSES])
def test_classes(module: str, name: str, least: set[str]) -> None:
    """Each public class has a twin whose methods take the same arguments."""
    kinds = [
        getattr(import_module(f"pgdual.{side}.{module}"), prefix + name)
        for side, prefix in (("_async", "Async"), ("_sync", ""))
    ]
    assert_same(members(kinds[0]), members(kinds[1]), least)


def test_faces() -> None:
    """`pgdual.aio` and `pgdual.sync` export the same names with the same parameters."""
    faces = [{name: getattr(face, name) for name in face.__all__} for face in (aio, sync)]
    assert_same(*faces, FACE)


async def one(a: int, *, b: str = "x") -> "AsyncThing":  # type: ignore[name-defined]  # noqa: F821
    """Stand for an async method."""


def same(a: int, *, b: str = "x") -> "Thing":  # type: ignore[name-defined]  # noqa: F821
    """Have the shape of `one`."""


def renamed(a: int, *, c: str = "x") -> "Thing":  # type: ignore[name-defined]  # noqa: F821
    """Have another parameter."""


def other_default(a: int, *, b: str = "y") -> "Thing":  # type: ignore[name-defined]  # noqa: F821
    """Have another default."""


@pytest.mark.parametrize("twin", [renamed, other_default])
def test_a_difference_is_seen(twin: Callable[..., object]) -> None:
    """A parameter or a default that differs, or a name that is missing, fails."""
    assert_same({"f": one}, {"f": same}, {"f"})
    with pytest.raises(AssertionError):
        assert_same({"f": one}, {"f": twin}, {"f"})
    with pytest.raises(AssertionError):
        assert_same({"f": one}, {"g": same}, set())
    with pytest.raises(AssertionError):
        assert_same({"f": one}, {"f": same}, {"f", "g"})
