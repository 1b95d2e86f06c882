"""A program that forgets to close ends at once and says nothing (P4)."""

import subprocess
import sys
import time

import pytest

PROMPT = 30  # seconds: well below what they sleep for, and well above what starting takes on a busy machine
PRELUDE = """
import asyncio, sys, threading
from pgdual.settings import DatabaseSettings, Settings
dsn, more = sys.argv[1], eval(sys.argv[2])
settings = Settings(databases={"main": DatabaseSettings(dsn=dsn, pool_min_size=4, pool_max_size=6, **more)})
"""
OPENS = "client = Client(settings)\ndb = client['main']\n"
ASYNC = f"from pgdual.aio import AsyncClient as Client\n{PRELUDE}{OPENS}"
SYNC = f"from pgdual.sync import Client\n{PRELUDE}{OPENS}"

FORGETS = """
async def main():
    assert await db.fetchval("select 1") == 1
    await db.execute("create table if not exists t (id int)")
asyncio.run(main())
"""
FORGETS_AT_WORK = """
async def main():
    tasks = [asyncio.create_task(db.fetchval("select pg_sleep(300)")) for _ in range(8)]
    while db.stats()["pool"].get("active", 0) < 2:
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
FAILS_AT_ONCE = """
async def main():
    await db.fetchval("select 1")
    raise LookupError
try:
    asyncio.run(main())
except LookupError:
    pass
"""
FAILS_WHILE_CONNECTING = """
async def main():
    await db._ready_fleet()
    for _ in range(int(sys.argv[3])):
        await asyncio.sleep(0)
    raise LookupError
try:
    asyncio.run(main())
except LookupError:
    pass
"""
TWICE = """
async def main():
    assert await db.fetchval("select 1") == 1
for _ in range(3):
    asyncio.run(main())
"""
SYNC_FORGETS = """
assert db.fetchval("select 1") == 1
db.execute("create table if not exists t (id int)")
"""
SYNC_FAILS_WHILE_CONNECTING = "db._ready_fleet()\n"
SYNC_FORGETS_AT_WORK = """
for _ in range(8):
    threading.Thread(target=db.fetchval, args=("select pg_sleep(300)",), daemon=True).start()
while db.stats()["pool"].get("active", 0) < 2:
    pass
"""


def script(text: str, dsn: str, *arguments: str) -> float:
    """Run a script with warnings as errors; return its seconds. It must end well and say nothing."""
    started = time.monotonic()
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", text, dsn, *(arguments or ("{}",))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # asyncio's debug mode says when a step was slow, which on a busy machine any may be.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.stdout, said, done.returncode) == ("", [], 0)
    return time.monotonic() - started


@pytest.mark.parametrize("text", [FORGETS, FORGETS_AT_WORK, FAILS_AT_ONCE, TWICE])
def test_an_async_program_that_never_closes(main_dsn: str, text: str) -> None:
    """asyncio.run ends promptly although the client is open, idle or at work (P4)."""
    assert script(ASYNC + text, main_dsn) < PROMPT


@pytest.mark.parametrize("steps", ["0", "1", "3", "10", "30"])
def test_an_async_program_that_fails_while_the_pool_connects(main_dsn: str, steps: str) -> None:
    """Cancelled in the middle of connecting, the pool's workers end and do not try again (P4)."""
    assert script(ASYNC + FAILS_WHILE_CONNECTING, main_dsn, "{}", steps) < PROMPT


@pytest.mark.parametrize("text", [SYNC_FORGETS, SYNC_FAILS_WHILE_CONNECTING, SYNC_FORGETS_AT_WORK])
def test_a_blocking_program_that_never_closes(main_dsn: str, text: str) -> None:
    """A script ends promptly although the client is open, connecting or at work in daemon threads (P4)."""
    assert script(SYNC + text, main_dsn) < PROMPT
