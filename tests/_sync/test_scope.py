# Generated from tests/_async/test_scope.py by _generate.py. Do not edit.
"""R1, R2: two databases on two servers, each with a context of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from pgdual.sync import Client, DB
from pgdual.errors import UniqueViolation

from .clients import at_rest, client_of, outside
from .runtime import gather, spawn


@pytest.fixture
def client(main_dsn: str, vb_dsn: str) -> Iterator[Client]:
    for dsn in (main_dsn, vb_dsn):
        outside(dsn, "create table t (id int primary key)")
    with client_of(main=main_dsn, vb=vb_dsn) as made:
        yield made
        at_rest(made["main"], main_dsn)
        at_rest(made["vb"], vb_dsn)


@pytest.fixture
def main(client: Client) -> DB:
    return client["main"]


@pytest.fixture
def vb(client: Client) -> DB:
    return client["vb"]


def ids(dsn: str) -> list[int]:
    return [row[0] for row in outside(dsn, "select id from t order by id")]


WHERE = "select current_setting('port') || ' ' || pg_backend_pid()"


def test_the_other_database_does_not_join(main: DB, vb: DB) -> None:
    """R2: inside `main.transaction()` a call on vb asks vb's server, outside of any transaction."""
    with main.transaction() as tx:
        mine = tx.fetchval(WHERE)
        assert main.fetchval(WHERE) == mine
        other = vb.fetchval(WHERE)
        assert other.split()[0] != mine.split()[0]
        vb.execute("insert into t values (1)")
        assert vb.fetchval("select count(*) from t") == 1


def test_a_rollback_of_one_leaves_the_other(
    main: DB, vb: DB, main_dsn: str, vb_dsn: str
) -> None:
    """R2: blocks of both databases nest in each other, and each keeps or loses only what is its own."""
    with main.transaction():
        main.execute("insert into t values (1)")
        with pytest.raises(LookupError):
            with vb.transaction():
                vb.execute("insert into t values (2)")
                main.execute("insert into t values (3)")
                with main.transaction():
                    main.execute("insert into t values (4)")
                    vb.execute("insert into t values (5)")
                raise LookupError
        with vb.transaction():
            vb.execute("insert into t values (6)")
    assert ids(main_dsn) == [1, 3, 4]
    assert ids(vb_dsn) == [6]


def test_the_same_block_of_both_at_once(main: DB, vb: DB, main_dsn: str, vb_dsn: str) -> None:
    """R2: a main block inside a vb block inside a main block is a savepoint of main's own transaction."""
    with main.transaction(), vb.transaction():
        first = main.fetchval(WHERE), vb.fetchval(WHERE)
        with main.transaction() as inner, vb.transaction():
            assert (inner.fetchval(WHERE), vb.fetchval(WHERE)) == first
            main.execute("insert into t values (1)")
            vb.execute("insert into t values (1)")
            with pytest.raises(UniqueViolation):
                with vb.transaction():
                    vb.execute("insert into t values (1)")
    assert ids(main_dsn) == ids(vb_dsn) == [1]


def test_blocks_side_by_side(main: DB, vb: DB, main_dsn: str, vb_dsn: str) -> None:
    """R1, R2: many blocks of both databases at once, each on its own connection, never mixed."""

    def work(number: int) -> None:
        for step in range(5):
            one, other = (main, vb) if number % 2 else (vb, main)
            with pytest.raises(LookupError) if step == 3 else nullcontext():
                with one.transaction():
                    pid = one.fetchval(WHERE)
                    one.execute("insert into t values ($1)", number * 100 + step)
                    with other.transaction():
                        other.execute("insert into t values ($1)", number * 100 + 50 + step)
                        assert other.fetchval(WHERE) != pid
                    assert one.fetchval(WHERE) == pid
                    if step == 3:
                        raise LookupError

    gather(*[lambda number=number: work(number) for number in range(4)])  # type: ignore[misc]
    for parity, dsn in ((1, main_dsn), (0, vb_dsn)):
        own = [number * 100 + step for number in range(4) if number % 2 == parity for step in (0, 1, 2, 4)]
        other = [number * 100 + 50 + step for number in range(4) if number % 2 != parity for step in range(5)]
        assert ids(dsn) == sorted(own + other)


def test_trouble_in_one_leaves_the_other_alone(main: DB, vb: DB) -> None:
    """R1: with every connection of vb taken, main answers, and inside of vb's blocks too."""

    def hold() -> None:
        with vb.transaction() as tx:
            tx.fetch("select pg_sleep(0.3)")

    holders = [spawn(hold) for _ in range(6)]
    for _ in range(50):
        assert main.fetchval("select 1", timeout=1) == 1
    for holder in holders:
        holder.result()
