"""What the tests need of concurrency, on the async side; its twin in tests/_sync has the same names."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Generic, Literal, Self, TypeVar

__all__ = ["FACE", "Event", "Spawned", "gather", "sleep", "spawn", "wait_until"]

T = TypeVar("T")

FACE: Final[Literal["async", "sync"]] = "async"


async def sleep(seconds: float) -> None:
    """Let *seconds* pass."""
    await asyncio.sleep(seconds)


class Event:
    """A flag that is set once and waited for with a deadline."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Raise the flag; whoever waits goes on."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the flag is up."""
        return self._event.is_set()

    async def wait(self, timeout: float = 10.0) -> None:
        """Return when the flag is up.

        Raises:
            TimeoutError: when it is not up after *timeout* seconds.
        """
        async with asyncio.timeout(timeout):
            await self._event.wait()


class Spawned(Generic[T]):
    """A callable at work beside the test; as a context it is waited for at the end of the block."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        async def run() -> T:
            return await call()

        self._task = asyncio.create_task(run())
        # The error is the test's to look at or not; asyncio need not report it as well.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.wait([self._task], timeout=10.0)

    def is_done(self) -> bool:
        """Return whether it has come to its end, well or badly."""
        return self._task.done()

    async def result(self, timeout: float = 10.0) -> T:
        """Return what the callable returned, or raise what it raised.

        Raises:
            TimeoutError: when it still runs after *timeout* seconds; it goes on running.
        """
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._task)


def spawn(call: Callable[[], Awaitable[T]]) -> Spawned[T]:
    """Start *call* beside the caller."""
    return Spawned(call)


async def gather(*calls: Callable[[], Awaitable[T]], timeout: float = 30.0) -> list[T]:
    """Run *calls* at the same time, each to its end; return their results in order.

    Raises:
        Exception: the first error in the order of *calls*, once all have ended.
        TimeoutError: when one still runs after *timeout* seconds.
    """
    spawned = [spawn(call) for call in calls]
    await wait_until(lambda: all(one.is_done() for one in spawned), timeout)
    return [await one.result() for one in spawned]


async def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Return once *condition*, which may be a coroutine function, answers true.

    Raises:
        TimeoutError: when it has not after *timeout* seconds.
    """
    async with asyncio.timeout(timeout):
        while True:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.005)
