"""T5: replay turns no transaction into an anomaly that its isolation level forbids.

The Hermitage catalogue (Martin Kleppmann, github.com/ept/hermitage) on two or three transactions of pgdual
at once. A history is a line of steps, `who: what`; a step that waits for a lock goes on when it can. What
each transaction saw, its replays and corrections included, and what is there in the end, tell whether the
anomaly has happened.
"""

from __future__ import annotations

from typing import Any

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import ReplayMismatchError, SerializationFailure

from .clients import client_of, is_running, outside, prepare
from .runtime import Event, Spawned, spawn, wait_until

TABLE = "create table test (id int primary key, value int); insert into test values (1, 10), (2, 20)"
READ, REPEATABLE, SERIALIZABLE = "read committed", "repeatable read", "serializable"
LEVELS = (READ, REPEATABLE, SERIALIZABLE)
SET = "update test set value = {1} where id = {0}"
GET = "select value from test where id = {0}"
ALL = "select id, value from test order by id"
TENS = "select id from test where value % {0} = 0"


class Actor:
    """A transaction that does one step after the other, as it is told."""

    def __init__(self, db: AsyncDB, level: Any) -> None:
        self.seen: list[list[tuple[Any, ...]]] = []
        self.ended = ""  # "committed", "rolled back" or the error's name
        self.replays = 0
        self._todo: list[str] = []
        self._done = 0
        self._given = 0
        self._over = Event()
        self._work: Spawned[None] = spawn(lambda: self._run(db, level))

    async def _run(self, db: AsyncDB, level: Any) -> None:
        tx = db.transaction(isolation=level)
        try:
            async with tx:
                while True:
                    await wait_until(lambda: self._todo, 20)
                    step = self._todo.pop(0)
                    if step == "commit":
                        break
                    if step == "abort":
                        raise LookupError
                    self.seen.append([tuple(row) for row in await tx.fetch(step)])
                    self._done += 1
            self.ended = "committed"
        except LookupError:
            self.ended = "rolled back"
        except (SerializationFailure, ReplayMismatchError) as error:
            self.ended = type(error).__name__
        self.replays = tx.replays
        self._over.set()

    async def step(self, step: str, dsn: str) -> None:
        """Have it do *step*; return when it is done, over, or waits for a lock."""
        self._todo.append(step)
        self._given += 1
        waits = step.partition(" where")[0] + "%"
        blocked = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like %s"

        def is_at_rest() -> bool:
            return self._done == self._given or self._over.is_set() or bool(outside(dsn, blocked, waits))

        await wait_until(is_at_rest)

    async def end(self) -> None:
        """Return when it has ended."""
        await self._over.wait(20)
        await self._work.result()


# Each history: its steps, which levels forbid the anomaly, and what tells that it has happened: of all
# actors, by their number, and of the table in the end.
def _both(actors: dict[str, Actor], *names: str) -> bool:
    return all(actors[name].ended == "committed" for name in names)


_LAST = "2: commit; 3: get 2; 3: get 1; 3: commit"
HISTORIES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "G0": (
        "1: set 1 11; 2: set 1 12; 1: set 2 21; 1: commit; 2: set 2 22; 2: commit",
        LEVELS,
        lambda actors, rows: rows not in ([(1, 11), (2, 21)], [(1, 12), (2, 22)]),
    ),
    "G1a": (
        "1: set 1 101; 2: all; 1: abort; 2: all; 2: commit",
        LEVELS,
        lambda actors, rows: any((1, 101) in seen for seen in actors["2"].seen),
    ),
    "G1b": (
        "1: set 1 101; 2: all; 1: set 1 11; 1: commit; 2: all; 2: commit",
        LEVELS,
        lambda actors, rows: any((1, 101) in seen for seen in actors["2"].seen),
    ),
    "G1c": (
        "1: set 1 11; 2: set 2 22; 1: get 2; 2: get 1; 1: commit; 2: commit",
        LEVELS,
        lambda actors, rows: (
            _both(actors, "1", "2") and actors["1"].seen[1] == [(22,)] and actors["2"].seen[1] == [(11,)]
        ),
    ),
    "OTV": (
        f"1: set 1 11; 1: set 2 19; 2: set 1 12; 1: commit; 3: get 1; 2: set 2 18; 3: get 2; {_LAST}",
        LEVELS,
        # It saw something of the second transaction, and after that something from before it.
        lambda actors, rows: (
            [seen[0][0] for seen in actors["3"].seen] in ([12, 19, 19, 12], [12, 19, 18, 12])
        ),
    ),
    "PMP": (
        "1: tens 30; 2: add 3 30; 2: commit; 1: tens 3; 1: commit",
        (REPEATABLE, SERIALIZABLE),
        lambda actors, rows: actors["1"].seen[0] != actors["1"].seen[1],
    ),
    "P4": (
        "1: get 1; 2: get 1; 1: set 1 11; 2: set 1 12; 1: commit; 2: commit",
        (REPEATABLE, SERIALIZABLE),
        lambda actors, rows: _both(actors, "1", "2"),
    ),
    "G-single": (
        "1: get 1; 2: get 1; 2: get 2; 2: set 1 12; 2: set 2 18; 2: commit; 1: get 2; 1: commit",
        (REPEATABLE, SERIALIZABLE),
        lambda actors, rows: actors["1"].seen == [[(10,)], [(18,)]],
    ),
    "G2-item": (
        "1: all; 2: all; 1: set 1 11; 2: set 2 21; 1: commit; 2: commit",
        (SERIALIZABLE,),
        lambda actors, rows: _both(actors, "1", "2"),
    ),
    "G2": (
        "1: tens 3; 2: tens 3; 1: add 3 30; 2: add 4 42; 1: commit; 2: commit",
        (SERIALIZABLE,),
        lambda actors, rows: _both(actors, "1", "2"),
    ),
}
TEXTS = {
    "set": SET,
    "get": GET,
    "all": ALL,
    "tens": TENS,
    "add": "insert into test values ({0}, {1})",
    "commit": "commit",
    "abort": "abort",
}


async def play(db: AsyncDB, dsn: str, history: str, level: str) -> dict[str, Actor]:
    """Play *history*; return what became of who is in it."""
    actors: dict[str, Actor] = {}
    for line in history.split("; "):
        name, what = line.split(": ")
        verb, *args = what.split()
        if name not in actors:
            actors[name] = Actor(db, level)
        await actors[name].step(TEXTS[verb].format(*args), dsn)
    for actor in actors.values():
        await actor.end()
    return actors


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", HISTORIES)
async def test_the_catalogue(main_dsn: str, name: str, level: str) -> None:
    """T5: what a level forbids does not happen through replay, and what it allows is not made up."""
    history, forbidden, has_happened = HISTORIES[name]
    prepare(main_dsn, TABLE)
    async with client_of(main=main_dsn) as client:
        actors = await play(client["main"], main_dsn, history, level)
        rows = [tuple(row) for row in outside(main_dsn, ALL)]
        assert bool(has_happened(actors, rows)) == (level not in forbidden)
        assert not is_running(main_dsn, "update")
