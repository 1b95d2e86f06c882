"""How a task goes on when its answer has come, and what may happen to it meanwhile."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

import pytest
from psycopg import OperationalError

from pgdual._async.answer import Answer, give
from pgdual._async.wire import HELD, Wire
from pgdual.aio import AsyncClient
from pgdual.core.job import command
from pgdual.settings import DatabaseSettings, Settings


async def told(answer: Awaitable[int], heard: list[object]) -> None:
    try:
        heard.append(await answer)
    except (ValueError, asyncio.CancelledError) as error:
        heard.append(type(error))


async def test_the_task_goes_on_before_the_reader_returns() -> None:
    loop, heard = asyncio.get_running_loop(), []
    good, bad = Answer(loop=loop), Answer(loop=loop)
    tasks = [asyncio.ensure_future(told(answer, heard)) for answer in (good, bad)]
    seen = loop.create_future()

    def read() -> None:
        good.give(7)
        bad.fail(ValueError())
        seen.set_result(heard.copy())

    loop.call_soon(read)
    assert await seen == [7, ValueError]
    await asyncio.gather(*tasks)


async def test_from_another_task_it_takes_the_ordinary_way() -> None:
    loop, heard = asyncio.get_running_loop(), []
    late, cancelled = Answer(loop), Answer(loop)
    tasks = [asyncio.ensure_future(told(answer, heard)) for answer in (late, cancelled)]
    await asyncio.sleep(0)
    late.set_exception(ValueError())
    tasks[1].cancel()
    assert not heard
    await asyncio.gather(*tasks)
    assert heard == [ValueError, asyncio.CancelledError]


async def test_only_the_first_end_of_an_answer_counts() -> None:
    loop, heard = asyncio.get_running_loop(), []
    job = command(b"COMMIT")
    job.future = Answer(loop)
    task = asyncio.ensure_future(told(job.future, heard))
    await asyncio.sleep(0)
    assert task.cancel()
    job.value = "COMMIT"
    loop.call_soon(give, job)
    await task
    assert heard == [asyncio.CancelledError]
    assert not job.future.cancel()


async def test_a_cancellation_keeps_its_reason() -> None:
    async def waits() -> None:
        await Answer(asyncio.get_running_loop())

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    task.cancel("a scope of anyio's")
    task.cancel("another's")
    with pytest.raises(asyncio.CancelledError, match="a scope of anyio's"):
        await task


async def test_an_abandoned_answer_that_fails_is_a_cancellation() -> None:
    loop, heard = asyncio.get_running_loop(), []
    job = command(b"COMMIT")
    job.future = Answer(loop)
    task = asyncio.ensure_future(told(job.future, heard))
    job.error, job.abandoned = ValueError(), True
    loop.call_soon(give, job)
    await task
    assert heard == [asyncio.CancelledError]


@pytest.mark.parametrize("error", [None, ValueError()])
async def test_an_answer_that_comes_before_it_is_awaited(error: Exception | None) -> None:
    job = command(b"COMMIT")
    job.future = asyncio.get_running_loop().create_future()
    job.value, job.error = "COMMIT", error
    give(job)
    heard: list[object] = []
    await told(job.future, heard)
    assert heard == ["COMMIT" if error is None else ValueError]


def test_an_interrupted_task_does_not_keep_its_neighbours_from_their_answers(main_dsn: str) -> None:
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=1, pool_max_size=1)})
    answers: list[int] = []

    async def ask(number: int) -> None:
        answers.append(await db.fetchval("SELECT $1::int", number))
        if number == 0:
            raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    client = AsyncClient(settings)
    db = client["main"]
    loop.run_until_complete(db.fetchval("SELECT $1::int", 0))
    tasks = [loop.create_task(ask(number)) for number in range(5)]
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(asyncio.wait(tasks))
    assert sorted(answers) == list(range(5))
    assert isinstance(tasks[0].exception(), KeyboardInterrupt)
    loop.run_until_complete(client.close())
    loop.close()


class Unable:
    """libpq's connection, which cannot send any more."""

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pgconn, name)

    def flush(self) -> int:
        raise OperationalError("the network is unreachable")


async def test_a_read_whose_send_fails_is_answered_by_another_wire(main_dsn: str) -> None:
    """O3: the wire that is lost on the way tells nobody of a call that has been sent elsewhere since."""
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=1, pool_max_size=1)})
    async with AsyncClient(settings) as client:
        db = client["main"]
        assert await db.fetchval("SELECT 42") == 42
        (wire,) = db._fleet.lanes.wires  # type: ignore[union-attr]
        wire.pipeline.pgconn = Unable(wire.pipeline.pgconn)
        assert await db.fetchval("SELECT 42") == 42
        assert db.stats()["resent"] == 1


@pytest.mark.skipif(not inspect.isfunction(Wire.flush), reason="it replaces a method, and Wire is compiled")
async def test_what_is_asked_as_answers_are_handed_out_leaves_together(
    main_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1, L5: tasks that share a lane ask again in a few sends, and each gets the answer that is its own."""
    flush, sends, calls = Wire.flush, [], 20
    monkeypatch.setattr(Wire, "flush", lambda wire: (sends.append(wire._held), flush(wire)))
    settings = Settings(databases={"main": DatabaseSettings(dsn=main_dsn, pool_min_size=1, pool_max_size=1)})
    async with AsyncClient(settings) as client:
        db = client["main"]

        async def ask(number: int) -> None:
            for turn in range(calls):
                text = str((number, turn)) * (10_000 if number % 5 == 0 else 1)  # L6: some do not fit at once
                assert await db.fetchval("SELECT $1::text", text) == text

        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(ask(number))
        assert sum(sends) > 40 * calls / 2
        assert 1 < max(sends) <= HELD
