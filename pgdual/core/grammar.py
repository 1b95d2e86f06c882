"""What one statement does, as far as its words tell.

There is no SQL parser here, and none is needed: one walk over the words with a stack of open parentheses
finds every call of a function, every row lock and every data-modifying word. Where a word can be read in two
ways it is read as the one that does more, so that a mistake costs a shared lane and never a wrong answer.

What no words show: an operator, a cast or a column written `row.function` that calls a user's function, and
views, policies and defaults that do. Those of a READ run under `default_transaction_read_only` (Q2).
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from pgdual.core import functions
from pgdual.core.functions import READERS, SYNTAX, WRITERS
from pgdual.core.script import LITERAL, tokenize
from pgdual.errors import UsageError

__all__ = ["Kind", "Part", "Sight", "look", "sort", "spelled"]

_PLAIN = r"[a-z_][a-z0-9_$]*"
_CLAUSES = frozenset(
    {"from", "group", "having", "limit", "offset", "on", "returning", "select", "using", "values", "where"}
    | {"window"}
)
_CHANGES = frozenset({"insert", "update", "delete", "merge"})
_LOCKS = frozenset({"update", "share", "no", "key"})
_TEMPORARY = frozenset({"temp", "temporary", "local", "global", "pg_temp"})
_HEEDED = _CLAUSES | _CHANGES | {"for", "into", "join", "order", "with"}

# Words that a parenthesis follows without a call, each after one of these words only.
_AFTER = {
    "by": frozenset({"order", "group", "partition"}),
    "sets": frozenset({"grouping"}),
    "zone": frozenset({"time"}),
    "varying": frozenset({"character", "char", "bit", "nchar"}),
    "first": frozenset({"fetch"}),
    "next": frozenset({"fetch"}),
    "insert": frozenset({"then"}),
    "materialized": frozenset({"not"}),
    "second": frozenset({"interval", "to", LITERAL}),
}
_ITEM = frozenset({"by", ",", "(", "all", "distinct"})  # what an item of GROUP BY stands after
# Words after which a name and a parenthesis are a type, an alias or a table, with its columns.
_NAMES_FOLLOW = frozenset({"::", "as", "with", "recursive", "into", "ordinality"})
_NO_QUERY = frozenset(
    {"array", "conditional", "ordinality", "ties", "time", "unconditional", "unique", "wrapper"}
)

_CONTROLS = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})
_CURSORS = frozenset({"DECLARE", "FETCH", "MOVE", "CLOSE"})
_SESSIONS = _CURSORS | frozenset(
    {"SET", "RESET", "LISTEN", "UNLISTEN", "PREPARE", "EXECUTE", "DEALLOCATE", "LOAD", "DISCARD"}
)
_READS = frozenset({"SELECT", "VALUES", "TABLE", "WITH"})
_QUERIES = _READS | {"INSERT", "UPDATE", "DELETE", "MERGE"}
# These call no function of a user's; CREATE, ALTER, REFRESH and whatever is not known here may (L7). COPY
# may run a program, or write a file (T5).
_QUIET = frozenset(
    {"ANALYZE", "CHECKPOINT", "CLUSTER", "COMMENT", "DROP", "GRANT", "LOCK", "NOTIFY", "REASSIGN"}
    | {"REINDEX", "REVOKE", "SECURITY", "SHOW", "TRUNCATE", "VACUUM"}
)
_COMMITTING = frozenset({"CALL", "DO"})
_BEFORE_TEMP = frozenset({"or", "replace", "local", "global"})


class Kind(Enum):
    """What a text is (Q1, Q4)."""

    READ = "read"
    WRITE = "write"
    SESSION = "session"
    CONTROL = "control"
    SCRIPT = "script"


class Sight:
    """What was seen in one statement."""

    __slots__ = ("calls", "changes", "into", "locks", "ordered", "session", "temporary")

    def __init__(self) -> None:
        self.calls: set[str] = set()  # of functions that are not among READERS
        self.changes: bool = False
        self.into: bool = False
        self.locks: bool = False
        self.ordered: bool = False
        self.session: bool = False
        self.temporary: bool = False


class Part(NamedTuple):
    """One statement of a text."""

    kind: Kind
    verb: str
    sight: Sight
    leaves_traces: bool
    may_commit: bool
    local: bool
    refusal: str | None


def sort(words: list[str], pure: AbstractSet[str]) -> Part:
    """Return what the statement made of *words* is, given the functions a user says are *pure*."""
    runs, body = _explained(words) if words[0] == "explain" else (True, words)
    verb = _verb(body)
    sight = look(body)
    sight.locks |= verb == "LOCK"
    sight.ordered |= verb in ("FETCH", "MOVE")  # of a cursor whose query may have an order
    strangers = sight.calls - pure
    kind = _kind(verb, body, sight, bool(strangers))
    local = kind is Kind.SESSION and _is_local(verb, body)
    traces = bool(strangers - WRITERS) if verb in _QUERIES or local else verb not in _QUIET
    commits = verb in _COMMITTING or (verb not in _QUERIES and "concurrently" in body)
    if not runs:
        sight.locks = commits = False
        if kind is Kind.WRITE and verb in _QUERIES and not traces:
            kind = Kind.READ  # a function the planner may evaluate is known by then
    return Part(
        kind,
        verb if body is words else "EXPLAIN",
        sight,
        leaves_traces=kind is not Kind.READ
        and kind is not Kind.CONTROL
        and (traces or (kind is Kind.SESSION and not local)),
        may_commit=commits,
        local=local,
        refusal=_refusal(kind, verb, body),
    )


def _kind(verb: str, words: list[str], sight: Sight, strange: bool) -> Kind:
    if verb in _CONTROLS or words[:2] == ["prepare", "transaction"]:
        return Kind.CONTROL
    if verb in _SESSIONS or sight.session or sight.temporary or _makes_temporary(verb, words):
        return Kind.SESSION
    if verb in _READS:
        return Kind.WRITE if strange or sight.changes or sight.into or sight.locks else Kind.READ
    return Kind.READ if verb == "SHOW" else Kind.WRITE


def _verb(words: list[str]) -> str:
    word = next((word for word in words if word != "("), "")
    return word.upper() if word.isascii() and word.isalpha() else ""


def _explained(words: list[str]) -> tuple[bool, list[str]]:
    """Return whether an EXPLAIN runs its statement, and that statement."""
    at = 1
    if words[1:2] == ["("] and ")" in words:
        at = words.index(")") + 1
    while at < len(words) and words[at] in ("analyze", "analyse", "verbose"):
        at += 1
    options = words[1:at]
    is_run = any(word in ("analyze", "analyse") or word[0] == '"' for word in options)
    return is_run, words[at:]


def _makes_temporary(verb: str, words: list[str]) -> bool:
    if verb != "CREATE":
        return False
    kind = next((word for word in words[1:] if word not in _BEFORE_TEMP), "")
    schemas = (word for word, dot in pairwise(words) if dot == ".")
    return kind in ("temp", "temporary") or "pg_temp" in schemas


def _is_local(verb: str, words: list[str]) -> bool:
    if verb == "SET":
        return words[1:2] in (["local"], ["transaction"], ["constraints"])
    return verb in _CURSORS and "hold" not in words


def _refusal(kind: Kind, verb: str, words: list[str]) -> str | None:
    if kind is Kind.CONTROL:
        return f"{verb} is not sent by hand: use db.transaction(), and db.transaction() in it for a savepoint"
    if verb == "COPY" and ("stdin" in words or "stdout" in words):
        return "COPY needs its own protocol: use psycopg's cursor.copy() on db.connection()"
    if verb in ("DEALLOCATE", "DISCARD") and words[-1] == "all":
        return f"{verb} ALL would drop what pgdual has prepared: run it on db.connection()"
    return None


class _Frame:
    """An open parenthesis: the word before it, and the clause that its words are in."""

    __slots__ = ("clause", "closed", "has_with", "opener")

    def __init__(self, opener: str) -> None:
        self.opener = opener
        self.clause = ""
        self.has_with = False
        self.closed = ""  # the opener of the parenthesis that was closed last


def look(words: list[str]) -> Sight:
    """Return what the statement made of *words* does."""
    sight = Sight()
    frame = _Frame("")
    stack: list[_Frame] = []
    for at, word in enumerate(words):
        if word == "(":
            if at:
                _call(sight, words, at, frame)
            stack.append(frame)
            frame = _Frame(words[at - 1] if at else "")
        elif word == ")":
            if stack:
                opener, frame = frame.opener, stack.pop()
                frame.closed = opener
        elif at and words[at - 1] == ".":
            _attribute(sight, words, at)
        elif word in _HEEDED:
            _heed(sight, words, at, frame, not stack)
    return sight


def _attribute(sight: Sight, words: list[str], at: int) -> None:
    # `(pid).pg_terminate_backend` and `s.pg_advisory_lock` are calls, too.
    name = _unquoted(words[at])
    is_other = words[at + 1 : at + 2] == ["("] or words[at - 2] == "pg_catalog"  # a call as such, a table
    if (
        not is_other
        and (name in functions.SESSION or name.startswith(("pg_", "lo_")))
        and name not in READERS
    ):
        sight.calls.add(name)
        sight.locks |= "advisory" in name


def _heed(sight: Sight, words: list[str], at: int, frame: _Frame, top: bool) -> None:
    word = words[at]
    before = words[at - 1] if at else ""
    after = words[at + 1] if at + 1 < len(words) else ""
    if word in _CHANGES:
        # A WITH may end in one after a CYCLE clause, whose words are names and pass for other clauses.
        if before in ("", "(", ")") or frame.has_with:
            sight.changes = True
            frame.clause = word
    elif word == "for":
        sight.locks |= after in _LOCKS
    elif word == "into":
        _into(sight, before, after)
    elif word == "order":
        # The whole query may stand in parentheses.
        sight.ordered |= (top or words[0] == "(") and after == "by"
        frame.clause = word
    elif word == "join":
        frame.clause = "from"
    elif word != "with":
        frame.clause = word
    elif _begins_query(words, before) and after not in _NO_QUERY:
        frame.clause, frame.has_with = "with", True


def _begins_query(words: list[str], before: str) -> bool:
    """Return whether a WITH after the word *before* begins a query; after AS it may be a column's label."""
    return before in ("", "(", ")") or (before == "as" and words[0] in ("create", "prepare"))


def _into(sight: Sight, before: str, after: str) -> None:
    if before not in ("insert", "merge"):
        sight.into = True
        sight.temporary |= after in _TEMPORARY


def _call(sight: Sight, words: list[str], at: int, frame: _Frame) -> None:
    name = _called(words, at, frame)
    if name is None or name in READERS:
        return
    if name in functions.SESSION or (name == "set_config" and not _ends_true(words, at)):
        sight.session = True  # Q4
    sight.locks |= "advisory" in name
    if name != "set_config" or sight.session:
        sight.calls.add(name)
    else:
        sight.changes = True


def _called(words: list[str], at: int, frame: _Frame) -> str | None:
    """Return the function that the parenthesis at *at* calls, or None."""
    word = words[at - 1]
    if not _is_name(word):
        return None
    start = at - 1
    while start >= 2 and words[start - 1] == "." and _is_name(words[start - 2]):
        start -= 2
    before = words[start - 1] if start else ""
    if before in _NAMES_FOLLOW:
        return None
    if start == at - 1 and (word in SYNTAX or _is_syntax(words, at, before, frame)):
        return None
    return _spelling(words[start:at])


def _is_syntax(words: list[str], at: int, before: str, frame: _Frame) -> bool:
    """Return whether an unqualified name before a parenthesis, after the word *before*, is no call."""
    word = words[at - 1]
    if word == "operator":
        return words[at + 1 : at + 2] == ["pg_catalog"]
    if before == ")":  # f(x) OVER (...), f(x) alias(a); but DISTINCT ON (a) f(x), OPERATOR(...) f(x)
        return frame.closed not in ("on", "with", "operator")
    if word in _AFTER:
        return before in _AFTER[word] and (word != "materialized" or words[at - 3 : at - 2] == ["as"])
    if word in ("rollup", "cube"):
        return before in _ITEM and (frame.clause == "group" or frame.opener == "sets")
    if word == "conflict":
        return before == "on" and words[0] in ("insert", "with")
    if word == "columns":
        return frame.opener in ("json_table", "columns") and before != "("
    if word == "set":
        return before == "update" or (frame.clause == "update" and _is_name(before) and before not in SYNTAX)
    if before == ",":
        return frame.clause == "with"
    return frame.clause == "from" and _is_alias(words, at - 2)


def _is_alias(words: list[str], at: int) -> bool:
    """Return whether the word at *at* is a table's name: what follows is then its alias."""
    if not _is_name(words[at]) or words[at] in SYNTAX:
        return False
    while at >= 2 and words[at - 1] == ".":
        at -= 2
    return words[at - 1] in ("from", "join", ",", "only")


def _is_name(word: str) -> bool:
    first = word[0]
    return first.isalpha() or first in '_"' or first >= "\x80"


def _ends_true(words: list[str], at: int) -> bool:
    """Return whether the call of set_config() that opens at *at* ends in a literal true."""
    depth = 0
    for close in range(at, len(words)):
        depth += (words[close] == "(") - (words[close] == ")")
        if not depth:
            return words[close - 1] == "true" and words[close - 2] in (",", "=>", ":=")
    return False


def _spelling(words: list[str]) -> str:
    """Return the one spelling of a function's name: `pg_catalog` and needless quotes dropped."""
    names = [_unquoted(word) for word in words if word != "."]
    if len(names) == 2 and names[0] == "pg_catalog":
        del names[0]
    return ".".join(names)


def _unquoted(word: str) -> str:
    return word[1:] if word[0] == '"' and re.fullmatch(_PLAIN, word[1:]) else word


def spelled(name: str) -> str:
    """Return the one spelling of a function's *name* as a user gives it: `f`, `schema.f`, `"F"`.

    Raises:
        UsageError: It is not the name of a function.
    """
    words = tokenize(name).words
    if not len(words) % 2 or not all(map(_is_name, words[::2])) or set(words[1::2]) - {"."}:
        raise UsageError(f"{name!r} is not the name of a function: write it as in SQL, without parentheses")
    return _spelling(words)
