"""What the tests need of concurrency, on the blocking side; its twin in tests/_async has the same names."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Generic, Literal, Self, TypeVar

__all__ = ["FACE", "Event", "Spawned", "gather", "sleep", "spawn", "wait_until"]

T = TypeVar("T")

FACE: Final[Literal["async", "sync"]] = "sync"


def sleep(seconds: float) -> None:
    """Let *seconds* pass."""
    time.sleep(seconds)


class Event:
    """A flag that is set once and waited for with a deadline."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Raise the flag; whoever waits goes on."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the flag is up."""
        return self._event.is_set()

    def wait(self, timeout: float = 10.0) -> None:
        """Return when the flag is up.

        Raises:
            TimeoutError: when it is not up after *timeout* seconds.
        """
        if not self._event.wait(timeout):
            raise TimeoutError


class Spawned(Generic[T]):
    """A callable at work beside the test; as a context it is waited for at the end of the block."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        # A daemon: a call that never ends fails its test and does not keep the process.
        self._thread = threading.Thread(target=self._run, args=[call], daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:
            self._future.set_exception(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(10.0)

    def is_done(self) -> bool:
        """Return whether it has come to its end, well or badly."""
        return self._future.done()

    def result(self, timeout: float = 10.0) -> T:
        """Return what the callable returned, or raise what it raised.

        Raises:
            TimeoutError: when it still runs after *timeout* seconds; it goes on running.
        """
        return self._future.result(timeout)


def spawn(call: Callable[[], T]) -> Spawned[T]:
    """Start *call* beside the caller."""
    return Spawned(call)


def gather(*calls: Callable[[], T], timeout: float = 30.0) -> list[T]:
    """Run *calls* at the same time, each to its end; return their results in order.

    Raises:
        Exception: the first error in the order of *calls*, once all have ended.
        TimeoutError: when one still runs after *timeout* seconds.
    """
    spawned = [spawn(call) for call in calls]
    wait_until(lambda: all(one.is_done() for one in spawned), timeout)
    return [one.result() for one in spawned]


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Return once *condition* answers true.

    Raises:
        TimeoutError: when it has not after *timeout* seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)
