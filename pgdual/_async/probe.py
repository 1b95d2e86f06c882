"""Asks a database how it is, in a short time of its own, whatever its callers do.

On a wire that is idle, or else on a connection beside the pool: a health check stands in no line. Neither
way counts for the breaker (B3).
"""

from __future__ import annotations

from math import inf
from typing import Any

import psycopg

from pgdual.core.breaker import Breaker
from pgdual.core.health import question
from pgdual.core.lanes import Lanes
from pgdual.core.meter import Meter
from pgdual.core.service import Floor

from . import runtime
from .connection import AsyncBounded
from .runtime import INTERRUPTS, now
from .wire import Wire

# How long a probe may take. Source: the probes' own default in Kubernetes is one second.
PROBE = 1.0  # seconds
# On the blocking face connecting is bounded by libpq's own clock, whose least is two seconds.
CONNECT = 2  # seconds


async def probe(fleet: Any) -> Any:
    """Return the server's answer to `core.health.question`.

    Raises:
        psycopg.Error: It could not be asked; or what it said.
        QueryTimeoutError: It did not answer in time.
    """
    wire = fleet.place_alone()
    if wire is not None:
        try:
            return await _ask(wire, now() + PROBE)
        except psycopg.OperationalError:
            if not wire.dead:
                raise
    return await _ask_beside(fleet)


async def _ask(wire: Any, deadline: float) -> Any:
    job = question(deadline)
    job.placed = True
    job.started = job.sent = now()
    try:
        return await wire.answer(job)
    except INTERRUPTS:
        wire.forsake(job)
        raise


async def _ask_beside(fleet: Any) -> Any:
    connection = await AsyncBounded.connect(fleet.conninfo(), autocommit=True, connect_timeout=CONNECT)
    wire = Wire(connection, _Beside(fleet), inf)
    try:
        return await _ask(wire, now() + PROBE)
    finally:
        wire.detach()
        connection.pgconn.finish()


class _Beside:
    """What a wire that belongs to no fleet tells: nobody hears it."""

    unnamed = True
    background = staticmethod(runtime.background)
    look_after = inf
    joined = None

    def __init__(self, fleet: Any) -> None:
        self.name = fleet.name
        self.types = fleet.types
        self.pooled = fleet.pooled
        self.breaker = Breaker(1, 1.0)
        self.meter = Meter()
        self.floor = Floor()
        self.lanes = Lanes(1)
        self.lock = runtime.Guard()

    def keep(self, *_: Any) -> None:
        pass

    lost = mend = recover = keep
