"""P3: Redis only queues those who wait for a schema; whatever happens to it, no run is stuck or doubled."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import redis

from pgdual._async import runtime
from pgdual.aio import AsyncClient, run_schema_from_file
from pgdual.embedded import Valkey
from tests.faults.proxy import Proxy

from .runtime import gather, sleep, spawn, wait_until
from .schemas import COUNTED, GATED, client_with, file_of, gate, is_gated, runs

KEY = "schema_init_main_tradecore.sql"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def look(valkey: Valkey) -> Iterator[redis.Redis]:
    """A look into Redis from outside; it is empty at first."""
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        client.flushall()
        yield client


def queued(dsn: str, url: str, **options: Any) -> AsyncClient:
    """Return a client whose schema runs queue in Redis."""
    return client_with(dsn, redis_url=url, **options)


async def test_one_runs_and_the_others_queue(
    main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path
) -> None:
    """P3: of six that come at once one runs; the key has the guide's name, an owner and an end, and goes."""
    file = file_of(tmp_path, GATED)

    async def work() -> bool:
        async with queued(main_dsn, valkey.url) as client:
            return (await run_schema_from_file(file, client["main"])).ran

    with gate(main_dsn) as door:
        async with spawn(lambda: gather(*[work] * 6)) as working:
            await wait_until(lambda: is_gated(main_dsn))
            assert look.keys() == [KEY]
            assert len(look.get(KEY)) == 32
            assert 55_000 < look.pttl(KEY) <= 60_000
            door.close()
            assert sorted(await working.result()) == [False] * 5 + [True]
    assert runs(main_dsn) == (1, 1)
    assert look.keys() == []


async def test_the_owner_renews_its_key(main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path) -> None:
    """P3: a run longer than the ttl keeps its key, renewed at a third by its owner, and by nobody else."""
    file = file_of(tmp_path, GATED)
    async with queued(main_dsn, valkey.url, schema_lock_ttl=0.9) as client:
        with gate(main_dsn) as door:
            async with spawn(lambda: run_schema_from_file(file, client["main"])) as running:
                await wait_until(lambda: is_gated(main_dsn))
                token, end, least = look.get(KEY), monotonic() + 1.1, 900
                while monotonic() < end:
                    assert look.get(KEY) == token
                    least = min(least, look.pttl(KEY))
                    await sleep(0.005)
                assert 250 < least < 750  # 600 but for the delays of a busy machine
                look.set(KEY, "another", px=500)  # as after a pause longer than the ttl
                await wait_until(lambda: look.get(KEY) is None, timeout=2)
                door.close()
                assert (await running.result()).ran
    assert runs(main_dsn) == (1, 1)


async def test_a_key_that_is_anothers_by_now(
    main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path
) -> None:
    """P3: at its end a run gives up its own key and leaves another's alone."""
    file = file_of(tmp_path, GATED)
    async with queued(main_dsn, valkey.url) as client:
        with gate(main_dsn) as door:
            async with spawn(lambda: run_schema_from_file(file, client["main"])) as running:
                await wait_until(lambda: is_gated(main_dsn))
                look.set(KEY, "another")
                door.close()
                assert (await running.result()).ran
    assert look.get(KEY) == "another"


async def test_the_key_of_a_worker_that_was_killed(
    main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path
) -> None:
    """P3: a key that nobody will give up holds nobody up: the database's lock is free, and is tried."""
    look.set(KEY, "dead", px=60_000)
    started = monotonic()
    async with queued(main_dsn, valkey.url, schema_lock_retry_ms=500) as client:
        assert (await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])).ran
    assert monotonic() - started < 2.5
    assert look.get(KEY) == "dead"


async def run_beside(dsn: str, url: str, folder: Path, fault: Any, **options: Any) -> float:
    """Have one run the file, *fault* happen, and another come; return how long they took after the fault."""
    file = file_of(folder, GATED)
    async with queued(dsn, url, **options) as one, queued(dsn, url, **options) as two:
        with gate(dsn) as door:
            async with spawn(lambda: run_schema_from_file(file, one["main"])) as running:
                await wait_until(lambda: is_gated(dsn))
                fault()
                started = monotonic()
                async with spawn(lambda: run_schema_from_file(file, two["main"])) as waiting:
                    await wait_until(lambda: two["main"].is_open)
                    door.close()
                    assert (await running.result()).ran
                    assert not (await waiting.result()).ran
    assert runs(dsn) == (1, 1)
    return monotonic() - started


async def test_it_is_emptied(main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path) -> None:
    """P3: after a FLUSHALL in the middle another gets the key, and still not the database's lock."""
    took = await run_beside(main_dsn, valkey.url, tmp_path, look.flushall)
    assert took < 5
    await wait_until(lambda: look.keys() == [])


async def test_it_is_restarted(main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P3: a restart in the middle, which loses the key, neither fails nor doubles the run."""
    with Valkey() as server:

        def restart() -> None:
            server.stop()
            server.start()

        assert await run_beside(main_dsn, server.url, tmp_path, restart, schema_lock_ttl=0.6) < 5


async def test_it_goes_away(main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P3: Redis dies in the middle: the run goes on, and those who come later go by the database's lock."""
    with Valkey() as server:
        assert await run_beside(main_dsn, server.url, tmp_path, server.kill, schema_lock_ttl=0.6) < 5
        assert "[SCHEMA QUEUE] Redis failed (ConnectionError)" in caplog.text


async def test_it_is_not_there(main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P3: without an answer from Redis the schema runs at once; the log says so once, and no password."""
    url = "redis://:hunter2@127.0.0.1:9/0"
    started = monotonic()
    async with queued(main_dsn, url) as client:
        assert (await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])).ran
    assert monotonic() - started < 2
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage().startswith("[SCHEMA QUEUE] Redis failed (") for record in said] == [True]
    assert "hunter2" not in caplog.text


async def test_it_freezes(main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P3: a Redis that is frozen in the middle costs each at most its time limit, and no run."""
    with Valkey() as server:
        pid = server.pid

        def freeze() -> None:
            os.kill(pid, signal.SIGSTOP)

        try:
            took = await run_beside(main_dsn, server.url, tmp_path, freeze, schema_lock_ttl=0.6)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert took < 6
        assert "[SCHEMA QUEUE] Redis failed (TimeoutError)" in caplog.text


async def test_it_gets_slow(
    main_dsn: str, valkey: Valkey, look: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """P3: a Redis that takes longer than a look may take is left out; renewals in the middle fail, too."""
    with Proxy(valkey.port) as network:
        url = valkey.url.replace(f":{valkey.port}/", f":{network.port}/")
        took = await run_beside(main_dsn, url, tmp_path, lambda: network.latency(0.6), schema_lock_ttl=0.6)
    assert took < 6
    assert "[SCHEMA QUEUE] Redis failed (TimeoutError)" in caplog.text
    await wait_until(lambda: look.keys() == [])  # the key that nobody could give up has an end


async def test_a_look_has_one_limit(valkey: Valkey) -> None:
    """P3: a look into a Redis that takes a while for each of its steps ends at the limit for them all."""
    with Proxy(valkey.port) as network:
        url = valkey.url.replace(f":{valkey.port}/", f":{network.port}/")
        assert await runtime.redis(url, 5.0, "PING") in {b"PONG", True}
        network.latency(0.15)  # 0.3 s a step
        started = monotonic()
        with pytest.raises(TimeoutError):
            await runtime.redis(url, 0.5, "PING")
        assert 0.5 <= monotonic() - started < 1


async def test_it_never_answers(main_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P3: what listens at REDIS_URL and never answers, as a firewall may, does not hold up the run."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        started = monotonic()
        async with queued(main_dsn, f"redis://127.0.0.1:{deaf.getsockname()[1]}/0") as client:
            assert (await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])).ran
        assert monotonic() - started < 4
    assert "[SCHEMA QUEUE]" in caplog.text
