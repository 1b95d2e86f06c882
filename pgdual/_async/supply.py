"""Where wires come from: psycopg's pool, within the share of the process.

The pool makes connections and tries again; its limit is what this fleet holds of the process's share
(P2). The fleet takes them out of it and keeps them, and gives up what it need not keep: idle and old
ones, one for somebody who asks the pool itself, one for the other face that has none.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from random import random
from typing import Any
from weakref import WeakSet

import psycopg

from pgdual.core.breaker import Breaker
from pgdual.core.lanes import Lanes
from pgdual.core.meter import Meter
from pgdual.core.retry import Backoff, Budget
from pgdual.core.sizing import Share
from pgdual.core.thresholds import opened
from pgdual.core.types import Types
from pgdual.core.verdict import is_final, is_full
from pgdual.errors import ClientClosedError, PoolTimeoutError
from pgdual.settings import DatabaseSettings

from . import runtime
from .connection import AsyncConnection
from .connector import AsyncConnector
from .runtime import DEPTH, Pool, background, critical, now
from .watch import say
from .wire import Wire

# How often idle and old wires are looked for. Source: psycopg_pool's own scheduler works in seconds.
TICK = 1.0  # seconds

# Nothing on stderr where the program has not set logging up: what went wrong is in the errors, too.
for _name in ("pgdual", "psycopg.pool"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class AsyncSupply(AsyncConnector):
    """The connections of one database in one event loop (P1)."""

    background = staticmethod(background)
    pool: Pool[Any]
    # What a call, a transaction and a loan are held against without a look; `watch` has set them (W2).
    watch: Any = None
    look_after = long_after = inf  # seconds
    leak_after: float | None = None

    def __init__(
        self, name: str, settings: DatabaseSettings, sizes: tuple[int, int], share: Share, types: Types,
        meter: Meter, hooks: Sequence[Callable[[Any], Any]], breaker: Breaker,
    ) -> None:  # fmt: skip
        super().__init__(name, settings, types, hooks)
        self.meter = meter
        self.breaker = breaker
        self.budget = Budget()
        self.backoff = Backoff(
            settings.retry_initial_delay, settings.retry_backoff_factor, settings.retry_max_delay
        )
        self.home: Any = runtime.here()
        runtime.check_home(self.home)
        self.min_size, self.max_size = sizes
        self.acquire_timeout = settings.pool_timeout
        self.command_timeout = settings.command_timeout
        self.lanes = Lanes(DEPTH)
        self.lock = runtime.Guard()
        self.growing = 0
        self.is_closed = False
        self.last_error = ""  # of an attempt to connect; its text, for its traceback would keep the socket
        self._share = share
        self._promised = 0  # connections of ours that are about to be another's
        self._giving: Counter[str] = Counter()  # how many are on their way to give a wire up, by what for
        self._connections: WeakSet[Any] = WeakSet()

    async def acquire(self, statement: Any, started: float, until: float = inf) -> Any:
        """Wait in line for a wire."""
        raise NotImplementedError

    def place_alone(self) -> Any:
        """Return an idle wire, or None."""
        raise NotImplementedError

    # -- opening and closing ---------------------------------------------------------------------

    async def open(self) -> None:
        """Start the pool and warm its smallest number of wires, without waiting for them."""
        warm = 0
        while warm < self.min_size and self._share.take(id(self)):
            warm += 1
        self.pool = Pool(
            self,
            self.conninfo,
            connection_class=AsyncConnection,
            kwargs={"autocommit": True, "context": self.types, "fleet": self},
            min_size=warm,
            max_size=max(warm, 1),
            open=False,
            name=f"pgdual-{self.name}-{runtime.FACE}",
            configure=self.configure,
            reset=self.reset,
            timeout=self.acquire_timeout,
            max_idle=self.settings.pool_max_idle,
            max_lifetime=self.settings.pool_max_lifetime,
            reconnect_timeout=inf,  # B1: however long the server was away
        )
        await self.pool.open(wait=False)
        self.pool.limit(warm)
        runtime.watch_fork(self)
        self._keeper = runtime.Keeper(TICK, self.tick)
        for _ in range(warm):
            self.growing += 1
            background(self._grow)

    async def close(self, grace: float) -> None:
        """Take no more calls, wait up to *grace* seconds for those in flight, and close (P4)."""
        self._retire_all()
        self._fail_waiting(ClientClosedError(f"the client of {self.name!r} was closed"))
        limit = now() + grace
        while self.lanes.active and now() < limit:
            await runtime.sleep(0.005)
        self._keeper.stop()
        idle, busy = self._part()
        for wire in idle:
            await self._drop(wire)
        for wire in busy:
            wire.lose(ClientClosedError(f"the client of {self.name!r} was closed while the call ran"))
        self.hang_up()
        await self.pool.close(timeout=max(0.1, limit - now()))
        self._let_go()

    @critical
    def _retire_all(self) -> None:
        self.is_closed = True
        for wire in self.lanes.wires:
            wire.retire_at = 0.0  # closed as soon as it is free

    @critical
    def _part(self) -> tuple[list[Any], list[Any]]:
        idle = list(self.lanes.idle)
        for wire in idle:
            self.lanes.remove(wire)
        return idle, list(self.lanes.wires)

    def abandon(self) -> None:
        """Forget everything: a forked child must not use, and not even close, what is its parent's (P1)."""
        self.home = None
        self.is_closed = True
        for wire in self.lanes.wires:  # lost without a word: nobody here is to go on with what is under way
            wire.dead = True
            wire.pipeline.lost = psycopg.OperationalError("the process was forked; this is its parent's")
            wire.pipeline.lose()

    def drop(self) -> None:
        """Close the sockets of a fleet whose event loop is dead."""
        self.is_closed = True
        for connection in list(self._connections):
            connection.pgconn.finish()
        self._let_go()

    def _let_go(self) -> None:
        # The process's share may be of another size when the pool is opened anew with other settings.
        self._share.forget(id(self))
        self._share = Share(0)

    @critical
    def _fail_waiting(self, error: Exception) -> None:
        for turn in self.lanes.clear():
            turn.fail(error)

    # -- growing ---------------------------------------------------------------------------------

    def grow(self) -> None:
        """Make one more wire beside the caller, if the limits allow and enough wait for one."""
        if self.growing < max(self.lanes.in_line, 1):
            self._grow_by_one()

    def _grow_by_one(self) -> bool:
        held = self.size + self.growing
        if self.is_closed or held >= self.max_size:
            return False
        if held >= self._share.held(id(self)) - self._promised and not self._take_permit():
            return False
        self.growing += 1
        background(self._grow)
        return True

    def _take_permit(self) -> bool:
        taken = self._share.may_take(id(self)) and self._share.take(id(self))
        if taken:
            self.pool.limit(self._share.held(id(self)))
        else:
            self._share.want(id(self))
        return taken

    async def _grow(self) -> None:
        connection = None
        try:
            connection = await self.pool.take(self.acquire_timeout)
        except psycopg.OperationalError as error:
            self.last_error = self.last_error or str(error)
        if not self._grown(connection):
            await self._discard(connection)
        else:  # it may have stood in line before somebody who asks the pool itself
            self._give(self._retire, self.pool.wanted - self.growing)

    @critical
    def _grown(self, connection: Any) -> bool:
        self.growing -= 1
        if connection is None or self.is_closed:
            return connection is None
        lifetime = self.settings.pool_max_lifetime * (1 - random() / 10)  # noqa: S311 - jitter
        wire = Wire(connection, self, now() + lifetime)
        self.last_error = ""
        self.lanes.add(wire)
        self.lanes.offer(wire, now())
        self.watch.resized()
        return True

    def connected(self, connection: Any, seconds: float) -> None:
        """Remember a connection that the pool is making, and that took *seconds* until now."""
        self._connections.add(connection)
        self.meter.creation.record(seconds)

    def configured(self) -> None:
        """Tell the breaker that the server is there (B1)."""
        if self.pooled:
            self.breaker.reach()  # a pooler lets clients in whatever the server behind it does
        else:
            self.breaker.succeed()

    def not_connected(self, error: Exception) -> None:
        """Hear why the pool could not connect; if it will not get better, tell those who wait."""
        self.last_error = str(error) if isinstance(error, psycopg.Error) else repr(error)
        if self.lanes.wires or self.is_closed:
            return  # who waits gets one of those in the end
        if is_final(error):
            error.add_note(f"database: {self.name}")
            self._fail_waiting(error)
        elif isinstance(error, (psycopg.OperationalError, OSError)) and not is_full(error):
            self.incident()  # B2: anything else is a function of the user's that failed

    def incident(self, generation: int | None = None) -> None:
        """Tell the breaker that the server did not answer (B2)."""
        if self.breaker.fail(now(), generation):
            say(opened(self.name, self.breaker.failures, self.breaker.seconds))

    # -- giving up -------------------------------------------------------------------------------

    def lost(self, wire: Any, is_incident: bool) -> None:
        """Forget a wire whose connection is gone, and make another where one is needed."""
        self._removed(wire)
        if is_incident:
            self.incident(wire.generation)
        if not self.is_closed:
            background(self._replace, wire.connection)

    @critical
    def _removed(self, wire: Any) -> None:
        self.lanes.remove(wire)
        self.watch.resized()
        if self.lanes.in_line:
            self.grow()

    async def _retire(self, wire: Any) -> None:
        """Hand a free wire's connection back to the pool, for somebody who asks there."""
        self._removed(wire)
        wire.dead = True
        wire.detach()
        wire.pipeline.leave()
        await self.pool.putconn(wire.connection)

    async def _drop(self, wire: Any) -> None:
        """Close a free wire for good."""
        self._removed(wire)
        wire.dead = True
        wire.detach()
        await self._discard(wire.connection)

    async def _replace(self, connection: Any) -> None:
        await self._discard(connection)
        self._refill()

    async def _cede(self, wire: Any) -> None:
        """Leave a free wire's place to the other face of this process (P2)."""
        self._promise(1)
        try:
            await self._drop(wire)
        finally:
            self._promise(-1)

    @critical
    def _promise(self, count: int) -> None:
        self._promised += count

    async def _discard(self, connection: Any) -> None:
        await self.pool.discard(connection)
        self._settle()

    @critical
    def _settle(self) -> None:
        """Give back what is held of the share and not used."""
        spare = self._share.held(id(self)) - max(self.pool.size, self.size + self.growing)
        if spare > 0 and not self.is_closed:
            self._share.give(id(self), spare)
            self.pool.limit(self._share.held(id(self)))

    @critical
    def lend_out(self) -> None:
        """Hear that somebody asks the pool itself for a connection, and there is none idle."""
        if self.pool.size < self.max_size and not self.is_closed and self._share.take(id(self)):
            self.pool.limit(self._share.held(id(self)))
        else:
            self._give(self._retire, self.pool.wanted - self.growing + 1)

    @critical
    def _give(self, give: Callable[[Any], Any], count: int) -> None:
        """See to it that *count* are on their way to *give* the next free wire up, and no more."""
        while self._giving[give.__name__] < count:
            self._giving[give.__name__] += 1
            background(self._give_way, give)

    async def _give_way(self, give: Callable[[Any], Any]) -> None:
        try:
            await give(self.place_alone() or await self.acquire(None, now()))
        except (PoolTimeoutError, ClientClosedError, psycopg.Error):
            return
        finally:
            self._gave(give.__name__)

    @critical
    def _gave(self, name: str) -> None:
        self._giving[name] -= 1

    # -- keeping ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Close idle and old wires, warm new ones, and see to it that nobody starves."""
        if self.is_closed:
            return
        self.watch.tick()
        for wire in self._surplus():
            background(self._drop, wire)
        self._give(self._retire, self.pool.wanted - self.growing)
        if self._share.is_wanted(id(self), bool(self.lanes.idle)):
            self._give(self._cede, 1)
        self._refill()
        self._settle()

    @critical
    def _surplus(self) -> list[Any]:
        moment = now()
        spare = len(self.lanes.wires) - self.min_size
        found: list[Any] = []
        for wire in list(self.lanes.idle):
            is_spare = len(found) < spare and moment - wire.idle_since > self.settings.pool_max_idle
            is_old = moment > wire.retire_at and not found  # one at a time: the pool is never without
            is_idle = wire in self.lanes.idle  # to remove one may have given it to who waited
            if is_idle and (is_spare or is_old or wire.speaks()):
                self.lanes.remove(wire)
                found.append(wire)
        return found

    @critical
    def _refill(self) -> None:
        self.lanes.relax()
        if not (self.breaker.is_closed or self.growing or (self.pooled and self.lanes.wires)):
            self._grow_by_one()  # B1: while it is open a connection is tried for, where that proves something
        waiting = self.lanes.in_line
        if not waiting:
            self._share.want_none(id(self))
        missing = waiting - self.growing
        if not self._share.is_wanted(id(self), False):
            missing = max(missing, self.min_size - self.size - self.growing)
        while missing > 0 and self._grow_by_one():
            missing -= 1

    # -- looking ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many wires there are."""
        return len(self.lanes.wires)
