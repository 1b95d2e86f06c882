"""Plans: how arguments of given classes are dumped for given types (Q5), and the result format (Q6)."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from decimal import Decimal
from ipaddress import ip_address

import psycopg
import pytest
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pgdual.core.natives import Way
from pgdual.core.types import Types, UnfitError, refusal
from pgdual.errors import UsageError


def oid(name: str) -> int:
    info = psycopg.adapters.types[name.removesuffix("[]")]
    return info.array_oid if name.endswith("[]") else info.oid


def encode(types: Types, value: object, name: str):
    plan = types.plan([type(value)], [oid(name)])
    buffers, formats = plan.encode([value])
    return (None if buffers[0] is None else bytes(buffers[0])), formats[0]


@pytest.mark.parametrize(
    ("name", "value", "data", "form"),
    [
        ("int2", 1, b"\0\1", 1),
        ("int4", -1, b"\xff" * 4, 1),
        ("int4", "7", b"7", 0),
        ("int4", None, None, 0),
        ("bool", True, b"\1", 1),
        ("numeric", 0.1, b"0.1", 0),
        ("numeric", 2**70, str(2**70).encode(), 0),
        ("numeric", True, b"1", 0),
        ("uuid", uuid.UUID(int=1), bytes(15) + b"\1", 1),
        ("jsonb", {"a": 1}, b'{"a":1}', 0),
        ("jsonb", "x", b"x", 0),
        ("text[]", ["a", None], b"\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2\0\0\0\1\0\0\0\1a\xff\xff\xff\xff", 1),
        ("int4[]", [], b"\0\0\0\0\0\0\0\0\0\0\0\x17", 1),
        ("int4[]", [1, "2", True], b'{"1","2","1"}', 0),
        ("numeric[]", [0.1, Decimal("1.0")], b'{"0.1","1.0"}', 0),
        ("jsonb[]", [[1], {"a": '"'}], b'{"[1]","{\\"a\\":\\"\\\\\\"\\"}"}', 0),
        ("inet[]", ["::1"], b'{"::1"}', 0),
        ("box[]", ["(1,1),(0,0)", None], b'{"(1,1),(0,0)";NULL}', 0),
    ],
)
def test_bytes_and_formats(name, value, data, form):
    """Q5: binary where a dumper loses nothing, PostgreSQL's text form elsewhere."""
    assert encode(Types(), value, name) == (data, form)


def test_a_plan_encodes_any_values_of_its_classes():
    """A plan is made once and used for every call with the same classes."""
    types = Types()
    plan = types.plan([int, list, str], [oid("int4"), oid("int4[]"), oid("date")])
    for number in (1, 2):
        buffers, formats = plan.encode([number, [number], "2024-02-29"])
        assert bytes(buffers[0]) == number.to_bytes(4, "big")
        assert formats == [1, 1, 0]


def test_a_plan_is_shared_by_threads():
    """Threads of the blocking side encode with one plan at a time of their own choosing."""
    plan = Types().plan([int, dict, list], [oid("int8"), oid("jsonb"), oid("int8[]")])
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(500):
            buffers, _formats = plan.encode([number, {"n": number}, [number] * 3])
            if int.from_bytes(buffers[0], "big") != number or bytes(buffers[1]) != b'{"n":%d}' % number:
                wrong.append((number, buffers))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_refused_argument_is_named():
    """The message has the position, the class, the type, the cause and the remedy."""
    types = Types()
    oids = [oid("int4"), oid("timestamptz[]")]
    arguments = [1, [dt.datetime(2024, 1, 1)]]
    plan = types.plan([int, list], oids)
    with pytest.raises(TypeError) as caught:
        plan.encode(arguments)
    text = str(refusal(types, oids, arguments, plan, caught.value))
    assert text.startswith("argument $2 (list) cannot be sent as timestamp with time zone[]: ")
    assert text.endswith("; give an aware datetime, such as datetime.now(timezone.utc)")
    assert (
        str(refusal(types, oids, [1, []], plan, ValueError("once"))) == "the arguments cannot be sent: once"
    )
    with pytest.raises(
        UsageError, match=r"argument \$2 is integer to the server and cannot be given as float"
    ):
        types.plan([int, float], [oid("int4"), oid("int4")])


def test_a_type_that_is_not_known_has_a_name_for_messages():
    """An oid that psycopg does not know is a type of the user's own."""
    types = Types()
    assert [types.name(it) for it in (oid("int4"), oid("int4[]"), 99_999, 0)] == [
        "integer", "integer[]", "a type of your own (oid 99999)", "a type of your own",
    ]  # fmt: skip
    with pytest.raises(UnfitError, match=r"^it is a type of your own \(oid 99999\) .* register\(\)"):
        types.way(object, 99_999, "it is ")


@pytest.mark.parametrize(
    ("names", "form"),
    [
        ([], Format.BINARY),
        (["int4", "text", "jsonb", "int4[]", "int4range", "int4multirange", "record"], Format.BINARY),
        (["int4", "money"], Format.TEXT),
        (["tsvector"], Format.TEXT),
        (["tsvector[]"], Format.TEXT),
        (["point[]"], Format.TEXT),
    ],
)
def test_a_strange_type_anywhere_makes_the_result_text(names, form):
    """Q6: psycopg has a binary loader for the array of any type, which would leave bytes in it."""
    assert Types().result_format(map(oid, names)) == form


def test_json_alone_is_read_as_text():
    """It is read faster so, and numbers and texts beside it are as fast; anything else keeps it binary."""
    kinds = Types()
    assert [kinds.result_format(map(oid, names)) for names in (["jsonb"], ["numeric", "int4"])] == [0, 0]
    assert [kinds.result_format(map(oid, names)) for names in (["jsonb", "date"], ["int4"])] == [1, 1]


def composite(types: Types, number: int, **fields: str) -> CompositeInfo:
    """Return a composite that is known to *types* by this number; its array has the next."""
    info = CompositeInfo(
        f"c{number}",
        number,
        number + 1,
        field_names=list(fields),
        field_types=[oid(name) for name in fields.values()],
    )
    register_composite(info, types)
    types.adopt_composite(info)
    types.refresh()
    return info


def test_a_composite_is_as_its_fields():
    """Q6: binary where all of its fields are; a tuple is written field by field, by the rules of each."""
    types = Types()
    composite(types, 90_010, a="int4", b="numeric", c="bytea")
    composite(types, 90_020, a="int4", words="tsvector")
    assert [types.result_format([number]) for number in (90_010, 90_011, 90_020, 90_021)] == [1, 1, 0, 0]
    buffers, formats = types.plan([tuple], [90_010]).encode([(True, True, b"\0x")])
    assert (bytes(buffers[0]), formats) == (b'("1","1","\\\\x0078")', [0])
    with pytest.raises(UsageError, match="cannot be given as set"):
        types.plan([set], [90_010])


class Money:
    """A class of the user's own, for which a dumper may be registered."""


class MoneyDumper(Dumper):
    def dump(self, obj: object) -> bytes:
        return b"1.50"


def test_a_dumper_of_the_users_own():
    """A class that psycopg was told of goes by its own dumper: alone, and among numbers in an array."""
    types = Types()
    with pytest.raises(UsageError, match=r"given as Money; give Decimal, float, int, or a"):
        types.plan([Money], [oid("numeric")])
    types.adapters.register_dumper(Money, MoneyDumper)
    types.refresh()
    assert encode(types, Money(), "numeric") == (b"1.50", 0)
    assert encode(types, Money(), "inet") == (b"1.50", 0)
    assert encode(types, [Money(), None, 2], "numeric[]") == (b'{"1.50",NULL,"2"}', 0)
    with pytest.raises(UsageError, match="give a str"):
        types.plan([object], [oid("text")])


def test_ways_of_a_type_of_the_users_own():
    """A type may be given ways of its own, such as hstore's for a dict, and takes no others."""
    types = Types()
    types.adopt_ways(90_030, {Money: Way(MoneyDumper, Format.TEXT)})
    buffers, formats = types.plan([Money], [90_030]).encode([Money()])
    assert (bytes(buffers[0]), formats) == (b"1.50", [0])
    with pytest.raises(UsageError, match="cannot be given as int; give Money"):
        types.plan([int], [90_030])


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("int4range", Range(1, None), b'["1",)'),
        ("int4multirange", Multirange([Range(1, 2)]), b'{["1","2")}'),
        ("inet", ip_address("::1"), b"::1"),
        ("money", Decimal("1.5"), b"1.5"),
    ],
)
def test_values_that_go_as_text(name, value, data):
    """Q5: what has no way of its own is written by its class, for the server to parse."""
    assert encode(Types(), value, name) == (data, 0)


@pytest.mark.parametrize(
    "value", [b"ab", {"a": 1}, 5, memoryview(b"ab")], ids=lambda value: type(value).__name__
)
def test_what_is_no_array(value):
    """Only a collection is an array, and neither bytes nor a dict is meant for one."""
    with pytest.raises(UsageError, match="give a list"):
        Types().plan([type(value)], [oid("int4[]")])


def test_a_list_for_a_type_that_is_not_known():
    """It is taken for an array of the user's own type."""
    buffers, formats = Types().plan([list], [99_999]).encode([["a", None]])
    assert (bytes(buffers[0]), formats) == (b'{"a",NULL}', [0])


def test_a_domain_is_what_it_is_made_of():
    """Bounds, ways and loaders are the base type's; an array names the domain itself."""
    types = Types()
    TypeInfo("positive", 90_000, 90_001).register(types)
    types.adopt_domain(90_000, oid("int4"))
    types.refresh()
    assert types.limits(90_000) == types.limits(oid("int4"))
    assert types.result_format([90_000, 90_001]) == Format.BINARY
    buffers, _formats = types.plan([list], [90_001]).encode([[1]])
    assert buffers[0][8:12] == (90_000).to_bytes(4, "big")
    with pytest.raises(OverflowError):
        types.plan([int], [90_000]).encode([2**31])
    types.adopt_domain(90_002, oid("money"))
    assert types.result_format([90_002]) == Format.TEXT
