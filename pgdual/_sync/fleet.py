# Generated from pgdual/_async/fleet.py by _generate.py. Do not edit.
"""Warm wires over psycopg's pool.

The pool makes connections, backs off, limits sizes and lifetimes; borrowing from it for each call would
cost 50 us, so wires stay with the fleet and the pool is touched only to grow, to shrink, and when
somebody waits for the pool itself. `core.lanes` decides which wire a call takes; here is the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import psycopg

from pgdual.core.lanes import Lanes
from pgdual.core.meter import Meter
from pgdual.core.pipeline import DESCRIBE, Job, command
from pgdual.core.sizing import Share
from pgdual.core.statement import Kind, Statement
from pgdual.core.types import Types
from pgdual.core.verdict import is_final
from pgdual.errors import ClientClosedError, PoolTimeoutError
from pgdual.settings import DatabaseSettings

from . import runtime
from .runtime import DEPTH, INTERRUPTS, Connection, Pool, Turn, background, critical, now, soon
from .wire import Wire

_READ = Kind.READ
# How often idle and old wires are looked for. Source: psycopg_pool's own scheduler works in seconds.
TICK = 1.0  # seconds
_READ_ONLY_ON = b"SET default_transaction_read_only = on"
_READ_ONLY_OFF = b"RESET default_transaction_read_only"


class Fleet:
    """The wires of one database in one event loop (P1)."""

    background = staticmethod(background)

    def __init__(
        self, name: str, settings: DatabaseSettings, sizes: tuple[int, int], share: Share, types: Types,
        meter: Meter, hooks: Sequence[Callable[[Any], Any]],
    ) -> None:  # fmt: skip
        self.name = name
        self.settings = settings
        self.types = types
        self.meter = meter
        self.hooks = hooks
        self.home: Any = runtime.here()
        runtime.check_home(self.home)
        self.min_size, self.max_size = sizes
        self.acquire_timeout = settings.pool_timeout
        self.command_timeout = settings.command_timeout
        self.unnamed = settings.prepared_statements == "off"
        self.lanes = Lanes(DEPTH)
        self.lock = runtime.Guard()
        self.growing = 0
        self.is_closed = False
        self.last_error: Exception | None = None
        self._floor = 1.0
        self._share = share
        self._connections: WeakSet[Any] = WeakSet()

    # -- opening and closing ---------------------------------------------------------------------

    def open(self) -> None:
        """Start the pool and warm its smallest number of wires, without waiting for them."""
        warm = 0
        while warm < self.min_size and self._share.take(id(self)):
            warm += 1
        options = {"autocommit": True, "context": self.types, "fleet": self}
        self.pool: Pool[Any] = Pool(
            self._conninfo,
            connection_class=Connection,
            kwargs=options,
            min_size=warm,
            max_size=self.max_size,
            open=False,
            name=f"pgdual-{self.name}-{runtime.FACE}",
            configure=self._configure,
            timeout=self.acquire_timeout,
            max_idle=self.settings.pool_max_idle,
            max_lifetime=self.settings.pool_max_lifetime,
        )
        self.pool.open(wait=False)
        runtime.watch_fork(self)
        self._keeper = runtime.Keeper(TICK, self.tick)
        for _ in range(warm):
            self.growing += 1
            background(self._grow)

    def _conninfo(self) -> str:
        # Asked for each connection, so that a rotated password or DSN is taken up.
        conninfo = self.settings.conninfo()
        if self.settings.search_path is None:
            return conninfo
        # In the startup packet, so that DISCARD ALL brings it back (L7).
        parts = psycopg.conninfo.conninfo_to_dict(conninfo)
        path = self.settings.search_path.replace("\\", "\\\\").replace(" ", "\\ ")
        parts["options"] = f"{parts.get('options') or ''} -c search_path={path}".strip()
        return psycopg.conninfo.make_conninfo("", **parts)

    def _configure(self, connection: Any) -> None:
        for hook in self.hooks:
            hook(connection)

    def close(self, grace: float) -> None:
        """Take no more calls, wait up to *grace* seconds for those in flight, and close (P4)."""
        self.is_closed = True
        self._fail_waiting(ClientClosedError(f"the client of {self.name!r} was closed"))
        limit = now() + grace
        while self.lanes.active and now() < limit:
            runtime.sleep(0.005)
        self._keeper.stop()
        for wire in list(self.lanes.wires):
            if wire in self.lanes.idle:
                self._retire(wire)
            else:
                wire.lose(ClientClosedError(f"the client of {self.name!r} was closed while the call ran"))
        self.pool.close(timeout=max(0.1, limit - now()))
        self._share.forget(id(self))

    def abandon(self) -> None:
        """Forget everything without touching it: a forked child must not close what its parent uses (P1)."""
        self.home = None
        self.is_closed = True

    def drop(self) -> None:
        """Close the sockets of a fleet whose event loop is dead."""
        self.is_closed = True
        for connection in list(self._connections):
            connection.pgconn.finish()
        self._share.forget(id(self))

    # -- taking a wire ---------------------------------------------------------------------------

    @critical
    def place(self, statement: Statement) -> Any:
        """Return the wire that a call takes now, or None to wait for one."""
        if statement.kind is _READ:
            return self.lanes.join(statement.service)
        return self.lanes.take(read_only=False)

    @critical
    def place_alone(self) -> Any:
        """Return an idle wire for a transaction or a borrower, or None to wait for one."""
        return self.lanes.take(read_only=False)

    def acquire(self, statement: Statement | None, started: float) -> Any:
        """Wait in line for a wire, as the acquire clock allows, which began at *started* (D1).

        Raises:
            PoolTimeoutError: No wire came free in time.
            ClientClosedError: The client was closed.
        """
        wire, turn = self._line_up(statement)
        if wire is not None:
            return wire
        try:
            wire = turn.wait(started + self.acquire_timeout - now())
        except INTERRUPTS:
            self._give_up(turn)
            raise
        if wire is None:
            self._give_up(turn)
            raise PoolTimeoutError(self._full())
        return wire

    @critical
    def _line_up(self, statement: Statement | None) -> tuple[Any, Any]:
        if self.is_closed:
            raise ClientClosedError(f"the client of {self.name!r} is closed")
        lanes = self.lanes
        if statement is not None and statement.kind is _READ:
            wire = lanes.join(statement.service)
            alone = DEPTH == 1 or not lanes.is_quick(statement.service)
        else:
            wire = lanes.take(read_only=False)
            alone = True
        if wire is not None:
            return wire, None
        turn = Turn(alone)
        self.lanes.wait(turn)
        self.grow()
        return None, turn

    @critical
    def _give_up(self, turn: Any) -> None:
        self.lanes.leave(turn)
        wire = turn.given
        if wire is not None:
            wire.release()

    def _full(self) -> str:
        lanes = self.lanes
        reason = f"; the last attempt to connect failed: {self.last_error}" if self.last_error else ""
        return (
            f"no connection to {self.name!r} within {self.acquire_timeout} s: {lanes.active} of "
            f"{len(lanes.wires)} in use, {self.growing} being made, {self.max_size} allowed, "
            f"{len(lanes.waiting)} still waiting{reason}"
        )

    def _fail_waiting(self, error: Exception) -> None:
        waiting = self.lanes.waiting
        while waiting:
            waiting.popleft().fail(error)

    @critical
    def keep(self, wire: Any) -> None:
        """Let nobody join *wire* any more."""
        self.lanes.keep(wire)

    # -- getting it ready ------------------------------------------------------------------------

    def ready(self, wire: Any, statement: Statement, deadline: float) -> None:
        """Bring *wire* into the statement's mode and have the statement described, where need be.

        The wire comes back as it was placed; if anything fails it is released.
        """
        try:
            is_read = statement.kind is _READ
            if wire.read_only is not is_read:
                self._switch(wire, is_read, deadline)
            if statement.types is None and statement.kind is not Kind.SCRIPT:
                self.describe(wire, statement, deadline)
        except BaseException:
            wire.release()
            raise
        if is_read and self.lanes.is_quick(statement.service):
            self._open_up(wire)

    @critical
    def _open_up(self, wire: Any) -> None:
        self.lanes.share(wire)

    def _switch(self, wire: Any, read_only: bool, deadline: float) -> None:
        # Q2: a change of mode is a Sync group of its own, answered before anyone joins; in one group with
        # a statement it would not hold for that statement.
        self.step(wire, command(_READ_ONLY_ON if read_only else _READ_ONLY_OFF), deadline)
        wire.read_only = read_only

    def describe(self, wire: Any, statement: Statement, deadline: float, prelude: Any = ()) -> None:
        """Learn a statement's parameter types and how its columns are asked for (Q5, Q6)."""
        job = Job(DESCRIBE, statement)
        job.prelude = prelude
        statement.plans.clear()
        types, columns = self.step(wire, job, deadline)
        statement.result_format = self.types.result_format(columns)
        statement.types = types

    def step(self, wire: Any, job: Job, deadline: float) -> Any:
        """Run a job of pgdual's own on a wire that is held."""
        job.deadline = deadline
        try:
            return wire.answer(job)
        except INTERRUPTS:
            wire.forsake(job)
            raise

    # -- giving it back --------------------------------------------------------------------------

    def answered(self, wire: Any, count: int) -> None:
        """Count *count* calls on *wire* as answered, and offer it on when it is free."""
        if self._answered(wire, count):
            soon(self._mend, wire)

    @critical
    def _answered(self, wire: Any, count: int) -> bool:
        if wire.dead or not self.lanes.answered(wire, count):
            return False
        if wire.dirty or not wire.is_sound or now() > wire.retire_at or self.is_closed:
            wire.load = 1
            self.lanes.keep(wire)
            return True
        self.lanes.offer(wire, now())
        return False

    def _mend(self, wire: Any) -> None:
        """Clean a free wire, or close it if it is not sound or too old (L7, Q2)."""
        if not wire.is_sound:
            wire.lose(psycopg.OperationalError("the session was left in a state that cannot be trusted"))
            return
        if self.is_closed or now() > wire.retire_at:
            self._retire(wire)
            return
        try:
            runtime.within(self.settings.command_timeout, wire.clean(self.hooks))
        except Exception as error:
            wire.lose(psycopg.OperationalError(f"the session could not be cleaned: {error}"))
            return
        self.answered(wire, 1)

    def lost(self, wire: Any) -> None:
        """Forget a wire whose connection is gone; the pool makes a new one."""
        self._removed(wire)
        background(self._put, wire.connection)

    @critical
    def _removed(self, wire: Any) -> None:
        self.lanes.remove(wire)
        if self.lanes.waiting:
            self.grow()

    def _put(self, connection: Any) -> None:
        self.pool.putconn(connection)

    # -- growing and shrinking -------------------------------------------------------------------

    def grow(self) -> None:
        """Make one more wire beside the caller, if the limits allow and enough wait for one."""
        lanes = self.lanes
        if self.growing >= max(len(lanes.waiting), 1) or self.is_closed:
            return
        if len(lanes.wires) + self.growing >= self.max_size:
            return
        if len(lanes.wires) + self.growing < self._share.held(id(self)) or self._share.take(id(self)):
            self.growing += 1
            background(self._grow)

    def _grow(self) -> None:
        connection = None
        try:
            connection = self.pool.getconn(self.acquire_timeout)
        except psycopg.OperationalError as error:
            self.last_error = self.last_error or error
        self._grown(connection)

    @critical
    def _grown(self, connection: Any) -> None:
        self.growing -= 1
        if connection is None:
            return
        if self.is_closed:
            background(self._put, connection)
            return
        # The pool has its own jitter; by this time it takes the connection for old and closes it.
        wire = Wire(connection, self, now() + self.settings.pool_max_lifetime)
        self.last_error = None
        self.lanes.add(wire)
        self.lanes.offer(wire, now())

    def connected(self, connection: Any) -> None:
        """Remember a connection that the pool has made."""
        self._connections.add(connection)

    def not_connected(self, error: Exception) -> None:
        """Hear why the pool could not connect; if it will not get better, tell those who wait."""
        self.last_error = error
        if is_final(error):
            self._fail_waiting(error)

    def tick(self) -> None:
        """Hand idle and old wires back to the pool, which closes them or lends them elsewhere."""
        for wire in self._surplus():
            background(self._retire, wire)
        spare = self._share.held(id(self)) - max(self.pool.get_stats()["pool_size"], self.size + self.growing)
        if spare > 0:
            self._share.give(id(self), spare)

    @critical
    def _surplus(self) -> list[Any]:
        moment = now()
        wanted = self.pool.get_stats().get("requests_waiting", 0) - self.growing
        found: list[Any] = []
        for wire in list(self.lanes.idle):
            is_spare = (
                len(self.lanes.wires) > self.min_size
                and moment - wire.idle_since > self.settings.pool_max_idle
            )
            if is_spare or moment > wire.retire_at or len(found) < wanted:
                self.lanes.remove(wire)
                found.append(wire)
        return found

    def _retire(self, wire: Any) -> None:
        """Hand a free wire's connection back to the pool, which closes it if it is old."""
        self._removed(wire)
        wire.dead = True
        wire.detach()
        wire.pipeline.leave()
        self._put(wire.connection)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many wires there are."""
        return len(self.lanes.wires)

    def figures(self) -> dict[str, int]:
        """Return the pool's figures, the guide's among them."""
        lanes = self.lanes
        return {
            "size": self.size,
            "min_size": self.min_size,
            "max_size": self.max_size,
            "active": lanes.active,
            "idle": len(lanes.idle),
            "waiting": len(lanes.waiting),
            "connecting": self.growing,
        }

    def beyond_floor(self, seconds: float) -> float:
        """Return what a lone answer took beyond the quickest one: the network's part is not the text's."""
        floor = self._floor
        self._floor = seconds if seconds < floor else floor * 1.001
        return max(seconds - self._floor, 1e-6)

    def __repr__(self) -> str:
        figures = " ".join(f"{key}={value}" for key, value in self.figures().items())
        return f"<{type(self).__name__} {self.name} {figures}>"
