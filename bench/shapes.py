"""How do the clients compare on the shapes of work that database benches know? ``--shapes``

The shapes are those of MagicStack's pgbench: a scan of pg_type, many small rows, blobs, arrays, COPY, a batch
of inserts and the smallest query there is. Ten tasks on a pool of ten read; rows are brought in by one, for
they fill one table, which is emptied before each time. The peers take turns, so that the machine's mood falls
on all; their answers are compared with pgdual's first.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.database import BULK, SCHEMA
from bench.executemany import DIGEST, INSERT, rows_of
from bench.harness import Call, NotRunError, Plan, Sample, Side, Stage, figures, same_answers
from bench.peers import PEERS, Peer

TASKS = 10
TRUNCATE = f"TRUNCATE {BULK}"
# "char" as text: the clients differ in what they make of it.
PG_TYPE = (
    "SELECT typname, typnamespace, typowner, typlen, typbyval, typcategory::text, typispreferred,"
    " typisdefined, typdelim::text, typrelid, typelem, typarray"
    " FROM pg_type WHERE typtypmod = $1::int4 AND typisdefined = $2::bool"
)
SMALL = "SELECT g AS i, g * 2 AS j FROM generate_series(1, 1000) AS g"
BLOBS = "SELECT convert_to(repeat('x', 1000), 'UTF8') AS b FROM generate_series(1, 100)"
ARRAYS = "SELECT array(SELECT generate_series(1, 100)) AS a FROM generate_series(1, 100)"


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape: either a query with its arguments, or rows to bring in."""

    name: str
    sql: str
    args: tuple[object, ...] = ()
    brings: int = 0
    copies: bool = False

    @property
    def unit(self) -> str:
        return "rows/s" if self.brings else "calls/s"

    @property
    def tasks(self) -> int:
        return 1 if self.brings else TASKS


SHAPES = (
    Shape("SELECT 1 + 1", "SELECT 1 + 1"),
    Shape("pg_type scan", PG_TYPE, (-1, True)),
    Shape("1,000 small rows", SMALL),
    Shape("100 blobs of 1 kB", BLOBS),
    Shape("100 arrays of 100 ints", ARRAYS),
    Shape("COPY 10,000 rows x 5", "", brings=10_000, copies=True),
    Shape("executemany 1,000 rows x 5", INSERT, brings=1_000),
)


def _reading(stage: Stage, peer: Peer, shape: Shape) -> Side:
    fetch = peer.fetch(shape.sql)

    async def answer() -> list[tuple[object, ...]]:
        return sorted(tuple(row) for row in await fetch(*shape.args))

    return Side(lambda: stage.run(answer()), stage.calls(lambda: fetch(*shape.args), shape.tasks))


def _bringing(stage: Stage, peer: Peer, shape: Shape, empty: Call) -> Side:
    rows = rows_of(shape.brings)
    table = BULK.removeprefix(f"{SCHEMA}.")
    bring = peer.copy(SCHEMA, table) if shape.copies else peer.many(shape.sql)
    digest = peer.fetch(DIGEST)

    async def answer() -> Sequence[object]:
        await empty()
        await bring(rows)
        return [tuple(row) for row in await digest()]

    return Side(lambda: stage.run(answer()), stage.bulk(lambda: bring(rows), shape.brings, empty))


def measure(dsn: str, plan: Plan, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    """Return every shape's figures by peer; what a peer cannot do, or gets wrong, stands in its place."""
    tell(f"{'':<28} {'tasks':>5}" + "".join(f"{name:>20}" for name in PEERS))
    return [_measured(shape, dsn, plan, tell) for shape in SHAPES]


def _measured(shape: Shape, dsn: str, plan: Plan, tell: Callable[[str], object]) -> dict[str, Any]:
    samples: dict[str, list[Sample]] = {}
    said: dict[str, str] = {}
    with Stage(dsn) as stage:
        players = _players(stage, shape, said)
        for name, player in players.items():
            player.round(plan.warm_up)
            samples[name] = []
        for turn in range(max(plan.pairs // 2, 1)):
            for name in sorted(players, reverse=bool(turn % 2)):
                gc.collect()
                samples[name].append(players[name].round(plan.seconds))
    found = {name: figures(rounds) for name, rounds in samples.items()}
    tell(
        f"{shape.name:<28} {shape.tasks:>5}"
        + "".join(f"{found[n]['figure']:>20,.0f}" if n in found else f"{'-':>20}" for n in PEERS)
    )
    for name, why in said.items():
        tell(f"{'':<28} {name}: {why}")
    tasks = f"{shape.tasks} task" + "s" * (shape.tasks > 1)
    return {"shape": shape.name, "unit": shape.unit, "tasks": tasks, "figures": found, "not_run": said}


def _players(stage: Stage, shape: Shape, said: dict[str, str]) -> dict[str, Side]:
    """Set up every peer that does this shape and answers as pgdual does; *said* tells of the others."""
    players: dict[str, Side] = {}
    expected: object = None
    empty: Call | None = None
    for name, opener in PEERS.items():
        peer = stage.open_async(opener(stage.dsn))
        empty = empty or peer.fetch(TRUNCATE)
        try:
            player = _bringing(stage, peer, shape, empty) if shape.brings else _reading(stage, peer, shape)
            answer = player.answer()
            expected = answer if expected is None else expected
            same_answers(expected, answer)
        except Exception as error:
            missing = isinstance(error, NotRunError)
            said[name] = str(error) if missing else f"{type(error).__name__}: {error}"[:200]
        else:
            players[name] = player
    return players
