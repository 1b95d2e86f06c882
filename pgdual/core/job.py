"""One call on its way through a pipeline: what is asked, and what has become of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from math import inf
from typing import Any, Final

from psycopg.pq.abc import PGresult

from .plan import Plan
from .record import checked_shape
from .statement import Plans, Statement, check_arguments
from .types import Types, refusal

# What a job makes of its result; the numbers go on from those of `rows`. Written out, for mypyc puts a
# number in place and looks a sum up.
STATUS: Final = 3
COMMAND: Final = 4
MANY: Final = 5
DESCRIBE: Final = 6
SCRIPT: Final = 7
# N3: a statement is called with few combinations of argument classes; past this they start anew.
PLANS: Final = 32
# T5: how many returned rows of a transaction are kept for its replay.
RETURNED: Final = 10_000


class Job:
    """One call on its way through a pipeline."""

    # Defaults live on the class: a call sets the few that differ, which is cheaper than twenty slots.
    shape: Any = None
    column: Any = 0  # a position, a name, or `rows.RESULT`
    prelude: tuple[bytes, ...] = ()
    text = b""
    feed: Iterable[Sequence[Any]] = ()  # the rows of an executemany
    bound = b""  # the name of the prepared statement that they are bound to
    gathered: list[Any] | None = None  # what they returned, where it is wanted
    buffers: Sequence[Any] | None = None
    formats: list[int] | None = None
    future: Any = None
    value: Any = None
    error: Exception | None = None
    prepared: Any = None
    keeps = False  # T5: what its rows were made of is kept in `results`
    results: tuple[PGresult, ...] = ()
    parses = False  # its group makes the server parse the statement
    closes: Sequence[bytes] = ()  # prepared statements that its group closes
    lost = False  # the connection went before it was answered
    losses = 0  # how many connections went while it was on them
    told = False  # to whoever watches the calls of users
    placed: bool = False  # it counts in its wire's load
    abandoned = False  # nobody waits for its answer
    in_doubt = False  # an earlier try was sent and not answered, and was no READ
    victim: Any = None  # the lost wire of that try: its server process is ended before another
    idempotent = False  # a late or repeated run is harmless, says the user
    admitted = False  # the breaker has let it through
    is_left = False  # nobody holds a wire for it beyond its answer
    aside = False  # the breaker does not count what becomes of it (B3)
    tries = 0
    conflicts = 0  # how often it was rolled back for another's sake
    expired = False  # the server was asked to cancel it, for its deadline has passed or nobody wants it
    recalled = False  # or because the user has called everything off
    rows: int = 0  # that came back
    lead: int = 0  # results that come before its own: BEGIN, Parse, Close
    started: float = 0.0  # monotonic seconds: when the caller called, and when it was sent
    sent: float = 0.0
    deadline = inf
    service: float = 0.0  # seconds that it is expected to take
    comment = b""  # that goes to the server with the text, and is no part of the statement's name
    label: str | None = None  # what the user calls it, who has it counted apart

    def __init__(self, want: int, statement: Any, arguments: Sequence[Any] = ()) -> None:
        self.want = want
        self.statement = statement  # a Statement; None for one of pgdual's own commands
        self.arguments = arguments
        self.error = None  # these are read several times on the way, where a default costs more each time
        self.lead = self.rows = 0
        self.placed = False

    @property
    def into(self) -> Any:
        """What a row is made into; None for a Record.

        Raises:
            UsageError: On setting it to what is no row shape.
        """
        return self.shape

    @into.setter
    def into(self, shape: Any) -> None:
        self.shape = checked_shape(shape)

    def encode(self, types: Types) -> None:
        """Turn the arguments into bytes for the parameter types that the server described (Q5).

        Raises:
            UsageError: An argument does not fit; it is named.
        """
        statement: Statement = self.statement
        plans, arguments = statement.plans, self.arguments
        classes = (*map(type, arguments),)
        plan: Plan = plans.get(classes) or plan_of(statement, plans, classes, types)
        try:
            self.buffers, self.formats = plan.encode(arguments)
        except Exception as error:
            raise refusal(types, plans.types, arguments, plan, error)


def plan_of(statement: Statement, plans: Plans, classes: tuple[type, ...], types: Types) -> Plan:
    """Return how arguments of these classes are dumped, from *plans* or new among them.

    Raises:
        UsageError: There are too few or too many, or one does not fit.
    """
    plan: Plan | None = plans.get(classes)
    if plan is None:
        check_arguments(statement, len(classes))
        if len(plans) >= PLANS:
            plans.clear()
        plan = plans[classes] = types.plan(classes, plans.types)
    return plan


def encoded(plan: Plan, plans: Plans, arguments: Sequence[Any], types: Types) -> Any:
    """Return the arguments' bytes and their formats.

    Raises:
        UsageError: An argument's own dumper refuses it; it is named.
    """
    try:
        return plan.encode(arguments)
    except Exception as error:
        raise refusal(types, plans.types, arguments, plan, error)


def command(text: bytes) -> Job:
    """Return a job that runs one of pgdual's own commands: BEGIN, COMMIT, SAVEPOINT, SET."""
    job = Job(COMMAND, None)
    job.text = text
    return job


@cache
def begin(read_only: bool, modes: str = "", wants_read_only: bool = False) -> bytes:
    """Return the text of BEGIN on a session that is *read_only* by default."""
    access = " READ ONLY" if wants_read_only else " READ WRITE" if read_only else ""
    return f"BEGIN{modes}{access}".encode()
