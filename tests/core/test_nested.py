"""Values that hold values are held to the rules of arguments (Q5)."""

from __future__ import annotations

import datetime as dt
from collections import namedtuple
from decimal import Decimal

import psycopg
import pytest
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pgdual.core.nested import CLASSES, Array, Composite, MultirangeText, RangeText, check_bounds
from pgdual.core.types import Types

NAIVE = dt.datetime(2024, 2, 29)
Pair = namedtuple("Pair", "b a")


def oid(name: str) -> int:
    return psycopg.adapters.types[name].oid


def test_ranges_are_text_with_quoted_bounds():
    """A bound is written as it would be as an argument: a float exactly, a datetime with its zone."""
    types = Types()
    numbers = RangeText(types, oid("numeric"))
    assert numbers(Range(0.1, 2)) == (b'["0.1","2")', 0)
    assert numbers(Range(None, Decimal("1.50"), "(]")) == (b'(,"1.50"]', 0)
    assert numbers(Range(empty=True)) == (b"empty", 0)
    moments = MultirangeText(types, oid("timestamptz"))
    aware = NAIVE.replace(tzinfo=dt.UTC)
    assert moments(Multirange([Range(aware, None)])) == (b'{["2024-02-29 00:00:00+00:00",)}', 0)
    with pytest.raises(TypeError, match="offset-naive"):
        moments(Multirange([Range(NAIVE, None)]))


def test_composites_go_by_name_and_tuples_by_position():
    """The registered class is read by the server's names; another tuple field by field."""
    types = Types()
    int4, numbers = oid("int4"), psycopg.adapters.types["int4"].array_oid
    pair = Composite(types, Pair, ["a", "b"], [int4, numbers])
    assert pair(Pair(b=[1, None], a=2)) == (b'("2","{\\"1\\",NULL}")', 0)
    assert pair((2, None)) == (b'("2",)', 0)
    assert [pair.takes(cls) for cls in (Pair, tuple, list, dict)] == [True, True, False, False]
    assert Composite(types, None, ["a", "b"], [int4, numbers])(Pair(1, [])) == (b'("1","{}")', 0)
    for value, error in (((1,), ValueError), ((2**31, None), OverflowError), ((1.5, None), TypeError)):
        with pytest.raises(error):
            pair(value)


def test_an_array_is_refused_by_its_worst_element():
    """One element that does not fit refuses all, in text form as in binary."""
    types = Types()
    for element, value, error in (
        ("int4", [1, 2**31], OverflowError),
        ("int4", ["1", 2**31], OverflowError),
        ("int4", [1, 1.5], TypeError),
        ("timestamptz", ["infinity", NAIVE], TypeError),
        ("inet", [object()], TypeError),
        ("int4", [[1], [1, 2]], ValueError),
    ):
        with pytest.raises(error):
            Array(types, oid(element))(value)


def test_an_array_remembers_few_classes():
    """N3: classes made one after the other do not pile up."""
    numbers = Array(Types(), oid("int4"))
    for _ in range(CLASSES + 5):
        assert numbers([type("Number", (int,), {})(7)])[1] == 1
    assert len(numbers._known) <= CLASSES


def test_bounds_pass_over_null():
    """NULL is within any bounds."""
    check_bounds([None, 1, -1], -1, 1)
    with pytest.raises(OverflowError, match="2 is not between -1 and 1"):
        check_bounds([2], -1, 1)
