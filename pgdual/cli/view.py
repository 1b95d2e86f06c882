"""The picture of `pgdual top`, in a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Header, Label

from pgdual.cli.board import POOLS, STATEMENTS, Look, pools, statements


class Top(App[None]):
    """Two tables that are filled anew with each look.

    Args:
        look: Returns what each process tells; called beside the event loop.
        every: Seconds between two looks.
    """

    TITLE: str | None = "pgdual top"
    CSS: ClassVar[str] = """
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
        if self._is_paused:
            return  # while it was looked
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
