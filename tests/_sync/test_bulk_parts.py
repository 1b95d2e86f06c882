# Generated from tests/_async/test_bulk_parts.py by _generate.py. Do not edit.
"""copy_out as an iterator: the data of a COPY as it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import DivisionByZero, QueryTimeoutError, UndefinedTable, UsageError

from .clients import at_rest, client_of, first, is_running, outside
from .runtime import Event, spawn, wait_until
from .test_bulk_copy import ODD, rows_of
from .test_executemany import resident

MANY = "select n, repeat('x', 500) from generate_series(1, 200000) n"


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    outside(main_dsn, "create table t (id int primary key, name text)")
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_out_and_in(db: DB, main_dsn: str, form: Any) -> None:
    """The parts together are what a function is given, and go in again on another connection."""
    db.insert_many("t", ODD)
    db.execute("create table u (like t)")
    given: list[bytes] = []
    assert db.copy_out("t", given.append, format=form) == 6
    with db.copy_out("t", format=form) as parts:
        assert parts.count is None
        assert b"".join([part for part in parts]) == b"".join(given)
        assert parts.count == 6
        assert [part for part in parts] == []
    with db.copy_out("t", columns=["name", "id"], format=form) as parts:
        assert db.copy_in("u", parts, columns=["name", "id"], format=form) == 6
    assert rows_of(main_dsn, "select * from u order by id") == ODD
    with db.labelled("x").copy_out("select 1 where false; -- none", format=form) as parts:
        assert len(b"".join([part for part in parts])) == (21 if form == "binary" else 0)
    assert parts.count == 0


def test_left_early(db: DB, main_dsn: str) -> None:
    """Who stops early, by break or by an error, cancels the COPY, and the connection is good for more."""
    pid = db.fetchval("select pg_backend_pid()")
    for at in range(6):
        with pytest.raises(ZeroDivisionError):
            with db.copy_out(MANY) as parts:
                for part in parts:
                    assert part.startswith(b"1\t")
                    if at % 2:
                        raise ZeroDivisionError
                    break
                raise ZeroDivisionError
        assert parts.count is None
        assert [part for part in parts] == []
        assert db.fetchval("select pg_backend_pid()") == pid
        at_rest(db, main_dsn)
    with db.copy_out(MANY):
        pass
    assert not is_running(main_dsn, "COPY")


def test_left_early_in_a_transaction(db: DB, main_dsn: str) -> None:
    """It has a savepoint of its own: to stop it, or an error in it, undoes nothing else."""
    with db.transaction() as tx:
        tx.execute("insert into t values (1, 'a')")
        with tx.copy_out(MANY) as parts:
            for _ in parts:
                break
        tx.execute("insert into t values (2, 'b')")
        with db.copy_out("select id from t order by id") as parts:
            assert [part for part in parts] == [b"1\n2\n"]
        for wrong, error in (
            ("nowhere", UndefinedTable),
            ("select 1 / (9 - n) from g(20) n", DivisionByZero),
        ):
            with pytest.raises(error):
                with tx.copy_out(wrong.replace("g(", "generate_series(1, ")) as parts:
                    for _ in parts:
                        pass
        with db.transaction(), tx.copy_out("insert into t values (3, 'c') returning id") as parts:
            assert [part for part in parts] == [b"3\n"]
    assert rows_of(main_dsn) == [(1, "a"), (2, "b"), (3, "c")]


def test_nothing_in_between(db: DB) -> None:
    """In its transaction its own task is refused, and others wait until it is over; outside all goes on."""
    begun = Event()
    with db.copy_out(MANY) as parts:
        for _ in parts:
            assert db.fetchval("select 1") == 1
            break
    with db.transaction() as tx:

        def other() -> Any:
            begun.set()
            return tx.fetchval("select 2")

        with spawn(other) as waiting:
            with tx.copy_out("select generate_series(1, 3)") as parts:
                begun.wait()
                with pytest.raises(UsageError, match="nothing else in between"):
                    tx.fetchval("select 1")
                with pytest.raises(UsageError, match="nothing else in between"):
                    with tx.transaction():
                        pass
                assert [part for part in parts] == [b"1\n2\n3\n"]
            assert waiting.result() == 2
        assert tx.fetchval("select 3") == 3


def test_an_error_in_the_midst(db: DB) -> None:
    """What came before it stands; the error is the server's, and it is over."""
    seen = b""
    with db.copy_out("select 10 / (25 - n) from generate_series(1, 100) n") as parts:
        with pytest.raises(DivisionByZero):
            for part in parts:
                seen += part
        assert [part for part in parts] == []
    assert seen.count(b"\n") == 24
    assert db.fetchval("select 1") == 1


def test_the_server_waits(db: DB, main_dsn: str) -> None:
    """100 MB never stand in memory together: the server goes on when the reader does."""
    before, size = resident(), 0
    waits = "select count(*) from pg_stat_activity where query like 'COPY%' and wait_event = 'ClientWrite'"
    with db.copy_out(MANY) as parts:
        for part in parts:
            if not size:
                wait_until(lambda: first(main_dsn, waits) == 1)
            size += len(part)
            assert len(part) < 100_000
        assert (parts.count, size > 100_000_000) == (200_000, True)
    assert resident() - before < 30


def test_time_limits(db: DB) -> None:
    """D1, D2: a part that does not come in time ends it; the reader may take longer."""
    for sql in (
        "select 1 from pg_sleep(20)",
        "select n, pg_sleep(n / 3 * 20) from generate_series(1, 4) n",
    ):
        began = monotonic()
        with pytest.raises(QueryTimeoutError) as caught:
            with db.copy_out(sql, timeout=0.15) as parts:
                for _ in parts:
                    pass
        assert caught.value.outcome == "rolled back"
        assert monotonic() - began < 2
    with db.copy_out("select generate_series(1, 3)", timeout=0.15) as parts:
        for part in parts:
            assert part == b"1\n2\n3\n"
            until = monotonic() + 0.25
            while monotonic() < until:
                pass
    assert parts.count == 3


def test_calls_that_are_wrong(db: DB) -> None:
    """What cannot be meant is refused, and so are the data of a COPY that was not entered, or twice."""
    for call, words in (
        (lambda: db.copy_out("select $1::int"), "parameters"),
        (lambda: db.copy_out("drop table t"), "one query"),
        (lambda: db.copy_out("t", columns=["nam"]), "no column 'nam'"),
        (lambda: db.copy_out("t", timeout=0), "timeout=0"),
        (lambda: db.copy_out("t", format="json"), "format='json'"),  # type: ignore[call-overload]
        (lambda: db.copy_out("t", format="binary", header=True), "binary has none"),
    ):
        with pytest.raises(UsageError, match=words):
            with call():
                pass
    with pytest.raises(UsageError, match="with `with`"):
        for _ in db.copy_out("t"):
            pass
    with db.copy_out("t") as parts:
        with pytest.raises(UsageError, match="entered once"):
            with parts:
                pass
