"""Cut SQL text into words, and a script into its statements.

The lexer follows PostgreSQL's own (`scan.l`, and psql's for where a statement ends): comments nest, strings
continue on the next line, `E''` knows the backslash, `$tag$` is a quote and `$1` is not, a semicolon in
parentheses or in a BEGIN ATOMIC body ends nothing. `standard_conforming_strings` is taken to be on.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pgdual.errors import UsageError

__all__ = ["LITERAL", "PARAMETER", "Piece", "Tokens", "makes_routine", "pieces", "split", "tokenize"]

LITERAL = "'"
"""What stands for any string or number among the words of `Tokens`."""

PARAMETER = "$"
"""What stands for `$1`, `$2` ..."""

_START = r"[A-Za-z_\u0080-\U0010ffff]"
_REST = r"[A-Za-z0-9_$\u0080-\U0010ffff]"
_TAG = rf"(?:{_START}[A-Za-z0-9_\u0080-\U0010ffff]*+)?"
_BREAK = r"(?:[ \t\f\v]|--[^\r\n]*+)*+[\r\n](?:[ \t\r\n\f\v]|--[^\r\n]*+[\r\n])*+"

_TOKEN = rf"""
    (?:[ \t\n\r\f\v]++|--[^\r\n]*+|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/)*+
    (?:
        (?P<literal>
            [eE]'(?:[^'\\]++|\\.|''|'{_BREAK}')*+'
          | (?:[uU]&|[bBxXnN])?+'(?:[^']++|'')*+'
          | 0[xXoObB][0-9A-Fa-f_]++
          | [0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?+(?:[eE][+-]?[0-9]++)?+
        )
      | (?P<quoted>(?:[uU]&)?"(?:[^"]++|"")*+")
      | (?P<open>/\*|(?:[uU]&|[eEbBxXnN])?['"]|\${_TAG}\$)
      | (?P<word>{_START}{_REST}*+)
      | (?P<parameter>\$[0-9]++)
      | (?P<mark>::|:=|=>|.)
    )
    """
_LITERAL, _QUOTED, _OPEN, _WORD, _PARAMETER = range(1, 6)
_COMMENT = r"/\*|\*/"
_PERCENT = r"%(?:\(\w+\))?[sbt](?!\w)"
_LOWER = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}  # the server folds no others
_MOST = 65_535  # Bind counts parameters in 16 bits


@cache
def _token() -> re.Pattern[str]:
    # Compiled by the first statement, not by the import: it takes 9 ms.
    return re.compile(_TOKEN, re.VERBOSE | re.DOTALL)


class Piece(NamedTuple):
    """One statement of a script, without its semicolon, and the line it starts on (the first is 1)."""

    sql: str
    line: int


class Tokens:
    """The words of a text, folded as the server folds them, and where each stands.

    A quoted name is `"` and the name (the name alone where it needs no quotes is still marked so), a string
    or number is `LITERAL`, `$1` is `PARAMETER`, anything else is itself.
    """

    __slots__ = ("ends", "highest", "percent", "starts", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.highest: dict[int, int] = {}
        self.percent: str | None = None

    def parameters(self, first: int, last: int) -> int:
        """Return the highest n of the `$n` among the words from *first* to before *last*, or 0."""
        return max((n for at, n in self.highest.items() if first <= at < last), default=0)


def tokenize(text: str) -> Tokens:
    """Return the words of *text*.

    Raises:
        UsageError: A quote or comment never ends, or a parameter's number is too high.
    """
    tokens = Tokens()
    words, starts, ends, match = tokens.words, tokens.starts, tokens.ends, _token().match
    at = 0
    while found := match(text, at):
        group = found.lastindex
        start, at = found.span(group or 0)
        if group == _WORD:
            word = found[_WORD]
            words.append(word.lower() if word.isascii() else word.translate(_LOWER))
        elif group == _LITERAL:
            words.append(LITERAL)
        elif group == _PARAMETER:
            tokens.highest[len(words)] = _number(text, start + 1, at)
            words.append(PARAMETER)
        elif group == _QUOTED:
            words.append(_name(found[_QUOTED]))
        elif group == _OPEN:
            at = _closing(text, start, at)
            if text[start] == "/":
                continue
            words.append(LITERAL)
        else:
            words.append(text[start:at])
            if text[start] == "%" and tokens.percent is None:
                placeholder = re.compile(_PERCENT).match(text, start)
                tokens.percent = None if placeholder is None else placeholder[0]
        starts.append(start)
        ends.append(at)
    return tokens


def _name(quoted: str) -> str:
    if quoted[0] != '"':  # U&"...": its escapes are not worth resolving, no function is written so
        return '"' + quoted
    return '"' + quoted[1:-1].replace('""', '"')


def _number(text: str, start: int, end: int) -> int:
    if end - start > 6 or (number := int(text[start:end])) > _MOST:
        where = f"${text[start:end][:12]} on line {_line(text, start)}"
        raise UsageError(f"{where}: a statement has at most {_MOST} parameters")
    return number


def _closing(text: str, start: int, end: int) -> int:
    """Return where the nested comment or dollar quote ends that opens at *start*."""
    opening = text[start:end]
    if opening == "/*":
        depth = 0
        for found in re.compile(_COMMENT).finditer(text, start):
            depth += 1 if found[0] == "/*" else -1
            if not depth:
                return found.end()
    elif opening[0] == "$" and (close := text.find(opening, end)) >= 0:
        return close + len(opening)
    what = "comment" if opening == "/*" else "quoted name" if opening[-1] == '"' else "string"
    raise UsageError(f"the {what} that opens with {opening} on line {_line(text, start)} never ends")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def pieces(words: list[str]) -> list[tuple[int, int]]:
    """Return the statements among *words*, each as its first word and the one after its last."""
    found = []
    first = depth = blocks = 0
    for at, word in enumerate(words):
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= depth > 0
        elif word == ";":
            if not depth and not blocks:
                if at > first:
                    found.append((first, at))
                first = at + 1
        elif word in _BLOCK and not depth:
            blocks = _nested(words, first, at, blocks)
    if len(words) > first:
        found.append((first, len(words)))
    return found


_BLOCK = frozenset({"begin", "case", "end"})


def _nested(words: list[str], first: int, at: int, blocks: int) -> int:
    """Return how many BEGIN ATOMIC and CASE are open after the word *at*."""
    word = words[at]
    if word == "begin":
        atomic = words[at + 1 : at + 2] == ["atomic"] and makes_routine(words, first)
        return blocks + atomic
    if not blocks or words[at - 1] == ".":
        return blocks
    return blocks + 1 if word == "case" else blocks - 1


def makes_routine(words: list[str], first: int) -> bool:
    """Return whether the statement that starts at *first* is CREATE FUNCTION or CREATE PROCEDURE."""
    if words[first] != "create":
        return False
    at = first + 3 if words[first + 1 : first + 3] == ["or", "replace"] else first + 1
    return words[at : at + 1] in (["function"], ["procedure"])


def split(text: str) -> list[Piece]:
    """Return the statements of a script in order; empty ones are dropped, so are comments between them.

    Raises:
        UsageError: A quote or comment never ends.
    """
    tokens = tokenize(text)
    found = []
    line, counted = 1, 0
    for first, last in pieces(tokens.words):
        start = tokens.starts[first]
        line += text.count("\n", counted, start)
        counted = start
        found.append(Piece(text[start : tokens.ends[last - 1]], line))
    return found
