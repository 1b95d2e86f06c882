"""The lock that tasks take turns with."""

import asyncio

from pgdual._async.lock import Lock, grab
from pgdual._async.runtime import hold


async def test_who_waits_has_it_in_turn_and_nobody_passes() -> None:
    lock, served = Lock(), []

    async def take(number: int) -> None:
        await lock.acquire()
        served.append(number)
        await asyncio.sleep(0)
        lock.release()

    assert grab(lock)
    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await asyncio.sleep(0)
    lock.release()
    assert not grab(lock)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]
    assert grab(lock)


async def test_who_is_cancelled_as_it_is_his_turn_lets_the_next_one_have_it() -> None:
    lock = Lock()
    assert grab(lock)
    first, second = (asyncio.create_task(lock.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    lock.release()
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert not second.cancelled()
    assert lock.locked()


async def test_who_gives_up_is_forgotten() -> None:
    lock = Lock()
    assert grab(lock)
    assert not await hold(lock, 0)
    assert not lock._line
    lock.release()
    assert await hold(lock, 0)
