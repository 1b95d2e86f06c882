# Generated from tests/_async/test_wire.py by _generate.py. Do not edit.
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


def test_a_large_parameter(main_dsn: str) -> None:
    """A parameter of 50 MB goes out while its echo comes in, and its memory is not kept (L6)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1")
        before = resident()
        value = bytes(range(256)) * (50 * 4096)
        assert db.fetchval("select $1::bytea", value) == value
        del value
        assert db.fetchval("select 1") == 1
        wait_until(lambda: resident() - before < 20)


def test_large_parameters_only(main_dsn: str) -> None:
    """What a large parameter took in memory is not kept either where its answer is small (L6)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1")
        before = resident()
        assert db.fetchval("select length($1::bytea)", bytes(50_000_000)) == 50_000_000
        assert db.fetchval("select 1") == 1
        wait_until(lambda: resident() - before < 20)


def test_a_large_value_is_freed(main_dsn: str) -> None:
    """The buffer that libpq makes for one value of 100 MB is not kept (L6)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1")
        before = resident()
        assert len(db.fetchval("select repeat('x', 100000000)")) == 100_000_000
        assert db.fetchval("select 1") == 1
        wait_until(lambda: resident() - before < 20)


def test_a_large_result_is_freed(main_dsn: str) -> None:
    """A result of 200 MB arrives whole, and its memory is not kept (L6)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1")
        before = resident()
        rows = db.fetch("select repeat('x', 1000000) as text from generate_series(1, 200)")
        assert sum(len(row.text) for row in rows) == 200_000_000
        del rows
        assert db.fetchval("select 1") == 1
        wait_until(lambda: resident() - before < 20)


def test_large_values_at_once(main_dsn: str) -> None:
    """Twenty calls of 3 MB each way share four connections (L6)."""
    with client_of(main=main_dsn) as client:
        db = client["main"]

        def echo(number: int) -> None:
            value = bytes([number]) * 3_000_000
            assert db.fetchval("select $1::bytea", value) == value

        gather(*[lambda number=number: echo(number) for number in range(20)])


def test_notices_and_notifications_in_between(main_dsn: str) -> None:
    """What the server says unasked disturbs no answer: RAISE NOTICE, NOTIFY to a session that listens."""
    prepare(
        main_dsn,
        """create function chatter(n int) returns int language plpgsql as
        $$ begin for i in 1..n loop raise notice 'line %', i; end loop; return n; end $$""",
    )
    with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]
        db.pure("chatter")

        def talk() -> None:
            for _ in range(20):
                assert db.fetchval("select chatter(50)") == 50

        def read() -> None:
            for number in range(100):
                assert db.fetchval("select $1::int", number) == number

        gather(talk, read, talk, read)
        with db.transaction():
            db.execute("listen news")
            db.execute("notify news, 'first'")
        with db.transaction():
            db.execute("listen news")
            for number in range(20):
                db.execute("notify news, 'more'")
                assert db.fetchval("select $1::int", number) == number
        assert db.fetchval("select count(*) from pg_listening_channels()") == 0


def test_names_are_digests(main_dsn: str) -> None:
    """A prepared statement is called after its text, the same on every connection (N1)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select $1::int + 41", 1)
        names = db.fetch("select name, statement from pg_prepared_statements", into=tuple)
        for name, text in names:
            assert name.encode() == db._statements.get(text).name
        assert "select $1::int + 41" in {text for _, text in names}


def test_many_texts_leave_bounded_caches(main_dsn: str) -> None:
    """After 1,000 texts the caches on both ends are bounded, and the first texts work again (N3)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for number in range(1000):
            assert db.fetchval(f"select {number} + $1", 1) == number + 1
        kept = db.fetchval("select count(*) from pg_prepared_statements")
        assert kept <= PREPARED
        assert kept >= PREPARED - 2
        assert len(db._statements) <= 1000
        for number in range(0, 1000, 50):
            assert db.fetchval(f"select {number} + $1", 2) == number + 2
        assert db.fetchval("select count(*) from pg_prepared_statements") <= PREPARED


def test_an_evicted_statement_survives_a_broken_text(main_dsn: str) -> None:
    """A text that cannot be parsed, sent as another is evicted, leaves both ends of one mind (N3)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        for number in range(PREPARED):
            db.fetchval(f"select {number}")
        for number in range(20):
            with pytest.raises(DatabaseError):
                db.fetchval(f"select from from {number}")
            with db.transaction() as tx:
                assert tx.fetchval(f"select {number}") == number
