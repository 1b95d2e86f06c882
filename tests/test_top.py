"""`pgdual top`: two looks at real processes, in a terminal that a test plays, and what cannot be shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable
from typer.testing import CliRunner

from pgdual.cli.app import app
from pgdual.cli.board import MOST, POOLS, STATEMENTS, Look, pools, statements
from pgdual.cli.view import Top
from pgdual.core.meter import Meter

from ._async.clients import client_of
from ._async.runtime import wait_until

ROOT = Path(__file__).parents[1]


def told(pid: int, meter: Meter, **database: Any) -> dict[str, Any]:
    """Return what a process with one pool tells."""
    pool = {"size": 3, "min_size": 1, "max_size": 8, "active": 2, "idle": 1, "waiting": 4, "connecting": 0}
    one = {
        "database": "main", "face": "async", "pool": pool, "lanes": [0, 1, 3, 5], "breaker": "closed",
        "meter": meter.state(), "slowest": [{"statement": "select 1", "ms": 1.5}], **database,
    }  # fmt: skip
    return {"pid": pid, "program": "app.py", "databases": [one]}


def cells(row: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(POOLS, row, strict=True))


def test_what_happened_in_between() -> None:
    """W1: rates and percentiles are those since the last look, not since the start."""
    meter = Meter()
    for _ in range(1000):
        meter.tell(0.0, 10.0, 1, True)
    before = Look.at(10.0, [told(7, meter)])
    for _ in range(300):
        meter.tell(0.002, 0.001, 1, False)
    meter.errors += 6
    (row,) = pools(before, Look.at(12.0, [told(7, meter)]))
    found = cells(row)
    assert found["process"] == "7 app.py"
    assert (found["active"], found["idle"], found["max"], found["in line"]) == ("2", "1", "8", "4")
    assert found["lanes"] == "2 x 4"
    assert (found["calls/s"], found["errors/s"]) == ("150", "3")
    assert 0.95 < float(found["p50 ms"]) <= float(found["p99 ms"]) < 1.05
    assert 1.9 < float(found["acquire p99"]) < 2.1
    first = cells(pools(None, before)[0])
    assert (first["calls/s"], first["breaker"]) == ("-", "closed")
    assert 9500 < float(first["p99 ms"]) < 10500
    idle = cells(pools(before, Look.at(13.0, [told(7, Meter(), lanes=[])]))[0])
    assert (idle["p50 ms"], idle["lanes"]) == ("-", "-")


def test_the_slowest_of_all_processes() -> None:
    """Statements of all processes are in one list, the slowest first, and no more than can be read."""
    many = [{"statement": f"select {number}", "ms": float(number)} for number in range(MOST)]
    look = Look.at(0.0, [told(7, Meter(), slowest=many), told(8, Meter(), database="vb", slowest=many)])
    rows = statements(look)
    assert len(rows) == MOST
    assert [row[0] for row in rows[:3]] == ["9.00", "9.00", "8.00"]
    assert {row[2] for row in rows[:2]} == {"main", "vb"}


async def test_a_live_view(main_dsn: str, tmp_path: Path) -> None:
    """A running client is seen through its socket, calls and statements, and a pause stops the looking."""
    from pgdual import monitor

    folder = tmp_path / "monitor"
    client = client_of(main=main_dsn)
    object.__setattr__(client.settings, "monitor", str(folder))
    looks = []

    def look() -> list[dict[str, Any]]:
        looks.append(list(monitor.read(str(folder))))
        return looks[-1]

    async with client:
        await client["main"].fetch("select 1 from pg_sleep(0.02)")
        view = Top(look, 0.1)
        async with view.run_test(size=(150, 30)) as pilot:
            table = view.query_one("#pools", DataTable)
            await wait_until(lambda: table.row_count == 1 and len(looks) > 1)
            for _ in range(20):
                await client["main"].fetch("select 1 from pg_sleep(0.02)")
            row = cells(tuple(table.get_row_at(0)))
            assert (row["database"], row["face"], row["max"]) == ("main", "async", "4")
            slow = view.query_one("#statements", DataTable)
            assert "select 1 from pg_sleep" in slow.get_row_at(0)[STATEMENTS.index("statement")]
            picture = view.export_screenshot()
            assert "pgdual&#160;top" in picture
            assert "closed" in picture
            await pilot.press("p")
            assert view.sub_title == "paused"
            seen = len(looks)
            await pilot.pause(0.3)
            assert len(looks) <= seen + 1
            await pilot.press("q")
        assert view.return_code == 0
    for made in (one for one in monitor._MONITORS.values() if one is not None):
        made.close()


async def test_nobody_there() -> None:
    """Without a process the view says so and goes on looking."""
    view = Top(list, 0.1)
    async with view.run_test():
        assert view.query_one("#pools", DataTable).row_count == 0
        assert view.sub_title == "no process tells of itself"


def test_the_picture_shows_the_view() -> None:
    """The picture in the documents has the columns that there are."""
    picture = (ROOT / "docs" / "top.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    for heading in (*POOLS, *STATEMENTS):
        assert heading in picture
    assert not re.search(r"/(?:home|root|tmp|work)/", picture)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Start your program with PGDUAL_MONITOR"),
        (["nowhere"], "nowhere is no folder"),
        (["--every", "0"], "0"),
    ],
)
def test_what_cannot_be_shown(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder, or with a wrong option, one clear line and code 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGDUAL_MONITOR", raising=False)
    result = CliRunner().invoke(app, ["top", *arguments])
    assert result.exit_code == 2
    assert said in result.output
