"""What is made of a result with rows: Records or what the caller asked for, in C.

What a statement returns cannot change its columns while it stays prepared (the server refuses with
"cached plan must not change result type"), so its row loaders are looked up once a connection.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final

from psycopg.abc import Transformer
from psycopg.adapt import AdaptersMap
from psycopg.adapt import Transformer as NewTransformer
from psycopg.pq.abc import PGresult

from .record import Maker, column_position, maker, names_of, record_class
from .statement import Plans

if TYPE_CHECKING:
    from .job import Job  # which imports this module

# What a job makes of its rows.
ROWS: Final = 0
ROW: Final = 1
VALUE: Final = 2
RESULT: Final[Any] = object()
"""In place of a VALUE's column: the result as libpq has it."""

# From as many rows of a statement on the garbage collector waits while they are made. Source: bench row 13.
MANY_ROWS: Final = 100


class Context:
    """psycopg's adaptation context: a database's adapters with one connection's time zone."""

    def __init__(self, adapters: AdaptersMap, connection: Any) -> None:
        self.adapters = adapters
        self.connection = connection


class Prepared:
    """A statement that one connection holds prepared, and what its rows are made of.

    Its *plans* are those that the statement had when it was prepared; they say for which types.
    """

    __slots__ = ("is_large", "make", "names", "plans", "transformer")

    def __init__(self, plans: Plans) -> None:
        self.plans: Plans = plans
        self.is_large: bool = False
        self.transformer: Transformer | None = None
        self.names: tuple[str, ...] = ()
        self.make: Maker = tuple

    def learn(self, result: PGresult, context: Context) -> Transformer:
        """Look up the loaders of the columns of *result*."""
        transformer = NewTransformer(context)
        transformer.set_pgresult(result)
        self.names = names_of(result)
        self.make = record_class(self.names)
        self.transformer = transformer
        return transformer


def made(job: Job, prepared: Prepared, transformer: Transformer, count: int) -> Any:
    """Return what *job* wants of the *count* rows that *transformer* holds.

    Raises:
        psycopg.DataError: A value does not fit its Python type.
    """
    want = job.want
    if want == VALUE:
        position = job.column
        if position != 0 or (count and not prepared.names):
            if position is RESULT:
                return transformer.pgresult
            position = column_position(position, prepared.names)
        return transformer.load_row(0, tuple)[position] if count else None
    make = prepared.make if job.shape is None else maker(job.shape, prepared.names)
    if want == ROW:
        return transformer.load_row(0, make) if count else None
    is_ours = job.shape is None or job.shape is tuple or job.shape is dict
    if is_ours and job.rows >= MANY_ROWS and gc.isenabled():
        return _undisturbed(transformer, count, make)
    return transformer.load_rows(0, count, make)


def _undisturbed(transformer: Transformer, count: int, make: Maker) -> Any:
    # None of it can be garbage yet, but the collector would look through it, and through all else there is,
    # again and again: half of the time that many rows take. What runs meanwhile is C, and loaders.
    gc.disable()
    try:
        return transformer.load_rows(0, count, make)
    finally:
        gc.enable()
