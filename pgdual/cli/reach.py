"""How a command finds its settings and its servers; whatever is wrong with them is one clear line.

Exit codes: 0 all is well, 1 something was found or a server does not answer, 2 it could not be looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg
import typer
from psycopg.rows import namedtuple_row

from pgdual.errors import PgdualError
from pgdual.settings import DatabaseSettings, Settings

CONNECT = 5  # seconds
# What a command may ask of a server: to read, for a while, without standing in the way of anybody. It is
# said within a transaction, for behind a pooler the session is others' too (N2).
_CAREFUL = "SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '1s'"


def fail(text: str, code: int = 2) -> NoReturn:
    """Say *text* on stderr and end the command."""
    typer.secho(text, fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def settings_of(names: Sequence[str] | None) -> tuple[Settings, list[str]]:
    """Return the environment's settings and the databases that are meant: *names*, or all with a DSN."""
    try:
        settings = Settings()
        for name in names or ():
            settings.get_dsn(name)
    except PgdualError as error:
        fail(str(error))
    found = list(names or settings.configured)
    if not found:
        fail("No database has a DSN. Set POSTGRES_DSN (or DATABASE_URL) in the environment or in .env.")
    return settings, found


@contextmanager
def connected(database: DatabaseSettings, what: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection beside the pool in a transaction that can change nothing.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    with psycopg.connect(
        database.direct_conninfo(),
        connect_timeout=CONNECT,
        application_name=f"pgdual {what}",
        prepare_threshold=None,
        row_factory=namedtuple_row,
    ) as connection:
        connection.read_only = True
        connection.execute(_CAREFUL)
        try:
            yield connection
        finally:
            connection.rollback()


def one_line(error: BaseException) -> str:
    """Return what an error says as one line; of the server's own the first, without the text of the query."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((said or str(error)).split())


def columns(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return *rows* as lines of aligned columns, the last as wide as it is."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]
