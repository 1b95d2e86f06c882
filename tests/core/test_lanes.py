"""Which wire a call takes, case by case; `test_lanes_traffic.py` has what holds in all of them."""

import pytest

from pgdual.core.lanes import SLOW, WINDOW

from .wires import Call, lanes_of, read

QUICK = WINDOW * 0.3  # seconds; the third of them fills the window
INF = float("inf")


def test_reads_share_the_current_lane_until_its_window_is_full():
    """L4: reads join one lane while little is queued there, then an idle wire, then the least loaded."""
    lanes, (first, second) = lanes_of(64, True, True)
    for _ in range(3):
        lane = lanes.join(QUICK)
        lane.backlog += QUICK
        assert lane is second
    assert second.backlog + QUICK >= WINDOW
    assert lanes.join(QUICK) is first
    first.backlog = 2 * WINDOW
    assert lanes.join(QUICK) is second


def test_a_slow_read_goes_alone():
    """L4: a READ not yet timed, or slow, takes a wire that nobody joins, read-only where one is idle."""
    lanes, (reading, writing) = lanes_of(64, True, False)
    assert lanes.join(INF) is reading
    assert reading.alone
    assert lanes.join(2 * SLOW) is writing
    assert lanes.join(QUICK) is None
    assert (lanes.is_quick(SLOW), lanes.is_quick(2 * SLOW)) == (True, False)


def test_the_mode_wanted_and_then_the_oldest():
    """Q2: of the idle wires a call takes the last used of its own mode, else the one idle for longest."""
    lanes, (one, two, three) = lanes_of(64, True, False, True)
    assert lanes.take(read_only=True) is three
    assert lanes.take(read_only=False) is two
    assert lanes.take(read_only=False) is one
    assert lanes.take(read_only=False) is None


def test_a_depth_of_one_is_the_blocking_face():
    """Where the depth is 1 a READ has its wire alone, from an idle wire or from the line."""
    lanes, (wire,) = lanes_of(1, True)
    assert lanes.join(QUICK) is wire
    assert wire.alone
    lanes.share(wire)
    assert wire.alone
    call = Call(True, 0.0, False)
    lanes.wait(call)
    assert lanes.answered(wire, 1)
    lanes.offer(wire, 1.0)
    assert call.wire is wire
    assert wire.alone
    assert lanes.current is None


def test_a_full_lane_drains_for_a_writer():
    """L5: a lane at its depth limit drains too, or a read for each answer would keep it full for ever."""
    lanes, (wire,) = lanes_of(2, True)
    read(lanes)
    read(lanes)
    lanes.wait(Call(False, 0.0, True))
    assert wire.closing
    assert not lanes.answered(wire, 1)
    assert lanes.join(0.0) is None


def test_a_lane_that_opens_while_a_writer_waits_is_closed():
    """L5: a wire that becomes a lane when a writer waits already takes no reads."""
    lanes, (wire,) = lanes_of(64, False)
    read(lanes)
    lanes.wait(Call(False, 0.0, True))
    wire.read_only = True
    lanes.share(wire)
    assert lanes.join(0.0) is None


def test_a_cleaned_wire_that_goes_to_a_reader_leaves_the_writer_another():
    """L5: if the wire that drained for a writer goes to a read before it, another lane drains."""
    lanes, (first, second) = lanes_of(2, True, True)
    for _ in range(4):
        read(lanes)
    reader, writer = read(lanes), Call(False, 0.0, True)
    lanes.wait(writer)
    drained, other = (first, second) if first.closing else (second, first)
    drained.connection.calls.clear()
    assert lanes.answered(drained, 2)
    drained.load = 1
    lanes.keep(drained)
    drained.read_only = False
    assert lanes.answered(drained, 1)
    lanes.offer(drained, 1.0)
    assert (reader.wire, writer.wire) == (drained, None)
    assert other.closing


def test_a_lane_that_opens_takes_the_readers_in_line():
    """A wire that becomes a lane is joined at once by the reads that wait first."""
    lanes, (wire,) = lanes_of(64, False)
    read(lanes)
    waiting = [read(lanes), read(lanes)]
    wire.read_only = True
    lanes.share(wire)
    assert [call.wire for call in waiting] == [wire, wire]


def test_nobody_reads_on_a_wire_that_was_current():
    """L3: a writer who takes the current lane, which is idle, has it alone."""
    lanes, (wire,) = lanes_of(64, True)
    read(lanes)
    assert lanes.answered(wire, 1)
    lanes.offer(wire, 1.0)
    assert lanes.current is wire
    assert lanes.take(read_only=False) is wire
    assert lanes.join(0.0) is None


def test_the_line_may_be_left_twice():
    """Who was passed over because it had given up leaves a line that it is no longer in."""
    lanes, _ = lanes_of(64)
    call = Call(False, 0.0, True)
    lanes.wait(call)
    for _ in range(2):
        lanes.leave(call)
    assert not lanes.waiting


def test_a_lane_passes_over_those_who_gave_up():
    """A place on a lane goes to the first in line who still wants it."""
    lanes, (wire,) = lanes_of(2, True)
    read(lanes)
    read(lanes)
    gone, here = read(lanes), read(lanes)
    gone.has_given_up = True
    assert not lanes.answered(wire, 1)
    assert (gone.wire, here.wire, wire.load) == (None, wire, 2)


def test_a_writers_wire_is_not_current():
    """L3: a writer who is handed the current lane has it alone, though another lane was closing for it."""
    lanes, (first, second) = lanes_of(2, True, True)
    for _ in range(3):
        read(lanes)
    assert (first.load, second.load, lanes.current) == (1, 2, first)
    first.backlog = 1.0
    writer = Call(False, 0.0, True)
    lanes.wait(writer)
    assert second.closing
    assert lanes.answered(first, 1)
    lanes.offer(first, 1.0)
    assert writer.wire is first
    assert not second.closing
    assert lanes.current is None


def test_a_lost_wire_does_not_become_a_lane():
    """Sharing a wire that was lost in the same moment changes nothing."""
    lanes, (wire,) = lanes_of(64, False)
    read(lanes)
    lanes.remove(wire)
    lanes.share(wire)
    assert lanes.current is None


def slow_call():
    return Call(True, 1.0, True, slow=True)


def test_while_quick_reads_come_one_wire_is_kept_for_them():
    """L4: slow READs take all wires but one; the next is held back until one of them is answered."""
    lanes, (one, two, three) = lanes_of(64, True, True, True)
    quick = read(lanes)
    assert lanes.answered(quick, 1)
    lanes.offer(quick, 1.0)
    slow = [lanes.join(INF), lanes.join(INF)]
    assert lanes.join(INF) is None
    held = slow_call()
    lanes.wait(held)
    assert (lanes.in_line, held.wire) == (1, None)
    assert read(lanes) in {one, two, three} - set(slow)
    assert lanes.answered(slow[0], 1)
    lanes.offer(slow[0], 2.0)
    assert held.wire is slow[0]
    assert lanes.in_line == 0


def test_without_quick_reads_slow_ones_may_have_every_wire():
    """L4: the kept wire is given up when no quick READ came between two looks, and to those in line too."""
    lanes, (one, two) = lanes_of(64, True, True)
    quick = read(lanes)
    assert lanes.answered(quick, 1)
    lanes.offer(quick, 1.0)
    assert lanes.join(INF) is not None
    held = slow_call()
    assert lanes.join(INF) is None
    lanes.wait(held)
    lanes.relax()
    assert held.wire is None
    lanes.relax()
    assert held.wire in {one, two}
    lanes, wires = lanes_of(64, True, True)
    assert {lanes.join(INF), lanes.join(INF)} == set(wires)


def test_a_slow_read_that_gives_up_lets_the_next_in():
    """L5: those who leave, in line or held back, and wires that are lost, leave no place taken."""
    lanes, (one, two) = lanes_of(64, True, True)
    read(lanes)
    first, second, third = slow_call(), slow_call(), slow_call()
    assert lanes.join(INF) is not None
    for call in (first, second, third):
        lanes.wait(call)
    lanes.leave(second)
    lost = one if one.slow else two
    lanes.remove(lost)
    assert lanes.in_line == 2
    assert lanes.clear() == [first, third]
    assert lanes.in_line == 0
    lanes.relax()
    lanes.relax()
    new = type(lost)(True)
    lanes.add(new)
    lanes.offer(new, 3.0)
    assert lanes.join(INF) is new


def test_one_wire_serves_slow_reads_too():
    """L4: a pool of one has no wire to keep."""
    lanes, (wire,) = lanes_of(64, True)
    quick = read(lanes)
    assert lanes.answered(quick, 1)
    lanes.offer(quick, 1.0)
    assert lanes.join(INF) is wire


@pytest.mark.parametrize("depth", [1, 64])
def test_it_is_said_when_few_are_idle(depth):
    """W2: each time a wire is taken and fewer than `few` are left idle, by a READ or alone, it is said."""
    lanes, wires = lanes_of(depth, True, True, True)
    said = []
    lanes.dwindled = lambda: said.append(len(lanes.idle))
    lanes.join(QUICK)
    assert said == []  # few is 0: nobody wants to hear of it
    lanes.few = 2
    lanes.take(read_only=True)
    lanes.take(read_only=False)
    assert said == [1, 0]
    for wire in wires:
        assert lanes.answered(wire, 1)
        lanes.offer(wire, 0.0)
    lanes.few = 3
    lane = lanes.join(QUICK)
    assert said == [1, 0, 2]
    lanes.answered(lane, 1)
    lanes.offer(lane, 0.0)
    assert lanes.join(QUICK) is not None  # the current lane once more, which was idle
    assert said == [1, 0, 2, 2]


def test_who_is_let_in_by_a_loss_takes_the_idle_wire():
    """L5: a slow read that was held back gets the idle wire when the wire of a slow read is lost."""
    lanes, (_, busy) = lanes_of(64, False, True)
    lanes.join(QUICK)  # quick reads come, so one wire is kept for them
    lanes.answered(busy, 1)
    lanes.offer(busy, 0.0)
    wire = lanes.join(INF)
    waiter = slow_call()
    assert lanes.join(INF) is None
    lanes.wait(waiter)
    assert (lanes.in_line, len(lanes.idle)) == (1, 1)
    lanes.remove(wire)
    assert lanes.in_line == 0
    assert lanes.idle == {}


def test_the_current_lane_is_taken_again_in_silence():
    """W2: a READ that takes the current lane, which was idle, says nothing while enough others are idle."""
    lanes, _ = lanes_of(64, True, True)
    lanes.dwindled = lambda: pytest.fail("one is idle")
    lane = lanes.join(QUICK)
    lanes.answered(lane, 1)
    lanes.offer(lane, 0.0)
    lanes.few = 1
    lanes.current = lane
    assert lanes.join(QUICK) is lane
    assert len(lanes.idle) == 1
