"""What is awaited of a wire (by hand; a thread needs none, so it has no twin in `_sync`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from pgdual.core.job import Job


class Answer:
    """An answer that one task awaits at once; the task goes on as soon as it is given.

    asyncio puts a task whose future is done in line for the loop's next turn, which is a tenth of a call
    (bench row 5). The standing reader runs outside of every task, so `give` and `fail` can run its next
    step themselves. Whatever else completes it, a cancellation above all, takes the ordinary way.

    It is what a task needs of a future, and no more: to be compiled is another twentieth of a call.
    """

    # By its presence a task knows what it can wait for; it is True until the task has seen it.
    # Source: asyncio.isfuture, Task.__step.
    _asyncio_future_blocking: bool = False

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._is_done = self._is_cancelled = False
        self._reason: tuple[Any, ...] = ()
        self._value: Any = None
        self._error: BaseException | None = None
        self._wakeup: Any = None
        self._context: Context | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        self._asyncio_future_blocking = True
        yield self
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # kept here, or on the answer, it would keep itself
        return self._value

    # -- for the task ----------------------------------------------------------------------------

    def get_loop(self) -> Any:
        """Return its event loop."""
        return self._loop

    def add_done_callback(self, fn: Callable[..., Any], *, context: Context | None = None) -> None:
        """Remember the task that awaits it, which brings its context."""
        self._wakeup, self._context = fn, context

    def done(self) -> bool:
        """Return whether it was given, failed or cancelled."""
        return self._is_done

    def result(self) -> None:
        """Return nothing: what it was given, or failed with, is for who awaits it.

        Raised here, an error would keep the frames of the reader that the task was woken in.

        Raises:
            CancelledError: It was cancelled, which no reader does.
        """
        if self._is_cancelled:
            raise asyncio.CancelledError(*self._reason)

    def cancel(self, msg: Any = None) -> bool:
        """Be cancelled, and have the task called by the loop; False if it is done."""
        if self._is_done:
            return False
        self._is_cancelled, self._reason = True, () if msg is None else (msg,)  # by which anyio knows its own
        self._wake_later()
        return True

    # -- for the wire ----------------------------------------------------------------------------

    def give(self, value: Any) -> None:
        """Be done with *value*. For the reader alone: no task may be running."""
        self._value = value
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Be done with *error*. For the reader alone: no task may be running."""
        self._error = error
        self._wake()

    def set_exception(self, error: BaseException) -> None:
        """Be done with *error*, and have the task called by the loop."""
        self._error = error
        self._wake_later()

    def _wake(self) -> None:
        self._is_done = True
        assert self._context is not None
        self._context.run(self._wakeup, self)

    def _wake_later(self) -> None:
        self._is_done = True
        self._loop.call_soon(self._wakeup, self, context=self._context)


def give(job: Job) -> None:
    """Tell whoever waits for *job* what became of it. For the reader alone: no task may be running."""
    answer = job.future
    if answer is None or answer.done():
        return
    if job.error is not None and job.abandoned:
        answer.cancel()
    elif isinstance(answer, Answer):
        if job.error is None:
            answer.give(job.value)
        else:
            answer.fail(job.error)
    elif job.error is None:  # asyncio's own future: it is not awaited yet, or by more than one task
        answer.set_result(job.value)
    else:
        answer.set_exception(job.error)
