"""How a task goes on when its answer has come, and what may happen to it meanwhile."""

import asyncio

import pytest

from pgdual._async.answer import Answer, LateAnswer
from pgdual.aio import AsyncClient
from pgdual.settings import DatabaseSettings, Settings


async def told(answer: asyncio.Future[int], heard: list[object]) -> None:
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


@pytest.mark.parametrize("kind", [Answer, LateAnswer])
async def test_from_another_task_it_takes_the_ordinary_way(kind: type[asyncio.Future[int]]) -> None:
    loop, heard = asyncio.get_running_loop(), []
    late, cancelled = kind(loop=loop), kind(loop=loop)
    tasks = [asyncio.ensure_future(told(answer, heard)) for answer in (late, cancelled)]
    await asyncio.sleep(0)
    late.set_exception(ValueError())
    tasks[1].cancel()
    assert not heard
    await asyncio.gather(*tasks)
    assert heard == [ValueError, asyncio.CancelledError]


async def test_an_answer_that_comes_before_it_is_awaited() -> None:
    answer = LateAnswer(loop=asyncio.get_running_loop())
    answer.give(7)
    assert await answer == 7


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
