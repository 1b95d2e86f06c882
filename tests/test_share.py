"""Both faces of one process share one figure (P2)."""

import asyncio
import threading
import time
from pathlib import Path

import psycopg
import pytest

from pgdual.aio import AsyncClient, run_schema_from_file
from pgdual.embedded import Postgres
from pgdual.errors import PoolTimeoutError
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client

from ._async.runtime import wait_until

ESTABLISHED = "01"


def connected(port: int) -> int:
    """Return how many sockets of clients are connected to *port*; a backend outlives its own for a moment."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(state == ESTABLISHED and int(there[-4:], 16) == port for _, _, there, state, *_ in fields)


class Watch:
    """Counts the connections to a server all the while, beyond those that there are already."""

    def __init__(self, port: int) -> None:
        self.most = 0
        self._port, self._before, self._stop = port, connected(port), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, connected(self._port) - self._before)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def work(client: Client, end: threading.Event, counts: list[int]) -> None:
    """Read and write on the blocking side."""
    while not end.is_set():
        client["main"].fetchval("select pg_sleep(0.002) is null")
        client["main"].execute("update t set n = n + 1")
        counts[0] += 1


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_both_faces_share_and_progress(main_server: Postgres, main_dsn: str, most: int) -> None:
    """Under load on both, the process never has more than max connections, and neither face starves (P2)."""
    with psycopg.connect(main_dsn, autocommit=True) as connection:
        connection.execute("create table t as select 0 as n")
    database = DatabaseSettings(dsn=main_dsn, pool_min_size=most, pool_max_size=most)
    settings = Settings(databases={"main": database})
    end, counts, done = threading.Event(), [0], [0]
    with Watch(main_server.port) as watch:
        async with AsyncClient(settings) as client:
            blocking = Client(settings)
            threads = [threading.Thread(target=work, args=(blocking, end, counts)) for _ in range(6)]

            async def read() -> None:
                while not end.is_set():
                    await client["main"].fetchval("select 1")
                    await client["main"].execute("update t set n = n + 1")
                    done[0] += 1

            tasks = [asyncio.create_task(read()) for _ in range(6)]
            await asyncio.sleep(0.1)
            for thread in threads:
                thread.start()
            try:
                limit = time.monotonic() + 15
                for _ in range(2):  # each gets its turn, and then again
                    before = counts[0], done[0]
                    while counts[0] < before[0] + 20 or done[0] < before[1] + 20:
                        assert time.monotonic() < limit, (before, counts, done, blocking, client["main"])
                        await asyncio.sleep(0.01)
            finally:
                end.set()
                await asyncio.gather(*tasks)
                await asyncio.to_thread(lambda: [thread.join() for thread in threads])
                await asyncio.to_thread(blocking.close)
    assert watch.most == most


async def test_an_idle_face_makes_room(main_server: Postgres, main_dsn: str) -> None:
    """The connections that one face keeps idle are the other's within seconds (P2)."""
    database = DatabaseSettings(dsn=main_dsn, pool_min_size=3, pool_max_size=3, pool_timeout=8)
    settings = Settings(databases={"main": database})
    with Watch(main_server.port) as watch:
        async with AsyncClient(settings) as client:
            await client["main"].fetchval("select 1")
            blocking = Client(settings)
            for _ in range(2):
                assert await asyncio.to_thread(blocking["main"].fetchval, "select 2") == 2
                assert await client["main"].fetchval("select 3") == 3
            await asyncio.to_thread(blocking.close)
    assert watch.most == 3


async def test_a_direct_connection_is_of_the_share(
    main_server: Postgres, main_dsn: str, tmp_path: Path
) -> None:
    """A schema run by POSTGRES_DIRECT_DSN has a connection of the share, which a full pool gives up (P2)."""
    file = tmp_path / "tradecore.sql"
    file.write_text("create table t as select 0 as n")
    database = DatabaseSettings(
        dsn=main_dsn, direct_dsn=main_dsn, pool_min_size=1, pool_max_size=1, pool_timeout=8
    )
    with Watch(main_server.port) as watch:
        async with AsyncClient(Settings(databases={"main": database})) as client:
            db = client["main"]
            await wait_until(lambda: db.stats()["pool"]["idle"] == 1)
            assert (await run_schema_from_file(file, db)).ran
            assert await db.fetchval("select n from t") == 0
    assert watch.most == 1


async def test_no_direct_connection_comes_free(main_dsn: str, tmp_path: Path) -> None:
    """D1, P2: where every connection stays in use the schema run ends at the acquire clock."""
    file = tmp_path / "tradecore.sql"
    file.write_text("select 1")
    database = DatabaseSettings(
        dsn=main_dsn, direct_dsn=main_dsn, pool_min_size=1, pool_max_size=1, pool_timeout=0.3
    )
    async with AsyncClient(Settings(databases={"main": database})) as client:
        db = client["main"]
        async with db.connection():
            with pytest.raises(PoolTimeoutError, match="main: of the 1 connections that this"):
                await run_schema_from_file(file, db)
        assert await db.fetchval("select 1") == 1
        assert db._share().total() == 1
