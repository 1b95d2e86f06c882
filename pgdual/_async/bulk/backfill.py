"""backfill: rows of one place into another, batch by batch, so that nothing is lost or done twice.

Each batch is one transaction: the checkpoint's row is locked and read, the rows behind its key are read
and written, the checkpoint is moved, COMMIT. So the checkpoint is what was done, whatever becomes of the
process, the connection or the server in between; a run after that goes on from there, and two runs at a
time take turns. That is also why a COMMIT whose answer was lost may be passed over here (O1): the next
batch reads whether it was done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, NamedTuple

from pgdual._async import runtime
from pgdual._async.runtime import critical, now
from pgdual.errors import OutcomeUnknownError, UsageError

from .brake import AsyncBrake
from .feed import come
from .plan import ENTER, LOCK, MOVE, PARTS, READ, TABLE, Plan, Progress, plan_of

__all__ = ["AsyncBackfills", "Progress"]

LARGEST = 50_000  # rows of a batch: they stand in memory, twice
MOST = 64  # parts at the same time: each has a connection
DOUBTS = 5  # how many lost COMMITs in a row are passed over


class Pace(NamedTuple):
    """How fast a backfill goes."""

    batch: int
    seconds: float
    dry_run: bool
    parallel: int
    max_lag: float | None

    def check(self) -> None:
        """Raise UsageError where a figure is none."""
        for name, value, most in (("batch", self.batch, LARGEST), ("parallel", self.parallel, MOST)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise UsageError(f"{name}={value!r}: give a number from 1 to {most}")
        for name, seconds in (("seconds", self.seconds), ("max_lag", self.max_lag)):
            if seconds is not None and not 0 < seconds < inf:
                raise UsageError(f"{name}={seconds!r}: give seconds above 0")


class AsyncRun(runtime.Guarded):
    """One run of a backfill: its parts, in as many workers as it may have."""

    def __init__(self, database: Any, plan: Plan, key: str, pace: Pace) -> None:
        super().__init__()
        self.database = database
        self.plan = plan
        self.key = key
        self.pace = pace
        self._parts: list[AsyncPart] = []
        self._waiting: deque[AsyncPart] = deque()
        self._errors: list[Exception] = []
        self._begun = now()
        self._total = 0
        self._is_over = False

    async def go(self, progress: Callable[[Progress], Any] | None) -> Progress:
        """Run it to its end and return how far it came."""
        if self.pace.dry_run:
            self._parts = [AsyncPart(self, 0, 0, False, None)]
        else:
            await self.database.execute(TABLE)
            self._parts = [AsyncPart(self, *part) for part in await self.database.run(self._enter)]
        self._waiting.extend(part for part in self._parts if not part.done)
        if self._waiting:
            plan = await self.database.fetchval(self.plan.estimate())
            self._total = int(plan[0]["Plan"]["Plan Rows"])
        workers = min(self.pace.parallel, len(self._waiting))
        if workers == 1:
            await self._work(progress)
        elif workers:
            await self._work_together(workers, progress)
        return self._state(self._parts[-1])

    async def _enter(self, tx: Any) -> list[Any]:
        name, parts = self.plan.name, self.pace.parallel
        await tx.execute(LOCK, name)
        found: list[Any] = await tx.fetch(PARTS, name)
        if not found:
            ends = await tx.fetchval(self.plan.ends(parts), timeout=None) if parts > 1 else None
            ends = sorted(set(ends), key=ends.index) if ends else []
            ranges = zip([None, *ends], [*ends, None], strict=True)
            await tx.executemany(ENTER, [(name, at, *bounds) for at, bounds in enumerate(ranges)])
            found = await tx.fetch(PARTS, name)
        return found

    async def _work_together(self, workers: int, progress: Any) -> None:
        async def work() -> None:
            try:
                await self._work(progress)
            except Exception as error:
                self._errors.append(error)

        try:
            await runtime.together([work] * workers)
        finally:
            self._is_over = True  # Ctrl-C is heard by the one that waits
        if self._errors:
            raise self._errors[0]

    async def _work(self, progress: Any) -> None:
        while self._waiting:
            try:
                part = self._waiting.popleft()
            except IndexError:
                return  # another took it
            while not (part.done or self._errors or self._is_over):
                await part.step()
                if progress is not None:
                    await come(progress(self._state(part)))

    @critical
    def _state(self, part: AsyncPart) -> Progress:
        rows, here = sum(one.rows for one in self._parts), sum(one.now for one in self._parts)
        is_done = all(one.done for one in self._parts)
        seconds = now() - self._begun
        return Progress(
            self.plan.name, rows, here, seconds, part.batch, part.last, is_done, max(self._total, rows)
        )


class AsyncPart:
    """A range of the keys, batch by batch."""

    def __init__(self, run: AsyncRun, number: int, rows: int, done: bool, last: str | None) -> None:
        self._database = run.database
        self._plan = run.plan
        self._key = run.key
        self._pace = run.pace
        self._number = number
        self._brake: AsyncBrake | None = None
        if run.pace.max_lag is not None and not run.pace.dry_run:
            self._brake = AsyncBrake(run.database, run.pace.max_lag)
        self.batch = run.pace.batch
        self.rows = rows
        self.now = 0
        self.last = last
        self.done = done

    async def step(self) -> None:
        """Do one batch."""
        if self._brake is not None:
            await self._brake.wait()
        started, doubts = now(), 0
        while True:
            try:
                count = await self._database.run(self._dry if self._pace.dry_run else self._one)
                break
            except OutcomeUnknownError:
                doubts += 1
                if doubts == DOUBTS:
                    raise
        self.now += count
        self._adapt(now() - started, count)

    def _adapt(self, spent: float, count: int) -> None:
        # By half or double at most: one slow batch, behind somebody's lock, says little.
        if count == self.batch:
            factor = min(max(self._pace.seconds / max(spent, 1e-6), 0.5), 2.0)
            self.batch = min(max(int(self.batch * factor), 1), LARGEST)

    async def _one(self, tx: Any) -> int:
        name, number = self._plan.name, self._number
        last, until, rows, done = await tx.fetchrow(READ, name, number)
        found = [] if done else await self._rows(tx, last, until)
        if found:
            await self._write(tx, found)
            last = found[-1].pgdual_key
        is_done = done or len(found) < self.batch
        await tx.execute(MOVE, name, number, last, len(found), is_done)
        self.rows, self.last, self.done = rows + len(found), last, is_done
        return len(found)

    async def _dry(self, tx: Any) -> int:
        last = self.last
        found = await self._rows(tx, last, None)
        if found and self._plan.transform is not None:
            await come(self._plan.transform(_plain(found)))
        self.rows, self.done = self.now + len(found), len(found) < self.batch
        self.last = found[-1].pgdual_key if found else last
        return len(found)

    async def _rows(self, tx: Any, last: str | None, until: str | None) -> list[Any]:
        sql, arguments = self._plan.batch(last, until, self.batch)
        found = await tx.fetch(sql, *arguments)
        keys = [row.pgdual_key for row in found]
        if None in keys or len(set(keys)) < len(keys):
            raise UsageError(f"key={self._key!r}: a value of it is NULL or stands twice in the source")
        return list(found)

    async def _write(self, tx: Any, found: list[Any]) -> None:
        plan = self._plan
        given: Any = _plain(found)
        if plan.transform is not None:
            given = await come(plan.transform(given))
            if not isinstance(given, Iterable):
                raise UsageError(f"transform returned a {type(given).__name__}: give a list of rows")
        if callable(plan.target):
            await come(plan.target(tx, given))
        else:
            await tx.upsert_many(plan.target, given, self._key)


def _plain(found: list[Any]) -> list[dict[str, Any]]:
    rows = [row.asdict() for row in found]
    for row in rows:
        del row["pgdual_key"]
    return rows


class AsyncBackfills:
    """What a database has of backfills."""

    async def backfill(
        self,
        source: str,
        transform: Callable[[list[dict[str, Any]]], Any] | None,
        target: Any,
        *,
        key: str,
        checkpoint: str,
        batch: int = 1_000,
        seconds: float = 0.2,
        parallel: int = 1,
        max_lag: float | None = None,
        dry_run: bool = False,
        progress: Callable[[Progress], Any] | None = None,
    ) -> Progress:
        """Write what *source* holds to *target* in batches; return how far it came, at the end all of it.

        Each batch is a transaction of its own, the checkpoint (a row of the table `pgdual_backfill`, which
        is made) included: after Ctrl-C, kill -9 or a failover the same call goes on where it was, and does
        nothing once it is done. On a conflict or a lost connection a batch is run again.

        A row that is committed behind the key which was reached, late or with a smaller key, is missed. So
        have what writes the source write the target as well (a trigger, the application) before it begins,
        and let it begin when the transactions older than that have ended; or leave the last of it out of
        the source, as in `WHERE created_at < '2026-01-01'`, until nothing can come there any more.

        Args:
            source: A table's name as in SQL, or a query without parameters.
            transform: Makes the rows to write of a batch of rows, both lists of dicts; may be async on the
                async face; None: as they are. It may be called again for the same rows.
            target: A table's name, whose rows are upserted by *key*, or a function of `(tx, rows)`.
            key: A column of the source that is unique, not NULL, has an index, and only grows.
            checkpoint: The name under which it is remembered.
            batch: Rows of the first batch.
            seconds: What a batch should take: the next one is made smaller or larger, 50,000 rows at most.
            parallel: How many batches run at the same time, each in a range of the keys of its own. The
                ranges are made by the first run, which reads all keys once for it, and stay.
            max_lag: Seconds that a standby may be behind; while one is further, no batch begins. It takes
                the role pg_monitor.
            dry_run: All is read and transformed, from the beginning, and nothing is written.
            progress: Called after each batch; from several threads at a time on the blocking face, if
                parallel.

        Raises:
            UsageError: An argument is wrong, the key is NULL or not unique, or a transaction is open.
        """
        pace = Pace(batch, seconds, dry_run, parallel, max_lag)
        pace.check()
        plan = plan_of(self, source, transform, target, key, checkpoint)
        return await AsyncRun(self, plan, key, pace).go(progress)
