"""tests/_async/runtime.py and its twin: the same words mean the same on both sides."""

import pytest

from pgdual.aio import AsyncClient

from .runtime import FACE, Event, gather, sleep, spawn, wait_until


async def fail() -> None:
    """Raise after a while."""
    await sleep(0.01)
    raise LookupError


async def test_gather_runs_at_the_same_time() -> None:
    """Each of two calls can wait for what the other does; results keep the order of the calls."""
    first, second = Event(), Event()

    async def one() -> int:
        first.set()
        await second.wait()
        return 1

    async def two() -> int:
        await first.wait()
        second.set()
        return 2

    assert await gather(one, two) == [1, 2]


async def test_gather_raises_when_all_have_ended() -> None:
    """One error does not stop the others; it is raised once they have ended."""
    ended = Event()

    async def slow() -> None:
        await sleep(0.05)
        ended.set()

    with pytest.raises(LookupError):
        await gather(fail, slow)
    assert ended.is_set()


async def test_spawn() -> None:
    """A spawned call runs beside the test, and its end is waited for."""
    go = Event()
    async with spawn(go.wait) as spawned:
        assert not spawned.is_done()
        with pytest.raises(TimeoutError):
            await spawned.result(timeout=0.01)
        go.set()
    assert spawned.is_done()
    await spawned.result()
    with pytest.raises(LookupError):
        await spawn(fail).result()


async def test_deadlines() -> None:
    """What never comes ends in TimeoutError on both sides."""
    with pytest.raises(TimeoutError):
        await Event().wait(0.01)
    with pytest.raises(TimeoutError):
        await wait_until(lambda: False, timeout=0.01)


async def test_wait_until_asks_calls_of_its_side() -> None:
    """The condition may itself be a call that waits."""
    asked: list[int] = []

    async def third_time() -> bool:
        await sleep(0)
        asked.append(1)
        return len(asked) == 3

    await wait_until(third_time)
    assert len(asked) == 3


def test_face() -> None:
    """A test runs on the face of its own side, and can say which."""
    assert AsyncClient.__module__ == f"pgdual._{FACE}.client"
