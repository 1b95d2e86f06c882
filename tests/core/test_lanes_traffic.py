"""Lanes under any traffic: nobody shares a wire alone, nobody passes in line, nobody starves."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgdual.core.lanes import SLOW, WINDOW, Lanes

from .wires import Call, lanes_of, put, read, wire_of

QUICK = WINDOW * 0.3  # seconds; the third of them fills the window
INF = float("inf")


class AnyTraffic(RuleBasedStateMachine):
    """Reads, writes, cancels, losses and growth in any order, as the fleet would pass them on."""

    @initialize(depth=st.sampled_from([2, 3, 64, 1]), modes=st.lists(st.booleans(), min_size=1, max_size=4))
    def open(self, depth, modes):
        self.lanes = Lanes(depth)
        self.wires, self.line, self.now = [], [], 0.0
        for read_only in modes:
            self.grow(read_only)

    def _offer(self, wire):
        self.now += 1.0
        wire.connection.is_kept = False
        self.lanes.offer(wire, self.now)

    def _taken(self, wire, call):
        assert wire in self.wires
        put(wire, call)

    def _wait(self, call):
        self.line.append(call)
        self.lanes.wait(call)

    def _hopeful(self):
        return [call for call in self.line if not call.has_given_up]

    # -- what callers do -------------------------------------------------------------------------

    @rule(services=st.lists(st.sampled_from([0.0, QUICK, SLOW]), min_size=1, max_size=4))
    def read_quickly(self, services):
        for service in services:
            self._read(service)

    def _read(self, service):
        call = Call(True, service, self.lanes.depth == 1, self.line)
        wire = self.lanes.join(service)
        if wire is None:
            self._wait(call)
            return
        assert all(each.alone for each in self._hopeful())
        self._taken(wire, call)

    @rule(is_read=st.booleans())
    def run_alone(self, is_read):
        """A WRITE, or a READ that is slow or was never timed."""
        call = Call(is_read, 0.0, True, self.line, slow=is_read)
        wire = self.lanes.join(INF) if is_read else self.lanes.take(read_only=False)
        if wire is None:
            self._wait(call)
            return
        assert all(each in self.lanes.held_back for each in self._hopeful())
        assert wire.alone
        self._taken(wire, call)

    @rule()
    def relax(self):
        self.lanes.relax()

    @precondition(lambda self: self.line)
    @rule(data=st.data(), leaves_at_once=st.booleans())
    def give_up(self, data, leaves_at_once):
        call = data.draw(st.sampled_from(self.line))
        call.has_given_up = True
        if leaves_at_once:
            self.line.remove(call)
            self.lanes.leave(call)

    @precondition(lambda self: any(call.has_given_up for call in self.line))
    @rule()
    def leave_late(self):
        call = next(each for each in self.line if each.has_given_up)
        self.line.remove(call)
        self.lanes.leave(call)

    # -- what happens on a wire ------------------------------------------------------------------

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), all_of_them=st.booleans(), is_dirty=st.booleans())
    def answer(self, data, all_of_them, is_dirty):
        wire = data.draw(st.sampled_from(self._busy()))
        self._answer(wire, len(wire.connection.calls) if all_of_them else 1, is_dirty)

    def _answer(self, wire, count, is_dirty=False):
        wire.backlog -= sum(call.service for call in wire.connection.calls[:count])
        del wire.connection.calls[:count]
        if not self.lanes.answered(wire, count):
            return
        if is_dirty:
            wire.load = 1
            self._keep(wire)
        else:
            self._offer(wire)

    def _busy(self):
        return [wire for wire in self.wires if wire.connection.calls]

    def _held(self):
        return [wire for wire in self.wires if wire.connection.held]

    @precondition(lambda self: any(not wire.connection.held for wire in self._busy()))
    @rule(data=st.data())
    def cancel(self, data):
        """D5: the head is cancelled; the wire counts one more until the cancel has come back."""
        wire = data.draw(st.sampled_from([wire for wire in self._busy() if not wire.connection.held]))
        wire.load += 1
        self._keep(wire)
        self.lanes.share(wire)  # D5: whoever switched its mode has not heard of the cancel

    def _keep(self, wire):
        wire.connection.held, wire.connection.is_kept = 1, True
        self.lanes.keep(wire)

    @precondition(lambda self: self._held())
    @rule(data=st.data(), read_only=st.booleans())
    def release(self, data, read_only):
        wire = data.draw(st.sampled_from(self._held()))
        wire.connection.held = 0
        if not wire.connection.calls:
            wire.read_only = read_only
        if self.lanes.answered(wire, 1):
            self._offer(wire)

    @precondition(lambda self: self._switchable())
    @rule(data=st.data())
    def switch(self, data):
        """Q2: a wire takes the mode of the one call on it, and may then be shared if that reads."""
        wire = data.draw(st.sampled_from(self._switchable()))
        (call,) = wire.connection.calls
        wire.read_only = call.is_read
        if call.is_read:
            wire.connection.is_kept = False
            self.lanes.share(wire)

    def _switchable(self):
        return [
            wire
            for wire in self.wires
            if wire.alone and not wire.connection.held and len(wire.connection.calls) == 1
        ]

    # -- how wires come and go -------------------------------------------------------------------

    @precondition(lambda self: len(self.wires) < 5)
    @rule(read_only=st.booleans())
    def grow(self, read_only):
        wire = wire_of(read_only)
        self.wires.append(wire)
        self.lanes.add(wire)
        self._offer(wire)

    @precondition(lambda self: len(self.wires) > 1)
    @rule(data=st.data())
    def lose(self, data):
        """A wire is lost or leaves, idle or not; it may be said twice."""
        wire = data.draw(st.sampled_from(self.wires))
        self.wires.remove(wire)
        for _ in range(2):
            self.lanes.remove(wire)
        self.lanes.share(wire)  # its call has heard of its answer and not yet of the loss

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def every_call_is_counted_on_one_wire(self):
        assert self.lanes.wires == self.wires
        for wire in self.wires:
            assert wire.load == len(wire.connection.calls) + wire.connection.held >= 0
            assert (wire.load == 0) == (wire in self.lanes.idle)
        assert self.lanes.active == len(self.wires) - len(self.lanes.idle)
        assert set(self.lanes.idle) <= set(self.wires)

    @invariant()
    def a_wire_alone_has_one_call(self):
        """L3."""
        for wire in self.wires:
            if not wire.connection.is_kept:
                assert wire.load <= (1 if wire.alone else self.lanes.depth)
                assert wire.alone or all(call.is_read for call in wire.connection.calls)
                assert wire.alone or wire.read_only or not wire.load
            else:
                assert wire.alone

    @invariant()
    def idle_wires_are_as_new(self):
        for wire in self.lanes.idle:
            assert (wire.alone, wire.closing, wire.backlog) == (False, False, 0.0)

    @invariant()
    def nobody_waits_beside_an_idle_wire(self):
        assert not (self.lanes.waiting and self.lanes.idle)
        held = [call for call in self.lanes.held_back if not call.has_given_up]
        waiting = [call for call in self.lanes.waiting if not call.has_given_up]
        assert held == [call for call in self._hopeful() if call in held]  # in order
        assert set(self._hopeful()) == {*held, *waiting}

    @invariant()
    def slow_reads_leave_a_wire(self):
        """L4: what is counted is what there is, and it leaves a wire to quick READs where there are two."""
        slow = [wire for wire in self.wires if wire.slow]
        assert self.lanes._slow == len(slow) + sum(call.slow for call in self.lanes.waiting)
        if self.lanes.held_back:
            assert self.lanes.depth > 1
            assert self.lanes._slow >= max(len(self.wires) - 1, 1)

    @invariant()
    def the_current_lane_may_be_joined(self):
        lane = self.lanes.current
        if lane is not None:
            assert lane in self.wires
            assert (lane.read_only, lane.alone, lane.closing) == (True, False, False)
            assert self.lanes.depth > 1

    @invariant()
    def a_lane_drains_for_each_that_waits_for_a_wire_alone(self):
        """L5."""
        wanted = sum(call.alone for call in self.lanes.waiting)
        closing = sum(wire.closing for wire in self.wires)
        open_lanes = [wire for wire in self.wires if wire.load and not (wire.alone or wire.closing)]
        assert closing <= wanted
        assert closing == wanted or not open_lanes

    def teardown(self):
        """When every call is answered, nobody waits and every wire is idle."""
        while self._busy() or self._held():
            for wire in self._held():
                wire.connection.held = 0
                if self.lanes.answered(wire, 1):
                    self._offer(wire)
            for wire in self._busy():
                self._answer(wire, 1)
        if getattr(self, "wires", None):
            assert not self._hopeful()
            assert set(self.lanes.idle) == set(self.wires)


AnyTraffic.TestCase.settings = settings(stateful_step_count=60, deadline=None)
test_any_traffic = AnyTraffic.TestCase


@given(
    depth=st.integers(2, 6),
    modes=st.lists(st.booleans(), min_size=1, max_size=4),
    before=st.integers(0, 30),
    writers=st.integers(1, 3),
    traffic=st.lists(st.integers(0, 30), min_size=1, max_size=10),
    switches=st.booleans(),
)
def test_a_writer_is_served_whatever_readers_do(depth, modes, before, writers, traffic, switches):
    """L5: with readers arriving for ever, each who waits for a wire alone has it after a bounded time."""
    lanes, wires = lanes_of(depth, *modes)
    for _ in range(before):
        read(lanes)
    waiting = [Call(False, 0.0, True) for _ in range(writers)]
    for call in waiting:
        wire = lanes.take(read_only=False)
        if wire is None:
            lanes.wait(call)
        else:
            put(wire, call)
    bound = (before + writers + 1) * (depth + 1)
    for turn in range(bound):
        for _ in range(traffic[turn % len(traffic)]):
            read(lanes)
        for wire in wires:
            if switches and wire.alone and wire.connection.calls and wire.connection.calls[0].is_read:
                wire.read_only = True
                lanes.share(wire)
            if wire.connection.calls:
                wire.connection.calls.pop(0)
                if lanes.answered(wire, 1):
                    lanes.offer(wire, 0.0)
    assert all(call.wire is not None for call in waiting)
