"""Which wire a call takes: decided here, without waiting (L1, L3-L5).

A *lane* is a wire that READs share. A READ joins the current lane while the work queued there is small
by the learned service times; otherwise it takes an idle wire, and at the pool's limit the least loaded
lane. Everything else, and a READ that is slow or not yet timed, has a wire *alone*. Who finds no wire
waits in line and is served in order; while somebody waits for a wire alone, the least loaded lane takes
no new reads until it has drained and been handed over, or 200 readers would starve a writer for ever.

Every wire counts the calls placed on it (`load`), from the moment they are placed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

# A READ that takes longer goes alone. Source: bench row 15; at 5 ms one slow read costs its
# neighbours as much as a hundred round trips.
SLOW: Final = 5e-3  # seconds
# How much queued work a READ may join: what it waits for while other wires do nothing. At half of it a
# hundred tasks begin to spread over ten wires, each with wake-ups and sends of its own; at four times as
# much, reads of 0.2 ms by ten tasks lose a seventh. Source: bench rows 2 to 4 and 15. A text that takes as
# long has a wire to itself while there is one.
WINDOW: Final = 5e-4  # seconds
WIDE: Final = 2e-3  # where the client is too busy to have use for another wire


class Lane:
    """What this module knows of a wire."""

    __slots__ = (
        "alone", "backlog", "closing", "connection", "dead", "dirty", "holder", "idle_since", "load",
        "read_only", "retire_at", "slow",
    )  # fmt: skip

    def __init__(self, connection: Any, read_only: bool = False) -> None:
        self.connection: Any = connection
        self.load: int = 0
        self.backlog: float = 0.0  # seconds of work queued, by the learned service times
        self.alone: bool = False  # one call, a transaction or a borrower has it; nobody joins
        self.closing: bool = False  # takes no new reads until it has drained
        self.slow: bool = False  # it has a slow READ
        self.dead: bool = False  # its connection is gone
        self.dirty: bool = False  # it is to be cleaned before anyone else has it
        self.holder: Any = None  # the block that has it, if one does
        self.read_only: bool = read_only
        self.idle_since: float = 0.0
        self.retire_at: float = inf  # then it is to be closed

    def is_sound(self) -> bool:
        """Return whether its session is as it should be between two calls."""
        return True


class Waiter(Protocol):
    """A call in line."""

    alone: bool
    slow: bool

    def give(self, wire: Any) -> bool:
        """Hand the wire over; return False if the call has given up."""
        ...


class Lanes:
    """The wires of one pool: which are idle, which is current, and who waits."""

    def __init__(self, depth: int) -> None:
        self.few = 0  # of the idle ones: with fewer left `dwindled` is called (W2)
        self.dwindled: Callable[[], object] = bool
        self.window = WINDOW
        self.depth = depth  # calls that may share a lane (L5); 1 where lanes are not shared
        self.wires: list[Any] = []
        self.idle: dict[Any, None] = {}
        self.waiting: deque[Any] = deque()
        self._alone = 0  # of the calls in `waiting` want a wire alone
        self.current: Any = None
        self.held_back: deque[Any] = deque()  # slow READs over their share, in order
        self._slow = 0  # slow READs that have a wire or stand in `waiting`
        self._quick = False  # quick READs came since the last `relax`
        self._closing = 0  # how many wires are closing

    @property
    def active(self) -> int:
        """How many wires have something in flight or are lent out (W2)."""
        return len(self.wires) - len(self.idle)

    @staticmethod
    def is_quick(service: float) -> bool:
        """True if a READ of *service* expected seconds may share a lane."""
        return service <= SLOW

    def join(self, service: float) -> Any:
        """Return the wire that a READ of *service* expected seconds takes now, or None to wait."""
        if service > SLOW:
            return self._take_slow()
        self._quick = True
        lane: Lane | None = self.current
        if (
            lane is not None
            and lane.backlog + service < self.window
            and lane.load < self.depth
            and not (self.waiting and self._in_line())
        ):
            if not lane.load:
                del self.idle[lane]
                if len(self.idle) < self.few:
                    self.dwindled()
            lane.load += 1
            return lane
        return None if self.waiting and self._in_line() else self._next_lane()

    def _in_line(self) -> bool:
        # Served in order: a read does not pass a read that waits; one that waits for a wire alone has
        # a lane closing for it.
        return len(self.waiting) > self._alone

    def _next_lane(self) -> Lane | None:
        lane: Lane | None = None if self.waiting else self._pop_idle(read_only=True)
        if lane is None:
            lane = self._least_loaded(self.depth)
            if lane is None:
                return None
        lane.load += 1
        if lane.read_only and self.depth > 1:
            self.current = lane
        else:
            lane.alone = True
        return lane

    def _least_loaded(self, below: int) -> Lane | None:
        best: Lane | None = None
        wire: Lane
        for wire in self.wires:
            if (
                0 < wire.load < below
                and wire.read_only
                and not (wire.alone or wire.closing)
                and (best is None or wire.backlog < best.backlog)
            ):
                best = wire
        return best

    def take(self, read_only: bool) -> Any:
        """Return an idle wire for one call alone, one in the wanted mode if there is one, or None to wait."""
        if self.waiting:
            return None
        wire = self._pop_idle(read_only)
        if wire is not None:
            wire.load += 1
            wire.alone = True
        return wire

    def _pop_idle(self, read_only: bool) -> Lane | None:
        idle = self.idle
        if not idle:
            return None
        found: Lane = idle.popitem()[0]  # as a rule the last used will do
        if found.read_only is not read_only:
            idle[found] = None
            alike = (wire for wire in reversed(idle) if wire.read_only is read_only)
            found = next(alike, None) or next(iter(idle))
            del idle[found]
        if len(idle) < self.few:
            self.dwindled()
        if found is self.current:
            self.current = None
        return found

    @property
    def in_line(self) -> int:
        """How many calls wait."""
        return len(self.waiting) + len(self.held_back)

    def wait(self, waiter: Any) -> None:
        """Put *waiter* in line."""
        if waiter.slow:
            self.held_back.append(waiter)
            self._let_in()
        else:
            self._stand(waiter)
            self._close_lanes()

    def _stand(self, waiter: Any) -> None:
        self.waiting.append(waiter)
        self._alone += waiter.alone

    def _next(self) -> Any:
        waiter = self.waiting.popleft()
        self._alone -= waiter.alone
        return waiter

    def leave(self, waiter: Any) -> None:
        """Take *waiter* out of line: it gave up."""
        if waiter in self.held_back:
            self.held_back.remove(waiter)
        elif waiter in self.waiting:
            self.waiting.remove(waiter)
            self._alone -= waiter.alone
            self._let_out(waiter)
        self._open_lanes()

    def clear(self) -> list[Any]:
        """Take everybody out of line, and return them."""
        found = [*self.waiting, *self.held_back]
        self.held_back.clear()
        while self.waiting:
            self._let_out(self._next())
        self._open_lanes()
        return found

    # -- slow reads ------------------------------------------------------------------------------

    @property
    def _is_full_of_slow(self) -> bool:
        # L4: while quick READs come, one wire is kept from the slow ones, or a hundredth of the calls would
        # have them all and the other ninety-nine would wait for it.
        return self._quick and self.depth > 1 and self._slow >= max(len(self.wires) - 1, 1)

    def _take_slow(self) -> Any:
        if self._is_full_of_slow or self.held_back:
            return None
        wire = self.take(read_only=True)
        if wire is not None:
            wire.slow = True
            self._slow += 1
        return wire

    def _let_in(self) -> None:
        while self.held_back and not self._is_full_of_slow:
            self._slow += 1
            self._stand(self.held_back.popleft())
        self._close_lanes()

    def _let_out(self, holder: Any) -> None:
        if holder.slow:
            holder.slow = False
            self._slow -= 1
            self._let_in()

    def relax(self) -> None:
        """Forget the quick READs of a while ago; slow ones may have every wire when none came since."""
        if not self._quick:
            self._let_in()
            self._serve()
        self._quick = False

    def _serve(self) -> None:
        # Who was let in may stand in line beside an idle wire, which was kept from him before.
        while self.waiting and self.idle:
            wire = self._pop_idle(self.waiting[0].slow)
            assert wire is not None
            self.offer(wire, wire.idle_since)

    # -- lanes that drain ------------------------------------------------------------------------

    def _close_lanes(self) -> None:
        # L5: one lane drains for each call that waits for a wire alone. Called whenever one more waits, a
        # lane becomes joinable or a closing one is gone.
        while self._closing < self._alone and self.depth > 1:
            lane = self._least_loaded(self.depth + 1)
            if lane is None:
                return
            lane.closing = True
            self._closing += 1
            if lane is self.current:
                self.current = None

    def _open_lanes(self) -> None:
        # Called whenever one less waits for a wire alone.
        wire: Lane
        for wire in self.wires:
            if self._closing <= self._alone:
                return
            if wire.closing:
                self._reopen(wire)
                self._admit(wire)

    def _reopen(self, wire: Lane) -> None:
        if wire.closing:
            wire.closing = False
            self._closing -= 1

    def answered(self, wire: Lane, count: int) -> bool:
        """Take *count* calls off *wire*; return True if it is free now, and to be cleaned, or offered."""
        wire.load -= count
        if not wire.load:
            wire.holder = None
            return True
        if self.waiting:
            self._admit(wire)
        return False

    def give_back(self, wire: Lane, count: int, moment: float, mender: Any) -> bool:
        """Take *count* calls off *wire*, and offer it on when it is free.

        Returns:
            Whether it is to be cleaned or closed first: *mender*, its holder now, has to.
        """
        if wire.dead or not self.answered(wire, count):
            return False
        if wire.dirty or moment > wire.retire_at or not wire.is_sound():
            wire.load, wire.holder = 1, mender
            self.keep(wire)
            return True
        self.offer(wire, moment)
        return False

    def _admit(self, wire: Lane) -> None:
        if wire.alone or wire.closing or not wire.read_only:
            return
        while wire.load < self.depth and self.waiting and not self.waiting[0].alone:
            wire.load += 1
            if not self._next().give(wire):
                wire.load -= 1

    def offer(self, wire: Lane, now: float) -> None:
        """Give a free wire to whoever is first in line, or keep it idle."""
        if wire.closing:
            self._reopen(wire)
        if wire.slow:
            self._let_out(wire)
        wire.alone = False
        wire.backlog = 0.0
        if self.waiting and self._hand_over(wire):
            return
        wire.load = 0
        wire.alone = False
        wire.idle_since = now
        self.idle[wire] = None

    def _hand_over(self, wire: Lane) -> bool:
        given = is_read = False
        while self.waiting and not given:
            waiter = self.waiting[0]
            wire.load = 1
            wire.alone = waiter.alone or not wire.read_only or self.depth == 1
            given = waiter.give(wire)
            self._next()  # not before: who is out of line and was given nothing waits in vain
            if given and waiter.slow:
                wire.slow = True
            else:
                self._let_out(waiter)
            is_read = not waiter.alone
        if given and not wire.alone:
            self._welcome(wire)
        elif wire is self.current:
            self.current = None
        self._open_lanes()
        if is_read:
            self._close_lanes()  # the wire may have been closing for a call that still waits
        return given

    def _welcome(self, lane: Lane) -> None:
        self.current = lane
        self._admit(lane)
        self._close_lanes()

    def keep(self, wire: Lane) -> None:
        """Let nobody join *wire* any more: it is lent, or about to be closed."""
        wire.alone = True
        if wire is self.current:
            self.current = None

    def share(self, wire: Lane) -> None:
        """Make *wire* the current lane: its one READ may have company."""
        # Meanwhile it may have been lost, or be in quarantine after a cancel (D5).
        if self.depth > 1 and wire.load == 1 and wire in self.wires:
            wire.alone = False
            self._reopen(wire)
            self._welcome(wire)

    def add(self, wire: Lane) -> None:
        """Count a new wire; `offer` it next."""
        self.wires.append(wire)
        self._let_in()

    def remove(self, wire: Lane) -> None:
        """Forget a wire that is lost or leaves."""
        if wire in self.wires:
            self.wires.remove(wire)
        self.idle.pop(wire, None)
        self._let_out(wire)
        self._reopen(wire)
        if wire is self.current:
            self.current = None
        self._serve()
        self._close_lanes()
