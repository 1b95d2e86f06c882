"""How far long work has come: a bar for who watches; of a backfill, a plain line now and then for a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

EVERY = 10.0  # seconds between two lines
Tell = Callable[[Any], None]


@contextmanager
def teller() -> Iterator[Tell]:
    """Yield what is told how far a backfill has come, and says so on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    with bar(console, "") as move:

        def tell(state: Any) -> None:
            total = max(state.total, state.rows)
            move(description=state.name, completed=state.rows, total=total, said=said(state))

        yield tell


@contextmanager
def bar(console: Console, name: str, *columns: ProgressColumn) -> Iterator[Callable[..., None]]:
    """Show a bar, then *columns* and words; yield what moves it: `completed`, `total`, what is `said`."""
    text, words = TextColumn("{task.description}"), TextColumn("{task.fields[said]}")
    with Progress(text, BarColumn(), *columns, words, console=console, transient=True) as shown:
        yield partial(shown.update, shown.add_task(name, total=None, said=""))


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
