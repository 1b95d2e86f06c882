# Generated from tests/_async/test_bulk_copy.py by _generate.py. Do not edit.
"""copy_in, copy_out and stream: large data in and out in little memory."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import (
    DivisionByZero,
    InvalidTextRepresentation,
    QueryCanceled,
    QueryTimeoutError,
    UniqueViolation,
    UsageError,
)

from .clients import at_rest, client_of, is_running, outside, prepare
from .runtime import spawn, wait_until
from .test_executemany import resident


@pytest.fixture
def client(main_dsn: str) -> Iterator[Client]:
    outside(main_dsn, "create table t (id int primary key, name text)")
    with client_of(main=main_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)


@pytest.fixture
def db(client: Client) -> DB:
    return client["main"]


def rows_of(dsn: str, sql: str = "select * from t order by id") -> list[Any]:
    return outside(dsn, sql)


ODD = [(1, "tab\tand\nline"), (2, "back\\slash"), (3, None), (4, "\\N"), (5, ""), (6, 'é"quote,')]


def test_rows_in(db: DB, main_dsn: str) -> None:
    """Rows of any kind go in whole, in binary or, where a value has a text form only, as text."""
    assert db.copy_in("t", []) == 0
    assert db.copy_in("t", ODD) == 6
    assert rows_of(main_dsn) == ODD
    db.execute("delete from t")
    assert db.copy_in("t", ((str(number), name) for number, name in ODD)) == 6
    assert rows_of(main_dsn) == ODD
    assert db.copy_in("t", [{"name": "x", "id": 7}]) == 1
    assert db.copy_in("t", [("y", 8)], columns=["name", "id"]) == 1
    assert db.copy_in("t", ((number, "z") for number in range(100, 25_100))) == 25_000
    prepare(main_dsn, "create table j (id int, tags text[], data jsonb, day date)")
    assert db.copy_in("j", [(1, ["a", 'b"'], {"x": [1, "\n"]}, "2024-01-02")]) == 1
    assert rows_of(main_dsn, "select id, tags, data->'x'->>1, day::text from j") == [
        (1, ["a", 'b"'], "\n", "2024-01-02")
    ]


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_out_and_in(db: DB, main_dsn: str, form: Any) -> None:
    """What comes out in a format goes in again, through a file, a function and pieces."""
    db.insert_many("t", ODD)
    file = io.BytesIO()
    assert db.copy_out("t", file, format=form) == 6
    pieces: list[bytes] = []
    assert db.copy_out("select * from t -- all;", pieces.append, format=form) == 6
    assert b"".join(pieces) == file.getvalue()
    for source in (io.BytesIO(file.getvalue()), pieces, iter(pieces)):
        db.execute("delete from t")
        assert db.copy_in("t", source, format=form) == 6
        assert rows_of(main_dsn) == ODD


def test_options(db: DB, main_dsn: str) -> None:
    """Columns, a header, a delimiter and a word for NULL are what COPY has them for."""
    text = "name;id\na'b;1\nnone;2\n"
    options: dict[str, Any] = {"format": "csv", "header": True, "delimiter": ";", "null": "none"}
    assert db.copy_in("t", io.StringIO(text), columns=["name", "id"], **options) == 2
    assert rows_of(main_dsn) == [(1, "a'b"), (2, None)]
    pieces: list[bytes] = []
    assert db.copy_out("t", pieces.append, columns=["name", "id"], **options) == 2
    assert b"".join(pieces).decode() == text


def test_a_source_that_waits(db: DB, main_dsn: str) -> None:
    """Outside of a transaction rows may come from a query; within one it says that they cannot."""

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(3):
            yield db.fetchval("select $1::int", number), "x"

    assert db.copy_in("t", rows()) == 3
    with db.transaction() as tx:
        with pytest.raises(UsageError, match="fetch them first"):
            with tx.transaction():
                tx.copy_in("t", late(tx))


def late(tx: Any) -> Iterator[tuple[int, str]]:
    yield 10, "x"
    yield tx.fetchval("select 11"), "x"


def test_errors_say_where(db: DB, main_dsn: str) -> None:
    """The server's error names the line or the row and the column; nothing stays, in a block neither."""
    with pytest.raises(InvalidTextRepresentation) as caught:
        db.copy_in("t", [b"1\ta\n", b"two\tb\n"])
    assert "line: 2, column: id" in caught.value.__notes__
    with pytest.raises(UniqueViolation) as caught_too:
        db.copy_in("t", [(number % 12_345, "a") for number in range(20_000)])
    assert "row: 12346" in caught_too.value.__notes__
    with pytest.raises(UsageError, match="row 12001, column 'id'"):
        db.copy_in("t", [*((number, "a") for number in range(12_000)), (1.5, "b")])
    with db.transaction() as tx:
        with pytest.raises(InvalidTextRepresentation):
            with tx.transaction():
                tx.copy_in("t", [b"x\ta\n"])
        assert tx.copy_in("t", [(1, "a")]) == 1
        assert tx.fetchval("select count(*) from t") == 1
        assert rows_of(main_dsn) == []
    assert rows_of(main_dsn) == [(1, "a")]


class BrokenError(Exception):
    pass


def test_a_source_or_a_sink_that_raises(db: DB, main_dsn: str) -> None:
    """The caller's own error is what he sees; nothing was done, and the connection is usable."""

    def broken() -> Any:
        yield b"1\ta\n"
        raise BrokenError

    def full(_: bytes) -> None:
        raise BrokenError

    with pytest.raises(BrokenError):
        db.copy_in("t", broken())
    with pytest.raises(BrokenError):
        db.copy_out("select generate_series(1, 1000000)", full)
    assert rows_of(main_dsn) == []
    assert db.fetchval("select 1") == 1


def test_calls_that_are_wrong(db: DB) -> None:
    """What cannot be meant is refused, and nothing is sent."""
    for call, words in (
        (lambda: db.copy_in("t", "a file's name"), "source is a str"),
        (lambda: db.copy_in("t; drop table t", []), "not the name of a table"),
        (lambda: db.copy_in("t", [(1, "a")], format="csv"), "not for rows"),
        (lambda: db.copy_in("t", [b"x"], format="json"), "format='json'"),  # type: ignore[arg-type]
        (lambda: db.copy_in("t", [b"x"], format="binary", header=True), "binary has none"),
        (lambda: db.copy_in("t", [b"x"], delimiter=";;"), "one character"),
        (lambda: db.copy_in("t", ["x"], format="binary"), "binary mode"),
        (lambda: db.copy_in("t", [b"x", 5]), "a int among data"),
        (lambda: db.copy_in("t", [b"x"], columns=["nam"]), "no column 'nam'"),
        (lambda: db.copy_out("t", "x"), "to is a str"),
        (lambda: db.copy_out("select $1::int", print), "parameters"),
        (lambda: db.copy_out("select 1; select 2", print), "one query"),
        (lambda: db.copy_out("drop table t", print), "one query"),
        (lambda: db.stream("select $1::int"), "takes 1 argument"),
        (lambda: db.stream("delete from t"), "only a query"),
        (lambda: db.stream("select 1", chunk=0), "chunk=0"),
    ):
        with pytest.raises(UsageError, match=words):
            call()  # type: ignore[operator, misc]
    assert db.fetchval("select count(*) from t") == 0


def test_called_off(db: DB, main_dsn: str) -> None:
    """D4: a COPY that is cancelled leaves the connection usable and nothing behind."""
    prepare(main_dsn, "create function slow() returns trigger language plpgsql as $$ begin "
            "perform pg_sleep(20); return new; end $$", "create trigger s before insert on t "
            "for each row execute function slow()")  # fmt: skip

    def is_at_work() -> bool:
        return is_running(main_dsn, "COPY")

    with spawn(lambda: db.copy_in("t", [(1, "a")])) as copying:
        wait_until(is_at_work)
        outside(main_dsn, "select pg_cancel_backend(pid) from pg_stat_activity where query like 'COPY %'")
        with pytest.raises(QueryCanceled):
            copying.result()
    assert rows_of(main_dsn) == []
    assert db.fetchval("select 1") == 1


def test_time_limits(db: DB, main_dsn: str) -> None:
    """D1, D2: a part that the server does not take in time ends COPY; a source or a sink may take longer."""
    prepare(main_dsn, "create function slow() returns trigger language plpgsql as $$ begin "
            "perform pg_sleep(20); return new; end $$", "create table slow (id int, name text)",
            "create trigger s before insert on slow for each row execute function slow()")  # fmt: skip

    def idle() -> bool:
        until = monotonic() + 0.25
        while monotonic() < until:
            pass
        return True

    for work in (
        lambda: db.copy_in("slow", [(1, "a")], timeout=0.15),
        lambda: db.copy_in("slow", [b"1\ta\n"], timeout=0.15),
        lambda: db.copy_out("select 1 from pg_sleep(20)", lambda _: None, timeout=0.15),
    ):
        began = monotonic()
        with pytest.raises(QueryTimeoutError) as caught:
            work()
        assert caught.value.outcome == "rolled back"
        assert monotonic() - began < 2
        wait_until(lambda: not is_running(main_dsn, "COPY"))
    assert rows_of(main_dsn, "select * from slow") == []
    assert db.copy_in("t", ((n, "a") for n in range(3) if idle()), timeout=0.15) == 3
    assert db.copy_out("t", lambda _: idle() or None, timeout=0.15) == 3
    with pytest.raises(UsageError, match="timeout=0"):
        db.copy_in("t", [(9, "a")], timeout=0)


def test_under_a_label(db: DB, main_dsn: str) -> None:
    """W1: a labelled database has the bulk calls too, and counts what they ask under its label."""
    nightly = db.labelled("nightly")
    assert nightly.insert_many("t", [(1, "a")]) == 1
    assert nightly.upsert_many("t", [(n, "b") for n in range(1_500)], "id") == 1_500
    assert nightly.copy_in("t", [(-1, "c")]) == 1
    assert nightly.copy_out("t", lambda _: None) == 1_501
    asked = nightly.stats()["calls"]
    found = [row.id for row in nightly.stream("select id from t order by id", chunk=900)]
    assert found == [-1, *range(1_500)]
    assert nightly.stats()["calls"] - asked >= 2
    with nightly.transaction() as tx:
        assert nightly.insert_many("t", [(-2, "d")]) == 1
        assert tx.fetchval("select count(*) from t") == 1_502


@dataclass
class Number:
    n: int


def test_stream(db: DB) -> None:
    """Every row comes once and in order, in the shape that was asked for; others may ask in between."""
    seen = []
    for row in db.stream("select n, 'x' as c from generate_series(1, $1::int) n order by n", 2500):
        seen.append(row.n)
        if row.n % 1000 == 0:
            assert db.fetchval("select 5") == 5
    assert seen == list(range(1, 2501))
    with db.stream("select 7 as n", into=Number, chunk=1) as rows:
        assert [row for row in rows] == [Number(7)]
        assert [row for row in rows] == []
    assert [row for row in db.stream("select 1 where false")] == []
    assert [row for row in db.stream("values (1), (2), (3)", chunk=3, into=tuple)] == [(1,), (2,), (3,)]


def test_a_stream_that_is_left(db: DB, main_dsn: str) -> None:
    """Who leaves early, with `with` or without, leaves no transaction open and no connection lost."""
    for _ in range(6):
        with db.stream("select generate_series(1, 100000)", chunk=10) as rows:
            for _ in rows:
                break
        at_rest(db, main_dsn)
    for _ in range(6):
        for _ in db.stream("select generate_series(1, 100000)", chunk=10):
            break
        gc.collect()
        at_rest(db, main_dsn)


def test_a_stream_in_a_transaction(db: DB, main_dsn: str) -> None:
    """It sees what the transaction wrote, lets it speak in between, and its cursor is closed early."""
    with db.transaction() as tx:
        tx.insert_many("t", [(number, "a") for number in range(30)])
        with tx.stream("select id from t order by id", chunk=7) as rows:
            for row in rows:
                db.execute("update t set name = 'b' where id = $1", row.id)
                if row.id == 20:
                    break
        assert tx.fetchval("select count(*) from pg_cursors where name like 'pgdual%'") == 0
        assert [row.id for row in db.stream("select id from t order by id")] == list(range(30))
    assert rows_of(main_dsn, "select count(*) from t where name = 'b'") == [(21,)]


def test_many_rows_in_little_memory(db: DB) -> None:
    """150,000 rows of 500 bytes, 75 MB, never stand in memory together, on their way out or in."""
    text = "select n, repeat('x', 500) as x from generate_series(1, 150000) n"
    before, most = resident(), 0
    for row in db.stream(text):
        if row.n % 10_000 == 0:
            most = max(most, resident())
    assert db.copy_out(text, lambda _: None) == 150_000
    db.execute("create table big (n int, x text)")
    assert db.copy_in("big", ((n, "x" * 500) for n in range(150_000))) == 150_000
    assert max(most, resident()) - before < 40


def test_a_stream_that_fails(db: DB, main_dsn: str) -> None:
    """The server's error comes where it happens, and the stream is over."""
    count = 0
    with pytest.raises(DivisionByZero):
        for row in db.stream("select 10 / (25 - n) from generate_series(1, 100) n", chunk=10):
            count += len(row)
    assert count == 20
    at_rest(db, main_dsn)


def test_the_callers_own_time_does_not_count(db: DB) -> None:
    """D1, T4: code of the caller's that raises later than the limit undoes its block, and no other one."""

    def late(_: bytes = b"") -> None:
        until = monotonic() + 0.3
        while monotonic() < until:
            pass
        raise KeyError("mine")

    def source() -> Iterator[bytes]:
        yield b"7\tx\n"
        late()

    with db.transaction() as tx:
        for deed in (
            lambda: tx.copy_in("t", source(), timeout=0.2),
            lambda: tx.copy_out("select generate_series(1, 100000)", late, timeout=0.2),
        ):
            with pytest.raises(KeyError, match="mine"):
                with tx.transaction():
                    deed()
            assert tx.fetchval("select 1") == 1
