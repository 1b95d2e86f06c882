"""What the demo shows: progress while it runs, a table when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

REDRAW = 0.1  # seconds between two pictures of the bars
LINE = 2.0  # seconds between two plain lines, where nobody watches


@dataclass(slots=True)
class Tally:
    """Counts what is told to it and now and then says how far it is."""

    of: int
    every: float
    counts: dict[str, int] = field(default_factory=dict)
    last: float = field(default_factory=monotonic)

    def tell(self, what: str) -> None:
        """Count one more of *what*."""
        self.counts[what] = self.counts.get(what, 0) + 1
        if (now := monotonic()) - self.last >= self.every:
            self.last = now
            self.show()

    def show(self) -> None:
        """Say nothing; the two below do."""


@dataclass(slots=True)
class Bars(Tally):
    """A bar for each thing that is counted."""

    progress: Progress | None = None
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def show(self) -> None:
        """Move the bars."""
        assert self.progress
        for what, count in self.counts.items():
            if what not in self.tasks:
                self.tasks[what] = self.progress.add_task(f"orders {what}", total=self.of)
            self.progress.update(self.tasks[what], completed=count)


@dataclass(slots=True)
class Lines(Tally):
    """A plain line now and then, for a log."""

    console: Console = field(default_factory=Console)

    def show(self) -> None:
        """Print one line."""
        done = ", ".join(f"{what} {count:,}" for what, count in self.counts.items())
        self.console.print(f"  orders {done} of {self.of:,}")


@dataclass(frozen=True, slots=True)
class Phase:
    """What one face did on one database: its stats and the seconds they took."""

    name: str
    stats: Mapping[str, Any]
    seconds: float


@contextmanager
def counting(console: Console, of: int) -> Iterator[Tally]:
    """Show the progress towards *of*: bars on a terminal, else a line now and then."""
    if not console.is_terminal:
        yield Lines(of, LINE, console=console)
        return
    looks = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*looks, console=console) as progress:
        bars = Bars(of, REDRAW, progress=progress)
        yield bars
        bars.show()


def table_of(phases: Sequence[Phase]) -> Table:
    """Return the closing table, a row for each phase, in 80 columns."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("database", no_wrap=True)
    for heading in ("rows\nread", "calls", "calls/s", "acquire ms\np50  p95  p99", "query ms\np50  p95  p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for phase in phases:
        calls = phase.stats["calls"]
        table.add_row(
            phase.name,
            f"{phase.stats['rows']:,}",
            f"{calls:,}",
            f"{calls / phase.seconds:,.0f}",
            percentiles(phase.stats["acquire"]),
            percentiles(phase.stats["query"]),
        )
    return table


def percentiles(histogram: Mapping[str, float]) -> str:
    """Return the three percentiles, each in four characters: `0.02 0.31 12.4`."""
    return " ".join(_short(histogram[name]) for name in ("p50", "p95", "p99"))


def _short(milliseconds: float) -> str:
    digits = 2 if milliseconds < 9.995 else 1 if milliseconds < 99.95 else 0
    return f"{milliseconds:4.{digits}f}"
