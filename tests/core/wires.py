"""Wires without a connection, and the calls that wait for them."""

from pgdual.core.lanes import Lane, Lanes


class Calls:
    """What stands for a lane's connection: the calls that are on it."""

    def __init__(self):
        self.calls = []
        self.held = 0  # a cancel or a cleaning that counts in the load
        self.is_kept = False  # it was kept since it was offered last


def wire_of(read_only):
    """Return a wire of this mode, with no calls on it."""
    return Lane(Calls(), read_only)


def put(wire, call):
    """Have the *wire* that *call* was given serve it."""
    wire.connection.calls.append(call)
    wire.backlog += call.service
    call.wire = wire


class Call:
    """A READ or a WRITE, in line or on a wire."""

    def __init__(self, is_read, service, alone, line=None, slow=False):
        self.is_read, self.service, self.alone = is_read, service, alone
        self.line = line  # every call that waits, in the order of arrival
        self.slow = slow
        self.has_given_up = False
        self.wire = None

    def give(self, wire):
        if self.has_given_up:
            return False
        if self.line is not None:
            sort = (self.alone, self.slow)
            alike = [each for each in self.line if (each.alone, each.slow) == sort and not each.has_given_up]
            assert alike[0] is self, "L5: it passed one of its own sort"
            self.line.remove(self)
        put(wire, self)
        return True


def lanes_of(depth, *modes):
    """Return lanes and their idle wires, each read-only or not; the last has been idle for the shortest."""
    lanes, wires = Lanes(depth), [wire_of(read_only) for read_only in modes]
    for at, wire in enumerate(wires):
        lanes.add(wire)
        lanes.offer(wire, float(at))
    return lanes, wires


def read(lanes):
    """Return the wire of one more quick READ, or the call that waits for one."""
    call = Call(True, 0.0, False)
    wire = lanes.join(0.0)
    if wire is None:
        lanes.wait(call)
        return call
    put(wire, call)
    return wire
