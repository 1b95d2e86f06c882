# Generated from pgdual/_async/db.py by _generate.py. Do not edit.
"""One database: what `db` and `vb_db` are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Callable
from typing import Any

from pgdual.core import health
from pgdual.core.breaker import Breaker, CircuitBreaker
from pgdual.core.job import Job, begin
from pgdual.core.meter import Meter, ProjectionMeters
from pgdual.core.replay import Log
from pgdual.core.sizing import Share, share_for, worker_share
from pgdual.core.statement import Statement, Statements, check_place
from pgdual.core.thresholds import Thresholds, plain
from pgdual.core.types import Types
from pgdual.errors import ClientClosedError
from pgdual.settings import DatabaseSettings, Settings

from . import runtime
from .adapt import register_on
from .attempts import Attempt, attempts
from .attempts import run as repeated
from .borrowed import Borrowed
from .bulk.backfill import Backfills
from .bulk.calls import Bulk
from .call import DEFAULT, run
from .fleet import Fleet
from .labelled import Labelled
from .listen import Listener
from .probe import PROBE, probe
from .queries import Timeout
from .runtime import SCOPE, Deed, T, at_home, here, now, owner, owner_in
from .session import Session
from .transaction import Transaction, Isolation
from .watch import Watch

SLOWEST = 10  # statements that a snapshot names


class DB(Bulk, Backfills):
    """A database: its calls, its transactions, its figures.

    The pool is opened by the first call, once per process and event loop.
    """

    def __init__(self, name: str, settings: Callable[[], Settings]) -> None:
        self.name = name
        self._get_settings = settings
        self._own: DatabaseSettings | None = None
        self._statements = Statements()
        self._types = Types()
        self._meter = Meter()
        self._projections = ProjectionMeters()
        self._breaker: Breaker | None = None
        self._hooks: list[Callable[[Any], Any]] = []
        self._fleet: Fleet | None = None  # the one that was used last
        self._fleets: dict[Any, Fleet] = {}  # by event loop
        self._opening = runtime.Once()
        self._is_closed = False

    # -- calls -----------------------------------------------------------------------------------

    def _run(self, job: Job, timeout: Timeout) -> Any:
        fleet = self._fleet
        if fleet is not None and not at_home(fleet):
            fleet = None
        if SCOPE.get() is not None:
            transaction = SCOPE.find(self, owner_in(fleet))
            if transaction is not None:
                return transaction._run(job, timeout)
        if fleet is None:
            return self._open_and_run(job, timeout)
        return run(fleet, job, timeout)

    def _open_and_run(self, job: Job, timeout: Timeout) -> Any:
        return run(self._ready_fleet(), job, timeout)

    def _only_once(self) -> Transaction:
        transaction: Transaction | None = SCOPE.find(self, owner())
        return self.transaction(once=True) if transaction is None else transaction._only_once()

    def _run_many(self, job: Job, timeout: Timeout) -> int:
        transaction: Transaction | None = SCOPE.find(self, owner())
        if transaction is not None:
            return transaction._run_many(job, timeout)
        check_place(job.statement, in_transaction=False)
        session = self._apart("its rows are read only once")
        return int(session.whole(session.many, job, timeout))

    def _lent(
        self, statement: Statement, work: Any, is_limited: bool, timeout: Timeout = DEFAULT
    ) -> Any:
        transaction: Transaction | None = SCOPE.find(self, owner())
        if transaction is not None:
            return transaction._lent(statement, work, is_limited, timeout)
        session = self._apart("what COPY says is not kept")
        return session.whole(session.lent, statement, work, is_limited, timeout)

    def _session_for(self, reason: str) -> tuple[Session, Transaction | None]:
        transaction: Transaction | None = SCOPE.find(self, owner())
        if transaction is not None:
            return transaction._session_for(reason)
        return self._apart(reason), None

    def _apart(self, reason: str) -> Session:
        # Without a block: a query that the rows come from does not join it.
        return Session(self._ready_fleet(), begin, Log(reason))

    def transaction(
        self,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
        replay: bool = True,
        once: bool = False,
    ) -> Transaction:
        """Return a transaction to be entered with `with`; inside an open one, a savepoint.

        It commits when the block ends well and rolls back on any exception. Calls on this database in
        the same task join it. BEGIN travels with the first statement.

        Args:
            isolation: "read committed", "repeatable read" or "serializable"; the server's default otherwise.
            replay: After a deadlock, a serialization failure or a lost connection its statements are sent
                again, and if all are answered as before the block goes on; else ReplayMismatchError.
            once: Where the answer to COMMIT is lost, find out whether it was done, and do it if not. It needs
                the table that `create_commit_table` makes, and the rights to read and write it.
        """
        return Transaction(self, isolation, readonly, deferrable, replay, once)

    def attempts(self, isolation: Isolation | None = None, once: bool = False) -> Iterator[Attempt]:
        """Return an iterator of attempts at one block, which is repeated until it is done.

        For a block that cannot be replayed, since it has seen what has changed. On a conflict, a lost
        connection or a ReplayMismatchError in it the whole block runs again, PG_DEADLOCK_MAX_ATTEMPTS
        times in all. What COMMIT raises is not repeated here, but is by `run`.

        Example:
            `for attempt in db.attempts(): with attempt as tx: ...`
        """
        return attempts(self, lambda: self.transaction(isolation, once=once))

    def run(
        self,
        function: Deed[T],
        *args: Any,
        isolation: Isolation | None = None,
        once: bool = False,
    ) -> T:
        """Return what `function(tx, *args)` returns in a transaction, which is repeated until it is done.

        Raises:
            UsageError: In an open transaction.
            OutcomeUnknownError: The answer to COMMIT was lost; with *once* it is found out.
            Exception: What the last run raised.
        """
        return repeated(self, lambda: self.transaction(isolation, once=once), function, *args)

    def connection(self) -> Borrowed:
        """Return a loan of a psycopg connection, to be entered with `with`; it is in autocommit.

        It is the caller's alone, outside of pipeline mode and without time limits, and is reset when it
        comes back.
        """
        return Borrowed(self)

    def listen(self, *channels: str) -> Listener:
        """Return an iterator of the notifications of *channels*, on a connection of its own.

        Enter it with `with`, or `close()` it. After a reconnect it yields a Gap, never silence.
        """
        return Listener(self, channels)

    # -- adapting --------------------------------------------------------------------------------

    def configure(self, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Have *hook* called with every new psycopg connection, and again whenever one was reset.

        Give it before the first call. What it asks the server is to be answered within connect_timeout.
        Returns the hook, so that it can be used as a decorator.
        """
        self._hooks.append(hook)
        return hook

    def register(self, kind: Any, name: str | None = None) -> None:
        """Adapt an enum, a composite, a range or a type of your own, in parameters and in results.

        Args:
            kind: An Enum, a dataclass or NamedTuple (a composite), or the SQL name of the type.
            name: The SQL name; the class's name in snake case otherwise.

        Raises:
            UsageError: The database has no such type.
        """
        with self.connection() as connection:
            register_on(connection, self._types, kind, name)
        self._statements = self._statements.anew()

    def pure(self, name: str) -> None:
        """Take the user's word that function *name* has no side effects: a call of it is a READ (Q1)."""
        self._statements.pure(name)

    # -- opening and closing ---------------------------------------------------------------------

    def open(self) -> None:
        """Open the pool and wait until a connection is there, also while the breaker is open.

        Raises:
            PoolTimeoutError: None could be made within the acquire clock.
        """
        self._is_closed = False
        fleet = self._ready_fleet()
        wire = fleet.place_alone() or fleet.acquire(None, now())
        wire.release()

    @property
    def is_open(self) -> bool:
        """True if there is a pool."""
        fleet = self._fleet
        return fleet is not None and not fleet.is_closed and not runtime.is_over(fleet.home)

    def close(self) -> None:
        """Wait for calls in flight, up to the grace period, and close the pool."""
        self._is_closed = True
        self._fleet = None
        for home, fleet in list(self._fleets.items()):
            if fleet.home is None:
                continue  # the parent's
            if runtime.is_over(home):
                fleet.drop()
            elif home is here():
                fleet.close(self._get_settings().close_grace)
            else:
                runtime.elsewhere(home, fleet.close, self._get_settings().close_grace)
            # Not before: who was cancelled while it closed may close it again (D4).
            if self._fleets.get(home) is fleet:
                del self._fleets[home]

    def _fleet_now(self) -> Fleet | None:
        fleet = self._fleet
        return fleet if fleet is not None and at_home(fleet) else None

    def _ready_fleet(self) -> Fleet:
        home = here()
        fleet = self._fleet_now()
        if fleet is not None:
            return fleet
        with self._opening.of(home):
            if self._is_closed:
                raise ClientClosedError(
                    f"the client of {self.name!r} was closed; make a new one, or open() it again"
                )
            fleet = self._fleets.get(home)
            if fleet is not None and fleet.is_closed and fleet.home is home:
                fleet.close(self._get_settings().close_grace)  # it was cancelled as it closed
                fleet = None
            if fleet is None or fleet.home is not home:
                fleet = self._fleets[home] = self._new_fleet()
            self._fleet = fleet
            return fleet

    def _drop_dead(self) -> None:
        # P1: of event loops that are closed, and of the process that this one was forked from.
        for home, fleet in list(self._fleets.items()):
            if fleet.home is None or runtime.is_over(home):
                self._fleets.pop(home, None)
                if fleet.home is not None:
                    fleet.drop()

    def _new_fleet(self) -> Fleet:
        settings = self._database_settings()
        share, sizes = self._share(), self._sizes(settings)
        fleet = Fleet(
            self.name, settings, sizes, share, self._types, self._meter, self._hooks, self._own_breaker()
        )
        Watch(fleet, Thresholds.of(self._get_settings()))
        fleet.open()
        if (folder := self._get_settings().monitor) is not None:
            from pgdual import monitor  # noqa: PLC0415 - nobody else pays for it

            monitor.attend(folder, self)
        return fleet

    def _database_settings(self) -> DatabaseSettings:
        if self._own is not None:
            return self._own
        settings = self._get_settings()
        if settings.database(self.name).dsn is None:
            settings.get_dsn(self.name)
        return settings.database(self.name)

    def _own_breaker(self) -> Breaker:
        if self._breaker is None:
            settings = self._database_settings()
            self._breaker = Breaker(settings.breaker_failure_threshold, settings.breaker_timeout)
        return self._breaker

    def _share(self) -> Share:
        # P2: both faces of one process share the figure; who is dead has none of it.
        self._drop_dead()
        most = self._sizes(self._database_settings())[1]
        return share_for((os.getpid(), id(self._get_settings()), self.name), most)

    def _sizes(self, settings: DatabaseSettings) -> tuple[int, int]:
        workers = self._get_settings().workers
        return worker_share(settings.pool_min_size, settings.pool_max_size, workers, self.name)

    def use(self, settings: DatabaseSettings) -> None:
        """Close the pool and open the next one with these settings in place of the client's."""
        self.close()
        self._own, self._is_closed, self._breaker = settings, False, None

    def pool(self) -> runtime.Pool[Any]:
        """Return the psycopg pool that owns the connections."""
        return (self._ready_fleet()).pool

    # -- when something is wrong -----------------------------------------------------------------

    @property
    def circuit_breaker(self) -> CircuitBreaker:
        """The breaker of this database: its state, and `reset()`."""
        return CircuitBreaker(self._own_breaker(), now)

    def cancel_all(self) -> int:
        """Have the server cancel what runs for this client now, and return how many statements that were.

        Their callers get QueryCanceled; what waits for a connection goes on waiting.
        """
        fleet = self._fleet
        busy = [] if fleet is None else [wire for wire in list(fleet.lanes.wires) if wire.pipeline.owed]
        for wire in busy:
            wire.interrupt()
        return len(busy)

    # -- watching --------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return counters and the p50, p95 and p99 of acquire and of query, in milliseconds.
        "projections": their events, failures, `took` and `lag`, and the share of SYNC.
        """
        figures = self._fleet.figures() if self._fleet is not None else {}
        labels = {label: meter.summary() for label, meter in list(self._meter.labels.items())}
        own = {"database": self.name, "pool": figures, "projections": self._projections.summary()}
        return {**own, **self._meter.summary(), "labels": labels}

    def labelled(self, label: str) -> Labelled:
        """Return this database under a label: its calls are counted apart as well, in `stats()["labels"]`.

        Args:
            label: What they are for, as in "place_order"; of few names, for each has meters of its own.
        """
        return Labelled(self, label)

    def health_check(self) -> dict[str, Any]:
        """Return whether the database answers, as plain values; it raises nothing.

        It takes a second at most, two on the blocking face where the server cannot be reached, and waits
        for no connection of the pool.

        The keys: database, status ("healthy" or "unhealthy"), pool_info, pool_size, pool_max, breaker,
        role ("primary" or "standby"), in_recovery, replication_lag_ms (of a standby), server_version,
        latency_ms, error.
        """
        try:
            fleet = self._ready_fleet()
            started = now()
            answer = runtime.within(PROBE, probe, fleet)
        except Exception as error:
            return health.report(self.name, self._figures(), self._breaker_state(), error=error)
        latency = now() - started
        return health.report(
            self.name, self._figures(), self._breaker_state(), latency=latency, answer=answer
        )

    def _snapshot(self) -> dict[str, Any]:
        """Return what `pgdual.monitor` and the collectors tell of it; any thread may ask."""
        fleet = self._fleet
        slowest = self._statements.slowest(SLOWEST)
        return {
            "database": self.name,
            "face": runtime.FACE,
            "pool": self._figures(),
            "lanes": [] if fleet is None else [wire.load for wire in list(fleet.lanes.wires)],
            "breaker": self._breaker_state(),
            "meter": self._meter.state(),
            "projections": self._projections.state(),
            "slowest": [{"statement": plain(sql), "ms": seconds * 1e3} for sql, seconds in slowest],
        }

    def _breaker_state(self) -> str:
        return "closed" if self._breaker is None else self._breaker.state(now()).value

    def _figures(self) -> dict[str, int]:
        if self._fleet is not None:
            return self._fleet.figures()
        return {"size": 0, "min_size": 0, "max_size": 0}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._fleet or 'not open'}>"
