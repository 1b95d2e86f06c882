"""fetch_arrow and files of columns: every type exact, in constant memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from pgdual._async.bulk import arrow
from pgdual.aio import AsyncClient, AsyncDB
from pgdual.errors import DivisionByZero, UsageError

from .clients import at_rest, client_of


@pytest.fixture
async def client(main_dsn: str) -> AsyncIterator[AsyncClient]:
    async with client_of(main=main_dsn) as made:
        yield made
        await at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: AsyncClient) -> AsyncDB:
    return client["main"]


ID = uuid.UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976")
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)
TYPES: list[tuple[str, Any, Any]] = [
    ("(-7)::int2", pa.int16(), -7),
    ("7::int4", pa.int32(), 7),
    ("(-(2::int8 ^ 62))::int8", pa.int64(), -(2**62)),
    ("4294967295::oid", pa.uint32(), 2**32 - 1),
    ("1.5::float4", pa.float32(), 1.5),
    ("'-Infinity'::float8", pa.float64(), float("-inf")),
    ("12.125::numeric", pa.decimal128(5, 3), Decimal("12.125")),
    ("true", pa.bool_(), True),
    ("'é'::text", pa.string(), "é"),
    ("'ab'::varchar(5)", pa.string(), "ab"),
    ("'\\x0001'::bytea", pa.binary(), b"\x00\x01"),
    ("date '1969-07-20'", pa.date32(), dt.date(1969, 7, 20)),
    ("time '12:00:00.000001'", pa.time64("us"), NOON.time()),
    ("timestamp '2024-02-29 12:00:00.000001'", pa.timestamp("us"), NOON),
    ("timestamptz '2024-02-29 13:00:00.000001+01'", pa.timestamp("us", "UTC"), NOON.replace(tzinfo=dt.UTC)),
    ("interval '1 day 2 seconds'", pa.duration("us"), dt.timedelta(1, 2)),
    (f"'{ID}'::uuid", pa.uuid(), ID),
    ("""'{"a": 1}'::jsonb""", pa.string(), '{"a": 1}'),
    ("'[1]'::json", pa.string(), "[1]"),
    ("array[1, null, 3]", pa.list_(pa.int32()), [1, None, 3]),
    ("array['a', 'b']", pa.list_(pa.string()), ["a", "b"]),
    ("array[1.5, 2]", pa.list_(pa.decimal128(2, 1)), [Decimal("1.5"), Decimal(2)]),
    ("inet '10.0.0.1'", pa.string(), "10.0.0.1"),
]


@pytest.mark.parametrize("beside", ["1", "'x'::tsvector"])
async def test_types(db: AsyncDB, beside: str) -> None:
    """A column has the exact type and values, NULL among them, in binary and beside what is text only."""
    columns = ", ".join(f"case when n < 3 then {sql} end as c{at}" for at, (sql, _, _) in enumerate(TYPES))
    table = await db.fetch_arrow(
        f"select {columns}, {beside} as beside from generate_series(1, $1::int) n order by n", 3
    )
    assert table.num_rows == 3
    for at, (sql, kind, value) in enumerate(TYPES):
        assert (sql, table.schema.field(at).type) == (sql, kind)
        assert (sql, table.column(at).to_pylist()) == (sql, [value, value, None])


async def test_shapes(db: AsyncDB, client: AsyncClient) -> None:
    """No rows and no columns are tables too, names may stand twice, and a transaction is joined."""
    empty = await db.fetch_arrow("select 1 as a, 'x' as b, 1::numeric as n where false")
    assert (empty.num_rows, empty.column_names) == (0, ["a", "b", "n"])
    assert (await db.fetch_arrow("select")).num_columns == 0
    twice = await db.fetch_arrow("select 1 as a, 2 as a")
    assert (twice.column_names, twice.column(1).to_pylist()) == (["a", "a"], [2])
    async with db.transaction() as tx:
        await tx.execute("create temporary table t on commit drop as select generate_series(1, 2500) as n")
        assert (await db.fetch_arrow("select * from t")).column("n").to_pylist() == [*range(1, 2501)]
        assert (await tx.fetch_arrow("delete from t where n < 3 returning n")).num_rows == 2
    digits = (await db.fetch_arrow("select 2::numeric(10, 2), 1::numeric(50, 20), 1::numeric(5, -2)")).schema
    assert digits.types == [pa.decimal128(10, 2), pa.decimal256(50, 20), pa.decimal128(5, -2)]
    with pytest.raises(DivisionByZero):
        await db.fetch_arrow("select 1 / 0")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("date 'infinity'", "an infinity"),
        ("timestamptz '-infinity'", "an infinity"),
        ("'NaN'::numeric", "NaN"),
        ("array[[1, 2]]", "cast it"),
        ("timestamp '294276-12-31'", "overflow"),
    ],
)
async def test_what_arrow_cannot_hold(db: AsyncDB, sql: str, words: str) -> None:
    """A value that has no place in its column's type is refused, and the column named."""
    with pytest.raises(UsageError, match=f"column 'c': .*{words}.*"):
        await db.fetch_arrow(f"select {sql} as c")


async def test_files(db: AsyncDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table or a query becomes a Parquet or an Arrow file, part by part; no rows do too, an error not."""
    monkeypatch.setattr(arrow, "ROWS", 1000)
    await db.execute(
        "create table t as select n, n::text as name, n::numeric(9, 2) as x from generate_series(1, 2500) n"
    )
    for name, read in (("a.parquet", parquet.read_table), ("a.arrow", read_arrow)):
        path = tmp_path / name
        assert await db.copy_out("t", path) == 2500
        assert read(path).schema.names == ["n", "name", "x"]
        assert read(path).column("n").to_pylist() == [*range(1, 2501)]
        assert await db.copy_out("t", str(path), columns=["x", "n"]) == 2500
        assert read(path).schema == pa.schema([("x", pa.decimal128(9, 2)), ("n", pa.int32())])
        assert await db.copy_out("select * from t where false", path) == 0
        assert (read(path).num_rows, read(path).num_columns) == (0, 3)
    with pytest.raises(DivisionByZero):
        await db.copy_out("select 1 / (2000 - n) from t", tmp_path / "b.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "a.parquet"]
    with pytest.raises(UsageError, match="has none"):
        await db.copy_out("t", path, format="csv")
    with pytest.raises(UsageError, match="only a query"):
        await db.copy_out("delete from t", path)


def read_arrow(path: Path) -> Any:
    return ipc.open_file(path).read_all()
