"""What a schema file says, whether it is to run, and where in it something went wrong (P3).

A file is SQL with two words for pgdual, each on a line of its own between two statements::

    -- pgdual: repeatable     run the file again when it has changed: every statement bears a second run
    -- pgdual: outside        the next statement cannot be in a transaction, as CREATE INDEX CONCURRENTLY

All that is not marked runs first, in one transaction together with the row that says so. What is marked
comes after it in the file, and runs alone, one by one; each is counted off, so that a run cut short goes on
where it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from pgdual.core.grammar import Kind
from pgdual.core.script import Piece, split, tokenize
from pgdual.core.statement import Statement
from pgdual.errors import SchemaError, UsageError

__all__ = ["Schema", "SchemaRun", "concurrent_index", "failure", "is_done", "masked", "read"]

# Patterns are compiled, and kept by `re`, when they are needed: to compile those of the package takes 5 ms.
_WORD = r"(?mi)^[ \t]*--[ \t]*pgdual:[ \t]*(.*?)[ \t]*$"
_REPEATABLE: Final = "repeatable"
_OUTSIDE: Final = "outside"
_CONCEALED = r"(?is)(password\s+(?:e|u&)?)('(?:[^'\\]|''|\\.)*'|\$(\w*)\$.*?\$\3\$)"
_LONGEST = 200  # characters of a statement in a message
# Source: errcodes.txt, active_sql_transaction: the statement cannot run inside a transaction block.
_ACTIVE = "25001"


class SchemaRun(NamedTuple):
    """What became of a schema file: whether it ran now, or had been run before.

    `statements` and `seconds` are those of this run; 0 where it was skipped.
    """

    database: str
    path: str
    digest: str
    ran: bool
    statements: int = 0
    seconds: float = 0.0


class Schema(NamedTuple):
    """A schema file: what runs in one transaction, and what runs after it, outside of any."""

    path: str
    digest: str
    is_repeatable: bool
    inside: tuple[Piece, ...]
    outside: tuple[Piece, ...]


def read(path: str, text: str) -> Schema:
    """Return what the schema file *path*, which holds *text*, says.

    Raises:
        SchemaError: It holds no statement, a quote never ends, it commits by itself, or it has what only
            psql can run. The message names the line.
    """
    # The digest is of what the server sees: a checkout with other line ends is the same file.
    text = text.replace("\r\n", "\n")
    try:
        found = split(text)
    except UsageError as error:
        raise SchemaError(f"{path}: {error}", path) from None
    if not found:
        raise SchemaError(f"{path}: there is no statement in it", path)
    for piece in found:
        _check(path, piece)
    is_repeatable, marked = _words(path, text, found)
    inside = tuple(piece for piece in found if piece.line not in marked)
    outside = tuple(piece for piece in found if piece.line in marked)
    if inside and outside and inside[-1].line > outside[0].line:
        raise SchemaError(
            f"{path}, line {inside[-1].line}: it stands after the statement on line {outside[0].line}, "
            f"which is marked `-- pgdual: {_OUTSIDE}` and would run later: move the marked ones to the end",
            path,
            inside[-1].line,
        )
    return Schema(path, sha256(text.encode()).hexdigest(), is_repeatable, inside, outside)


def _check(path: str, piece: Piece) -> None:
    try:
        statement = Statement(piece.sql)
    except UsageError as error:
        raise SchemaError(f"{path}, line {piece.line}: {error}", path, piece.line) from None
    if statement.kind is Kind.CONTROL:
        why = f"{statement.verb} is in it, and pgdual runs the file in a transaction of its own: take it out"
    elif statement.refusal is not None:
        why = statement.refusal
    else:
        return
    raise SchemaError(f"{path}, line {piece.line}: {why}", path, piece.line, masked(piece.sql))


def _words(path: str, text: str, found: list[Piece]) -> tuple[bool, set[int]]:
    """Return whether the file is repeatable, and the lines of the statements that run outside."""
    is_repeatable, marked = False, set()
    for word, line in _between(text, found):
        following = next((piece.line for piece in found if piece.line > line), None)
        if word == _REPEATABLE:
            is_repeatable = True
        elif word == _OUTSIDE and following is not None:
            marked.add(following)
        else:
            raise SchemaError(
                f"{path}, line {line}: `-- pgdual: {word}` means nothing here; `-- pgdual: {_REPEATABLE}` "
                f"is for the file, `-- pgdual: {_OUTSIDE}` for the statement that follows it",
                path,
                line,
            )
    return is_repeatable, marked


def _between(text: str, found: list[Piece]) -> Iterator[tuple[str, int]]:
    # What looks like a word for pgdual inside a statement is the statement's, such as a function's body.
    spans = [(piece.line, piece.line + piece.sql.count("\n")) for piece in found]
    for word in re.finditer(_WORD, text):
        line = text.count("\n", 0, word.start()) + 1
        if not any(first <= line <= last for first, last in spans):
            yield word[1].lower(), line


def is_done(schema: Schema, digest: str | None, remaining: int, *, repeatable: bool) -> bool:
    """Return whether the run that was recorded last leaves nothing to do.

    Args:
        schema: The file as it is now.
        digest: That of the run recorded last; None if there was none.
        remaining: How many of its statements outside the transaction are still to run.
        repeatable: The caller says that a changed file may run again.

    Raises:
        SchemaError: The file has changed, and nobody says that it may run again.
    """
    if digest == schema.digest:
        return remaining == 0
    if digest is None or repeatable or schema.is_repeatable:
        return False
    raise SchemaError(
        f"{schema.path} has changed since it ran (its digest is {schema.digest[:12]}, that of the run "
        f"{digest[:12]}): write a migration; or, if every statement bears a second run, say so by "
        f"`-- pgdual: {_REPEATABLE}` in the file or repeatable=True in the call",
        schema.path,
    )


def concurrent_index(sql: str) -> tuple[str, str] | None:
    """Return the index that a CREATE INDEX CONCURRENTLY makes and its table, as written, or None.

    One that was cut short leaves an index that is not valid, and IF NOT EXISTS would keep it for ever.
    """
    tokens = tokenize(sql)
    words = tokens.words
    at = 3 if words[1:2] == ["unique"] else 2
    if words[:1] != ["create"] or words[at - 1 : at + 1] != ["index", "concurrently"]:
        return None
    at += 4 if words[at + 1 : at + 4] == ["if", "not", "exists"] else 1
    if "on" not in words[at + 1 : -1]:
        return None  # no name was given, and the server finds another one each time
    first = words.index("on", at + 1) + 1
    first += words[first] == "only"
    last = first
    while words[last + 1 : last + 2] == ["."]:
        last += 2
    table = sql[tokens.starts[first] : tokens.ends[min(last, len(words) - 1)]]
    return sql[tokens.starts[at] : tokens.ends[at]], table


def masked(sql: str) -> str:
    """Return *sql* without the passwords in it."""
    return re.sub(_CONCEALED, r"\1'********'", sql)


def failure(
    path: str, piece: Piece, database: str, said: str, sqlstate: str | None, position: str | None
) -> SchemaError:
    """Return the error for a statement that the server refused.

    Args:
        path: The file.
        piece: The statement; line 0 for none of them.
        database: Where it ran.
        said: The server's first line.
        sqlstate: The server's code, if it gave one.
        position: The character, counted from 1, that the server points at, if it does.
    """
    sql = piece.sql
    line = piece.line + (sql[: int(position) - 1].count("\n") if position else 0)
    shown = masked(" ".join(sql.split()))
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
    advice = ""
    if sqlstate == _ACTIVE:
        advice = f"; put `-- pgdual: {_OUTSIDE}` on the line above it, at the end of the file"
    elif sqlstate == "42501":
        advice = f"; grant it, or run the file as a role that may change {database}"
    code = f" ({sqlstate})" if sqlstate else ""
    where = f"{path}, line {line}" if line else path
    message = f"{database}: {where}: {said}{code}{advice}" + (f": {shown}" if shown else "")
    return SchemaError(message, path, line, masked(sql), sqlstate)
