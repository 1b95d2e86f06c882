"""What is awaited of a wire (by hand; a thread needs none, so it has no twin in `_sync`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_set_result, _set_exception = asyncio.Future.set_result, asyncio.Future.set_exception


class LateAnswer(asyncio.Future[Any]):
    """An answer that may come before anybody awaits it, or that more than one task awaits."""

    __slots__ = ()

    give = _set_result
    fail = _set_exception


class Answer(asyncio.Future[Any]):
    """An answer that one task awaits at once; the task goes on as soon as it is given.

    asyncio puts a task whose future is done in line for the loop's next turn, which is a tenth of a call
    (bench row 5). The standing reader runs outside of every task, so `give` and `fail` can run its next
    step themselves. Whatever else completes it, a cancellation above all, takes the ordinary way.
    """

    __slots__ = ("_context", "_wakeup")

    def add_done_callback(self, fn: Callable[..., Any], *, context: Any = None) -> None:
        """Remember the task that awaits it, which brings its context."""
        self._wakeup, self._context = fn, context

    def give(self, value: Any) -> None:
        """Be done with *value*. For the reader alone: no task may be running."""
        _set_result(self, value)
        self._context.run(self._wakeup, self)

    def fail(self, error: BaseException) -> None:
        """Be done with *error*. For the reader alone: no task may be running."""
        _set_exception(self, error)
        self._context.run(self._wakeup, self)

    def set_exception(self, exception: Any) -> None:
        """Be done with *exception*, and have the task called by the loop."""
        super().set_exception(exception)
        self._wake_later()

    def cancel(self, msg: Any = None) -> bool:
        """Be cancelled, and have the task called by the loop; False if it is done."""
        is_cancelled = super().cancel(msg)
        if is_cancelled:
            self._wake_later()
        return is_cancelled

    def _wake_later(self) -> None:
        self.get_loop().call_soon(self._wakeup, self, context=self._context)


def give(job: Any) -> None:
    """Tell whoever waits for *job* what became of it. For the reader alone: no task may be running."""
    future = job.future
    if future is None or future.done():
        return
    if job.error is None:
        future.give(job.value)
    elif job.abandoned:
        future.cancel()
    else:
        future.fail(job.error)
