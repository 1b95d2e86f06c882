# Generated from pgdual/_async/projection/worker.py by _generate.py. Do not edit.
"""The worker: ASYNC projections behind the log, and second tries of what has failed (J3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pgdual._sync.db import DB
from pgdual._sync.runtime import FACE, PAUSE, Turn, now, sleep, together
from pgdual.core.projection import Registry, is_source
from pgdual.core.track import is_conflict, is_trouble
from pgdual.errors import ProjectionError, UsageError

from .batches import Projection
from .log import BATCH, POLL, SOON, EventLog
from .registry import REGISTRY
from .retries import Retries
from .tracks import Tracks

TRIES = 5
LONGEST = 30.0  # seconds of one transaction
TOGETHER = 0.002  # seconds in which notifications are heard as one
_logger = logging.getLogger("pgdual.projection")


class ProjectionWorker:
    """Projects events behind the log, until it is stopped: `run()`; or up to its end: `catch_up()`.

    Any number of workers may run, in any number of processes: they share the work and do nothing twice.
    What a projector does with another database than the one it is given is not undone with the event, and
    may be done again.

    Args:
        database: Where the read models and the checkpoints are.
        source: The event log; that of the same database otherwise. See pgdual.sources for others.
        projections: The names of those to run; all that are ASYNC otherwise.
        batch: How many events to read at a time.
        tries: How often an event is tried before it is parked.
        timeout: Seconds that one transaction may take; what takes longer is undone, and has failed.

    Raises:
        ProjectionError: There is no projection of this name, or it is SYNC.
        UsageError: An argument is wrong.
    """

    def __init__(
        self,
        database: DB,
        registry: Registry = REGISTRY,
        source: Any = None,
        projections: Sequence[str] | None = None,
        batch: int = BATCH,
        tries: int = TRIES,
        timeout: float = LONGEST,
    ) -> None:
        for name, value in (("batch", batch), ("tries", tries), ("timeout", timeout)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise UsageError(f"{name}={value!r}: give a number above 0")
        self.database = database
        self._source: Any = EventLog(database) if source is None else source
        if not is_source(self._source, FACE):
            raise UsageError(f"{self._source!r} is no source of this face: give an EventLog or the like")
        self._batch = batch
        self._error: Exception | None = None
        self._is_stopped = False
        self._heard = 0  # how often there may have been something new
        self._waiting: list[Turn] = []
        for name in projections or ():
            if any(one.is_inline for one in registry.projection(name)):
                raise ProjectionError(f"projection {name!r} is SYNC: `project` runs it, and no worker")
        meters = database._projections
        self._projections = [
            Projection(self._source, database, name, registry.projection(name), meters.of(name), timeout)
            for name in (registry.behind() if projections is None else projections)
        ]
        self._tracks = [Tracks(self._source, one) for one in self._projections]
        self._names = {one.name for one in registry} | {one.name for one in self._projections}
        self._retries = Retries(
            self._source, database, registry, self._projections, meters, tries, timeout
        )

    def catch_up(self) -> int:
        """Project what is in the log, and what has failed and is due; return how many events that were.

        Raises:
            ProjectionError: A projector does not fit the database: a table is missing.
        """
        before = self._done()
        while True:
            is_moving = bool(self._retries.step())
            for tracks in self._tracks:
                is_moving = tracks.step(self._batch) or is_moving
            if not is_moving:
                if not self._source.is_behind():
                    return self._done() - before
                sleep(SOON)

    def _done(self) -> int:
        return sum(meter.events for name, meter in self.database._projections if name in self._names)

    def run(self) -> None:
        """Project events until `stop()` is called; after trouble with the server go on at the checkpoint.

        Raises:
            Exception: The log cannot be read, and it is no passing trouble: there are no tables.
        """
        self._is_stopped, self._error = False, None
        works: list[Callable[[], Any]] = [partial(self._follow, one) for one in self._tracks]
        works += [self._try_again, self._listen] if self._source.is_told else [self._try_again]
        try:
            together([partial(self._guarded, work) for work in works])
        finally:
            self.stop()  # on the blocking face each has a thread, which ends after its batch
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End `run()` after the batches that it is at."""
        self._is_stopped = True
        self._wake()

    def _guarded(self, function: Callable[[], Any]) -> None:
        while not self._is_stopped:
            try:
                function()
            except Exception as error:
                if (
                    not isinstance(error, ProjectionError)
                    and not is_trouble(error)
                    and not is_conflict(error)
                ):
                    self._error = error
                    self.stop()
                    return
                _logger.warning("[PROJECTION] %s: goes on in %s s: %s", self.database.name, PAUSE, error)
                self._wait(PAUSE, self._heard)

    def _follow(self, tracks: Tracks) -> None:
        while not self._is_stopped:
            heard = self._heard
            if tracks.step(self._batch):
                continue
            if not self._source.is_told:
                self._source.wait(tracks.name, POLL)
            else:
                # The end of an older transaction is told by nobody.
                self._wait(SOON if self._source.is_behind() else POLL, heard)

    def _try_again(self) -> None:
        while not self._is_stopped:
            if not self._retries.step():
                self._pause(PAUSE)

    def _listen(self) -> None:
        with self._source.listen() as listener:
            while not self._is_stopped:
                if listener.next(POLL) is not None:
                    self._wake()
                    sleep(TOGETHER)
                    while listener.next(0) is not None:
                        pass
                    self._wake()

    def _wake(self) -> None:
        self._heard += 1
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.give(True)

    def _wait(self, seconds: float, heard: int) -> None:
        """Return when something was heard since *heard*, after *seconds*, or when it is stopped."""
        turn = Turn(False, False)
        self._waiting.append(turn)
        try:
            if self._heard == heard and not self._is_stopped:
                turn.wait(seconds)
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _pause(self, seconds: float) -> None:
        until = now() + seconds
        while now() < until and not self._is_stopped:
            self._wait(until - now(), self._heard)
