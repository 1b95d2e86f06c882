# Generated from tests/_async/values.py by _generate.py. Do not edit.
"""What the type tests give, and what is to come back for it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any

from psycopg.types.json import Json, Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

D = Decimal
UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
ID = uuid.UUID("0b0e7c3e-93b6-4a5c-8f0f-2f6f0e1c9a11")
DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 123456)
AWARE = NOON.replace(tzinfo=UTC)
NAN, INF = float("nan"), float("inf")


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


@dataclass
class Point:
    x: int
    y: str


# What comes back as it was given: the same class, an equal value.
SAME: dict[str, list[Any]] = {
    "bool": [True, False],
    "int2": [0, -(2**15), 2**15 - 1],
    "int4": [0, -(2**31), 2**31 - 1],
    "int8": [0, -(2**63), 2**63 - 1],
    "oid": [0, 2**32 - 1],
    "float4": [0.0, 1.5, -2.25, NAN, INF, -INF],
    "float8": [0.1, -0.0, 1e308, 5e-324, NAN, INF, -INF],
    "numeric": [*map(D, ("0", "1.10", "-0.001", "1E+30", "1E-30", "1.000", "NaN", "Infinity", "-Infinity"))],
    "numeric(30,8)": [D("12345678901234567.12345678")],
    "text": ["", "plain", "ä€😀\n\t\"'\\", "{}", "NULL", "x" * 100_000],
    "varchar(20)": ["", "hello"],
    "char(5)": ["exact"],
    '"char"': ["a", "", "\\303"],
    "name": ["a_name"],
    "bytea": [b"", b"\0\xff\\'", bytes(range(256)), b"\xab" * 1_000_000],
    "uuid": [ID],
    "date": [DAY, dt.date.min, dt.date.max],
    "time": [dt.time(1, 2, 3, 4), dt.time.min, dt.time.max],
    "timetz": [dt.time(1, 2, 3, 4, UTC), dt.time(1, 2, tzinfo=EAST)],
    "timestamp": [NOON, dt.datetime.min, dt.datetime.max],
    "timestamptz": [AWARE, NOON.replace(tzinfo=EAST), dt.datetime.max.replace(tzinfo=UTC)],
    "interval": [dt.timedelta(0), dt.timedelta(1, 2, 3), dt.timedelta(-1), dt.timedelta.max],
    "inet": [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("::1"),
        ipaddress.ip_interface("10.0.0.1/8"),
    ],
    "cidr": [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")],
    "macaddr": ["08:00:2b:01:02:03"],
    "int4range": [Range(1, 5), Range(None, 3, "()"), Range(None, None, "()"), Range(empty=True)],
    "numrange": [Range(D("1.1"), D("2.2"), "[]")],
    "daterange": [Range(DAY, None)],
    "tstzrange": [Range(AWARE, None)],
    "int4multirange": [Multirange([Range(1, 2), Range(5, 6)]), Multirange()],
    "tstzmultirange": [Multirange([Range(AWARE, None)])],
}
DOCUMENTS: list[Any] = [
    {},
    [],
    {"a": [1, {"b": None}]},
    [1, "two", 3.5, True, None],
    7,
    2**80,
    -(2**63) - 1,
    1.5,
    True,
    {"é": "€😀", "quote": '"\\'},
    {"big": 10**30, "small": -1},
    [[1], [2, 3]],
]
SAME |= {"json": DOCUMENTS, "jsonb": DOCUMENTS}
ARRAYS: dict[str, list[Any]] = {
    "int2[]": [[1, None, -(2**15)]],
    "int4[]": [[], [None], [1, None], [[1, 2], [3, None]], [[[1]], [[2]]]],
    "int8[]": [[1, 2**62], list(range(1000))],
    "float4[]": [[1.5, None]],
    "float8[]": [[0.1, NAN, INF], [[0.1], [0.2]]],
    "numeric[]": [[D("1.10"), None, D("NaN")]],
    "bool[]": [[True, None, False]],
    "text[]": [[], ["", "NULL", None, 'a"b', "c,d", "{}", "\\", "é"], [["a", "b"], ["c", None]]],
    "varchar[]": [["a", "b"]],
    "bytea[]": [[b"", b"\0\xff", None], [[b"\\"]]],
    "uuid[]": [[ID, None], [[ID]]],
    "date[]": [[DAY, None]],
    "time[]": [[dt.time(1)]],
    "timestamp[]": [[NOON]],
    "timestamptz[]": [[AWARE, None], [[AWARE]]],
    "interval[]": [[dt.timedelta(1)]],
    "jsonb[]": [[], [{"a": '"'}, None], [[1, 2], [3]], [{"a": 1}, [1], 2.5, True, 2**70]],
    "json[]": [[{"a": 1}, [1]]],
    "inet[]": [[ipaddress.ip_address("10.0.0.1"), None]],
    "int4range[]": [[Range(1, 5), None, Range(empty=True)]],
    "numrange[]": [[Range(D("1.5"), None)]],
}

# What is given, and what comes back for it.
CONVERTED: list[tuple[str, Any, Any]] = [
    ("int4", True, 1),
    ("int4", Number.ONE, 1),
    ("int8", Whole(7), 7),
    ("numeric", True, D(1)),
    ("numeric", 2**100, D(2**100)),
    ("numeric", 0.1, D("0.1")),
    ("numeric", 1e22, D(10**22)),
    ("numeric", NAN, D("NaN")),
    ("numeric", -INF, D("-Infinity")),
    ("numeric", Number.ONE, D(1)),
    ("float8", 3, 3.0),
    ("float8", D("0.5"), 0.5),
    ("float4", 3, 3.0),
    ("float4", D("0.5"), 0.5),
    ("text", Text("x"), "x"),
    ("text", Word.RED, "red"),
    ("char(5)", "ab", "ab   "),
    ("bytea", bytearray(b"ab"), b"ab"),
    ("bytea", memoryview(b"ab"), b"ab"),
    ("bytea", memoryview(b"abcd")[::2], b"ac"),
    ("bytea[]", [memoryview(b"abcd")[::2], bytearray(b"x")], [b"ac", b"x"]),
    ("timestamptz", "2024-02-29 12:00:00+00", AWARE.replace(microsecond=0)),
    ("date", "infinity", dt.date.max),
    ("date", "-infinity", dt.date.min),
    ("timestamp", "infinity", dt.datetime.max),
    ("timestamp", "-infinity", dt.datetime.min),
    ("timestamptz", "infinity", dt.datetime.max.replace(tzinfo=UTC)),
    ("timestamptz", "-infinity", dt.datetime.min.replace(tzinfo=UTC)),
    ("date[]", ["infinity", DAY], [dt.date.max, DAY]),
    ("daterange", "[2024-02-29,infinity)", Range(DAY, dt.date.max)),
    ("inet", ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.0/8")),
    ("int4[]", (1, 2), [1, 2]),
    ("int4[]", {3}, [3]),
    ("int4[]", range(3), [0, 1, 2]),
    ("int4[]", ((1, 2), (3, 4)), [[1, 2], [3, 4]]),
    ("int4[]", [1, "2", True], [1, 2, 1]),
    ("int4[]", [[]], []),
    ("int4[]", [Number.ONE, Whole(3)], [1, 3]),
    ("float8[]", [1, 2.5], [1.0, 2.5]),
    ("numeric[]", [1, 0.1, D("2.20")], [D(1), D("0.1"), D("2.20")]),
    ("text[]", [Word.RED, "x"], ["red", "x"]),
    ("uuid[]", [ID, str(ID)], [ID, ID]),
    ("bytea[]", [b"a\\", "\\x62"], [b"a\\", b"b"]),
    ("timestamptz[]", [AWARE, "2024-02-29 12:00+00"], [AWARE, AWARE.replace(microsecond=0)]),
    ("numrange", Range(0.1, 2), Range(D("0.1"), D(2))),
    ("jsonb", (1, 2), [1, 2]),
    ("jsonb", Json({"a": 1}), {"a": 1}),
    ("json", Jsonb([1]), [1]),
    ("jsonb", Point(1, "x"), {"x": 1, "y": "x"}),
    ("jsonb", Colour.RED, "red"),
    ("jsonb", {1: 2}, {"1": 2}),
    (
        "jsonb",
        [NOON, DAY, ID, Colour.RED, Point(1, "x"), Jsonb([1])],
        [NOON.isoformat(), "2024-02-29", str(ID), "red", {"x": 1, "y": "x"}, [1]],
    ),
    ("jsonb[]", [{"a": 1}, '{"b": 2}'], [{"a": 1}, {"b": 2}]),
]

# A str for any type is PostgreSQL's own text form, parsed by the server.
WRITTEN: list[tuple[str, str, Any]] = [
    ("bool", "yes", True),
    ("int4", "7", 7),
    ("numeric", "1.10", D("1.10")),
    ("float8", "1e3", 1000.0),
    ("uuid", str(ID), ID),
    ("date", "2024-02-29", DAY),
    ("interval", "1 day", dt.timedelta(1)),
    ("bytea", "\\x6162", b"ab"),
    ("int4[]", "{1,NULL}", [1, None]),
    ("int4range", "[1,3]", Range(1, 4)),
    ("int4multirange", "{[1,2)}", Multirange([Range(1, 2)])),
    ("inet", "::1", ipaddress.ip_address("::1")),
    ("jsonb", '{"a": 1}', {"a": 1}),
    ("jsonb", '"s"', "s"),
    ("json", "null", None),
    ("mood", "sad", "sad"),
    ("pair", "(1,b)", "(1,b)"),
    ("positive", "5", 5),
    ("mood[]", "{sad}", "{sad}"),
    ("regclass", "pg_class", "pg_class"),
]

# Types that psycopg cannot read in binary: a str, never raw bytes (Q6).
STRANGE: list[tuple[str, str]] = [
    ("'a b'::tsvector", "'a' 'b'"),
    ("'1.50'::money", "$1.50"),
    ("'(1,2)'::point", "(1,2)"),
    ("b'101'", "101"),
    ("'a & b'::tsquery", "'a' & 'b'"),
    ("'0/1'::pg_lsn", "0/1"),
    ("'$.a'::jsonpath", '$."a"'),
    ("'5'::xid", "5"),
    ("'sad'::mood", "sad"),
    ("row(1,'b')::pair", "(1,b)"),
]

# A value that does not fit, and what the error says of it.
REFUSED: list[tuple[str, Any, str]] = [
    ("int2", 2**15, "cannot be sent as smallint: 32768 is not between -32768 and 32767"),
    ("int2", -(2**15) - 1, "is not between"),
    ("int4", 2**31, "integer"),
    ("int4", -(2**31) - 1, "is not between"),
    ("int8", 2**63, "as bigint"),
    ("int8", -(2**63) - 1, "is not between"),
    ("oid", -1, "between 0 and 4294967295"),
    ("oid", 2**32, "is not between"),
    ("float8", 10**400, "int too large"),
    ("int4", 1.5, "$1 is integer to the server and cannot be given as float; give int, or a str"),
    ("int4", b"1", "bytes"),
    ("int4", D(1), "Decimal"),
    ("bool", 1, "give bool, or a str"),
    ("text", 1, "cannot be given as int; give a str"),
    ("text", b"x", "bytes"),
    ("text", Colour.RED, "Colour"),
    ("text", "a\0b", "NUL"),
    ("text", "\ud800", "surrogates"),
    ("uuid", ID.bytes, "give UUID, or a str"),
    ("numeric", D("1E+200000"), "too large"),
    ("date", NOON, "cannot be given as datetime; give date"),
    ("timestamp", DAY, "give datetime"),
    ("timestamp", AWARE, "give a naive datetime"),
    ("timestamptz", NOON, "give an aware datetime, such as"),
    ("time", dt.time(1, tzinfo=UTC), "give a time without a time zone"),
    ("timetz", dt.time(1), "fixed offset"),
    ("timestamptz[]", [NOON], "give an aware datetime"),
    ("timestamptz[]", [[NOON]], "give an aware datetime"),
    ("timestamptz[]", [NOON, "infinity"], "give an aware datetime"),
    ("date[]", [NOON], "an element is date"),
    ("tstzrange", Range(NOON, None), "give an aware datetime"),
    ("daterange", Range(NOON, None), "a part of it is date"),
    ("tstzmultirange", Multirange([Range(NOON, None)]), "give an aware datetime"),
    ("int4range", Range(1, 2**40), "is not between"),
    ("int4[]", [2**31], "as integer[]: 2147483648"),
    ("int4[]", [[1], [2, 3]], "different lengths"),
    ("int4[]", [1, [2]], "side by side"),
    ("int4[]", [1.5], "float"),
    ("int4[]", (n for n in [1]), "is integer[] to the server and cannot be given as generator; give a list"),
    ("int4[]", {"a": 1}, "cannot be given as dict; give a list"),
    ("int4[]", b"12", "bytes"),
    ("int4[]", [object()], "object"),
    ("text[]", [1], "an element is text"),
    ("jsonb", {"n": NAN}, "not JSON compliant"),
    ("jsonb", [INF], "not JSON compliant"),
    ("json", NAN, "compliant"),
    ("jsonb", {"n": D("1.1")}, "Decimal is not JSON; give str(value)"),
    ("jsonb", {"n": {1}}, "set is not JSON"),
    ("jsonb", {(1, 2): 3}, "keys must be str"),
    ("jsonb", "\ud800", "surrogates"),
    ("jsonb[]", [{"a": NAN}], "compliant"),
    ("point", object(), "argument $1 is point to the server and cannot be given as object"),
    ("mood", Colour.RED, "make the class known with register()"),
    ("mood[]", [Colour.RED], "register()"),
    ("pair", Point(1, "x"), "make the class known with register()"),
    ("inet", object(), "is inet to the server"),
]
