"""pgdual/_generate.py: what it rewrites, what it refuses, what it reports."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pgdual import _generate
from pgdual._generate import GenerateError, faults, generate, import_once, main, pieces, rewrite

EVERY_RULE = '''"""Open it with `async with AsyncDB() as db: await db.fetch()`; an asynchronous twin."""
from contextlib import AbstractAsyncContextManager
from collections.abc import AsyncIterator, Callable, Iterator
from pgdual._async.db import AsyncDB

class AsyncThing(AbstractAsyncContextManager):
    async def __aenter__(self): return self
    async def __aexit__(self, *error): await self.close()
    def __aiter__(self): return self  # await is a word here
    async def __anext__(self): raise StopAsyncIteration
    @property
    def face(self): return "pgdual.aio"
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree that uses every rule, generated once."""
    side = tmp_path / "pgdual" / "_async"
    side.mkdir(parents=True)
    (side / "thing.py").write_text(EVERY_RULE)
    (side / "runtime.py").write_text("import asyncio\n")
    assert main([], tmp_path) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("async def f(): pass", "def f(): pass"),
        ("async with a as b, c: pass", "with a as b, c: pass"),
        ("x = [y async for y in z]", "x = [y for y in z]"),
        ("return (await x).y", "return (x).y"),
        ("x = (await\n     y)", "x = (\n     y)"),
        ("x = await(y)", "x = (y)"),
        ("    await  x", "     x"),
        ("x: 'AsyncDB[_AsyncRow]'", "x: 'DB[_Row]'"),
        ("f'{await x.y()} in {AsyncDB!r:>{await w}}'", "f'{x.y()} in {DB!r:>{w}}'"),
        ("f'é{'é'}é'; AsyncX  # é, AsyncY", "f'é{'é'}é'; X  # é, Y"),
        ('f"""é\n{AsyncX} é\n{{é"""; AsyncX', 'f"""é\n{X} é\n{{é"""; X'),
        ("raise StopAsyncIteration", "raise StopIteration"),
        (
            "x.__aenter__, x.__aiter__, x.__anext__, x.__aexit__",
            "x.__enter__, x.__iter__, x.__next__, x.__exit__",
        ),
        ("import asyncio, Asynchronous", "import asyncio, Asynchronous"),
        ("# async with x; async is a word, so is await", "# with x; async is a word, so is await"),
        ("from pgdual import _async, aio", "from pgdual import _sync, sync"),
        ("not_async = _async_ = kaio", "not_async = _async_ = kaio"),
    ],
)
def test_rewrite(source: str, expected: str) -> None:
    """Each construct has one blocking form, in code, in strings, in f-strings and in comments."""
    assert "".join(text for _, text in pieces(source)) == source
    assert rewrite(source, Counter()) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from a import Iterator, Callable, Iterator\n", "from a import Callable, Iterator\n"),
        ("from a import (\n    B,\n    B,\n    C,\n)\n", "from a import (\n    B,\n    C,\n)\n"),
        ("from a import (\n    B,  # B\n    C,\n)\n", "from a import (\n    B,  # B\n    C,\n)\n"),
        ("from a import B, BC\n", "from a import B, BC\n"),
    ],
)
def test_import_once(before: str, after: str) -> None:
    """A name that two names became is imported once."""
    assert import_once(before) == after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\nimport asyncio\n", 2),
        ("x: Awaitable[int]\n", 1),
        ("def f():\n    '''\n    a\n    '''\n    f'{await(x)}'\n", 5),
        ("def f():\n    return = 1\n", 2),
    ],
)
def test_no_blocking_form(text: str, line: int) -> None:
    """What cannot become blocking is refused, with its line."""
    assert [where for where, _ in faults(text)] == [line]


def test_refusal_names_the_source(root: Path) -> None:
    """The error names the file a person edits, and nothing is written."""
    (root / "pgdual/_async/other.py").write_text("\n\nimport anyio\n")
    with pytest.raises(GenerateError, match=r"^pgdual/_async/other\.py:3: 'anyio' has no blocking form$"):
        generate(root, Counter())
    assert main([], root) == 1
    assert not (root / "pgdual/_sync/other.py").exists()


def test_broken_source(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source that is no Python is named and nothing is written."""
    (root / "pgdual/_async/other.py").write_text("def f(:\n")
    assert main([], root) == 1
    assert "(other.py, line 1)" in capsys.readouterr().err


def test_output(root: Path) -> None:
    """A generated file says where it comes from; what is by hand stays out of it."""
    text = (root / "pgdual/_sync/thing.py").read_text()
    first, doc, *_ = text.splitlines()
    assert first == "# Generated from pgdual/_async/thing.py by _generate.py. Do not edit."
    assert doc == '"""Open it with `with DB() as db: db.fetch()`; an asynchronous twin."""'
    assert "from collections.abc import Callable, Iterator\n" in text
    assert not (root / "pgdual/_sync/runtime.py").exists()


def test_check_is_quiet_when_fresh(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree just written has nothing to report."""
    capsys.readouterr()
    assert main(["--check"], root) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("state", ["changed", "missing", "orphaned"])
def test_check_names_what_is_stale(root: Path, capsys: pytest.CaptureFixture[str], state: str) -> None:
    """A changed, a missing and an orphaned file each fail the check; writing mends all three."""
    thing = root / "pgdual/_sync/thing.py"
    if state == "changed":
        thing.write_text(thing.read_text() + "\n")
    elif state == "missing":
        thing.unlink()
    else:
        old = thing.with_name("old.py")
        old.write_text(thing.read_text())
        thing = old
    capsys.readouterr()
    assert main(["--check"], root) == 1
    assert capsys.readouterr().out == f"{state}: {thing.relative_to(root).as_posix()}\n"
    assert main([], root) == 0
    assert main(["--check"], root) == 0
    assert thing.exists() == (state != "orphaned")


def test_a_file_by_hand_is_not_removed(root: Path) -> None:
    """What nobody generated fails both modes on the generated side and stays."""
    stray = root / "pgdual/_sync/stray.py"
    stray.write_text("x = 1\n")
    assert (main([], root), main(["--check"], root)) == (1, 1)
    assert stray.exists()


def test_unused_rule_fails(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that nothing uses fails both modes and is named."""
    monkeypatch.setitem(_generate.TABLE, r"\bnowhere\b", "here")
    assert (main(["--check"], root), main([], root)) == (1, 1)
    assert capsys.readouterr().err == "unused rule: \\bnowhere\\b\n" * 2


def test_unknown_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped option changes nothing and says what there is."""
    assert main(["--chekc"]) == 2
    assert "usage" in capsys.readouterr().err


def test_this_repository_is_fresh() -> None:
    """The blocking side checked in is the one that the async side gives, run by path as the session does."""
    done = subprocess.run(
        [sys.executable, "-P", _generate.__file__, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
