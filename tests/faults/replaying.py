"""Figures of replay and of commit tokens, for the table of `figures`."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from contextlib import suppress
from statistics import median

import psycopg

from pgdual.aio import AsyncDB
from pgdual.embedded import Postgres, Template
from pgdual.errors import Error, OutcomeUnknownError, PgdualError
from tests._async.clients import OURS, client_of, first, prepare

from .bank import TOKENS
from .standby import Standby, both, caught_up, lost_at_once, promote, synchronous

KILL = f"select pg_terminate_backend(pid) from pg_stat_activity where {OURS}"
STATEMENTS, ROUNDS = 40, 300


async def right_outcomes(server: Postgres, kills: int) -> float:
    """Return after how many of *kills* around COMMIT what the caller was told is what stands in the table.

    All backends are terminated; every hundredth time the whole server is shut down at once instead.
    """
    dsn = server.create_database("kills")
    prepare(dsn, "create table t (id int)", TOKENS)
    chance, right, told = random.Random(6), 0, Counter[bool | None]()
    async with client_of(main=dsn, pool_timeout=20.0, command_timeout=20.0) as client:
        for number in range(kills):
            killer = asyncio.create_task(_kill(server, dsn, chance.random() * 0.006, number % 100 == 99))
            is_done = await _inserted(client["main"], number)
            await killer
            told[is_done] += 1
            count = first(dsn, "select count(*) from t where id = %s", number)
            right += is_done is not None and count == int(is_done)
    print(f"told that it is done: {dict(told)}", flush=True)
    return float(right)


async def _kill(server: Postgres, dsn: str, moment: float, is_whole: bool) -> None:
    def strike() -> None:
        time.sleep(moment)
        if is_whole:
            lost_at_once(server)
            server.start()
            return
        with suppress(psycopg.OperationalError):
            admin.execute(KILL)

    with psycopg.connect(dsn, autocommit=True) as admin:
        await asyncio.to_thread(strike)


async def promoted(count: int) -> float:
    """Return after how many of *count* promotions around COMMIT what was told is so on the new primary."""
    chance, right = random.Random(7), 0
    with Template() as template:
        for _ in range(count):
            with template.postgres() as primary, Standby(primary) as standby:
                right += await _is_right(primary, standby, chance.random() * 0.006)
    return float(right)


async def _is_right(primary: Postgres, standby: Standby, moment: float) -> bool:
    dsn = primary.create_database("app")
    prepare(dsn, "create table t (id int)", TOKENS)
    synchronous(primary)
    caught_up(primary, standby)

    def strike() -> None:
        time.sleep(moment)
        lost_at_once(primary)
        promote(standby)

    async with client_of(
        main=both(primary, standby, "app"), pool_timeout=20.0, command_timeout=20.0
    ) as client:
        await client["main"].open()
        striking = asyncio.create_task(asyncio.to_thread(strike))
        is_done = await _inserted(client["main"], 1)
        await striking
    left = dsn.replace(f":{primary.port}/", f":{standby.port}/")
    return is_done is not None and first(left, "select count(*) from t") == int(is_done)


async def _inserted(db: AsyncDB, number: int) -> bool | None:
    """Return whether the caller was told that it is done; None if told that nobody knows."""
    try:
        async with db.transaction(once=True) as tx:
            await tx.execute("insert into t values ($1)", number)
            await tx.execute("insert into t select $1 where false", number)
    except OutcomeUnknownError:
        return None
    except (Error, PgdualError):
        return False
    return True


async def bookkeeping(server: Postgres) -> float:
    """Return the microseconds that a statement costs more in a transaction that may be replayed.

    Transactions with replay and without take turns, so that whatever else the machine does hits both;
    the medians of many are compared.
    """
    async with client_of(main=server.dsn) as client:
        db = client["main"]
        took: dict[bool, list[float]] = {True: [], False: []}
        gc.collect()
        gc.disable()
        try:
            for number in range(2 * ROUNDS):
                took[number % 2 == 0].append(await _statements(db, number % 2 == 0))
        finally:
            gc.enable()
    return (median(took[True]) - median(took[False])) / STATEMENTS * 1e6


async def _statements(db: AsyncDB, replay: bool) -> float:
    async with db.transaction(replay=replay) as tx:
        await tx.fetchval("select 1")
        begun = time.process_time()  # what the server takes is its own
        for _ in range(STATEMENTS):
            await tx.fetchval("select $1::int", 1)
        return time.process_time() - begun
