"""What mypyc compiles for users keeps to what mypyc can do, so that it does what the source says."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MODULES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["mypyc"]


def misunderstood(source: str) -> list[int]:
    """Return the lines of *source* that mean something else once they are compiled.

    The `from` of a raise is passed over; and a coroutine or a generator that stops while an error is handled
    leaves that behind, as what everything is raised for that comes after. Seen with mypy 2.4.
    """
    nodes = list(ast.walk(ast.parse(source)))
    kept = [part for node in nodes if isinstance(node, ast.Try) for part in ast.walk(node)]
    found = [node for node in nodes if isinstance(node, (ast.AsyncFunctionDef, ast.Await))]
    found += [part for part in kept if isinstance(part, (ast.Yield, ast.YieldFrom))]
    found += [node for node in nodes if isinstance(node, ast.Raise) and node.cause is not None]
    return sorted({node.lineno for node in found})


@pytest.mark.parametrize("module", MODULES)
def test_what_is_compiled_is_understood(module: str) -> None:
    """No module that is compiled says what mypyc takes for something else."""
    assert misunderstood((ROOT / module).read_text("utf-8")) == []


SAMPLE = """
async def waiting():
    await first()
try:
    second()
except KeyError as error:
    raise ValueError from error
except IndexError:
    raise ValueError from None
except TypeError:
    raise
def giving():
    yield 1
    try:
        yield 2
    finally:
        third()
"""


def test_what_is_misunderstood_is_found() -> None:
    """The check itself sees them, and nothing else."""
    assert misunderstood(SAMPLE) == [2, 3, 7, 9, 15]
