"""What does a run look like? ``python -m bench.page`` draws bench/results.json as one page without a network.

The page is bench/report/index.html. With ``--pictures FOLDER`` its first chart is also kept as PNG, once for
light and once for dark pages, through a headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from bench.charts import Bar, Point, Ratio, bars, curves, ratios, rounded, short
from bench.harness import POOL

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE / "report" / "index.html"
AGAIN = """\
# everything on this page
nox -s bench
# some rows, shorter
nox -s bench -- --quick --only 1,5,12
# fails where a floor is missed or a row could not be run
nox -s bench -- --check"""
PROTOCOL = (
    "Each row is the same work by pgdual, with everything on, and by a peer as its documentation advises, "
    "on one server and in turns. Both play in one process, but for pgbench (row 14), a process of its own, "
    "and rows 17, 18, 23 and 24, where each round starts fresh ones. Both give the same answers first, and "
    "are warmed up. What counts is the median of the ratios of neighbouring rounds; the whiskers are "
    "quartiles. Rows 19 to 24 have no peer but bounds, and 23 and 24 are one long round."
)
POINTS = (
    "Each point is a fresh process. Over databases pgdual is one client of them all, and the others have a "
    "pool for each."
)
Row = Mapping[str, Any]


def page(run: Mapping[str, Any]) -> str:
    """Return the whole page for what one run has kept."""
    style = (HERE / "page.css").read_text()
    body = "\n".join(_sections(run))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>pgdual beside its peers</title>\n<style>\n{style}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _sections(run: Mapping[str, Any]) -> Iterator[str]:
    machine, when = run["machine"], run["run"]["when"]
    yield f"<h1>pgdual beside its peers</h1><p class=quiet>{escape(when)} · {escape(machine['cpu'])}</p>"
    yield f"<p>{PROTOCOL}</p>"
    for name, title in (("asyncio", "Ratios"), ("uvloop", "Ratios under uvloop, both sides")):
        if run.get(name):
            yield f"<h2>{title}</h2><div class=pair>{_glance(run[name])}{_table(run[name])}</div>"
    measured = [row for row in run["asyncio"] if not row["error"]]
    yield f"<h2>Figures</h2><div class=cards>{''.join(map(_figures, measured))}</div>"
    if run.get("growth"):
        yield f"<h2>Growth</h2><p>{POINTS}</p>{_growth(run['growth'])}"
    if run.get("shapes"):
        yield f"<h2>Shapes of work</h2><p>Each client has a pool of {POOL}.</p>{_shapes(run['shapes'])}"
    what = {"rounds": run["run"]["rounds"]} | dict(machine) | dict(run["settings"])
    yield f"<h2>What was run</h2><dl>{_terms(what)}</dl>"
    yield f"<h2>Run it again</h2><pre>{escape(AGAIN)}</pre>"


def _terms(words: Mapping[str, str]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(told)}</dd>" for name, told in words.items())


def _better(row: Row, value: float) -> float:
    """Return a ratio so that more is better."""
    return 1 / value if row["lower_is_better"] else value


def _glance(rows: Iterable[Row]) -> str:
    drawn = [_ratio(row) for row in rows if not row["error"] and not row["is_difference"]]
    if not drawn:
        return ""
    told = (
        "How many times better than the peer. Solid mark: the goal; dashed: the floor. "
        "Where less is better the ratio is turned round."
    )
    return f"<div class=card data-chart=ratios><small>{told}</small>{ratios(drawn)}</div>"


def _ratio(row: Row) -> Ratio:
    low, high = sorted(_better(row, row[end]) for end in ("low", "high"))
    name = f"{row['row']}. {row['work']}"
    reached = Bar(name, _better(row, row["reached"]), low, high, row["verdict"])
    return Ratio(name, row["peer"], reached, _better(row, row["goal"]), _better(row, row["floor"]))


def _table(rows: Iterable[Row]) -> str:
    head = "<tr><th>row<th>work, peer<th>floor<th>goal<th>reached</tr>"
    return f"<table>{head}{''.join(map(_line, rows))}</table>"


def _line(row: Row) -> str:
    kind = escape(row["verdict"])
    unit = f" {escape(row['unit'])}" if row["is_difference"] else ""
    if row["error"]:
        reached = f'<b class="{kind}">{kind}</b>'
        peer = f"{escape(row['peer'])}: {escape(row['error'][:200])}"
    else:
        reached = f'<b class="{kind}">{rounded(row["reached"])} {kind}</b>'
        reached += f"<small>{rounded(row['low'])} to {rounded(row['high'])}{unit}</small>"
        peer = escape(row["peer"]) + (", less is better" if row["lower_is_better"] else "")
    return (
        f"<tr><td>{escape(row['row'])}<td>{escape(row['work'])}<small>{peer}</small>"
        f"<td>{row['floor']:,g}{unit}<td>{row['goal']:,g}{unit}<td>{reached}</tr>"
    )


def _figures(row: Row) -> str:
    """Return a bar for each side of a row, in its own unit; without a peer its bounds are marked."""
    ours, theirs = row["pgdual_spread"], row["peer_spread"]
    drawn = [_bar("pgdual", ours, "c0")]
    if theirs:
        svg = bars([*drawn, _bar("peer", theirs, "c3")])
        told = f"peer {row['peer']}; CPU {short(ours['cpu_us'])} and {short(theirs['cpu_us'])} µs"
    else:
        svg = bars(drawn, {name: row[name] for name in ("floor", "goal")})
        told = ("less" if row["lower_is_better"] else "more") + f" is better; CPU {short(ours['cpu_us'])} µs"
    title = f"<h3>{escape(row['row'])}. {escape(row['work'])}</h3>"
    words = f"<small>{escape(row['unit'])}, {escape(told)}</small>"
    return f"<section class=card data-chart=figures>{title}{words}{svg}</section>"


def _bar(name: str, found: Mapping[str, float], kind: str) -> Bar:
    return Bar(name, found["figure"], found["low"], found["high"], kind)


def _growth(kinds: Iterable[Mapping[str, Any]]) -> str:
    return f"<div class=cards>{''.join(card for kind in kinds for card in _curves(kind))}</div>"


def _curves(kind: Mapping[str, Any]) -> Iterator[str]:
    title = f"<h3>{escape(kind['title'])}</h3>"
    series = kind["series"]
    rate = {name: [_point(point) for point in line] for name, line in series.items()}
    yield f"<section class=card data-chart=growth>{title}{curves(rate, kind['unit'], kind['kind'])}</section>"
    memory = {
        name: [(p["x"], p["memory_mb"], p["memory_mb"], p["memory_mb"]) for p in line if p["memory_mb"]]
        for name, line in series.items()
    }
    if all(memory.values()):
        drawn = curves(memory, "MB, the most held", kind["kind"])
        yield f"<section class=card data-chart=memory><h3>The same, memory</h3>{drawn}</section>"


def _point(point: Mapping[str, float]) -> Point:
    return point["x"], point["figure"], point["low"], point["high"]


def _shapes(shapes: Iterable[Mapping[str, Any]]) -> str:
    return f"<div class=cards>{''.join(map(_shape, shapes))}</div>"


def _shape(shape: Mapping[str, Any]) -> str:
    drawn = bars([_bar(name, found, _colour(name)) for name, found in shape["figures"].items()])
    told = "".join(f"<small>{escape(name)}: {escape(why)}</small>" for name, why in shape["not_run"].items())
    title = f"<h3>{escape(shape['shape'])}</h3><small>{escape(shape['unit'])}, {shape['tasks']}</small>"
    return f"<section class=card data-chart=shape>{title}{drawn}{told}</section>"


def _colour(name: str) -> str:
    return "c0" if name == "pgdual" else "c3"


def write(run: Mapping[str, Any], path: Path = PAGE) -> None:
    """Write the page for *run* to *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(run))


def pictures(path: Path, folder: Path) -> None:
    """Keep the first chart of the page at *path* as PNG in *folder*: bench-light.png and bench-dark.png."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # the extra bench

    from bench.browser import chromium  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = chromium(playwright)
        for scheme in ("light", "dark"):
            view = browser.new_page(color_scheme=scheme, viewport={"width": 720, "height": 800})
            view.goto(path.resolve().as_uri())
            view.locator("[data-chart=ratios]").first.screenshot(path=folder / f"bench-{scheme}.png")
        browser.close()


def main(arguments: list[str] | None = None) -> int:
    """Draw the last run."""
    parser = argparse.ArgumentParser("python -m bench.page", description="the last run as a page")
    parser.add_argument(
        "--pictures", metavar="FOLDER", type=Path, help="keep the first chart there as PNG, too"
    )
    options = parser.parse_args(arguments)
    write(json.loads(RESULTS.read_text()))
    print(PAGE)
    if options.pictures:
        pictures(PAGE, options.pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
