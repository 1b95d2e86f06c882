"""Arrays, ranges and composites as PostgreSQL writes them."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from pgdual.core.frame import array, array_text, flat, multirange_text, range_text, row_text

INT4 = psycopg.adapters.types["int4"]
TEXT = psycopg.adapters.types["text"]


def loaded(data: bytes, oid: int, form: Format) -> object:
    """Return what psycopg's own loader reads."""
    return Transformer().get_loader(oid, form).load(data)


@pytest.mark.parametrize(
    ("value", "items", "shape"),
    [
        ([], [], (0,)),
        ([1, None], [1, None], (2,)),
        ([[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, 6], (3, 2)),
        ([[[1]], [[2]]], [1, 2], (2, 1, 1)),
        ([[], []], [], (2, 0)),
        ([(1, 2)], [(1, 2)], (1,)),
    ],
)
def test_a_nested_list_is_its_elements_and_a_shape(value, items, shape):
    """Only the classes that are named stand for a dimension."""
    assert flat(value, (list,)) == (items, shape)
    assert flat(value, ()) == (value, (len(value),))


@pytest.mark.parametrize("value", [[[1], 2], [1, [2]], [[1], None], [[1], [2, 3]], [[[1]], [2]]])
def test_an_array_is_rectangular(value):
    """A ragged list is refused."""
    with pytest.raises(ValueError, match=r"different lengths|side by side"):
        flat(value, (list,))


def test_binary_arrays_are_read_back():
    """Dimensions, NULLs and the empty array stand in the header."""
    four = [number.to_bytes(4, "big") for number in range(1, 5)]
    for buffers, shape, value in (
        ([], (0,), []),
        ([], (2, 0), []),
        ([None], (1,), [None]),
        (four, (4,), [1, 2, 3, 4]),
        (four, (2, 2), [[1, 2], [3, 4]]),
        ([four[0], None, memoryview(four[2]), bytearray(four[3])], (4, 1), [[1], [None], [3], [4]]),
    ):
        assert loaded(array(buffers, INT4.oid, shape), INT4.array_oid, Format.BINARY) == value


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_text_arrays_are_read_back(values):
    """Whatever characters an element has, it is quoted so that it comes back."""
    parts = [None if value is None else value.encode() for value in values]
    assert loaded(array_text(parts, (len(parts),)), TEXT.array_oid, Format.TEXT) == values


def test_text_forms():
    """Each part is quoted, NULL and a missing bound are not."""
    assert array_text([], (2, 0)) == b"{}"
    assert array_text([b"1", None, b"", b'"\\'], (2, 2)) == b'{{"1",NULL},{"","\\"\\\\"}}'
    assert array_text([b"(1,1)", b"(2,2)"], (2,), ";") == b'{"(1,1)";"(2,2)"}'
    assert range_text(None, None, None) == b"empty"
    assert range_text("[)", b"1", None) == b'["1",)'
    assert range_text("(]", None, b'a"') == b'(,"a\\""]'
    assert multirange_text([]) == b"{}"
    assert multirange_text([b"[1,2)", b"empty"]) == b"{[1,2),empty}"
    assert row_text([b"", None, b"a,)"]) == b'("",,"a,)")'
