"""How far a backfill has come: a bar for who watches, a plain line now and then for a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

EVERY = 10.0  # seconds between two lines
Tell = Callable[[Any], None]


@contextmanager
def teller() -> Iterator[Tell]:
    """Yield what is told how far a backfill has come, and says so on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, said="")

        def tell(state: Any) -> None:
            total = max(state.total, state.rows)
            bar.update(task, description=state.name, completed=state.rows, total=total, said=said(state))

        yield tell


def _lines() -> Tell:
    last = time.monotonic()

    def tell(state: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            typer.echo(f"{state.name}: {said(state)}", err=True)

    return tell


def said(state: Any) -> str:
    """Return the rows, the rate, the time left and the size of a batch."""
    left = "" if state.left is None else f", {timedelta(seconds=round(state.left))} left"
    about = f" of about {state.total}" if state.total > state.rows else ""
    return f"{state.rows} rows{about}, {state.rate:.0f} rows/s{left}, batches of {state.batch}"
