"""T6: a primary that is lost between COMMIT and its answer, and a backend that commits when nobody waits."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres, Template
from pgdual.errors import OperationalError
from pgdual.sync import create_commit_table
from tests._async.clients import client_of
from tests._async.runtime import wait_until
from tests._sync import clients as sync
from tests._sync import runtime as threads
from tests._sync.clients import first, outside, prepare

from .proxy import Proxy
from .standby import Standby, both, caught_up, lost_at_once, missing, promote, synchronous
from .test_lost import rows
from .test_once import tokens, voids

__all__ = ["tokens"]
LIMITS: dict[str, Any] = {"pool_max_size": 4, "command_timeout": 20.0, "pool_timeout": 20.0}
WAITING = "from pg_stat_activity where wait_event = 'SyncRep'"


class Pair:
    """A primary behind a network that can be broken, and its synchronous standby."""

    def __init__(self, primary: Postgres, standby: Standby, network: Proxy) -> None:
        self.primary, self.standby, self.network = primary, standby, network
        direct = primary.create_database("app")
        prepare(direct, "create table t (id int primary key)")
        make_tokens(direct)
        synchronous(primary)
        caught_up(primary, standby)
        self.direct = direct.replace(f":{primary.port}/", f":{standby.port}/")  # of the one that will be left
        self.dsn = both(primary, standby, "app").replace(f":{primary.port},", f":{network.port},")

    def take_over(self, fate: str) -> None:
        """Lose the primary once COMMIT has come to it and is not answered; promote the other.

        Args:
            fate: Of the commit: the standby has "kept" it; it was "lost" with the primary; it is "late": the
                primary lives on where nobody reaches it, and will commit when all is over.
        """
        if fate == "kept":
            threads.wait_until(self.network.is_cut)
            threads.wait_until(lambda: rows(self.direct) == 2)
        else:
            threads.wait_until(lambda: first(self.primary.dsn, f"select count(*) {WAITING}") == 1)
        if fate == "late":
            self.network.refuse()
            self.network.reset()
        else:
            lost_at_once(self.primary)
        promote(self.standby)


@pytest.fixture
def pair(template: Template) -> Iterator[Pair]:
    if missing():
        pytest.skip(missing())
    with template.postgres() as primary, Standby(primary) as standby, Proxy(primary.port) as network:
        yield Pair(primary, standby, network)


def keep_away(pair: Pair) -> None:
    """Have the standby hear nothing more of its primary."""
    outside(pair.standby.dsn, "alter system set primary_conninfo = ''")
    outside(pair.standby.dsn, "select pg_reload_conf()")
    threads.wait_until(lambda: first(pair.primary.dsn, "select count(*) from pg_stat_replication") == 0)


@pytest.mark.parametrize(
    "fate", ["lost", *(pytest.param(fate, marks=pytest.mark.slow) for fate in ("kept", "late"))]
)
async def test_promotion(pair: Pair, fate: str) -> None:
    """T6: between COMMIT and its answer the standby takes over: all is done once, on the one that is left."""
    async with client_of(main=pair.dsn, **LIMITS) as client:
        db = client["main"]
        assert await db.execute("insert into t values (0)", once=True) == "INSERT 0 1"
        async with db.transaction(once=True) as tx:
            await tx.execute("insert into t values (1)")
            if fate == "kept":
                pair.network.cut_on(b"COMMIT")
                pair.network.refuse()  # what asks has to ask the other
            else:
                await asyncio.to_thread(keep_away, pair)
            taking = asyncio.create_task(asyncio.to_thread(pair.take_over, fate))
        await taking
        if fate == "late":
            outside(pair.primary.dsn, f"select pg_cancel_backend(pid) {WAITING}")
            await wait_until(lambda: first(pair.primary.dsn, f"select count(*) {WAITING}") == 0)
        assert tx.replays == voids(pair.direct) == int(fate != "kept")
        assert rows(pair.direct) == 2


@pytest.mark.slow
def test_promotion_blocking(pair: Pair) -> None:
    """T6: the same on the blocking face, where the standby never heard of the commit."""
    with sync.client_of(main=pair.dsn, **LIMITS) as client:
        db = client["main"]
        assert db.execute("insert into t values (0)", once=True) == "INSERT 0 1"
        with db.transaction(once=True) as tx:
            tx.execute("insert into t values (1)")
            keep_away(pair)
            taking = threads.spawn(lambda: pair.take_over("lost"))
        taking.result()
        assert tx.replays == 1
        assert rows(pair.direct) == 2


async def test_a_backend_that_wakes_up_late(main_dsn: str) -> None:
    """T6: a server process that stood still when COMMIT came, and goes on after its token was made void."""
    prepare(main_dsn, "create table t (id int primary key)")
    async with client_of(main=main_dsn, command_timeout=1.0) as client:
        db = client["main"]
        await asyncio.to_thread(make_tokens, main_dsn)
        with pytest.raises(OperationalError, match="was not done, and never will be"):
            async with db.transaction(once=True, replay=False) as tx:
                await tx.execute("insert into t values (1)")
                pid = first(main_dsn, "select pid from pg_stat_activity where state = 'idle in transaction'")
                os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        await wait_until(
            lambda: first(main_dsn, "select count(*) from pg_stat_activity where pid = %s", pid) == 0
        )
        assert (rows(main_dsn), voids(main_dsn)) == (0, 1)


async def test_a_backend_that_commits_late(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: a server process that lost its caller in the middle of COMMIT: the question waits for it."""
    outside(
        direct,
        "create function wait() returns trigger language plpgsql as "
        "$$ begin perform pg_advisory_xact_lock(7); return new; end $$;"
        "create constraint trigger wait after insert on t deferrable initially deferred "
        "for each row execute function wait()",
    )
    holder = psycopg.connect(direct, autocommit=True)
    holder.execute("select pg_advisory_lock(7)")

    async def let_go() -> None:
        await wait_until(lambda: len(waiting(direct)) == 1)
        proxy.reset()
        await wait_until(lambda: len(waiting(direct)) == 2)
        holder.close()

    async with db.transaction(once=True) as tx:
        await tx.execute("insert into t values (1)")
        late = asyncio.create_task(let_go())
    await late
    assert (tx.replays, rows(direct), voids(direct)) == (0, 1, 0)


def make_tokens(dsn: str) -> None:
    with sync.client_of(main=dsn) as client:
        assert create_commit_table(client["main"])


def waiting(dsn: str) -> list[object]:
    """Return who waits for a lock in the database."""
    return outside(dsn, f"select pid from pg_stat_activity where wait_event_type = 'Lock' and {sync.OURS}")
