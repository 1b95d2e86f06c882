"""`pgdual top`: a live view of the processes that use pgdual on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgdual.cli.reach import fail
from pgdual.errors import PgdualError
from pgdual.monitor import read
from pgdual.settings import Settings

_MISSING = (
    "No folder to look in. Start your program with PGDUAL_MONITOR=/path/of/a/folder and give the same to top."
)


def top(
    folder: Annotated[
        Path | None, typer.Argument(help="What PGDUAL_MONITOR is there; here too, by default.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show pools, calls a second, percentiles, breakers and the slowest statements of running programs.

    A program tells of itself where PGDUAL_MONITOR names a folder. Keys: p pauses, q ends.

    Example: PGDUAL_MONITOR=/run/user/1000/pgdual pgdual top --every 2
    """
    try:
        place = folder or Settings().monitor
    except PgdualError as error:
        fail(str(error))
    if place is None:
        fail(_MISSING)
    if not Path(place).is_dir():
        fail(
            f"{place} is no folder; a program makes it when it opens its first pool with PGDUAL_MONITOR set."
        )
    from pgdual.cli.view import Top  # a library that takes a while to import

    Top(lambda: list(read(str(place))), every).run()
