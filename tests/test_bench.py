"""bench/: the arithmetic behind the table, what is asked of it, and that it plays. No figure is judged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.database import database
from bench.harness import Plan, Question, Result, Sample, Side, play
from bench.verdict import Promise, Spread, Verdict, judge, percentile, ratios, spread

HIGHER = Promise("1", "select", "peer", goal=4.0, floor=2.0)
SHORT = Plan(pairs=11, seconds=0.6, warm_up=0.6, slow_pairs=3, share=0.1)
LOWER = Promise("15", "p99", "peer", goal=0.05, floor=0.3, lower_is_better=True)

figures = st.floats(min_value=1e-6, max_value=1e9)


@pytest.mark.parametrize(
    ("promise", "ratio", "verdict"),
    [
        (HIGHER, 4.0, Verdict.GOAL),
        (HIGHER, 3.99, Verdict.FLOOR),
        (HIGHER, 2.0, Verdict.FLOOR),
        (HIGHER, 1.99, Verdict.MISS),
        (LOWER, 0.05, Verdict.GOAL),
        (LOWER, 0.06, Verdict.FLOOR),
        (LOWER, 0.3, Verdict.FLOOR),
        (LOWER, 0.31, Verdict.MISS),
    ],
)
def test_a_bound_counts_as_reached_in_either_direction(promise, ratio, verdict):
    """A ratio on the bound keeps it, beyond it misses, whichever way is better."""
    assert judge(promise, ratio) is verdict


def test_ratios_are_taken_pair_by_pair():
    """A machine that slows both sides of one pair leaves that pair's ratio as it was."""
    assert ratios([100.0, 10.0, 90.0], [50.0, 5.0, 45.0]) == [2.0, 2.0, 2.0]


def test_pairs_must_be_pairs():
    """A round without its opposite is an error, not a dropped figure."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_the_spread_is_the_quartiles():
    """Median and quartiles are those of the values themselves, not extrapolated."""
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(2.0, 3.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_one_disturbed_pair_does_not_move_the_median():
    """The median of the ratios throws a wild pair away."""
    assert spread([2.0] * 6 + [500.0]).median == 2.0


@settings(deadline=None)  # a machine that measures is busy
@given(st.lists(figures, min_size=1))
def test_the_spread_is_ordered_and_inside_the_values(values):
    """Quartiles stand in order and never outside what was measured."""
    found = spread(values)
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found.low <= found.median + slack
    assert found.median - slack <= found.high <= max(values) + slack


def test_a_percentile_is_one_of_the_values():
    """No interpolation: a tail of one slow call shows that call."""
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.99) == 100.0
    assert percentile(values, 0.5) == 51.0
    assert percentile([3.0], 0.99) == 3.0


def test_no_values_have_no_percentile():
    """A round in which no fast read ended is an error, not a good tail."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.99)


def test_what_could_not_be_run_is_neither_kept_nor_missed():
    """A row that lacks its peer says so; one that broke is a miss."""
    assert Result(HIGHER, [], [], [], "no pgbench", was_run=False).verdict is Verdict.NOT_RUN
    assert Result(HIGHER, [], [], [], "it broke").verdict is Verdict.MISS


def test_a_row_of_many_rows_is_one_long_round_of_the_plans_share():
    """It is not warmed up, a plan of many pairs leaves it at one, and its name tells the rows that it had."""
    given: list[float] = []
    side = Side(lambda: None, lambda rows: given.append(rows) or Sample(2.0, 0.0))
    promise = replace(HIGHER, work="{rows} streamed")
    question = Question(promise, lambda _: (side, None), rows=10_000_000)
    result = play(question, None, SHORT)
    assert given == [1_000_000]
    assert result.promise.work == "1,000,000 streamed"


def test_a_figure_without_a_peer_is_held_against_the_bounds_itself():
    """Nobody plays in turn; a row whose rounds cannot be short has fewer of them in a short plan."""
    figures = iter([9.0, 3.0, 5.0, 4.0])
    side = Side(lambda: None, lambda _: Sample(next(figures), 0.0))
    result = play(Question(HIGHER, lambda _: (side, None), is_slow=True), None, SHORT)
    assert (result.ratios, result.theirs, result.verdict) == ([3.0, 5.0, 4.0], [], Verdict.GOAL)


@pytest.fixture
def runner():
    """The module that runs the rows; it needs every peer."""
    for peer in ("asyncpg", "psycopg2"):
        pytest.importorskip(peer, reason="the peers are in the extra `bench`")
    from bench import __main__

    return __main__


def test_the_whole_bench_has_the_rows_that_it_promises(runner):
    """Ten million are streamed and a million filled in; a short run says how many fewer."""
    long = [question for question in runner.QUESTIONS if question.rows]
    told = [question.planned(runner.FULL) for question in long]
    assert [rows for _, _, rows in told] == [10_000_000, 10_000_000, 1_000_000]
    assert [promise.work for promise, _, _ in told] == [
        "memory, 10,000,000 streamed, async",
        "memory, 10,000,000 streamed, blocking",
        "backfill of 1,000,000 rows, 10 kill -9",
    ]
    short = [question.planned(runner.QUICK)[0].work for question in long]
    assert all("10,000,000" not in work and "{" not in work for work in short)


# Row: goal, floor. 1 to 18 are the table that was promised; the others came with what they measure.
PROMISED = {
    "1": (4.0, 2.0),
    "2": (8.0, 4.5),
    "3": (8.0, 4.5),
    "4": (5.0, 3.0),
    "5": (1.2, 0.9),
    "6": (3.0, 2.0),
    "7": (2.5, 1.6),
    "8": (1.5, 1.0),
    "9": (4.0, 2.5),
    "10": (2.5, 1.7),
    "10b": (2.5, 1.7),
    "11": (1.5, 1.0),
    "12a": (1.4, 1.0),
    "12b": (1.3, 0.65),
    "13": (1.2, 0.8),
    "14": (1.0, 0.7),
    "15": (0.05, 0.3),
    "16": (3, 6),
    "16b": (3, 5),
    "17": (1.05, 1.2),
    "18": (1.8, 2.2),
    "19": (0.6, 1.0),
    "20": (12_000, 8_000),
    "21": (60_000, 40_000),
    "22": (20, 50),
    "23a": (60, 100),
    "23b": (60, 100),
    "24": (20_000, 5_000),
}
LESS_IS_BETTER = {"15", "16", "16b", "17", "18", "19", "22", "23a", "23b"}


def test_every_row_has_the_goal_and_the_floor_that_were_promised(runner):
    """Each row is there once, and no bound was moved to what was reached."""
    promises = [question.promise for question in runner.QUESTIONS]
    assert [(p.row, (p.goal, p.floor)) for p in promises] == list(PROMISED.items())
    assert {p.row for p in promises if p.lower_is_better} == LESS_IS_BETTER


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], {"uvloop", "shapes", "growth"}),
        (["--no-growth", "--check"], {"uvloop", "shapes"}),
        (["--uvloop", "--shapes", "--growth"], {"uvloop", "shapes", "growth"}),
        (["--quick"], set()),
        (["--only", "1,5"], set()),
        (["--quick", "--shapes"], {"shapes"}),
    ],
)
def test_a_whole_run_has_every_part_and_a_short_one_those_that_it_names(runner, arguments, parts):
    """`nox -s bench` writes the whole page; parts are named, or left out by name."""
    options = runner._options(arguments)
    assert {part for part in runner.PARTS if getattr(options, part)} == parts


GOOD = Result(HIGHER, [9.0], [], [])


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (GOOD, "floors missed: none\nnot run: none"),
        (replace(GOOD, error="no pgbench", was_run=False), "not run: 1 (uvloop, no pgbench)"),
        (replace(GOOD, error="it broke"), "floors missed: 1 (uvloop, it broke)"),
        (replace(GOOD, ratios=[1.9]), "floors missed: 1 (uvloop)"),
    ],
)
def test_the_check_judges_both_tables(runner, capsys, second, told):
    """A row that is missed, breaks or is not run fails it in either table, and the reason is printed."""
    assert runner._judged({"asyncio": [GOOD], "uvloop": [second]}) is (second is GOOD)
    assert told in capsys.readouterr().out


TINY = Plan(pairs=2, seconds=0.02, warm_up=0.02, slow_pairs=1, share=0.001)


def test_a_row_plays_against_a_real_server(runner, main_dsn, monkeypatch):
    """Both sides answer alike, and each pair gives a ratio; the long rows play on a small share."""
    monkeypatch.setenv("PGDUAL_BENCH_DSN", main_dsn)
    with database() as dsn:
        for row in ("2", "23b"):
            [question] = runner._chosen(row)
            result = runner._run(question, dsn, TINY)
            assert result.error is None
            assert all(figure > 0 for figure in result.ratios)
            assert "None" not in runner.report.line(result)
            json.dumps(runner.report.content({}, TINY, {"asyncio": [result]}))


def test_a_shape_plays_against_a_real_server(runner, main_dsn, monkeypatch):
    """Every client that can do it has its figure, the first of them pgdual."""
    monkeypatch.setenv("PGDUAL_BENCH_DSN", main_dsn)
    with database() as dsn:
        [shape] = [shape for shape in runner.shapes.SHAPES if shape.name == "executemany 1,000 rows x 5"]
        found = runner.shapes._measured(replace(shape, brings=10), dsn, TINY, lambda line: None)
    assert {"pgdual", "asyncpg pool", "psycopg pool", "psycopg pool, tuned"} <= set(found["figures"])
    assert (found["tasks"], found["not_run"]) == ("1 task", {})


@pytest.mark.parametrize("client", ["pgdual", "asyncpg pool"])
def test_a_point_of_growth_plays_in_a_process_of_its_own(runner, main_dsn, vb_dsn, client):
    """It goes over its databases and says what it was answered and the memory that it held."""
    point = runner.growth.played("databases", client, 2, [main_dsn, vb_dsn], TINY)
    assert (point["x"], point["answer"]) == (2, ["1", point["answer"][1]])
    assert point["figure"] > 0
    assert point["memory_mb"] is None or point["memory_mb"] > 10


def test_rows_are_chosen_by_number():
    """12a and 12b both answer to 12."""
    assert Promise("12b", "fetch", "peer", 1.3, 0.65).number == 12
