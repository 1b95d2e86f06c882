"""JSON, "char" and infinity; both with and without msgspec."""

from __future__ import annotations

import datetime as dt
import json
import sys
from dataclasses import make_dataclass
from decimal import Decimal
from enum import Enum
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format
from psycopg.types.json import Json

from pgdual.core import loaders
from pgdual.core.loaders import REFUSED, JsonDumper, forgiving, install

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
LONG = [2**63 - 1, 2**64 - 1, 2**64, 10**19, 10**40, -(2**63), -(2**63) - 1, -(10**18), -(10**19)]


def adapters() -> AdaptersMap:
    found = AdaptersMap(psycopg.adapters)
    install(found)
    return found


def load(found: AdaptersMap, name: str, data: bytes, form: Format = Format.BINARY) -> object:
    oid = found.types[name].oid
    loader = found.get_loader(oid, form)
    assert loader is not None
    return loader(oid).load(data)


@pytest.mark.parametrize("name", ["json", "jsonb"])
def test_integers_stay_exact(name):
    """An integer beyond 64 bits is read as it is, wherever it stands."""
    for number in LONG:
        for value in (number, [number], {"n": {"m": [1, number]}}, str(number)):
            assert load(adapters(), name, json.dumps(value).encode(), Format.TEXT) == value


def test_what_the_fast_reader_refuses_is_read_all_the_same():
    """A number beyond a float's range and a lone surrogate are left to the standard library."""
    kind = forgiving(adapters())
    for data, value in ((b"1e400", float("inf")), (b'"\\ud800"', "\ud800")):
        with pytest.raises(REFUSED):
            load(adapters(), "json", data, Format.TEXT)
        assert load(kind, "json", data, Format.TEXT) == value
        assert load(kind, "jsonb", b"\x01" + data) == value


def test_the_extra_need_not_be_there(monkeypatch):
    """Without msgspec the module reads with the standard library."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    spec = spec_from_file_location("loaders_without_extra", loaders.__file__)
    bare = module_from_spec(spec)
    spec.loader.exec_module(bare)
    found = AdaptersMap(psycopg.adapters)
    bare.install(found)
    assert load(found, "jsonb", b'{"a": [1]}', Format.TEXT) == {"a": [1]}
    assert (psycopg.DataError,) == bare.REFUSED


@given(VALUES)
def test_json_comes_back(value):
    """What is written is read back equal, and of the same classes."""
    try:
        data = JsonDumper(dict).dump(value)
    except UnicodeEncodeError:
        return
    found = load(forgiving(adapters()), "json", data, Format.TEXT)
    assert repr(found) == repr(json.loads(data)) == repr(value)
    assert repr(load(adapters(), "json", data, Format.TEXT)) == repr(value)


def test_json_knows_plain_python_values():
    """Dates, UUIDs, enums, dataclasses, models and psycopg's wrappers have one JSON form."""

    class Kind(Enum):
        A = ("x", 1)

    model = SimpleNamespace(model_dump=lambda mode: {"mode": mode})
    value = [dt.date(2024, 2, 29), dt.time(1), Kind.A, model, Json({"a": 1})]
    assert JsonDumper(list).dump(value) == b'["2024-02-29","01:00:00",["x",1],{"mode":"json"},{"a":1}]'
    pair = make_dataclass("Pair", ["key", "day"])(UUID(int=1), dt.date(2024, 2, 29))
    assert (
        JsonDumper(dict).dump({"pair": pair})
        == b'{"pair":{"key":"00000000-0000-0000-0000-000000000001","day":"2024-02-29"}}'
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "not JSON compliant"),
        ({1, 2}, "set is not JSON"),
        (dict, "type is not JSON"),
        (Decimal(1), r"Decimal is not JSON; give str\(value\), or float"),
    ],
)
def test_json_refuses_what_it_would_change(value, said):
    """Nothing becomes null or loses digits without a word."""
    with pytest.raises((TypeError, ValueError), match=said):
        JsonDumper(dict).dump([value])


def test_jsonb_of_an_unknown_version_is_an_error():
    """A future binary form is not read as if it were today's."""
    assert load(adapters(), "jsonb", b'\x01{"a": 1}') == {"a": 1}
    with pytest.raises(psycopg.DataError, match="version 2"):
        load(adapters(), "jsonb", b"\x02{}")


@pytest.mark.parametrize(
    ("byte", "value"), [(0, ""), (97, "a"), (127, "\x7f"), (128, "\\200"), (195, "\\303")]
)
def test_char_is_one_byte(byte, value):
    """The internal type "char" reads as in PostgreSQL's text form, whatever its byte."""
    assert load(adapters(), '"char"', bytes([byte])) == value


def test_infinity_is_the_largest_value_of_its_class():
    """The forgiving loaders map both infinities, in both formats, and read all else as before."""
    found = forgiving(adapters())
    high, low = b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7
    utc = dt.UTC
    for name, top, bottom, width in (
        ("date", dt.date.max, dt.date.min, 4),
        ("timestamp", dt.datetime.max, dt.datetime.min, 8),
        ("timestamptz", dt.datetime.max.replace(tzinfo=utc), dt.datetime.min.replace(tzinfo=utc), 8),
    ):
        assert load(found, name, high[:width]) == top
        assert load(found, name, low[:width]) == bottom
        assert load(found, name, b"infinity", Format.TEXT) == top
        assert load(found, name, b"-infinity", Format.TEXT) == bottom
    widths = (8, 4, 4)
    assert load(found, "interval", b"".join(high[:width] for width in widths)) == dt.timedelta.max
    assert load(found, "interval", b"".join(low[:width] for width in widths)) == dt.timedelta.min
    assert load(found, "date", bytes(4)) == dt.date(2000, 1, 1)
    with pytest.raises(psycopg.DataError):
        load(found, "date", b"\x7f" + b"\xff" * 2 + b"\xfe")
