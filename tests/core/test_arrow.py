"""Results as columns of Arrow, without a database."""

import datetime as dt
import sys
import uuid
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from pgdual.core import arrow
from pgdual.core.arrow import Columns
from pgdual.core.types import Types
from pgdual.errors import UsageError

from .played import Rows

TYPES = Types()
ID = uuid.UUID(int=7)


def column(name, *values, form=1, modifier=-1, schema=None):
    """Return the only column of a result of this type and these values."""
    info = psycopg.adapters.types[name.removesuffix("[]")]
    oid = info.array_oid if name.endswith("[]") else info.oid
    result = Rows().of([(b"c", oid)], [(value,) for value in values], form, modifier=modifier)
    columns = Columns(result, TYPES)
    assert len(columns) == len(values)
    return columns.table(schema).column(0)


def test_numbers_in_binary(monkeypatch):
    """Numbers and times are the server's own bytes, put in this machine's order, NULL as a bit."""
    assert column("int4", (5).to_bytes(4), None).to_pylist() == [5, None]
    assert column("date", (1).to_bytes(4)).to_pylist() == [dt.date(2000, 1, 2)]
    noon = (12 * 3600 * 10**6).to_bytes(8)
    assert column("timestamptz", noon).to_pylist() == [dt.datetime(2000, 1, 1, 12, tzinfo=dt.UTC)]
    assert column("timestamp").type == pa.timestamp("us")
    monkeypatch.setattr(sys, "byteorder", "big")
    assert column("int2", (1).to_bytes(2, "little")).to_pylist() == [1]


@pytest.mark.parametrize("value", [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\x7f\xff\xff\xfe"])
def test_dates_beyond(value):
    """An infinite date, or one that Arrow cannot count to, is refused, and the column named."""
    with pytest.raises(UsageError, match=r"column 'c': .*cast"):
        column("date", value)


def test_texts(monkeypatch):
    """Text and JSON are strings as they came; of two gigabytes and more large ones."""
    assert column("text", "é".encode(), None, b"").to_pylist() == ["é", None, ""]
    assert column("jsonb", b"\1{}", None).to_pylist() == ["{}", None]
    assert column("jsonb", b"{}", form=0).to_pylist() == ["{}"]
    assert column("tsvector", b"'x'", form=0).to_pylist() == ["'x'"]
    with pytest.raises(UsageError):
        column("text", b"\xff")
    monkeypatch.setattr(arrow, "LARGE", 4)
    assert column("text", b"abcd").type == pa.large_string()


def test_what_is_loaded():
    """Other types go through psycopg's loaders, in either format; a str is what is left."""
    assert column("uuid", ID.bytes, None).to_pylist() == [ID, None]
    assert column("uuid", str(ID).encode(), None, form=0).to_pylist() == [ID, None]
    assert column("bool", b"t", None, form=0).to_pylist() == [True, None]
    assert column("int4", b"5", form=0).type == pa.int32()
    assert column("int4[]", b"{1,NULL}", form=0).to_pylist() == [[1, None]]
    assert column("numeric[]", b"{1.5}", form=0).to_pylist() == [[Decimal("1.5")]]
    assert column("uuid[]", b"{}", None, form=0).to_pylist() == ["[]", None]


def test_decimals():
    """A numeric has the digits that its column has, else those of its values, else room for any."""
    for modifier, kind in (
        (((10 << 16) | 2) + 4, pa.decimal128(10, 2)),
        (((5 << 16) | (-2 & 0x7FF)) + 4, pa.decimal128(5, -2)),
        (((50 << 16) | 2) + 4, pa.decimal256(50, 2)),
        (((500 << 16) | 2) + 4, pa.decimal128(3, 0)),
        (-1, pa.decimal128(3, 0)),
    ):
        assert column("numeric", b"100", form=0, modifier=modifier).type == kind
    assert column("numeric", None, form=0).type == pa.decimal128(38, 9)
    with pytest.raises(UsageError, match="NaN"):
        column("numeric", b"NaN", form=0)


def test_a_schema_that_is_given():
    """Later parts have the types that the first part had, or are refused."""
    schema = pa.schema([("c", pa.decimal128(5, 2))])
    assert column("numeric", b"1", form=0, schema=schema).type == pa.decimal128(5, 2)
    with pytest.raises(UsageError, match="cast"):
        column("numeric", b"1.234", form=0, schema=schema)
