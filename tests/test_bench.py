"""bench/: the arithmetic behind the table, and that every row has its promise. Nothing is timed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import Plan, Question, Result, Sample, Side, play
from bench.verdict import Promise, Spread, Verdict, judge, percentile, ratios, spread

HIGHER = Promise("1", "select", "peer", goal=4.0, floor=2.0)
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


def test_a_row_with_long_rounds_is_played_as_often_as_it_says():
    """It is not warmed up, and a plan of many pairs leaves it at its own number."""
    played: list[str] = []

    def side(name: str) -> Side:
        return Side(lambda: None, lambda _: played.append(name) or Sample(2.0, 0.0))

    question = Question(HIGHER, lambda _: (side("ours"), side("theirs")), pairs=1)
    result = play(question, None, Plan(pairs=11, seconds=0.6, warm_up=0.6))
    assert (played, result.ratios) == (["ours", "theirs"], [1.0])


def test_all_rows_are_there():
    """Every row of the promise can be asked for, each once."""
    for peer in ("asyncpg", "psycopg2"):
        pytest.importorskip(peer, reason="the peers are in the extra `bench`")
    from bench.__main__ import QUESTIONS

    rows = [question.promise.row for question in QUESTIONS]
    assert {question.promise.number for question in QUESTIONS} >= set(range(1, 25))
    assert len(set(rows)) == len(rows)


def test_rows_are_chosen_by_number():
    """12a and 12b both answer to 12."""
    assert Promise("12b", "fetch", "peer", 1.3, 0.65).number == 12
