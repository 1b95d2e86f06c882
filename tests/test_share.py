"""Both faces of one process share one figure (P2)."""

import asyncio
import threading
import time
from pathlib import Path

import psycopg
import pytest

from pgdual.aio import AsyncClient
from pgdual.embedded import Postgres
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client

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
