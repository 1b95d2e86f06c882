# Generated from pgdual/_async/attempts.py by _generate.py. Do not edit.
"""Whole blocks again: attempts() and run() (T7).

A block that a replay cannot save, for it has seen what is no more, is run again from its first line. What it
does besides the database it does again, too. An unknown outcome ends the attempts: nobody knows whether
there is anything to repeat.

A conflict that COMMIT itself brings is repeated by run(), and raised by attempts(): the end of a `with` block
does not learn whether the block fell through, so that the loop would go on, or ended in `return`, so that
nobody would ask for another attempt. To swallow it there would tell the caller that it was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Callable
from random import random
from types import TracebackType
from typing import Any

from psycopg import OperationalError

from pgdual.core.verdict import Failure, reason_to_replay
from pgdual.errors import OutcomeUnknownError, ReplayMismatchError, UsageError

from .runtime import SCOPE, Deed, T, gripped, owner, sleep
from .transaction import Transaction

_PASSING = (Failure.CONFLICT, Failure.LOST, Failure.STANDBY)


class Attempt:
    """One run of a block: a transaction, to be entered with `with`; `number` counts from 1."""

    def __init__(self, transaction: Transaction, number: int, is_last: bool) -> None:
        self.number = number
        self.is_to_repeat = False
        self.was_entered = False
        self._transaction = transaction
        self._is_last = is_last
        self.grip: Any = None

    def __enter__(self) -> Transaction:
        self.was_entered = True
        self._transaction.grip = self.grip
        return self._transaction.__enter__()

    @gripped
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # What COMMIT raises is the caller's: a block may have ended in `return`.
        self._transaction.__exit__(kind, error, trace)
        self.is_to_repeat = not self._is_last and isinstance(error, Exception) and is_passing(error)
        return self.is_to_repeat


def attempts(database: Any, make: Callable[[], Transaction]) -> Iterator[Attempt]:
    """Yield a new attempt until one is done, or the last has failed.

    Raises:
        UsageError: In an open transaction, or an attempt was not entered.
    """
    _check_outside(database)
    fleet = database._ready_fleet()
    most = fleet.settings.deadlock_max_attempts
    for number in range(1, most + 1):
        attempt = Attempt(make(), number, number == most)
        yield attempt
        if not attempt.was_entered:
            raise UsageError("an attempt is to be entered: `with attempt as tx:`")
        if not attempt.is_to_repeat:
            return
        _pause(fleet, number)


def run(database: Any, make: Callable[[], Transaction], function: Deed[T], *args: Any) -> T:
    """Return what *function* returns for a transaction and *args*, after as many attempts as it takes.

    Raises:
        UsageError: In an open transaction.
    """
    _check_outside(database)
    fleet = database._ready_fleet()
    number = 0
    while True:
        number += 1
        try:
            with make() as tx:
                return function(tx, *args)
        except Exception as error:
            if number >= fleet.settings.deadlock_max_attempts or not is_passing(error):
                raise
        _pause(fleet, number)


def _pause(fleet: Any, number: int) -> None:
    if number > 1:  # the second at once, jitter after
        sleep(fleet.backoff.delay(number, random()))  # noqa: S311


def _check_outside(database: Any) -> None:
    if SCOPE.find(database, owner()) is not None:
        raise UsageError(
            f"attempts() and run() begin transactions of their own, and one on {database.name!r} is open; "
            "call them outside of it"
        )


def is_passing(error: Exception) -> bool:
    """Return whether a transaction that ended in *error* did nothing and may do better now."""
    if isinstance(error, ReplayMismatchError):
        return True
    if isinstance(error, OutcomeUnknownError):
        return False
    # Without a state: libpq's own words for a lost connection. 57P01-03: the server's last words on it.
    state = str(getattr(error, "sqlstate", None) or "")
    is_lost = isinstance(error, OperationalError) and (not state or state.startswith("57P0"))
    return reason_to_replay(error, lost=is_lost) in _PASSING
