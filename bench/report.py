"""How is a run shown, and how is it kept?"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.clients import SETTINGS
from bench.harness import Plan, Result, Sample

FORMAT = "{:<4} {:<40} {:<22} {:>5} {:>5}  {:>7}  {:<13} {:>9} {:>9} {:<8} {:>9} {:>9}  {}"
HEADINGS = ("row", "work", "peer", "goal", "floor", "reached", "quartiles", "pgdual", "peer", "")
CPU_HEADINGS = ("cpu us", "peer's", "")


def head(machine: dict[str, str], plan: Plan) -> str:
    """Return the lines above the table: the machine, the versions, every client's settings."""
    what = [f"{name:<18} {words}" for part in (machine, SETTINGS) for name, words in part.items()]
    how = (
        f"{plan.pairs} pairs of rounds of {plan.seconds:g} s in turn; reached: the median of the per-pair\n"
        "ratios, pgdual's figure over the peer's; cpu: this process' CPU a call (a row, in bulk)"
    )
    return "\n".join([*what, "", how, "", heading()])


def heading() -> str:
    """Return the table's first line."""
    return FORMAT.format(*HEADINGS, *CPU_HEADINGS).rstrip()


def line(result: Result) -> str:
    """Return one row of the table."""
    promise = result.promise
    start = (promise.row, promise.work, promise.peer, f"{promise.goal:g}", f"{promise.floor:g}")
    if result.error:
        return f"{FORMAT.format(*start, *[''] * 8).rstrip()}  {result.verdict}: {result.error}"
    reached = f"{result.reached.median:.2f}", f"{result.reached.low:.2f}-{result.reached.high:.2f}"
    figures = [_figure(statistics.median(s.figure for s in side)) for side in (result.ours, result.theirs)]
    cpus = [_figure(_cpu(side)) for side in (result.ours, result.theirs)]
    return FORMAT.format(*start, *reached, *figures, promise.unit, *cpus, result.verdict)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.2f}"


def _cpu(side: Iterable[Sample]) -> float:
    """Return the median CPU of a call, in microseconds."""
    return statistics.median(sample.cpu for sample in side) * 1e6


def write(path: Path, machine: dict[str, str], tables: Mapping[str, Sequence[Result]]) -> None:
    """Keep the whole run, every pair of it, as JSON."""
    content = {"machine": machine, "settings": SETTINGS} | {
        name: [_plain(result) for result in results] for name, results in tables.items()
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _plain(result: Result) -> dict[str, Any]:
    promise = result.promise
    plain: dict[str, Any] = {name: getattr(promise, name) for name in promise.__slots__}
    plain |= {"verdict": str(result.verdict), "error": result.error, "ratios": result.ratios}
    for name, side in (("pgdual", result.ours), ("peer_samples", result.theirs)):
        plain[name] = [{"figure": sample.figure, "cpu_us": sample.cpu * 1e6} for sample in side]
    if not result.error:
        plain["reached"] = result.reached.median
    return plain
