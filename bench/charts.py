"""How does a figure become a picture? Inline SVG, drawn for a phone's width and coloured by the page's CSS.

Everything is 360 units wide, so that a phone shows the letters in the size they are drawn in. Colours are
classes (`c0` is pgdual, `goal` and `MISS` are verdicts): the page decides what they are by day and by night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 360
LETTER = 7.0  # of a name, on average, at 12 units


@dataclass(frozen=True, slots=True)
class Bar:
    """A median between its quartiles, under a name."""

    name: str
    figure: float
    low: float
    high: float
    kind: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio between its quartiles, with the bounds that were promised; more than 1 is better."""

    name: str
    peer: str
    reached: Bar
    goal: float
    floor: float


Point = tuple[float, float, float, float]  # x, median, lower and upper quartile


def rounded(figure: float) -> str:
    """Return *figure* as a table has it."""
    return f"{figure:,.0f}" if figure >= 1_000 else f"{figure:.2f}"


def short(value: float) -> str:
    """Return *value* in three digits, as a reader says it: 1.23, 45.6, 7.9k, 1.2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:g}" if value < 10_000 else short(value)


def bars(rows: Sequence[Bar], bounds: Mapping[str, float] | None = None) -> str:
    """Return horizontal bars from zero, one below the other, each with its spread, and their bounds."""
    marks = bounds or {}
    most = max([*(row.high for row in rows), *marks.values()]) or 1.0
    left = 14 + LETTER * max(len(row.name) for row in rows)
    scale = _linear(most, left, WIDTH - 50)
    parts = []
    for number, row in enumerate(rows):
        y = 26 * number + 14
        beyond = _free(scale(row.high), map(scale, marks.values())) + 5
        parts += [
            _text(left - 5, y + 4, row.name, "end"),
            _rect(row.kind, left, scale(row.figure), y),
            _spread(scale(row.low), scale(row.high), y),
            *(_bound(scale(value), y, f"{name}-mark") for name, value in marks.items()),
            _text(beyond, y + 4, row.note or short(row.figure), weight="figure"),
        ]
    height = 26 * len(rows) + 4
    parts += _named(marks, scale, height + 12)
    told = ", ".join(f"{row.name} {short(row.figure)}" for row in rows)
    return _svg(height + (20 if marks else 0), parts, told)


def _free(x: float, marks: Iterable[float]) -> float:
    """Return *x*, or the last of the marks that a figure written there would lie on."""
    for mark in sorted(marks):
        if x <= mark < x + 5 + 6 * LETTER:
            x = mark
    return x


def _named(marks: Mapping[str, float], scale: Callable[[float], float], y: float) -> Iterable[str]:
    """Return each mark in words below it: the lesser to its left, the greater to its right."""
    for number, (name, value) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        words = f"{name} {short(value)}"
        x = min(scale(value) + 4, WIDTH - LETTER * len(words)) if number else scale(value) - 4
        yield _text(x, y, words, "start" if number else "end", weight="quiet")


def ratios(rows: Sequence[Ratio]) -> str:
    """Return bars that leave the line of equality on a log axis, with the floor and the goal marked."""
    values = [
        1.0,
        *(value for row in rows for value in (row.reached.low, row.reached.high, row.goal, row.floor)),
    ]
    low, high = 2.0 ** math.floor(math.log2(min(values))), 2.0 ** math.ceil(math.log2(max(values)))
    scale = _log(low, high, 18, WIDTH - 44)
    bottom = 54 * len(rows) + 14
    steps = range(round(math.log2(low)), round(math.log2(high)) + 1)
    parts = [_tick(scale(2.0**step), bottom, _times(step), strong=step == 0) for step in steps]
    for number, row in enumerate(rows):
        parts += _ratio(row, scale, 54 * number + 46)
    return _svg(bottom + 18, parts, "; ".join(f"{row.name}: {row.reached.figure:.2f}" for row in rows))


def _times(step: int) -> str:
    return f"{2**step}x" if step >= 0 else f"1/{2**-step}x"


def _ratio(row: Ratio, scale: Callable[[float], float], y: float) -> list[str]:
    reached = row.reached
    start, end = sorted((scale(1.0), scale(reached.figure)))
    beyond = max(scale(value) for value in (1.0, reached.high, row.goal, row.floor)) + 5
    return [
        _text(22, y - 27, row.name),
        _text(22, y - 13, row.peer, weight="quiet"),
        _rect(reached.kind, start, end, y),
        _spread(scale(reached.low), scale(reached.high), y),
        *(
            _bound(scale(value), y, kind)
            for value, kind in ((row.floor, "floor-mark"), (row.goal, "goal-mark"))
        ),
        _text(beyond, y + 4, f"{reached.figure:.2f}", weight="figure"),
    ]


def curves(series: Mapping[str, Iterable[Point]], unit: str, axis: str) -> str:
    """Return lines on two log axes, one a client, each point with its spread."""
    lines = {name: list(points) for name, points in series.items()}
    points = [point for line in lines.values() for point in line]
    xs = sorted({point[0] for point in points})
    low, high = _decades(min(point[2] for point in points), max(point[3] for point in points))
    across, up = _log(min(xs), max(xs), 44, WIDTH - 20), _log(low, high, 210, 34)
    parts = [_legend(lines)]
    for value in _marks(low, high):
        parts.append(
            f'<line class="grid" x1="44" x2="{WIDTH - 20}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        )
        parts.append(_text(40, up(value) + 4, short(value), "end"))
    parts += [_text(across(x), 226, _count(x), "middle") for x in xs]
    parts += [_text(WIDTH - 20, 242, axis, "end", weight="quiet"), _text(10, 242, unit, weight="quiet")]
    for number, line in enumerate(lines.values()):
        parts += _curve(line, across, up, f"c{number}")
    return _svg(250, parts, f"{unit} over {axis} for {', '.join(lines)}")


def _curve(
    line: list[Point], across: Callable[[float], float], up: Callable[[float], float], kind: str
) -> list[str]:
    path = " ".join(f"{across(x):.1f},{up(figure):.1f}" for x, figure, _, _ in line)
    parts = [f'<polyline class="line {kind}" points="{path}"/>']
    for x, figure, low, high in line:
        at = f"{across(x):.1f}"
        parts.append(
            f'<line class="line thin {kind}" x1="{at}" x2="{at}" y1="{up(low):.1f}" y2="{up(high):.1f}"/>'
        )
        parts.append(f'<circle class="{kind}" cx="{at}" cy="{up(figure):.1f}" r="3"/>')
    return parts


def _legend(names: Iterable[str]) -> str:
    parts, x = [], 10.0
    for number, name in enumerate(names):
        parts.append(f'<circle class="c{number}" cx="{x + 4:.1f}" cy="14" r="4"/>{_text(x + 12, 18, name)}')
        x += 28 + LETTER * len(name)
    return "".join(parts)


def _linear(most: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * value / most


def _log(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    length = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(value / low) / length


def _decades(low: float, high: float) -> tuple[float, float]:
    """Return the round numbers 1, 2 or 5 times a power of ten that enclose *low* and *high*."""
    below = 10.0 ** math.floor(math.log10(low))
    above = 10.0 ** math.floor(math.log10(high))
    return (
        max(step * below for step in (1, 2, 5) if step * below <= low),
        min(step * above for step in (1, 2, 5, 10) if step * above >= high * (1 - 1e-9)),
    )


def _marks(low: float, high: float) -> list[float]:
    """Return powers of ten within the axis; on a short axis 1, 2 and 5 times them."""
    steps = (1, 2, 5) if high / low < 100 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]


def _rect(kind: str, start: float, end: float, y: float) -> str:
    return (
        f'<rect class="{kind}" x="{start:.1f}" y="{y - 7:.1f}" width="{max(1.0, end - start):.1f}"'
        ' height="14" rx="2"/>'
    )


def _spread(low: float, high: float, y: float) -> str:
    ends = "".join(f"M{x:.1f} {y - 4}v8" for x in (low, high))
    return f'<path class="spread" d="{ends}M{low:.1f} {y}H{high:.1f}"/>'


def _bound(x: float, y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 10}"/>'


def _tick(x: float, bottom: float, label: str, *, strong: bool) -> str:
    kind = "one" if strong else "grid"
    return (
        f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{bottom}"/>'
        f"{_text(max(x, 3.5 * len(label)), bottom + 14, label, 'middle')}"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", *, weight: str = "label") -> str:
    return f'<text class="{weight}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(height: float, parts: Iterable[str], told: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(told)}">'
        f"<title>{escape(told)}</title>{''.join(parts)}</svg>"
    )
