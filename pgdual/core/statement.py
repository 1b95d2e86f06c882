"""What an SQL text is, found once per text and database.

Q1: a text is a READ only where every word of it is known to do nothing but read; in doubt it is a WRITE.
The doubt costs a shared lane; the opposite mistake is stopped by the read-only session a READ runs on (Q2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from math import inf
from typing import Any, ClassVar, Final

from pgdual.core.caused import caused
from pgdual.core.grammar import Kind, Part, sort, spelled
from pgdual.core.script import makes_routine, pieces, tokenize
from pgdual.errors import UsageError

__all__ = [
    "Kind",
    "Plans",
    "Statement",
    "Statements",
    "check_arguments",
    "check_many",
    "check_place",
    "check_row",
    "check_rows",
    "check_single",
]


READ: Final = Kind.READ
WRITE: Final = Kind.WRITE
SESSION: Final = Kind.SESSION
CONTROL: Final = Kind.CONTROL
SCRIPT: Final = Kind.SCRIPT


class Plans(dict[tuple[type, ...], Any]):
    """How arguments of these classes are dumped for the parameter *types* that the server described (Q5).

    Whoever is in the middle of something keeps the plans that it began with: another wire may have the
    statement described anew meanwhile.
    """

    __slots__ = ("types",)

    def __init__(self, types: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.types: tuple[int, ...] = types


class Statement:
    """One SQL text of one database: what it is, and what was learned about it.

    Args:
        sql: The text.
        pure: Functions that the user has said to be without side effects.

    Raises:
        UsageError: It is not a str, holds no statement, ends within a quote or comment, or cannot be sent.
    """

    __slots__ = (
        "average",
        "controls",
        "kind",
        "leaves_traces",
        "local",
        "locks",
        "may_commit",
        "name",
        "ordered",
        "parameters",
        "percent",
        "plans",
        "query",
        "refusal",
        "result_format",
        "service",
        "sql",
        "types",
        "verb",
    )

    kind: Kind
    verb: str  # the first keyword in capitals, "" for a SCRIPT
    parameters: int  # the highest n of its $n
    leaves_traces: bool  # L7: the wire is to be cleaned before anyone else has it
    may_commit: bool  # it may have committed inside, so a conflict does not mean that it did nothing
    ordered: bool  # T5: its rows have an order
    locks: bool  # T5: it takes locks for their own sake
    local: bool  # SESSION text whose effect ends with the transaction: SET LOCAL, cursors
    controls: bool  # a SCRIPT with BEGIN, COMMIT and the like
    percent: str | None  # a psycopg placeholder, or a modulo that looks like one
    refusal: str | None  # why it is refused wherever it stands

    def __init__(self, sql: Any, pure: AbstractSet[str] = frozenset()) -> None:
        self.query: bytes = _encoded(sql)
        self.sql: str = sql
        self.name: bytes = b"pgdual_" + blake2b(self.query, digest_size=16).hexdigest().encode()  # N1
        self.types: tuple[int, ...] | None = None  # until it is described, and when that is outdated
        self.plans: Plans = Plans()
        self.result_format: int = 1
        self.average: float = inf  # seconds that it took of late (W1)
        self.service: float = inf  # seconds that a READ is expected to take on a lane (L4)
        self.sort(pure)

    def __repr__(self) -> str:
        return f"<Statement {self.kind.name}: {_short(self.sql)}>"

    def sort(self, pure: AbstractSet[str]) -> None:
        """Find what the text is; again when a function has been said to be pure.

        Raises:
            UsageError: The text holds no statement, or ends within a quote or comment.
        """
        tokens = tokenize(self.sql)
        words = tokens.words
        places = pieces(words)
        if not places:
            raise UsageError("the SQL text is empty: there is no statement in it, or comments only")
        parts = [sort(words[first:last], pure) for first, last in places]
        self.percent = tokens.percent
        self.parameters = max(
            0 if makes_routine(words, first) or part.verb == "PREPARE" else tokens.parameters(first, last)
            for part, (first, last) in zip(parts, places, strict=True)
        )
        if len(parts) == 1:
            self._sort_one(parts[0])
        else:
            self._sort_script(parts)
        if "\\" in words:
            self.refusal = _psql(self.sql, tokens.starts[words.index("\\")])

    def _sort_one(self, part: Part) -> None:
        self.kind, self.verb, sight, self.leaves_traces, self.may_commit, self.local, self.refusal = part
        self.ordered, self.locks, self.controls = sight.ordered, sight.locks, False

    def _sort_script(self, parts: list[Part]) -> None:
        self.kind, self.verb = SCRIPT, ""
        self.leaves_traces = self.may_commit = True
        self.ordered = self.local = False
        self.locks = any(part.sight.locks for part in parts)
        self.controls = any(part.kind is CONTROL for part in parts)
        self.refusal = next((part.refusal for part in parts if part.verb == "COPY" and part.refusal), None)

    def described(self, types: tuple[int, ...], result_format: int) -> None:
        """Take in the parameters' *types*, and how the columns are asked for (Q5, Q6)."""
        if (self.types, self.result_format) != (types, result_format):
            self.plans = Plans(types)  # what was prepared for other types is outdated
            self.result_format, self.types = result_format, types

    def demote(self) -> None:
        """Take the text for a WRITE from now on: as a READ the server refused it (Q2)."""
        self.kind = WRITE
        self.leaves_traces = True  # what writes is a function that the words do not show


class Statements:
    """The statements of one database by their text, at most *limit* (2 or more) of them (N3).

    Two generations: when the young one, `texts`, is full it becomes the old one, and what is asked for
    again returns from there. So texts in use survive a flood of texts that are used once.
    """

    LONGEST: ClassVar[int] = 65_536
    """Characters of a text that is remembered: longer ones would be the cache's whole memory."""

    def __init__(self, limit: int = 1000) -> None:
        self.texts: dict[str, Statement] = {}  # the same object for ever: a hot path may keep its `get`
        self._old: dict[str, Statement] = {}
        self._half = max(limit // 2, 1)
        self._pure: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.texts.keys() | self._old.keys())

    def get(self, sql: Any) -> Statement:
        """Return what the text is.

        Raises:
            UsageError: It cannot be sent, or never through fetch or execute: COPY, BEGIN, COMMIT ... (Q4).
        """
        try:
            return self.texts[sql]
        except (KeyError, TypeError):
            return self._missed(sql)

    def slowest(self, count: int) -> list[tuple[str, float]]:
        """Return the texts that take longest, and the seconds that they take on average of late."""
        known = [
            (statement.sql, statement.average)
            for statement in [*self._old.values(), *self.texts.values()]
            if statement.average != inf
        ]
        return sorted(dict(known).items(), key=lambda pair: pair[1], reverse=True)[:count]

    def anew(self) -> Statements:
        """Return an empty cache that believes the same of functions."""
        fresh = Statements(self._half * 2)
        fresh._pure = self._pure
        return fresh

    def _missed(self, sql: Any) -> Statement:
        _encoded(sql)
        statement = self._old.get(sql) or Statement(sql, self._pure)
        if statement.refusal is not None:
            raise UsageError(f"{statement.refusal}: {_short(sql)}")
        if len(sql) > self.LONGEST:
            return statement
        if len(self.texts) >= self._half:
            self._old = self.texts.copy()
            self.texts.clear()
        return self.texts.setdefault(sql, statement)

    def pure(self, name: Any) -> None:
        """Believe the user that the function *name* has no side effects.

        *name* is written as it is called: `f`, `schema.f` or `"F"`. Texts that were sorted before are
        sorted again.

        Raises:
            UsageError: *name* is not the name of a function.
        """
        if not isinstance(name, str):
            raise UsageError(f"{name!r} is not the name of a function, which is a str")
        self._pure |= {spelled(name)}
        for statement in [*self._old.values(), *self.texts.values()]:
            statement.sort(self._pure)


def check_arguments(statement: Statement, count: int) -> None:
    """Hold the number of arguments of a call against the statement's parameters.

    Raises:
        UsageError: They differ, a script was given arguments, or it has psycopg's placeholders.
    """
    wanted = statement.parameters
    if count == wanted and not (count and statement.kind is SCRIPT):
        return
    if count and statement.kind is SCRIPT:
        raise UsageError(
            "a script of several statements takes no arguments: send one statement a call,"
            f" together inside db.transaction(): {_short(statement.sql)}"
        )
    if not wanted and statement.percent is not None:
        raise UsageError(
            f"{statement.percent} is psycopg's placeholder; write PostgreSQL's own, $1, $2 ...:"
            f" {_short(statement.sql)}"
        )
    raise UsageError(
        f"statement takes {_counted(wanted)}, {count} {'was' if count == 1 else 'were'} given:"
        f" {_short(statement.sql)}"
    )


def check_single(statement: Statement) -> None:
    """Hold the statement against a call that returns rows.

    Raises:
        UsageError: It is a script.
    """
    if statement.kind is SCRIPT:
        raise UsageError(
            "a script of several statements returns no rows: run it with execute, or send one statement a "
            f"call: {_short(statement.sql)}"
        )


def check_many(statement: Statement) -> None:
    """Hold the statement against executemany.

    Raises:
        UsageError: It is a script, or has psycopg's placeholders.
    """
    if statement.kind is SCRIPT:
        raise UsageError(
            f"executemany runs one statement for each row, not a script of several: {_short(statement.sql)}"
        )
    if statement.percent is not None and not statement.parameters:
        check_arguments(statement, 1)


def check_rows(rows: Any, what: str = "rows") -> None:
    """Hold what many rows are to come from, called *what*, against what can be iterated.

    Raises:
        UsageError: It cannot, or it is a text or a dict, whose items are no rows.
    """
    if not isinstance(rows, Iterable) or isinstance(rows, (str, bytes, bytearray, memoryview, dict)):
        raise UsageError(f"{what} is a {type(rows).__name__}: give a list or another iterable")


def check_row(statement: Statement, row: Any) -> None:
    """Hold the class of one row of an executemany against what a row is.

    Raises:
        UsageError: It is not a sequence of values, such as a tuple or a list.
    """
    if not isinstance(row, Sequence) or isinstance(row, (str, bytes, bytearray, memoryview)):
        raise UsageError(
            f"it is a {type(row).__name__}: give a tuple or list of the values for $1, $2 ... in their "
            f"order: {_short(statement.sql)}"
        )


def _counted(count: int) -> str:
    if count < 2:
        return "1 argument ($1)" if count else "no arguments"
    return f"{count} arguments ($1, $2)" if count == 2 else f"{count} arguments ($1 to ${count})"


def check_place(statement: Statement, in_transaction: bool, lent: bool = False) -> None:
    """Hold the statement against where it is to run (Q4).

    Args:
        statement: What is to run.
        in_transaction: Inside `db.transaction()`.
        lent: On a connection that the caller has for itself.

    Raises:
        UsageError: It does not belong there; the message names what does.
    """
    kind = statement.kind
    if kind is CONTROL:
        raise UsageError(f"{statement.refusal}: {_short(statement.sql)}")
    if kind is SCRIPT and statement.controls and in_transaction:
        raise UsageError(
            "a script with BEGIN, COMMIT or ROLLBACK cannot run inside db.transaction(): take them out, or"
            f" run it outside: {_short(statement.sql)}"
        )
    if kind is SESSION and not in_transaction and not lent:
        raise UsageError(f"{_remedy(statement)}: {_short(statement.sql)}")


_TRANSACTION = "run it inside db.transaction()"
_OWN = f"{_TRANSACTION} or on db.connection(), which are cleaned afterwards"
_REMEDIES = {
    "SET": "put it into the settings or the DSN, use SET LOCAL in db.transaction(), or take db.connection()",
    "RESET": "sessions come back clean by themselves; on a session of your own use db.connection()",
    "LISTEN": "take db.connection(), which is yours alone",
    "UNLISTEN": "take db.connection(), which is yours alone",
    "PREPARE": "pgdual prepares every statement by itself; to do it by hand take db.connection()",
    "EXECUTE": "pgdual prepares every statement by itself; to do it by hand take db.connection()",
}


def _remedy(statement: Statement) -> str:
    verb = statement.verb
    if statement.local:
        return f"{verb} here ends with its transaction and would do nothing outside one; {_TRANSACTION}"
    return f"this {verb} changes a session that the next caller would get; {_REMEDIES.get(verb, _OWN)}"


def _psql(sql: str, at: int) -> str:
    line = sql.count("\n", 0, at) + 1
    command = _short(sql[at:].split(maxsplit=1)[0])
    return f"{command} on line {line} is a command of psql, not SQL: take it out or use psql"


def _encoded(sql: Any) -> bytes:
    if not isinstance(sql, str):
        raise UsageError(f"the SQL text must be a str, not {type(sql).__name__}")
    try:
        query = sql.encode()
    except UnicodeEncodeError as error:
        text = f"the SQL text has a lone surrogate at character {error.start}: {_short(sql)}"
        raise caused(UsageError(text), None)
    if b"\0" in query:
        raise UsageError(
            f"the SQL text has a NUL at character {sql.index(chr(0))}, which ends it for the server"
        )
    return query


def _short(sql: str) -> str:
    """Return the beginning of a text on one line, fit to be written anywhere."""
    line = " ".join(sql[:200].split())
    short = line if len(line) <= 60 else line[:57] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)
