"""How is a run shown, and how is it kept?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bench import clients, peers
from bench.charts import rounded
from bench.harness import Plan, Result, figures

FORMAT = "{:<4} {:<40} {:<22} {:>5} {:>5}  {:>7}  {:<13} {:>9} {:>9} {:<8} {:>9} {:>9}  {}"
HEADINGS = ("row", "work", "peer", "goal", "floor", "reached", "quartiles", "pgdual", "peer", "")
CPU_HEADINGS = ("cpu us", "peer's", "")


def settings() -> dict[str, str]:
    """Return how every client is set."""
    return clients.settings() | peers.settings()


def head(machine: dict[str, str], plan: Plan) -> str:
    """Return the lines above the table: the machine, the versions, every client's settings."""
    what = [f"{name:<18} {words}" for part in (machine, settings()) for name, words in part.items()]
    how = (
        f"{rounds(plan)}\nin turn; reached: the median of the per-pair ratios, pgdual's figure over the\n"
        "peer's; cpu: this process' CPU a call (a row, in bulk)"
    )
    return "\n".join([*what, "", how, "", heading()])


def rounds(plan: Plan) -> str:
    """Return in words how often and how long both sides play."""
    slow = "" if plan.slow_pairs == plan.pairs else f" ({plan.slow_pairs} where a round cannot be so short)"
    return f"{plan.pairs} pairs of rounds of {plan.seconds:g} s{slow}"


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
    sides = [figures(side) if side else None for side in (result.ours, result.theirs)]
    told = [rounded(side["figure"]) if side else "" for side in sides]
    cpus = [rounded(side["cpu_us"]) if side else "" for side in sides]
    return FORMAT.format(*start, *reached, *told, promise.unit, *cpus, result.verdict)


def content(machine: dict[str, str], plan: Plan, tables: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Return the whole run, every pair of it, as what JSON can hold."""
    run = {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": rounds(plan),
    }
    return {"machine": machine, "settings": settings(), "run": run} | {
        name: [_plain(result) for result in results] for name, results in tables.items()
    }


def _plain(result: Result) -> dict[str, Any]:
    promise = result.promise
    plain: dict[str, Any] = {name: getattr(promise, name) for name in promise.__slots__}
    plain |= {"verdict": str(result.verdict), "error": result.error, "ratios": result.ratios}
    for name, side in (("pgdual", result.ours), ("peer_samples", result.theirs)):
        plain[name] = [{"figure": sample.figure, "cpu_us": sample.cpu * 1e6} for sample in side]
    if not result.error:
        reached = result.reached
        plain |= {"reached": reached.median, "low": reached.low, "high": reached.high}
        plain |= {"pgdual_spread": figures(result.ours)}
        plain |= {"peer_spread": figures(result.theirs) if result.theirs else None}
    return plain
