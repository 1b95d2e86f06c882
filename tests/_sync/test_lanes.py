# Generated from tests/_async/test_lanes.py by _generate.py. Do not edit.
"""Who waits for whom: lanes of READs, wires alone, and the line for them."""

from __future__ import annotations

import re

import pytest

from pgdual.sync import Client, DB
from pgdual.core.lanes import SLOW
from pgdual.errors import PoolTimeoutError, UndefinedTable

from .clients import client_of, first, prepare
from .runtime import FACE, Event, gather, sleep, spawn, wait_until


def warm(db: DB, *texts: str) -> None:
    """Ask *texts* until the service time of each is known to be short."""
    for text in texts:
        for _ in range(50):
            db.fetchval(text)
            if db._statements.get(text).service < SLOW / 5:
                break


def test_a_failing_read_touches_no_neighbour(main_dsn: str) -> None:
    """One in ten of many concurrent reads fails, a broken Parse among them, and the rest are right (L1)."""
    with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]

        def one(number: int) -> object:
            try:
                if number % 20 == 0:
                    return db.fetchval("select $1::int / 0 as broken", number)
                if number % 10 == 0:
                    return db.fetchval(f"select {number} from nothing_{number % 3}")
                return db.fetchval("select $1::int as fine", number)
            except Exception as error:
                return type(error).__name__

        def worker(first: int) -> None:
            for number in range(first, 1000, 50):
                expected: object = number
                if number % 10 == 0:
                    expected = "DivisionByZero" if number % 20 == 0 else UndefinedTable.__name__
                assert one(number) == expected

        gather(*[lambda first=first: worker(first) for first in range(50)])


def test_an_error_at_sync_is_the_caller_s(main_dsn: str) -> None:
    """A deferred constraint fails after "INSERT 0 1": its caller hears of it, and nobody else (L2)."""
    prepare(
        main_dsn,
        "create table parent (id int primary key)",
        "create table child (id int, parent int references parent deferrable initially deferred)",
    )
    with client_of(main=main_dsn, pool_max_size=2) as client:
        db = client["main"]

        def write() -> str:
            try:
                return db.execute("insert into child values ($1, $2)", 1, 404)
            except Exception as error:
                return type(error).__name__

        def read() -> str:
            for number in range(50):
                assert db.fetchval("select $1::int", number) == number
            return ""

        failed = "ForeignKeyViolation"
        assert gather(write, read, read, write) == [failed, "", "", failed]
        assert db.fetchval("select count(*) from child") == 0


def test_a_waiting_write_delays_no_read(main_dsn: str) -> None:
    """While a WRITE waits for a row lock, reads go on (L3)."""
    prepare(main_dsn, "create table t (id int primary key, n int)", "insert into t values (1, 0)")
    with client_of(main=main_dsn, pool_max_size=3) as client:
        db = client["main"]
        locked, done = Event(), Event()

        def hold() -> None:
            with db.transaction():
                db.execute("update t set n = n + 1 where id = 1")
                locked.set()
                done.wait()

        with spawn(hold):
            locked.wait()
            with spawn(lambda: db.execute("update t set n = n + 10 where id = 1")) as writer:
                wait_until(lambda: first(main_dsn, "select count(*) from pg_locks where not granted"))

                def read() -> None:
                    for _ in range(100):
                        db.fetchval("select n from t where id = 1")

                gather(*[read] * 5)
                assert not writer.is_done()
                done.set()
                assert writer.result() == "UPDATE 1"
        assert db.fetchval("select n from t") == 11


def test_slow_reads_go_alone(main_dsn: str) -> None:
    """A text known to be slow has a wire alone, so fast reads are never behind it (L4)."""
    with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        slow, fast = "select pg_sleep(0.3)", "select 1 as fast"
        db.fetchval(slow)  # the first of all, when nothing is known of the network
        assert db._statements.get(slow).service > SLOW
        warm(db, fast)
        with (
            spawn(lambda: db.fetchval(slow)) as first,
            spawn(lambda: db.fetchval(slow)) as second,
        ):
            wait_until(lambda: db.stats()["pool"]["active"] == 2)
            gather(*[lambda: db.fetchval(fast)] * 20)
            assert not first.is_done()
            assert not second.is_done()


def hammer(client: Client, readers: int, writes: int) -> None:
    """Have *readers* read without a pause until *writes* writes are through."""
    db = client["main"]
    done = Event()

    def read() -> None:
        while not done.is_set():
            db.fetchval("select n from t where id = 1")

    def write() -> None:
        try:
            for _ in range(writes):
                db.execute("update t set n = n + 1 where id = 1")
        finally:
            done.set()

    gather(write, *[read] * readers)
    assert db.fetchval("select n from t where id = 1") == writes


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("readers", [64, 200])
def test_readers_starve_no_writer(main_dsn: str, size: int, readers: int) -> None:
    """Be there a lane's depth of readers or more, the writer has its turn again and again (L5)."""
    prepare(main_dsn, "create table t (id int primary key, n int)", "insert into t values (1, 0)")
    with client_of(main=main_dsn, pool_max_size=size) as client:
        warm(client["main"], "select n from t where id = 1")
        hammer(client, readers, 10)


def test_waiting_calls_are_served_in_order(main_dsn: str) -> None:
    """Calls that wait for the one connection get it in the order in which they came (L5)."""
    prepare(main_dsn, "create table t (id serial, n int)")
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        with client["main"].connection():
            calls = []
            for number in range(10):
                calls.append(spawn(lambda number=number: db.execute("insert into t(n) values ($1)", number)))
                wait_until(lambda n=number: db.stats()["pool"]["waiting"] == n + 1)
        for call in calls:
            call.result()
        rows = db.fetch("select n from t order by id", into=tuple)
        assert [row[0] for row in rows] == list(range(10))


def test_the_acquire_clock_ends_with_the_figures(main_dsn: str) -> None:
    """Who gets no connection in time has a PoolTimeoutError that says how the pool stands (L5, D1)."""
    with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.2) as client:
        db = client["main"]
        with db.connection():
            for call in (lambda: db.fetchval("select 1"), lambda: db.execute("create table t (id int)")):
                with pytest.raises(PoolTimeoutError, match=re.escape("1 of 1 in use")) as caught:
                    call()
                assert "0.2 s" in str(caught.value)
                assert "1 allowed" in str(caught.value)
        assert db.fetchval("select 1") == 1
        assert db.stats()["pool"]["waiting"] == 0


def test_who_gives_up_waiting_leaves_the_line(main_dsn: str) -> None:
    """A call whose acquire clock has run out takes nothing from those behind it (L5)."""
    with client_of(main=main_dsn, pool_max_size=1, pool_timeout=0.3) as client:
        db = client["main"]
        with db.connection():
            with pytest.raises(PoolTimeoutError):
                gather(*[lambda: db.fetchval("select 1")] * 5)
        assert gather(*[lambda: db.fetchval("select 1")] * 20) == [1] * 20


def test_acquire_and_query_are_measured_apart(main_dsn: str) -> None:
    """Behind a slow statement on a pool of one, a call's wait is acquire time and not query time (W1)."""
    with client_of(main=main_dsn, pool_max_size=1) as client:
        db = client["main"]
        db.fetchval("select 1")
        db._meter.reset()
        with spawn(lambda: db.execute("select pg_sleep(0.4)")):
            wait_until(lambda: db.stats()["pool"]["active"] == 1)
            sleep(0.02)
            db.fetchval("select 1")
        stats = db.stats()
        assert stats["calls"] == 2
        assert stats["acquire"]["max"] > 250
        assert 380 < stats["query"]["max"] < 700
        assert stats["query"]["p50"] < 100


def test_reads_share_lanes_on_the_face_that_shares(main_dsn: str) -> None:
    """Many quick reads need few wires where lanes are shared, one each where threads have their own (L4)."""
    with client_of(main=main_dsn, pool_min_size=1, pool_max_size=8) as client:
        db = client["main"]
        warm(db, "select 1 as quick")

        def read() -> None:
            for _ in range(20):
                assert db.fetchval("select 1 as quick") == 1

        gather(*[read] * 40)
        assert db.stats()["pool"]["size"] <= (8 if FACE == "sync" else 4)
