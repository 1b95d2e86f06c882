"""Warm wires over psycopg's pool.

Borrowing from the pool for each call would cost 50 us, so wires stay with the fleet; `supply` is where
they come from and go to. `core.lanes` decides which wire a call takes; here is the waiting.
"""

from __future__ import annotations

from math import inf
from random import random
from typing import Any

import psycopg

from pgdual.core.backstops import LIFTED, can_be_grouped, put_down, raised
from pgdual.core.job import DESCRIBE, SCRIPT, Job, command
from pgdual.core.service import Floor
from pgdual.core.statement import Kind, Statement, check_single
from pgdual.core.verdict import Verdict
from pgdual.errors import CircuitOpenError, ClientClosedError, PoolTimeoutError

from . import runtime
from .recovery import AsyncRecovery
from .runtime import DEPTH, GRACE, INTERRUPTS, Turn, background, critical, now, owner, sleep, soon

_READ = Kind.READ
# How often it is looked whether a server process that was told to end is gone.
_LOOK = 0.02  # seconds
_READ_ONLY_ON = b"SET default_transaction_read_only = on"
_READ_ONLY_OFF = b"RESET default_transaction_read_only"


class AsyncFleet(AsyncRecovery):
    """The wires of one database in one event loop (P1)."""

    tokens: str | None = None  # where the table of commit tokens is, once somebody needed it (T6)
    joined: list[Any] | None = None  # wires whose calls leave together, while answers are handed out

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.floor = Floor()
        self.replaying = runtime.Lock()  # held by a transaction that was rolled back for another's sake (T5)

    # -- taking a wire ---------------------------------------------------------------------------

    @critical
    def place(self, statement: Statement) -> Any:
        """Return the wire that a call takes now, or None to wait for one."""
        if statement.kind is not _READ:
            return self.lanes.take(read_only=False)
        wire = self.lanes.join(statement.service)
        if wire is not None and wire.backlog and wire.backlog + statement.service >= self.lanes.window:
            self.grow()  # L4: no wire was idle; another is made for those who come next
        return wire

    @critical
    def place_alone(self) -> Any:
        """Return an idle wire for a transaction or a borrower, or None to wait for one."""
        return self.lanes.take(read_only=False)

    async def acquire(self, statement: Statement | None, started: float, until: float = inf) -> Any:
        """Wait in line for a wire, as the acquire clock allows, which began at *started* (D1).

        Args:
            until: Monotonic seconds; what it is for does not wait past this either.

        Raises:
            PoolTimeoutError: No wire came free in time.
            ClientClosedError: The client was closed.
        """
        service = statement.service if statement is not None and statement.kind is _READ else None
        is_slow = service is not None and (DEPTH == 1 or not self.lanes.is_quick(service))
        # Made before it stands in line, so that an interruption from there on takes it out again (D4).
        turn = Turn(is_slow or service is None, slow=is_slow)
        try:
            limit = min(started + self.acquire_timeout, until)
            wire = self._line_up(statement, turn) or await turn.wait(limit - now())
        except INTERRUPTS:
            self._give_up(turn)
            raise
        if wire is None:
            self._give_up(turn)
            self.meter.timeouts += 1
            raise PoolTimeoutError(self._full())
        return wire

    @critical
    def _line_up(self, statement: Statement | None, turn: Any) -> Any:
        if self.is_closed:
            raise ClientClosedError(f"the client of {self.name!r} is closed")
        lanes = self.lanes
        if statement is not None and statement.kind is _READ:
            wire = lanes.join(statement.service)
        else:
            wire = lanes.take(read_only=False)
        if wire is None:
            self._end_left(lambda holder: holder.owner == owner())
            lanes.wait(turn)
            self.grow()
        return wire

    @critical
    def _give_up(self, turn: Any) -> None:
        self.lanes.leave(turn)
        wire = turn.given
        if wire is not None:
            wire.release()

    def _full(self) -> str:
        lanes, advice = self.lanes, self._why() or "; shorten transactions, or raise PG_POOL_MAX_SIZE"
        return (
            f"no connection to {self.name!r} within {self.acquire_timeout} s: {lanes.active} of "
            f"{len(lanes.wires)} in use, {self.growing} being made, {self.max_size} allowed, "
            f"{lanes.in_line} still waiting{advice}"
        )

    def _why(self) -> str:
        return f"; the last attempt to connect failed: {self.last_error}" if self.last_error else ""

    @critical
    def keep(self, wire: Any) -> None:
        """Let nobody join *wire* any more."""
        self.lanes.keep(wire)

    # -- getting it ready ------------------------------------------------------------------------

    async def ready(self, wire: Any, job: Job, is_read: bool) -> None:
        """Bring *wire* into the mode of *job* and have its statement described, where need be.

        The wire comes back as it was placed; if anything fails it is released.
        """
        statement = job.statement
        try:
            if job.want != SCRIPT:
                check_single(statement)
            if wire.read_only is not is_read:
                await self._switch(wire, is_read, job.deadline)
            if statement.types is None and statement.kind is not Kind.SCRIPT:
                await self.describe(wire, statement, job.deadline)
        except BaseException:
            job.placed = False
            wire.release()
            raise
        if is_read and self.lanes.is_quick(statement.service):
            self._open_up(wire)

    async def raise_limit(self, wire: Any, job: Job, limit: float) -> None:
        """Have the server allow *job* as much time as its caller does (D3)."""
        if self.pooled:
            return  # N2: no limit was set there, and none may be
        if can_be_grouped(job.statement.verb):
            job.prelude = (raised(limit),)
            return
        try:
            wire.dirty = True
            await self.step(wire, command(raised(limit, is_local=False)), job.deadline)
        except BaseException:
            job.placed = False
            wire.release()
            raise

    @critical
    def _open_up(self, wire: Any) -> None:
        self.lanes.share(wire)

    async def borrow(self, holder: Any) -> Any:
        """Return a wire alone that is alive, may write and has no time limits, for *holder*, a borrower (D3).

        Raises:
            CircuitOpenError: The database is known not to answer.
            PoolTimeoutError: None came free in time.
            QueryTimeoutError: The server did not answer within the command clock.
        """
        started = now()
        if not self.breaker.is_closed:
            self.admit(holder)
        try:
            return await self._borrow(holder, started)
        finally:
            self.breaker.withdraw(holder)

    async def _borrow(self, holder: Any, started: float) -> Any:
        while True:
            wire = self.place_alone() or await self.acquire(None, started)
            wire.holder = holder
            try:
                self.watch.waited(now() - started)
                deadline = now() + self.command_timeout
                await self._switch(wire, False, deadline)
                wire.dirty = True
                if not self.pooled:
                    await self.step(wire, command(LIFTED), deadline)
                return wire
            except BaseException as error:
                if not wire.dead:
                    wire.release()
                if not (wire.dead and isinstance(error, psycopg.OperationalError)):
                    raise

    async def _switch(self, wire: Any, read_only: bool, deadline: float) -> None:
        if self.pooled:
            wire.read_only = read_only  # N2: each READ says so for itself
            return
        # Q2: a change of mode is a Sync group of its own, answered before anyone joins; in one group with
        # a statement it would not hold for that statement.
        try:
            await self.step(wire, command(_READ_ONLY_ON if read_only else _READ_ONLY_OFF), deadline)
        except BaseException:
            wire.dirty = True  # in which mode it is now, cleaning decides
            raise
        wire.read_only = read_only

    async def describe(self, wire: Any, statement: Statement, deadline: float, prelude: Any = ()) -> None:
        """Learn a statement's parameter types and how its columns are asked for (Q5, Q6)."""
        job = Job(DESCRIBE, statement)
        job.prelude = prelude
        types, columns = await self.step(wire, job, deadline)
        statement.described(types, self.types.result_format(columns))
        wire.pipeline.adopt(statement)

    async def step(self, wire: Any, job: Job, deadline: float) -> Any:
        """Run a job of pgdual's own on a wire that is held."""
        job.deadline, job.sent = deadline, now()
        try:
            return await wire.answer(job)
        except INTERRUPTS:
            wire.forsake(job)
            raise

    # -- when something is wrong -----------------------------------------------------------------

    def admit(self, caller: Any) -> None:
        """Let *caller* past the breaker, which is not closed (B1).

        Raises:
            CircuitOpenError: The database is known not to answer.
        """
        wait = self.breaker.admit(now(), caller)
        if wait:
            self.meter.refused += 1
            raise CircuitOpenError(
                f"{self.name}: refused at once, the database did not answer {self.breaker.failures} times "
                f"in a row; the next probe is let through in {wait:.1f} s{self._why()}",
                wait,
            )

    def next_try(self, wire: Any, job: Job, verdict: Verdict) -> float | None:
        """Return the seconds until *job* is to be tried again after *verdict*, or None to give up (O2)."""
        settings = self.settings
        if verdict is Verdict.AFTER_LOSS:
            job.losses += 1
            number, most = job.losses, settings.retry_max_attempts
            paid = wire.charged or self.budget.take(self.meter.calls)
            wire.charged = True  # the READs of one lost lane cost one token
        elif verdict is Verdict.AFTER_CONFLICT:
            job.conflicts += 1
            number, most = job.conflicts, settings.deadlock_max_attempts
            paid = self.budget.take(self.meter.calls)
        elif verdict is Verdict.ELSEWHERE:
            self.evict(wire)
            job.losses += 1
            number, most, paid = job.losses + 1, settings.retry_max_attempts + 1, True
        else:  # it was not run
            number, most, paid = 1, 2, verdict is not Verdict.RAISE and job.tries <= self.max_size + 3
        if number >= most or not paid:
            return None
        return 0.0 if number == 1 else self.backoff.delay(number, random())  # noqa: S311 - jitter

    async def put_down(self, wire: Any, lost: Any, deadline: float) -> None:
        """Have the server, asked on *wire*, end the process behind a *lost* one, and return when it is gone.

        Raises:
            psycopg.Error: It cannot be told, or did not end in time.
        """
        backend = lost.connection.backend
        if backend is None:
            raise psycopg.OperationalError(
                f"{self.name}: nobody knows what served a lost call behind a pooler"
            )
        while await self.step(wire, command(put_down(*backend)), deadline) != "SELECT 0":
            if now() >= deadline:
                raise psycopg.OperationalError(f"{self.name}: the server does not end what was lost")
            await sleep(_LOOK)

    async def end_victim(self, wire: Any, job: Job) -> None:
        """End what may still be at an earlier try of *job*, if the server can be told (retry table)."""
        lost, job.victim = job.victim, None
        try:
            await self.put_down(wire, lost, job.deadline)
        except psycopg.Error:
            return  # the user has said that a late run is harmless, too
        except BaseException:
            job.placed = False
            wire.release()
            raise

    @critical
    def evict(self, failed: Any) -> None:
        """Give up what is no younger than *failed* as soon as it is free: new ones may lead elsewhere."""
        self.breaker.generation = max(self.breaker.generation, failed.generation + 1)
        for wire in self.lanes.wires:
            if wire.generation <= failed.generation:
                wire.retire_at = 0.0
        for wire in list(self.lanes.idle):
            # To remove one may have given another to who waited.
            if wire.generation <= failed.generation and wire in self.lanes.idle:
                self.lanes.remove(wire)
                background(self._drop, wire)

    # -- giving it back --------------------------------------------------------------------------

    def mend(self, wire: Any) -> None:
        """Clean a free wire, or close it if it is not sound, too old or too large (L6, L7, Q2)."""
        soon(self._mend, wire)

    @critical
    def _is_to_mend(self, wire: Any) -> bool:
        is_first = wire.holder is self
        wire.holder = None
        return is_first

    async def _mend(self, wire: Any) -> None:
        if not self._is_to_mend(wire):
            return  # it was asked for once more after an interruption (D4)
        pipeline = wire.pipeline
        if now() > wire.retire_at or pipeline.swollen or self.is_closed:
            await self._drop(wire)
            self._refill()
            return
        if not (pipeline.is_idle if wire.dirty else pipeline.is_sound(wire.read_only)):
            wire.lose(psycopg.OperationalError("the session was left in a state that cannot be trusted"))
            return
        try:
            await runtime.within(GRACE, wire.clean)
        except Exception as error:
            wire.lose(psycopg.OperationalError(f"the session could not be cleaned: {error}"))
            return
        wire.release()

    # -- looking ---------------------------------------------------------------------------------

    def figures(self) -> dict[str, int]:
        """Return the pool's figures, the guide's among them."""
        return {
            "size": self.size,
            "min_size": self.min_size,
            "max_size": self.max_size,
            "active": self.lanes.active,
            "idle": len(self.lanes.idle),
            "waiting": self.lanes.in_line,
            "connecting": self.growing,
        }

    def __repr__(self) -> str:
        figures = (f"{key}={value}" for key, value in self.figures().items())
        return f"<{type(self).__name__} {self.name} {' '.join(figures)}>"
