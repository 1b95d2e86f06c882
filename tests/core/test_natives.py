"""Which classes each type takes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from types import NoneType

import psycopg
import pytest

from pgdual.core.natives import LIMITS, NATIVE, Held, NaiveTime, accepted, hint, native_way
from pgdual.core.types import Types


def ways(name: str):
    return NATIVE[psycopg.adapters.types[name].oid]


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("bool", [bool], [int, float]),
        ("int4", [int, bool], [float, Decimal, bytes, complex]),
        ("numeric", [int, bool, float, Decimal], [complex, bytes]),
        ("text", [str], [int, bytes, NoneType]),
        ("date", [dt.date], [dt.datetime, dt.time]),
        ("timestamp", [dt.datetime], [dt.date]),
        ("bytea", [bytes, bytearray, memoryview], [list, int]),
        ("jsonb", [dict, list, tuple, int, float, bool, object, NoneType], []),
    ],
)
def test_the_nearest_listed_base_decides(name, taken, refused):
    """Q5: a class goes the way of its nearest base that is listed; a way of None refuses it."""
    for cls in taken:
        assert native_way(ways(name), cls) is not None
        assert native_way(
            ways(name), type("Sub", (cls,), {}) if cls not in {bool, memoryview, NoneType} else cls
        )
    for cls in refused:
        assert native_way(ways(name), cls) is None


def test_integers_that_psycopg_would_cut_have_bounds():
    """Every type with an integer's binary dumper has its bounds listed."""
    names = {psycopg.adapters.types[oid].name for oid in LIMITS}
    assert names == {"int2", "int4", "int8", "oid"}


def test_a_remedy_names_the_classes():
    """A message lists what to give, and a str only once."""
    assert accepted(ways("numeric")) == "give Decimal, float, int, or a str in PostgreSQL's own form"
    assert accepted(ways("text")) == "give a str"
    assert "aware" in hint(psycopg.adapters.types["timestamptz"].oid)
    assert hint(psycopg.adapters.types["int4"].oid) == ""


def test_dumpers_of_our_own():
    """A time keeps its zone or is refused; a buffer is as it was, and its gaps are closed up."""
    assert NaiveTime(dt.time, Types()).dump(dt.time.min) == bytes(8)
    with pytest.raises(ValueError, match="time zone"):
        NaiveTime(dt.time, Types()).dump(dt.time(tzinfo=dt.UTC))
    buffer = bytearray(b"abcd")
    held = [Held(bytearray).dump(buffer), Held(memoryview).dump(memoryview(buffer)[::2])]
    buffer[:] = b"????"
    assert held == [b"abcd", b"ac"]
