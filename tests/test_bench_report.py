"""bench/page.py: what a reader of the report sees, in a browser: phone and desk, day and night."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.browser import chromium, program
from bench.page import page, write

PHONE, DESK = 375, 1280
CHARTS = {"ratios": 2, "figures": 8, "growth": 1, "memory": 1, "shape": 1}

# What reaches over the right edge: of the page, and of a chart's own drawing.
OVERFLOWING = """() => {
  const wide = [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5);
  const cut = [...document.querySelectorAll('svg text')].filter(e => {
    const box = e.getBBox(), view = e.ownerSVGElement.viewBox.baseVal;
    return box.x < -0.5 || box.x + box.width > view.width + 0.5 || box.y + box.height > view.height + 1;
  });
  return [...wide, ...cut].map(e => e.tagName + ': ' + e.textContent.slice(0, 80));
}"""


def spread(figure: float) -> dict[str, float]:
    return {"figure": figure, "low": figure * 0.9, "high": figure * 1.2, "cpu_us": 21.7}


def row(number: str, reached: float, verdict: str, **more: Any) -> dict[str, Any]:
    promise = {
        "row": number,
        "work": "begin, update, select, commit, 10 tasks",
        "peer": "asyncpg pool, no reset",
    }
    promise |= {
        "goal": 4.0,
        "floor": 2.0,
        "unit": "calls/s",
        "lower_is_better": False,
        "is_difference": False,
    }
    found = {
        "verdict": verdict,
        "error": None,
        "reached": reached,
        "low": reached * 0.9,
        "high": reached * 1.1,
    }
    sides = {"pgdual_spread": spread(41_234.5 * reached), "peer_spread": spread(41_234.5)}
    return promise | found | sides | more


LESS = {"lower_is_better": True, "unit": "ms", "goal": 0.05, "floor": 0.3}
ROWS = [
    row("1", 5.1, "goal"),
    row("2", 2.4, "floor"),
    row("7", 1.2, "MISS"),
    row("10b", 1.61, "MISS", peer="asyncpg copy_records_to_table", low=1.33, high=1.72),
    row("15", 0.04, "goal", **LESS),
    row("18", 3.9, "MISS", lower_is_better=True, unit="MB", goal=1.8, floor=2.2),
    row(
        "16b",
        12.25,
        "MISS",
        lower_is_better=True,
        is_difference=True,
        unit="us",
        goal=3.0,
        floor=6.25,
        work="OpenTelemetry metrics on, CPU a call, 100 tasks",
    ),
    row(
        "20",
        12_039.68,
        "goal",
        peer="the bound",
        pgdual_spread=spread(12_039.68),
        peer_spread=None,
        is_difference=True,
        unit="events/s",
        goal=12_000,
        floor=8_000,
    ),
    row("14", 0.0, "not run", error="no pgbench in /usr/lib/postgresql/18/bin nor on PATH"),
]
LINE = [{"x": x, "memory_mb": 25.0 + x / 100, **spread(1e4 * x**0.2)} for x in (1, 4, 16, 64, 256, 1024)]
GROWTH = {"kind": "tasks", "title": "Select by key", "unit": "calls/s"}
CLIENTS = ("pgdual", "asyncpg pool", "psycopg pool", "SQLAlchemy, psycopg")
RUN: dict[str, Any] = {
    "machine": {"cpu": "A processor of some name & 2 cores", "python": "CPython 3.11"},
    "settings": {"with pgdual": "everything on", "with asyncpg pool": "defaults <and> nothing else " * 4},
    "run": {"when": "2026-01-31 12:00 UTC", "rounds": "11 pairs of rounds of 0.6 s"},
    "asyncio": ROWS,
    "uvloop": ROWS[:2],
    "growth": [GROWTH | {"series": dict.fromkeys(CLIENTS[:3], LINE)}],
    "shapes": [
        {
            "shape": "SELECT 1 + 1",
            "unit": "calls/s",
            "tasks": "10 tasks",
            "figures": dict.fromkeys(CLIENTS, spread(1_234_567)),
            "not_run": {"psqlpy": "DifferentAnswersError: it answered otherwise"},
        }
    ],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is in the extra `test`")
    if program() is None:
        pytest.skip("no Chromium on PATH; Debian's package is `chromium`")
    with playwright.sync_playwright() as running:
        opened = chromium(running)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "deep" / "index.html"
    write(RUN, path)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_is_whole(browser, written, tmp_path, width, scheme):
    """All charts are drawn, nothing reaches over an edge, nothing is fetched, nothing is complained of."""
    view = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    complaints: list[str] = []
    fetched: list[str] = []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", lambda request: fetched.append(request.url))
    view.goto(written.as_uri())
    shots = Path(os.environ.get("PGDUAL_SCREENSHOTS", tmp_path))
    view.screenshot(path=shots / f"report-{width}-{scheme}.png", full_page=True)

    drawn = {name: view.locator(f"[data-chart={name}] svg").count() for name in CHARTS}
    assert drawn == CHARTS
    assert all(box["height"] > 40 for box in (svg.bounding_box() for svg in view.locator("svg").all()))
    assert view.evaluate(OVERFLOWING) == []
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    view.close()


def test_night_is_dark_and_day_is_light(browser, written):
    """The page follows the reader's colour scheme, its ink with it."""
    colours = {}
    for scheme in ("light", "dark"):
        view = browser.new_page(color_scheme=scheme)
        view.goto(written.as_uri())
        told = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
        colours[scheme] = [
            sum(int(part) for part in colour[4:-1].split(","))
            for colour in view.locator("body").evaluate(told)
        ]
        view.close()
    paper, ink = colours["light"]
    assert paper > 700
    assert ink < 150
    paper, ink = colours["dark"]
    assert paper < 120
    assert ink > 600


def test_the_page_says_what_was_not_kept():
    """A missed floor, a row that was not run and a peer that answered otherwise are all in the text."""
    text = page(RUN)
    assert '<b class="MISS">1.20 MISS</b>' in text
    assert "no pgbench in /usr/lib/postgresql/18/bin" in text
    assert "psqlpy: DifferentAnswersError" in text


def test_a_figure_without_a_peer_stands_between_its_bounds():
    """There is one bar, pgdual's, with both bounds marked on it, and none of 0 for nobody."""
    [*_, card] = [card for card in page(RUN).split("<section") if "data-chart=figures" in card]
    assert "20. begin" in card
    assert [card.count(f'class="{kind}"') for kind in ("c0", "c3", "goal-mark", "floor-mark")] == [1, 0, 1, 1]


def test_words_cannot_become_markup():
    """Settings and errors are text, whatever they hold."""
    assert "<and>" not in page(RUN)
    assert "&lt;and&gt;" in page(RUN)
