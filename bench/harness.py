"""How are two clients compared so that the machine's noise falls on both alike?

Both are opened, answer the same question (anything but equality ends the row), are warmed up, and then
play short rounds in turn. Who begins alternates, so a drift of the machine favours nobody. The collector is
on for both, as in real life, and each round begins just after a full collection.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Any, Self, TypeVar

from bench.verdict import Promise, Spread, Verdict, differences, judge, ratios, spread

T = TypeVar("T")
Call = Callable[[], Awaitable[object]]

POOL = 10  # connections of every async pool

# Seconds after which a client that hangs ends its row, so that the other rows are still heard.
HANG = 60.0


class DifferentAnswersError(AssertionError):
    """The two clients did not do the same work, so there is nothing to time."""


class NotRunError(Exception):
    """Something that a row needs is missing on this machine: the row is neither kept nor missed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one side: its figure in the row's unit, and CPU seconds a call (a row, in bulk)."""

    figure: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Side:
    """One client set up for one row."""

    answer: Callable[[], object]
    round: Callable[[float], Sample]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pairs of rounds, how long one lasts, and how much is done of work that has its own length."""

    pairs: int
    seconds: float
    warm_up: float
    slow_pairs: int  # where a round cannot be so short
    share: float  # of the rows where one long round is all


@dataclass(frozen=True, slots=True)
class Question:
    """A promise and the way to set up its two sides: pgdual's first, and None for a peer where there is none.

    With *rows* it is one long round, not warmed up, that is given rows in place of seconds; `{rows}` in the
    name of its work is their number.
    """

    promise: Promise
    contest: Callable[[Stage], tuple[Side, Side | None]]
    is_async: bool = True
    is_slow: bool = False
    rows: int | None = None

    def planned(self, plan: Plan) -> tuple[Promise, int, float]:
        """Return the promise with its number of rows, how many pairs there are, and a round's argument."""
        if self.rows is None:
            return self.promise, plan.slow_pairs if self.is_slow else plan.pairs, plan.seconds
        rows = int(self.rows * plan.share)
        return replace(self.promise, work=self.promise.work.format(rows=f"{rows:,}")), 1, rows


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one row; `error` instead of figures where it broke or was not run."""

    promise: Promise
    ratios: list[float]
    ours: list[Sample]
    theirs: list[Sample]
    error: str | None = None
    was_run: bool = True

    @property
    def reached(self) -> Spread:
        return spread(self.ratios)

    @property
    def verdict(self) -> Verdict:
        if not self.was_run:
            return Verdict.NOT_RUN
        return Verdict.MISS if self.error else judge(self.promise, self.reached.median)


class Stage:
    """Where a row plays: the server's DSN, an event loop, and whatever was opened, closed at the end."""

    def __init__(self, dsn: str, *, uvloop: bool = False) -> None:
        self.dsn = dsn
        self._runner = asyncio.Runner(loop_factory=_uvloop if uvloop else None)
        self._blocking = ExitStack()
        self._waiting = AsyncExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.run(self._waiting.aclose())
            self._blocking.close()
        finally:
            self._runner.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* on the row's loop."""
        return self._runner.run(_bounded(coroutine))

    def open(self, client: AbstractContextManager[T]) -> T:
        """Open a blocking client until the end of the row."""
        return self._blocking.enter_context(client)

    def open_async(self, client: AbstractAsyncContextManager[T]) -> T:
        """Open an async client until the end of the row."""
        return self.run(self._waiting.enter_async_context(client))

    def calls(self, call: Call, tasks: int) -> Callable[[float], Sample]:
        """Return a round in which *tasks* tasks make *call* over and over."""
        return lambda seconds: self.run(_calls(call, tasks, seconds))

    def bulk(self, call: Call, size: int, before: Call | None = None) -> Callable[[float], Sample]:
        """Return a round of *call*, each moving *size* rows; *before* each, off the clock, comes `before`."""
        return lambda seconds: self.run(_bulk(call, size, before, seconds))


async def _bounded(coroutine: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(HANG):
        return await coroutine


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415  # Windows has none

    return uvloop.new_event_loop()


async def _calls(call: Call, tasks: int, seconds: float) -> Sample:
    made = 0
    start, cpu = perf_counter(), process_time()
    end = start + seconds

    async def work() -> None:
        nonlocal made
        while perf_counter() < end:
            await call()
            made += 1

    await asyncio.gather(*(work() for _ in range(tasks)))
    return Sample(made / (perf_counter() - start), (process_time() - cpu) / made)


async def _bulk(call: Call, size: int, before: Call | None, seconds: float) -> Sample:
    rows, wall, cpu = 0, 0.0, 0.0
    while wall < seconds:
        if before:
            await before()
        start, cpu_start = perf_counter(), process_time()
        await call()
        wall += perf_counter() - start
        cpu += process_time() - cpu_start
        rows += size
    return Sample(rows / wall, cpu / rows)


def play(question: Question, stage: Stage, plan: Plan) -> Result:
    """Set up the sides of *question* and return what they reached."""
    promise, pairs, amount = question.planned(plan)
    ours, theirs = question.contest(stage)
    sides = [ours] if theirs is None else [ours, theirs]
    answers = [side.answer() for side in sides]
    same_answers(answers[0], answers[-1])
    if question.rows is None:
        for side in sides:
            side.round(plan.warm_up)
    samples: list[list[Sample]] = [[] for _ in sides]
    for pair in range(pairs):
        turns = list(zip(sides, samples, strict=True))
        for side, played in turns if pair % 2 == 0 else reversed(turns):
            gc.collect()
            played.append(side.round(amount))
    return Result(promise, _reached(promise, samples), samples[0], samples[1] if theirs else [])


def _reached(promise: Promise, samples: list[list[Sample]]) -> list[float]:
    """Return what each pair reached; without a peer that is the figure itself."""
    figures = [[sample.figure for sample in side] for side in samples]
    if len(figures) == 1:
        return figures[0]
    return (differences if promise.is_difference else ratios)(*figures)


def figures(rounds: Iterable[Sample]) -> dict[str, float]:
    """Return the median of *rounds*, its quartiles and the median CPU of a call, to be kept as JSON."""
    samples = list(rounds)
    found = spread([sample.figure for sample in samples])
    cpu = statistics.median(sample.cpu for sample in samples) * 1e6
    return {"figure": found.median, "low": found.low, "high": found.high, "cpu_us": cpu}


def same_answers(ours: object, theirs: object) -> None:
    """Raise DifferentAnswersError unless the two are equal."""
    if ours != theirs:
        raise DifferentAnswersError(f"pgdual answered {str(ours)[:200]}, the peer {str(theirs)[:200]}")
