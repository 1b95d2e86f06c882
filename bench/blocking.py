"""How many rows a second can blocking callers fetch by primary key? Rows 8 and 9."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, process_time

from bench.clients import THREADS, pgdual_blocking, psycopg2_connection, psycopg_pool
from bench.database import SELECT, keys
from bench.harness import Question, Sample, Side, Stage
from bench.verdict import Promise

Row = tuple[object, ...]
Fetch = Callable[[int], Row | None]

PYFORMAT = SELECT.replace("$1", "%s")


def _pgdual(stage: Stage, size: int) -> Fetch:
    fetchrow = stage.open(pgdual_blocking(stage.dsn, size)).fetchrow
    return lambda key: fetchrow(SELECT, key)


def _psycopg2(stage: Stage) -> Fetch:
    cursor = stage.open(psycopg2_connection(stage.dsn)).cursor()

    def fetch(key: int) -> Row | None:
        cursor.execute(PYFORMAT, (key,))
        row: Row | None = cursor.fetchone()
        return row

    return fetch


def _pool(stage: Stage) -> Fetch:
    pool = stage.open(psycopg_pool(stage.dsn))
    pool.wait()

    def fetch(key: int) -> Row | None:
        with pool.connection() as connection:
            return connection.execute(PYFORMAT, (key,)).fetchone()

    return fetch


def _work(fetch: Fetch, end: float, seed: int) -> int:
    key, made = keys(seed), 0
    while not made or perf_counter() < end:  # one at least, however late a busy machine begins this thread
        fetch(key())
        made += 1
    return made


def _one_thread(fetch: Fetch, seconds: float) -> Sample:
    start, cpu = perf_counter(), process_time()
    made = _work(fetch, start + seconds, 1)
    return Sample(made / (perf_counter() - start), (process_time() - cpu) / made)


def _threads(fetch: Fetch, seconds: float) -> Sample:
    with ThreadPoolExecutor(THREADS) as executor:
        start, cpu = perf_counter(), process_time()
        work = [executor.submit(_work, fetch, start + seconds, seed) for seed in range(THREADS)]
        made = sum(part.result() for part in work)
        return Sample(made / (perf_counter() - start), (process_time() - cpu) / made)


def _side(fetch: Fetch, measure: Callable[[Fetch, float], Sample]) -> Side:
    def answer() -> list[Row]:
        return [tuple(fetch(wanted) or ()) for wanted in (1, 42, 9_999)]

    return Side(answer, lambda seconds: measure(fetch, seconds))


def _alone(stage: Stage) -> tuple[Side, Side]:
    return _side(_pgdual(stage, 1), _one_thread), _side(_psycopg2(stage), _one_thread)


def _together(stage: Stage) -> tuple[Side, Side]:
    return _side(_pgdual(stage, THREADS), _threads), _side(_pool(stage), _threads)


ALONE = Promise("8", "blocking select by key, 1 thread", "psycopg2 bare", 1.5, 1.0)
TOGETHER = Promise("9", "blocking select by key, 8 threads", "psycopg_pool", 4.0, 2.5)
QUESTIONS = [Question(ALONE, _alone, is_async=False), Question(TOGETHER, _together, is_async=False)]
