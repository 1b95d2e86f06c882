"""What mypyc compiles for users keeps to what mypyc can do, so that it does what the source says."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MODULES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["mypyc"]

TRIES = (ast.Try, ast.TryStar)


def misunderstood(source: str) -> list[int]:
    """Return the lines of *source* that mean something else once they are compiled. Seen with mypy 2.4.

    The `from` of a raise is passed over. A coroutine that waits while an error is handled leaves that behind,
    as what everything is raised for that comes after; `async with` and `async for` do so unseen. A generator
    that is dropped where it stands does not run its `finally`.
    """
    nodes = list(ast.walk(ast.parse(source)))
    tries = [node for node in nodes if isinstance(node, TRIES)]
    handlers = [part for one in tries for end in (*one.handlers, *one.finalbody) for part in ast.walk(end)]
    kept = [part for one in nodes if isinstance(one, (ast.With, *TRIES)) for part in ast.walk(one)]
    unseen = (ast.AsyncWith, ast.AsyncFor, ast.TryStar)
    found: list[Any] = [node for node in nodes if isinstance(node, unseen)]
    found += [part for part in handlers if isinstance(part, ast.Await)]
    found += [part for part in kept if isinstance(part, (ast.Yield, ast.YieldFrom))]
    found += [node for node in nodes if isinstance(node, ast.Raise) and node.cause is not None]
    return sorted({node.lineno for node in found})


@pytest.mark.parametrize("module", MODULES)
def test_what_is_compiled_is_understood(module: str) -> None:
    """No module that is compiled says what mypyc takes for something else."""
    assert misunderstood((ROOT / module).read_text("utf-8")) == []


def test_mypyc_throws_as_it_is_built_for() -> None:
    """The line that a build changes is there, or is as it should be already."""
    mypyc = pytest.importorskip("mypyc.build", reason="mypy is in the extra `dev`")
    lines = ast.parse((ROOT / "hatch_build.py").read_text("utf-8")).body
    names = {ast.unparse(line.targets[0]): line.value for line in lines if isinstance(line, ast.Assign)}
    name, *calls = (ast.literal_eval(names[it]) for it in ("THROWS", "WITH_THREE", "WITH_ONE"))
    text = Path(mypyc.include_dir(), name).read_text("utf-8")
    assert any(call in text for call in calls)


SAMPLE = """
async def waiting():
    try:
        await first()
    except KeyError as error:
        await second()
        raise ValueError from error
    except IndexError:
        raise ValueError from None
    except TypeError:
        raise
    finally:
        await third()
    async with fourth():
        async for fifth in sixth():
            await fifth
def giving():
    yield 1
    try:
        yield 2
    finally:
        last()
    with most():
        yield 3
    try:
        none()
    except* KeyError:
        pass
"""


def test_what_is_misunderstood_is_found() -> None:
    """The check itself sees them, and nothing else."""
    assert misunderstood(SAMPLE) == [6, 7, 9, 13, 14, 15, 20, 24, 25]


def test_what_waits_does_the_same(tmp_path: Path) -> None:
    """What is left to wait in gives, raises, handles and says the same, compiled or not."""
    pytest.importorskip("mypyc", reason="mypyc is not installed: it comes with the extra dev")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    here = Path(__file__).resolve().parent
    assert misunderstood((here / "waits.py").read_text("utf-8")) == []
    compiler = (sys.executable, "-m", "mypyc", "--config-file=", here / "waits.py")
    subprocess.run(compiler, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    said = []
    for folder in (here, tmp_path):
        run = (sys.executable, here / "waiting.py", folder)
        done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
        said.append(done.stdout.splitlines())
    (source, *plain), (built, *compiled) = said
    assert source.endswith(".py")
    assert not built.endswith(".py")
    assert plain
    assert compiled == plain
