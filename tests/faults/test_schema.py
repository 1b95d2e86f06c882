"""P3: a schema run whose answer is lost, whose caller gives up, whose server dies, or on a standby."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import psycopg
import pytest
import redis

from pgdual import aio, sync
from pgdual._async import runtime
from pgdual._async import schema_lock as async_lock
from pgdual._sync import schema_lock as sync_lock
from pgdual.embedded import Template, Valkey
from pgdual.errors import PoolTimeoutError, SchemaError
from tests._async import schemas as asynchronous
from tests._sync.clients import first, left_open, outside, prepare
from tests._sync.runtime import Event, spawn, wait_until
from tests._sync.schemas import COUNTED, GATED, client_with, file_of, gate, is_gated, runs, tables

from .proxy import Proxy
from .standby import Standby, caught_up, missing


def test_the_answer_to_commit_is_lost(main_dsn: str, proxy: Proxy, tmp_path: Path) -> None:
    """O1, P3: a run whose COMMIT happened but was not confirmed is found done, and not run again."""
    file = file_of(tmp_path, COUNTED)
    with client_with(proxy.dsn(main_dsn)) as client:
        client["main"].fetchval("select 1")
        proxy.cut_on(b"COMMIT")
        assert not sync.run_schema_from_file(file, client["main"]).ran
        assert proxy.is_cut()
    assert runs(main_dsn) == (1, 1)


async def test_the_answer_to_commit_is_lost_async(main_dsn: str, proxy: Proxy, tmp_path: Path) -> None:
    """O1, P3: the same on the async face."""
    file = file_of(tmp_path, COUNTED)
    async with asynchronous.client_with(proxy.dsn(main_dsn)) as client:
        await client["main"].fetchval("select 1")
        proxy.cut_on(b"COMMIT")
        assert not (await aio.run_schema_from_file(file, client["main"])).ran
        assert proxy.is_cut()
    assert runs(main_dsn) == (1, 1)


def test_the_network_breaks(main_dsn: str, proxy: Proxy, tmp_path: Path) -> None:
    """P3: a connection that is reset in the middle loses the run, which begins anew; nothing is doubled."""
    file = file_of(tmp_path, GATED)
    with client_with(proxy.dsn(main_dsn)) as client, gate(main_dsn) as door:
        running = spawn(lambda: sync.run_schema_from_file(file, client["main"]))
        wait_until(lambda: is_gated(main_dsn))
        proxy.reset()
        wait_until(lambda: not is_gated(main_dsn))  # D3: the server notices that its client is gone
        wait_until(lambda: is_gated(main_dsn))
        assert tables(main_dsn) == set()
        door.close()
        assert running.result(timeout=20).ran
    assert runs(main_dsn) == (1, 1)


LOST = "[SCHEMA] main: the run was lost and begins anew: no answer within 0.3 s"


@pytest.mark.parametrize("way", ["pool", "direct"])
@pytest.mark.parametrize("asking", [b"pg_try_advisory_lock", b"to_regclass(quote_ident"])
def test_it_freezes_while_it_is_asked(
    main_dsn: str, proxy: Proxy, tmp_path: Path, caplog: Any, monkeypatch: Any, way: str, asking: bytes
) -> None:
    """P3: a server that does not answer who asks for the lock is given up in time, and asked again."""
    monkeypatch.setattr(sync_lock, "ASKING", 0.3)
    dsn = proxy.dsn(main_dsn)
    direct = {"direct_dsn": dsn} if way == "direct" else {}
    with client_with(dsn, direct) as client:
        proxy.freeze_on(asking)
        running = spawn(lambda: sync.run_schema_from_file(file_of(tmp_path, COUNTED), client["main"]))
        wait_until(lambda: LOST in caplog.text)
        proxy.thaw()
        assert running.result(timeout=20).ran
    assert runs(main_dsn) == (1, 1)


async def test_it_freezes_while_it_is_asked_async(
    main_dsn: str, proxy: Proxy, tmp_path: Path, caplog: Any, monkeypatch: Any
) -> None:
    """P3: the same on the async face; frozen for good it is an error in the time that connecting has."""
    monkeypatch.setattr(async_lock, "ASKING", 0.3)
    file = file_of(tmp_path, COUNTED)
    async with asynchronous.client_with(proxy.dsn(main_dsn), {"pool_timeout": 0.7}) as client:
        proxy.freeze_on(b"pg_try_advisory_lock")
        started = monotonic()
        with pytest.raises(PoolTimeoutError, match="no connection to 'main'"):
            await aio.run_schema_from_file(file, client["main"])
        assert monotonic() - started < 5
        assert LOST in caplog.text
        proxy.thaw()
        assert (await aio.run_schema_from_file(file, client["main"])).ran
    assert runs(main_dsn) == (1, 1)


def test_it_freezes_while_what_has_run_is_asked(main_dsn: str, proxy: Proxy, monkeypatch: Any) -> None:
    """P3: who only asks what has run is not held up either."""
    monkeypatch.setattr(sync_lock, "ASKING", 0.3)
    with client_with(proxy.dsn(main_dsn)) as client:
        proxy.freeze_on(b"pg_is_in_recovery")
        with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.3 s"):
            sync.schema_status(client["main"])
        proxy.thaw()
        assert sync.schema_status(client["main"])["files"] == []


@pytest.mark.parametrize("way", ["pool", "direct"])
def test_the_server_dies(template: Template, tmp_path: Path, way: str) -> None:
    """P3: a server killed in the middle has nothing of the run; once it is back the run begins anew."""
    file = file_of(tmp_path, GATED)
    with template.postgres() as server:
        direct = {"direct_dsn": server.dsn} if way == "direct" else {}
        with client_with(server.dsn, direct) as client, gate(server.dsn):
            running = spawn(lambda: sync.run_schema_from_file(file, client["main"]))
            wait_until(lambda: is_gated(server.dsn))
            server.kill()
            server.start()
            assert running.result(timeout=20).ran
        assert runs(server.dsn) == (1, 1)


async def test_the_caller_gives_up(main_dsn: str, tmp_path: Path) -> None:
    """D4: a cancelled run leaves no lock, no transaction and no table; a cancelled wait leaves no key."""
    file = file_of(tmp_path, GATED)
    with Valkey() as valkey, redis.Redis.from_url(valkey.url) as look:
        async with asynchronous.client_with(main_dsn, redis_url=valkey.url) as client:
            with gate(main_dsn) as door:
                running = asyncio.create_task(aio.run_schema_from_file(file, client["main"]))
                await asyncio.to_thread(wait_until, lambda: is_gated(main_dsn))
                with anyio.move_on_after(0.2) as scope:
                    await aio.run_schema_from_file(file, client["main"])
                assert scope.cancelled_caught
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                assert look.keys() == []
                door.close()
            await asyncio.to_thread(wait_until, lambda: not left_open(main_dsn))
            assert outside(main_dsn, "select pid from pg_locks where locktype = 'advisory'") == []
            assert tables(main_dsn) == set()
            assert (await aio.run_schema_from_file(file, client["main"])).ran
    assert runs(main_dsn) == (1, 1)


async def test_what_is_asked_of_redis_is_asked_to_the_end() -> None:
    """D4: whenever the caller gives up, the connection to Redis is closed; a warning is an error here."""
    with Valkey() as valkey:
        assert await runtime.redis(valkey.url, 5.0, "PING")
        for number in range(200):
            with anyio.move_on_after(number * 2e-5):
                await runtime.redis(valkey.url, 5.0, "PING")
    gc.collect()


def test_a_deadlock(main_dsn: str, tmp_path: Path) -> None:
    """O2: a run that the server rolled back for another's sake begins anew."""
    prepare(main_dsn, "create table a (n int)", "create table b (n int)")
    file = file_of(tmp_path, f"{COUNTED}SET LOCAL deadlock_timeout = 50;\nLOCK TABLE a;\nLOCK TABLE b;")

    def other_way_round() -> None:
        with psycopg.connect(main_dsn) as other:
            other.execute("set deadlock_timeout = '1min'")  # not this one is to be rolled back
            other.execute("lock table b")
            locked.set()
            wait_until(lambda: first(main_dsn, "select 1 from pg_locks where not granted"))
            other.execute("lock table a")

    locked = Event()
    with client_with(main_dsn) as client, spawn(other_way_round) as other:
        locked.wait()
        assert sync.run_schema_from_file(file, client["main"]).ran
        other.result()
    assert runs(main_dsn) == (1, 1)


def test_ctrl_c(main_dsn: str, tmp_path: Path) -> None:
    """D4: Ctrl-C in a blocking run leaves no lock and no table, and the client goes on."""
    file = file_of(tmp_path, GATED)
    code = f"""
from pgdual.sync import db, run_schema_from_file
try:
    run_schema_from_file({str(file)!r})
except KeyboardInterrupt:
    print(db.fetchval("select 'goes on'"), db.fetchval("select count(*) from pg_locks where objid = 42"))
"""
    with gate(main_dsn):
        environment = {**os.environ, "POSTGRES_DSN": main_dsn}
        with subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
        ) as running:
            wait_until(lambda: is_gated(main_dsn))
            running.send_signal(signal.SIGINT)
            assert running.communicate(timeout=10)[0] == b"goes on 1\n"  # the gate's own
        assert tables(main_dsn) == set()
        assert outside(main_dsn, "select pid from pg_locks where locktype = 'advisory' and objid <> 42") == []


def test_a_standby(template: Template, tmp_path: Path) -> None:
    """P3: on a standby a file that has run on its primary is skipped, and any other is refused."""
    if missing():
        pytest.skip(missing())
    file = file_of(tmp_path, COUNTED)
    with (
        template.postgres() as primary,
        Standby(primary) as standby,
        client_with(standby.dsn) as there,
        client_with(primary.dsn) as here,
    ):
        with pytest.raises(
            SchemaError, match=r"main: .*tradecore\.sql has not run here.* is a standby: run it"
        ):
            sync.run_schema_from_file(file, there["main"])
        assert sync.run_schema_from_file(file, here["main"]).ran
        caught_up(primary, standby)
        assert not sync.run_schema_from_file(file, there["main"]).ran
