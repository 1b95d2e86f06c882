"""What a command says when it fails: one line, and the exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import typer

from pgdual.errors import PgdualError
from pgdual.sync import close_all


@contextmanager
def told() -> Iterator[None]:
    """Say in one line what went wrong, and close the pools in any case."""
    try:
        yield
    except (PgdualError, psycopg.Error, OSError) as error:
        typer.echo(f"{type(error).__name__}: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    finally:
        close_all()
