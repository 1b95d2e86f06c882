"""One connection: large data both ways, what comes in between, and what is prepared on it."""

from __future__ import annotations

import pytest

from pgdual.core.pipeline import PREPARED
from pgdual.errors import DatabaseError

from .clients import client_of, prepare
from .runtime import gather, wait_until

RESIDENT = "/proc/self/status"


def resident() -> float:
    """Return this process's memory in MB."""
    with open(RESIDENT) as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def test_a_large_parameter(main_dsn: str) -> None:
    """A parameter of 50 MB goes out while its echo comes in, and its memory is not kept (L6)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        before = resident()
        value = bytes(range(256)) * (50 * 4096)
        assert await db.fetchval("select $1::bytea", value) == value
        del value
        assert await db.fetchval("select 1") == 1
        await wait_until(lambda: resident() - before < 20)


async def test_large_parameters_only(main_dsn: str) -> None:
    """What a large parameter took in memory is not kept either where its answer is small (L6)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        before = resident()
        assert await db.fetchval("select length($1::bytea)", bytes(50_000_000)) == 50_000_000
        assert await db.fetchval("select 1") == 1
        await wait_until(lambda: resident() - before < 20)


async def test_a_large_value_is_freed(main_dsn: str) -> None:
    """The buffer that libpq makes for one value of 100 MB is not kept (L6)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        before = resident()
        assert len(await db.fetchval("select repeat('x', 100000000)")) == 100_000_000
        assert await db.fetchval("select 1") == 1
        await wait_until(lambda: resident() - before < 20)


async def test_a_large_result_is_freed(main_dsn: str) -> None:
    """A result of 200 MB arrives whole, and its memory is not kept (L6)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select 1")
        before = resident()
        rows = await db.fetch("select repeat('x', 1000000) as text from generate_series(1, 200)")
        assert sum(len(row.text) for row in rows) == 200_000_000
        del rows
        assert await db.fetchval("select 1") == 1
        await wait_until(lambda: resident() - before < 20)


async def test_large_values_at_once(main_dsn: str) -> None:
    """Twenty calls of 3 MB each way share four connections (L6)."""
    async with client_of(main=main_dsn) as client:
        db = client["main"]

        async def echo(number: int) -> None:
            value = bytes([number]) * 3_000_000
            assert await db.fetchval("select $1::bytea", value) == value

        await gather(*[lambda number=number: echo(number) for number in range(20)])


async def test_notices_and_notifications_in_between(main_dsn: str) -> None:
    """What the server says unasked disturbs no answer: RAISE NOTICE, NOTIFY to a session that listens."""
    prepare(
        main_dsn,
        """create function chatter(n int) returns int language plpgsql as
        $$ begin for i in 1..n loop raise notice 'line %', i; end loop; return n; end $$""",
    )
    async with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]
        db.pure("chatter")

        async def talk() -> None:
            for _ in range(20):
                assert await db.fetchval("select chatter(50)") == 50

        async def read() -> None:
            for number in range(100):
                assert await db.fetchval("select $1::int", number) == number

        await gather(talk, read, talk, read)
        async with db.transaction():
            await db.execute("listen news")
            await db.execute("notify news, 'first'")
        async with db.transaction():
            await db.execute("listen news")
            for number in range(20):
                await db.execute("notify news, 'more'")
                assert await db.fetchval("select $1::int", number) == number
        assert await db.fetchval("select count(*) from pg_listening_channels()") == 0


async def test_names_are_digests(main_dsn: str) -> None:
    """A prepared statement is called after its text, the same on every connection (N1)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        await db.fetchval("select $1::int + 41", 1)
        names = await db.fetch("select name, statement from pg_prepared_statements", into=tuple)
        for name, text in names:
            assert name.encode() == db._statements.get(text).name
        assert "select $1::int + 41" in {text for _, text in names}


async def test_many_texts_leave_bounded_caches(main_dsn: str) -> None:
    """After 1,000 texts the caches on both ends are bounded, and the first texts work again (N3)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for number in range(1000):
            assert await db.fetchval(f"select {number} + $1", 1) == number + 1
        kept = await db.fetchval("select count(*) from pg_prepared_statements")
        assert kept <= PREPARED
        assert kept >= PREPARED - 2
        assert len(db._statements) <= 1000
        for number in range(0, 1000, 50):
            assert await db.fetchval(f"select {number} + $1", 2) == number + 2
        assert await db.fetchval("select count(*) from pg_prepared_statements") <= PREPARED


async def test_an_evicted_statement_survives_a_broken_text(main_dsn: str) -> None:
    """A text that cannot be parsed, sent as another is evicted, leaves both ends of one mind (N3)."""
    async with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for number in range(PREPARED):
            await db.fetchval(f"select {number}")
        for number in range(20):
            with pytest.raises(DatabaseError):
                await db.fetchval(f"select from from {number}")
            async with db.transaction() as tx:
                assert await tx.fetchval(f"select {number}") == number
