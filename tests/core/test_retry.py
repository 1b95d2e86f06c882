"""Tries cost a budget that answered calls fill, and wait for a random part of a growing delay (O2)."""

from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.retry import BURST, SHARE, Backoff, Budget


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_tries_stay_under_a_tenth_of_the_calls(steps):
    """Whatever the pace, tries beyond the first burst are at most a tenth of the calls that were answered."""
    budget, calls, taken = Budget(), 0, 0
    for step in steps:
        calls += step
        while budget.take(calls):
            taken += 1
    assert taken <= BURST + calls * SHARE
    assert taken >= BURST


def test_an_idle_database_saves_no_more_than_a_burst():
    """A long good time does not pay for a flood of tries."""
    budget = Budget()
    assert sum(budget.take(1_000_000) for _ in range(1000)) == BURST
    assert sum(budget.take(0) for _ in range(1000)) == 0  # the meters were reset


@given(st.integers(2, 5000), st.floats(0, 1))
def test_a_delay_is_a_part_of_a_longest_one(number, luck):
    """Delays grow by the factor up to the highest; luck takes a part of each, so that callers spread."""
    backoff = Backoff(0.1, 2.0, 2.0)
    longest = min(0.1 * 2.0 ** min(number - 2, 60), 2.0)
    assert backoff.delay(number, luck) == longest * luck
