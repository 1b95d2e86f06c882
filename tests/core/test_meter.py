"""Histograms and counters: quantiles within 5 %, sums that add up, the same by every way of counting (W1)."""

import json
from math import ceil, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdual.core.meter import BUCKETS, GROWTH, HIGHEST, LABELS, LOWEST, Histogram, Meter, middle, upper

TIMES = st.floats(LOWEST, HIGHEST, exclude_min=True, exclude_max=True)
ANY = TIMES | st.sampled_from([-1.0, 0.0, LOWEST, HIGHEST, 1e9])
SHARES = st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0])


def recorded(times):
    histogram = Histogram()
    for seconds in times:
        histogram.record(seconds)
    return histogram


@given(st.lists(TIMES, min_size=1), SHARES)
def test_a_quantile_is_off_by_less_than_five_percent(times, share):
    """A quantile stands for the exact one of the same rank, within 5 % of it."""
    exact = sorted(times)[max(ceil(share * len(times)), 1) - 1]
    assert recorded(times).quantile(share) == pytest.approx(exact, rel=0.05)


@given(st.lists(ANY), SHARES, SHARES)
def test_quantiles_rise_and_never_pass_the_highest(times, one, other):
    """A larger share has no smaller quantile, and none is above the highest record."""
    histogram = recorded(times)
    low, high = sorted([one, other])
    assert 0.0 <= histogram.quantile(low) <= histogram.quantile(high) <= histogram.highest


@given(st.lists(ANY), st.lists(ANY))
def test_merging_is_recording_all(mine, theirs):
    """A histogram added to another counts as if it had recorded everything."""
    merged, other, whole = recorded(mine), recorded(theirs), recorded(mine + theirs)
    merged.add(other)
    assert merged.buckets == whole.buckets
    assert (merged.count, merged.highest) == (len(mine) + len(theirs), whole.highest)
    assert merged.total == pytest.approx(whole.total)
    assert other.buckets == recorded(theirs).buckets


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(-1.0, 0), (0.0, 0), (LOWEST, 0), (HIGHEST, -1), (1e9, -1), (float("inf"), -1)]
)
def test_bounds(seconds, bucket):
    """What is too short or too long to tell is counted in the first bucket or the last."""
    histogram = recorded([seconds])
    assert histogram.buckets[bucket] == histogram.count == 1


def test_the_buckets_reach_from_the_lowest_to_the_highest():
    """No time between the bounds is without a bucket, and the outermost ones stand for the bounds."""
    assert middle(0) == LOWEST
    assert middle(1) == pytest.approx(LOWEST)
    assert middle(BUCKETS - 1) == pytest.approx(HIGHEST, rel=0.05)


def test_an_empty_histogram_is_all_zero():
    """Nothing recorded: every figure is 0; so it is again after a reset."""
    empty = {"count": 0, "mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    histogram = Histogram()
    assert histogram.summary() == empty
    histogram.record(1.0)
    histogram.reset()
    assert histogram.summary() == empty
    assert (histogram.buckets, histogram.total) == (Histogram().buckets, 0.0)


def test_a_summary_is_in_milliseconds():
    """Seconds are recorded, milliseconds reported."""
    summary = recorded([0.001] * 50 + [0.002] * 45 + [0.1] * 4 + [2.0]).summary()
    assert summary["count"] == 100
    assert summary["mean"] == pytest.approx((50 + 90 + 400 + 2000) / 100)
    assert summary["p50"] == pytest.approx(1.0, rel=0.05)
    assert summary["p95"] == pytest.approx(2.0, rel=0.05)
    assert summary["p99"] == pytest.approx(100.0, rel=0.05)
    assert summary["max"] == 2000.0


@given(st.lists(st.tuples(ANY, ANY, st.integers(0, 9), st.booleans())))
def test_telling_is_recording(calls):
    """The short way of counting a call counts as the long one does."""
    meter = Meter()
    for call in calls:
        meter.tell(*call)
    assert (meter.calls, meter.rows) == (len(calls), sum(rows for _, _, rows, _ in calls))
    for histogram, times in [
        (meter.acquire, [max(wait, 0.0) for wait, _, _, _ in calls]),
        (meter.read, [run for _, run, _, is_read in calls if is_read]),
        (meter.write, [run for _, run, _, is_read in calls if not is_read]),
    ]:
        expected = recorded(times)
        assert histogram.buckets == expected.buckets
        assert histogram.total == pytest.approx(expected.total, abs=len(calls) * LOWEST)
        assert histogram.highest == expected.highest or expected.highest <= LOWEST


@given(st.lists(TIMES), st.lists(TIMES))
def test_what_came_since(before, after):
    """W1: a histogram less what it was earlier is what was recorded since; bounds are right to a bucket."""
    later = recorded([*before, *after]).since(recorded(before))
    assert later.buckets == recorded(after).buckets
    assert later.total == pytest.approx(sum(after), rel=1e-6, abs=1e-6)
    assert later.lowest <= min(after, default=0.0) * 1.000001
    assert later.highest >= max(after, default=0.0) * 0.999999
    assert later.highest <= max(max(after, default=0.0) * exp(GROWTH) * 1.000001, LOWEST if after else 0.0)
    assert recorded(after).since(recorded([*before, *after])).count == 0  # it was reset


def test_a_meters_summary():
    """A meter reports its counters, and reads and writes apart and together; reset begins anew."""
    meter = Meter()
    meter.tell(0.5, 0.001, 3, is_read=True)
    meter.tell(0.0, 0.004, 1, is_read=False)
    meter.transaction.record(1.0)
    meter.errors, meter.resent, meter.lost, meter.refused, meter.timeouts = 1, 2, 3, 5, 7
    summary = meter.summary()
    counters = {key: value for key, value in summary.items() if not isinstance(value, dict)}
    assert counters == {
        "calls": 2,
        "rows": 4,
        "errors": 1,
        "refused": 5,
        "resent": 2,
        "lost": 3,
        "replays": 0,
        "transactions": 1,
        "timeouts": 7,
    }
    counts = {key: value["count"] for key, value in summary.items() if isinstance(value, dict)}
    assert counts == {"acquire": 2, "query": 2, "read": 1, "write": 1, "transaction": 1}
    assert summary["query"]["mean"] == pytest.approx(2.5)
    assert summary["acquire"]["max"] == 500.0
    meter.reset()
    assert meter.summary() == Meter().summary()


def filled(*calls, label=None):
    meter = Meter()
    for call in calls:
        meter.tell(*call)
        if label is not None:
            meter.labelled(label).tell(*call)
    meter.errors, meter.timeouts = len(calls), 2
    meter.creation.record(0.01)
    return meter


@given(st.lists(TIMES, min_size=1))
def test_every_duration_is_below_its_buckets_bound(times):
    """W1: bounds rise, a duration lies between two of them, and the last one has none."""
    assert [upper(index) for index in range(BUCKETS)] == sorted({upper(index) for index in range(BUCKETS)})
    assert (upper(0), upper(BUCKETS - 1)) == (LOWEST, float("inf"))
    for seconds in times:
        (index,) = [index for index, count in enumerate(recorded([seconds]).buckets) if count]
        assert upper(index - 1) * 0.999999 <= seconds <= upper(index) * 1.000001


def test_meters_add_up():
    """W1: two meters added up are one that counted everything, labels included."""
    one, other = (0.1, 0.2, 3, True), (0.0, 0.4, 1, False)
    merged = filled(one, label="a")
    merged.add(filled(other, label="b"))
    whole = filled(one, other)
    for name in ("errors", "rows"):
        assert getattr(merged, name) == getattr(whole, name)
    assert merged.timeouts == 4
    assert merged.summary()["query"] == whole.summary()["query"]
    assert merged.acquire.buckets == whole.acquire.buckets
    assert merged.creation.count == 2
    assert {label: meter.calls for label, meter in merged.labels.items()} == {"a": 1, "b": 1}


def test_a_meter_travels_as_plain_values():
    """W1: what another process is told of a meter is that meter."""
    meter = filled((0.1, 0.2, 3, True), (0.0, 0.4, 1, False), label="place_order")
    state = json.loads(json.dumps(meter.state()))
    again = Meter.of(state)
    assert again.summary() == meter.summary()
    assert again.state() == meter.state()
    assert again.labels["place_order"].summary() == meter.labels["place_order"].summary()


def test_labels_have_a_bound():
    """N3: past a number of labels what is new is counted as "other"; those that are known go on."""
    meter = Meter()
    for number in range(LABELS):
        meter.labelled(str(number)).rows += 1
    other = meter.labelled("one more")
    assert meter.labels["other"] is other is meter.labelled("and another")
    assert meter.labelled("7") is meter.labels["7"] is not other
    meter.reset()
    assert meter.labels == {}
