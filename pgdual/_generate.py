"""Write the blocking side from the async one, or say what is stale.

    python -P pgdual/_generate.py            writes pgdual/_sync and tests/_sync
    python -P pgdual/_generate.py --check    writes nothing, fails on what it would change

Tokens are rewritten where they stand in the text, so layout and comments survive. Strings, f-strings
and comments follow the same table as code: `TABLE` names what is renamed, and the keywords `async` and
`await` go with the space after them. An f-string is one string here, as it is to Python 3.11's tokenizer,
whichever version runs this. A rule that nothing uses is an error.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each tree, and what is written by hand on both of its sides, or on one that alone has it.
TREES = {
    "pgdual": {"answer.py", "bulk/feed.py", "deadlines.py", "lock.py", "runtime.py", "wire.py"},
    "tests": {"runtime.py"},
}

TABLE = {
    r"Async(?=[A-Z])": "",
    r"\b__a(?=(?:enter|exit|iter|next)__)": "__",
    r"\b_async\b": "_sync",
    r"\baio\b": "sync",
    # A keyword goes; in prose and examples, where the word may stand for itself, only before code.
    r"^async$|\basync (?=(?:def|for|with) )": "",
    r"^await$|\bawait (?=[\w(])": "",
}

HEADER = "# Generated from "
COLOURED = re.compile(r"async|await|coroutine|^(?:anyio|aclose|aiter|anext)$", re.IGNORECASE)
IMPORT = re.compile(r"^ *from \S+ import (?:\([^()]*\)|[^(\n]*)", re.MULTILINE)
TWICE = re.compile(r"\b(\w+),\s+(?=(?:[^#]*\W)?\1\b)")


class GenerateError(Exception):
    """The async side holds something that has no blocking form; the message has one line for each."""


def pieces(source: str) -> Iterator[tuple[str, str]]:
    """Yield every stretch of *source* in order as (kind, text): NAME, STRING, COMMENT, or "" for the rest."""
    starts = [0, *accumulate(len(line) + 1 for line in source.split("\n"))]
    done = depth = begin = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        opens, closes = kind.endswith("STRING_START"), kind.endswith("STRING_END")
        if depth == 0:
            begin = starts[token.start[0] - 1] + token.start[1]
        depth += opens - closes
        kind = "STRING" if closes else kind
        if depth == 0 and kind in {"NAME", "STRING", "COMMENT"}:
            end = starts[token.end[0] - 1] + token.end[1]
            yield "", source[done:begin]
            yield kind, source[begin:end]
            done = end
    yield "", source[done:]


def rewrite(source: str, uses: Counter[str]) -> str:
    """Return the blocking form of *source*, adding to *uses* what each rule of the table did."""
    out: list[str] = []
    dropped = False
    for kind, text in pieces(source):
        new = text.removeprefix(" ") if dropped else text
        for pattern, replacement in TABLE.items() if kind else ():
            new, count = re.subn(pattern, replacement, new)
            uses[pattern] += count
        dropped = bool(text) and not new and kind == "NAME"
        out.append(new)
    return "".join(out)


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, what is wrong) for whatever in *text* the blocking side cannot have."""
    line = 1
    for kind, piece in pieces(text):
        if kind == "NAME" and COLOURED.search(piece):
            yield line, f"{piece!r} has no blocking form"
        line += piece.count("\n")
    try:
        compile(text, "generated", "exec", dont_inherit=True)
    except SyntaxError as error:
        yield error.lineno or 1, f"does not compile once rewritten: {error.msg}"


def import_once(text: str) -> str:
    """Return *text* with a name that renaming has put into one import twice taken out once."""
    return IMPORT.sub(lambda match: TWICE.sub("", match[0]), text)


def generate(root: Path, uses: Counter[str]) -> dict[Path, str]:
    """Return the text of every file of the blocking side, by its path.

    Raises:
        GenerateError: when a file has no blocking form; every such place is named.
        SyntaxError: when a file of the async side is no Python.
    """
    texts, wrong = {}, []
    for tree, by_hand in TREES.items():
        base = root / tree / "_async"
        for path in sorted(base.rglob("*.py")):
            part = path.relative_to(base)
            if part.as_posix() in by_hand:
                continue
            source = path.relative_to(root).as_posix()
            text = path.read_text("utf-8")
            ast.parse(text, source)
            text = rewrite(text, uses)
            wrong += [f"{source}:{line}: {fault}" for line, fault in faults(text)]
            header = f"{HEADER}{source} by _generate.py. Do not edit.\n"
            texts[root / tree / "_sync" / part] = header + import_once(text)
    if wrong:
        raise GenerateError("\n".join(wrong))
    return texts


def stale(root: Path, texts: dict[Path, str]) -> dict[Path, str]:
    """Return what differs between the files under *root* and *texts*: missing, changed or orphaned."""
    found = {
        path: path.read_text("utf-8")
        for tree, by_hand in TREES.items()
        for path in (root / tree / "_sync").rglob("*.py")
        if path.relative_to(root / tree / "_sync").as_posix() not in by_hand
    }
    return {
        path: "orphaned" if path not in texts else "changed" if path in found else "missing"
        for path in sorted(found.keys() | texts.keys())
        if found.get(path) != texts.get(path)
    }


def write(path: Path, text: str | None) -> None:
    """Make the file at *path* hold *text*, or be gone when *text* is None and it was generated."""
    if text is None:
        if path.read_text("utf-8").startswith(HEADER):
            path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the blocking side, or with `--check` compare it; return the exit status."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: _generate.py [--check]\n")
        return 2
    uses: Counter[str] = Counter()
    try:
        texts = generate(root, uses)
    except (GenerateError, SyntaxError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    changes = stale(root, texts)
    for path, state in changes.items():
        sys.stdout.write(f"{state}: {path.relative_to(root).as_posix()}\n")
        if not check:
            write(path, texts.get(path))
    left = stale(root, texts)  # after writing: an orphan somebody wrote by hand, which is theirs to move
    unused = [pattern for pattern in TABLE if not uses[pattern]]
    for pattern in unused:
        sys.stderr.write(f"unused rule: {pattern}\n")
    return 1 if unused or left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
