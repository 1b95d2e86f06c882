"""Plans: how arguments of given classes are dumped for given types (Q5), and the result format (Q6)."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from decimal import Decimal

import psycopg
import pytest
from psycopg.pq import Format
from psycopg.types import TypeInfo

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
