# Generated from tests/_async/test_fleet.py by _generate.py. Do not edit.
"""How many connections there are, when, and what becomes of them."""

from __future__ import annotations

import pytest

from pgdual.sync import Client, DB
from pgdual.embedded import Postgres
from pgdual.errors import ClientClosedError, OutcomeUnknownError
from pgdual.settings import DatabaseSettings, Settings

from .clients import client_of, is_running, pids, prepare, terminate
from .runtime import Event, gather, sleep, spawn, wait_until


def settled(db: DB, size: int) -> None:
    """Wait until the pool has *size* connections and makes no more."""

    def is_settled() -> bool:
        pool = db.stats()["pool"]
        return pool["size"] == size and not pool["connecting"]

    wait_until(is_settled)


def test_the_smallest_number_is_warm(main_dsn: str) -> None:
    """open() warms min connections and not one more (P2)."""
    with client_of(main=main_dsn, pool_min_size=3, pool_max_size=6) as client:
        settled(client["main"], 3)
        assert len(pids(main_dsn)) == 3


def test_growth_ends_at_max(main_dsn: str) -> None:
    """Under any load there are never more connections than max (P2)."""
    with client_of(main=main_dsn, pool_min_size=1, pool_max_size=5) as client:
        db = client["main"]
        done = Event()
        seen: list[int] = []

        def look() -> None:
            while not done.is_set():
                seen.append(len(pids(main_dsn)))
                sleep(0.01)

        def work(number: int) -> None:
            for _ in range(5):
                if number % 2:
                    db.execute("select pg_sleep(0.01) from pg_class for update limit 1")
                else:
                    db.fetchval("select pg_sleep(0.01)")

        with spawn(look):
            gather(*[lambda number=number: work(number) for number in range(40)])
            done.set()
        assert max(seen) <= 5
        assert db.stats()["pool"]["size"] == 5
        assert len(pids(main_dsn)) == 5


def test_idle_connections_go(main_dsn: str) -> None:
    """What was idle for pool_max_idle goes, down to min (P2)."""
    with client_of(main=main_dsn, pool_min_size=2, pool_max_size=6, pool_max_idle=0.2) as client:
        db = client["main"]
        gather(*[lambda: db.execute("select pg_sleep(0.1) from pg_class for update limit 1")] * 6)
        assert db.stats()["pool"]["size"] > 2
        settled(db, 2)
        wait_until(lambda: len(pids(main_dsn)) == 2)
        assert gather(*[lambda: db.fetchval("select 1")] * 20) == [1] * 20


def test_old_connections_are_replaced(main_dsn: str) -> None:
    """A connection older than pool_max_lifetime is replaced, and no call notices."""
    with client_of(main=main_dsn, pool_min_size=2, pool_max_size=2, pool_max_lifetime=0.5) as client:
        db = client["main"]
        before = db.fetchval("select pg_backend_pid()")

        def replaced() -> bool:
            return bool(db.fetchval("select pg_backend_pid()") != before)

        wait_until(replaced)
        wait_until(lambda: before not in pids(main_dsn))
        wait_until(lambda: len(pids(main_dsn)) == 2)
        assert db.stats()["errors"] == 0


def test_idle_connections_that_the_server_ended(main_dsn: str) -> None:
    """Connections ended by the server while idle cost no call an error, not even a WRITE (O3)."""
    prepare(main_dsn, "create table t (id int)")
    with client_of(main=main_dsn, pool_min_size=4, pool_max_size=4) as client:
        db = client["main"]
        settled(db, 4)
        for turn in range(1, 3):
            terminate(main_dsn)
            assert db.execute("insert into t values (1)") == "INSERT 0 1"
            terminate(main_dsn)
            with db.transaction() as tx:
                tx.execute("insert into t values (1)")
            terminate(main_dsn)
            assert db.fetchval("select count(*) from t") == 2 * turn
            settled(db, 4)


def test_a_restart(main_server: Postgres, main_dsn: str) -> None:
    """After the server was restarted the client recovers by itself (O3)."""
    prepare(main_dsn, "create table t (id int)")
    with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        settled(db, 3)
        main_server.restart()
        assert gather(*[lambda: db.fetchval("select 1")] * 10) == [1] * 10
        main_server.restart()
        assert db.execute("insert into t values (1)") == "INSERT 0 1"
        settled(db, 3)


def test_calls_during_a_restart(main_server: Postgres, main_dsn: str) -> None:
    """Reads while the server restarts wait and succeed; of a write the outcome may be unknown (O1)."""
    prepare(main_dsn, "create table t (id int)")
    with client_of(main=main_dsn, pool_min_size=3, pool_max_size=3) as client:
        db = client["main"]
        done = Event()

        def read() -> None:
            while not done.is_set():
                assert db.fetchval("select 1") == 1
                sleep(0.001)

        def write() -> tuple[set[int], set[int]]:
            known, unknown, number = set(), set(), 0
            while not done.is_set():
                number += 1
                try:
                    db.execute("insert into t values ($1)", number)
                    known.add(number)
                except OutcomeUnknownError:
                    unknown.add(number)
                sleep(0.001)
            return known, unknown

        with spawn(read) as reader, spawn(write) as writer:
            sleep(0.05)
            main_server.stop()
            sleep(0.2)
            main_server.start()
            assert db.fetchval("select 2") == 2
            done.set()
            reader.result()
            known, unknown = writer.result()
        rows = [row[0] for row in db.fetch("select id from t", into=tuple)]
        assert known <= set(rows) <= known | unknown
        assert len(rows) == len(set(rows))
        assert len(unknown) <= 1, "one was on its way when the server stopped"


def test_trouble_stays_where_it_is(main_dsn: str, vb_server: Postgres, vb_dsn: str) -> None:
    """While vb's server is down, main answers as ever, and afterwards vb does again (R1)."""
    settings = Settings(
        databases={
            "main": DatabaseSettings(dsn=main_dsn, pool_min_size=2, pool_max_size=4),
            "vb": DatabaseSettings(dsn=vb_dsn, pool_min_size=2, pool_max_size=4, pool_timeout=5),
        }
    )
    with Client(settings) as client:
        main, vb = client["main"], client["vb"]
        vb.fetchval("select 1")
        vb_server.stop()
        try:
            with spawn(lambda: gather(*[lambda: vb.fetchval("select 1")] * 20)) as waiting:
                main._meter.reset()

                def read() -> None:
                    for _ in range(50):
                        assert main.fetchval("select current_database()") in main_dsn

                gather(*[read] * 10)
                assert main.stats()["calls"] == 500
                assert main.stats()["errors"] == 0
                assert main.stats()["acquire"]["max"] < 2000
                assert not waiting.is_done()
                vb_server.start()
                assert waiting.result() == [1] * 20
        finally:
            if not vb_server.is_running:
                vb_server.start()


def test_the_pool_itself_gets_a_connection(main_dsn: str) -> None:
    """Who asks the psycopg pool gets a connection although the fleet has them all, idle or busy (P2)."""
    with client_of(main=main_dsn, pool_min_size=2, pool_max_size=2) as client:
        db = client["main"]
        settled(db, 2)
        pool = db.pool()
        with pool.connection(timeout=5) as connection:
            assert ((connection.execute("select 1")).fetchone()) == (1,)
        done = Event()

        def read() -> None:
            while not done.is_set():
                db.fetchval("select 1")

        with spawn(lambda: gather(*[read] * 20)) as readers:
            for _ in range(3):
                with pool.connection(timeout=5), pool.connection(timeout=5):
                    assert len(pids(main_dsn)) <= 2
            done.set()
            readers.result()
        assert db.fetchval("select 1") == 1


def test_closing_waits_for_calls_in_flight(main_dsn: str) -> None:
    """close() lets calls in flight end well; afterwards the client is closed until it is opened (P4)."""
    client = client_of(main=main_dsn)
    client.open()
    db = client["main"]
    with spawn(lambda: db.fetchval("select pg_sleep(0.3) is null")) as call:
        wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
        client.close()
        assert call.is_done()
        assert call.result() is False
    for use in (lambda: db.fetchval("select 1"), lambda: db.execute("select 1"), db.pool):
        with pytest.raises(ClientClosedError):
            use()
    wait_until(lambda: len(pids(main_dsn)) == 0)
    client.open()
    assert db.fetchval("select 1") == 1
    client.close()
    client.close()


def test_closing_ends_what_takes_longer(main_dsn: str) -> None:
    """Past the grace a READ hears that the client was closed, a WRITE that its outcome is unknown (P4)."""
    client = client_of(main=main_dsn)
    client.open()
    db = client["main"]
    with (
        spawn(lambda: db.fetchval("select pg_sleep(30)")) as reader,
        spawn(lambda: db.execute("create table t as select 1 from pg_sleep(30)")) as writer,
    ):
        wait_until(lambda: db.stats()["pool"]["active"] == 2)
        wait_until(lambda: is_running(main_dsn, "select pg_sleep"))
        wait_until(lambda: is_running(main_dsn, "create table"))
        db._fleet.close(0.1)
        with pytest.raises(ClientClosedError):
            reader.result()
        with pytest.raises(OutcomeUnknownError):
            writer.result()
    client.close()


def test_calls_in_line_when_the_client_closes(main_dsn: str) -> None:
    """A call that waits for a connection when the client is closed is told so at once (P4)."""
    client = client_of(main=main_dsn, pool_max_size=1)
    client.open()
    db = client["main"]
    borrowed, go = Event(), Event()

    def borrow() -> None:
        with db.connection():
            borrowed.set()
            go.wait()

    with spawn(borrow):
        borrowed.wait()
        with spawn(lambda: db.fetchval("select 1")) as call:
            wait_until(lambda: db.stats()["pool"]["waiting"] == 1)
            with spawn(client.close):
                with pytest.raises(ClientClosedError):
                    call.result()
                go.set()


def test_a_standby_is_left_once(main_dsn: str) -> None:
    """What an old connection says of its server gives up the old ones, not those made since (retry table)."""
    with client_of(main=main_dsn, pool_min_size=3) as client:
        db = client["main"]
        settled(db, 3)
        before, old = pids(main_dsn), list(db._fleet.lanes.wires)
        db._fleet.evict(old[0])
        wait_until(lambda: not before & pids(main_dsn))
        settled(db, 3)
        after = pids(main_dsn)
        for wire in old:
            db._fleet.evict(wire)
        sleep(0.1)
        assert pids(main_dsn) == after
        assert [wire for wire in db._fleet.lanes.wires if wire.retire_at]  # they stay
