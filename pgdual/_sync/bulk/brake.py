# Generated from pgdual/_async/bulk/brake.py by _generate.py. Do not edit.
"""The brake of a backfill: how far the standbys are behind what it has written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pgdual._sync.runtime import now, sleep
from pgdual.errors import UsageError

_PAUSE = 0.1  # seconds between two looks
# The seconds that the server tells stand still while a standby does: places in the log do not.
_PLACES = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, min(replay_lsn) - '0/0'::pg_lsn,
    count(*) FILTER (WHERE state IS NULL)
FROM pg_stat_replication
"""


class Brake:
    """Holds a backfill up while a standby has not replayed what was written *seconds* ago."""

    def __init__(self, database: Any, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._marks: list[tuple[float, Decimal]] = []  # when the log was how long

    def wait(self) -> None:
        """Return when no standby is further behind.

        Raises:
            UsageError: The server does not say, for that takes the role pg_monitor.
        """
        while True:
            length, replayed, hidden = self._database.fetchrow(_PLACES)
            if hidden:
                raise UsageError("max_lag: the user must be a member of pg_monitor to see the standbys")
            moment = now()
            self._marks = [mark for mark in self._marks if replayed is not None and mark[1] > replayed]
            if not self._marks or moment - self._marks[0][0] <= self._seconds:
                break
            sleep(_PAUSE)
        self._marks.append((moment, length))
