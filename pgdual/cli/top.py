"""`pgdual top`: a live view of the processes that use pgdual on this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, ClassVar

import typer
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Header, Label

from pgdual.cli.board import POOLS, STATEMENTS, Look, pools, statements
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
    Top(lambda: list(read(str(place))), every).run()


class Top(App[None]):
    """Two tables that are filled anew with each look.

    Args:
        look: Returns what each process tells; called beside the event loop.
        every: Seconds between two looks.
    """

    TITLE = "pgdual top"
    CSS = """
    #pools { height: auto; max-height: 50%; }
    Label { padding: 1 1 0 1; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("p", "pause", "Pause")]

    def __init__(self, look: Callable[[], Sequence[Mapping[str, Any]]], every: float) -> None:
        super().__init__()
        self._look = look
        self._every = every
        self._before: Look | None = None
        self._is_paused = False

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Header(show_clock=True)
        yield Label("Pools")
        yield DataTable(id="pools", cursor_type="none", zebra_stripes=True)
        yield Label("Slowest statements, on average of late")
        yield DataTable(id="statements", cursor_type="none")
        yield Footer()

    async def on_mount(self) -> None:
        """Look for the first time, and again every so often."""
        self._table("pools").add_columns(*POOLS)
        self._table("statements").add_columns(*STATEMENTS)
        await self.look()
        self.set_interval(self._every, self.look)

    def _table(self, name: str) -> DataTable[str]:
        return self.query_one(f"#{name}", DataTable)

    async def look(self) -> None:
        """Ask the processes and show what they tell."""
        if self._is_paused:
            return
        processes = await asyncio.to_thread(self._look)
        now = Look.at(monotonic(), processes)
        self._fill("pools", pools(self._before, now))
        self._fill("statements", statements(now))
        count = len(processes)
        self.sub_title = (
            f"{count} process{'' if count == 1 else 'es'}" if count else "no process tells of itself"
        )
        self._before = now

    def _fill(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        table = self._table(name)
        table.clear()
        for row in rows:
            table.add_row(*row)

    def action_pause(self) -> None:
        """Stop looking, or go on."""
        self._is_paused = not self._is_paused
        self.sub_title = "paused" if self._is_paused else self.sub_title
