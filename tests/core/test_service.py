"""L4: what a text takes is the server's time, not that of a client which is busy."""

from math import inf

import pytest

from pgdual.core.lanes import SLOW, WIDE, WINDOW
from pgdual.core.service import LEAST, REST, Pulse, expect, learn, split

CALL = 2e-5  # seconds of the client's own that an answer costs


class Reader:
    """A wire: what it was sent is answered by then."""

    def __init__(self, pulse):
        self.pulse = pulse
        self.turn = 0

    def read(self, begun, moment, done):
        """Read at *moment* what was sent when *begun*, be *done* then, and return the seconds it took."""
        self.turn = self.pulse.wake(self.turn, moment)
        spent = self.pulse.spent(begun)
        self.pulse.rested = done
        return spent


def test_a_client_with_time_believes_the_clock():
    """What the loop waited for came when it was found: all of its time is the server's."""
    reader, moment = Reader(Pulse()), 1.0
    for _ in range(5):
        assert reader.read(moment, moment + 3e-4, moment + 3.2e-4) == pytest.approx(3e-4)
        moment += 3.2e-4


def test_a_busy_client_takes_no_blame_out_on_the_server():
    """Ten wires of ten tasks each, answered long before the client comes round to them: a lane would do."""
    pulse, service, moment = Pulse(), 3e-4, 1.0
    readers = [Reader(pulse) for _ in range(10)]
    last = dict.fromkeys(readers, moment)
    for _ in range(100):
        for reader in readers:
            done = moment + 10 * CALL
            taken = reader.read(last[reader], moment, done)
            last[reader], moment = moment, done
            service = expect(service, taken / 10)
    assert 100 * service < WINDOW


@pytest.mark.parametrize("seconds", [0.03, 0.3])
def test_a_slow_read_beside_a_busy_client_is_known(seconds):
    """While others keep the loop busy its answer is not there, turn after turn."""
    pulse, moment = Pulse(), 1.0
    busy, waits = [Reader(pulse) for _ in range(3)], Reader(pulse)
    sent = moment
    while moment < sent + seconds:
        for reader in busy:
            reader.read(moment - 3 * CALL, moment, moment + CALL)
            moment += CALL
    taken = waits.read(sent, moment, moment)
    assert SLOW < seconds - 7 * CALL < taken <= moment - sent


def test_readers_of_one_turn():
    """A turn is over as one is called again; what is found in it was not there in the turn before."""
    pulse = Pulse()
    first, second = Reader(pulse), Reader(pulse)
    assert first.read(1.0, 1.1, 1.2) == pytest.approx(0.1)  # it was waited for
    assert second.read(1.0, 1.2, 1.3) == pytest.approx(0.1)  # found with the first one's
    assert first.read(1.15, 1.3, 1.4) == LEAST  # sent since the loop looked
    assert second.read(1.05, 1.4, 1.5) == pytest.approx(0.05)  # not there when it looked, at 1.1
    assert first.read(1.35, 1.5 + 2 * REST, 1.6) == pytest.approx(0.15 + 2 * REST)


def test_short_waits_are_waits():
    """Many wires, each read once in a while, a little wait before each: what they take is the server's."""
    pulse, moment = Pulse(), 1.0
    readers = [Reader(pulse) for _ in range(40)]
    last = dict.fromkeys(readers, moment)
    for turn in range(3):
        for reader in readers:
            moment += 2 * REST
            taken = reader.read(last[reader], moment, moment + CALL)
            assert not turn or taken == pytest.approx(moment - last[reader])
            moment += CALL
            last[reader] = moment


def test_how_busy_a_client_is():
    """L4: one that computes more than it waits has more work join a lane, also after a pause."""
    pulse, moment = Pulse(), 1.0
    reader = Reader(pulse)
    assert pulse.window == WINDOW
    for share, window in ((0.7, WIDE), (0.3, WINDOW), (0.7, WIDE)):
        for _ in range(50):
            reader.read(moment, moment + (1 - share) * 1e-3, moment := moment + 1e-3)
        assert pulse.window == window
    reader.read(moment, moment := moment + 3600.0, moment)
    for _ in range(20):
        reader.read(moment, moment + 3e-4, moment := moment + 1e-3)
    assert pulse.window == WIDE


def test_what_is_queued_on_the_server_is_no_texts_own():
    """Where answers are late as a rule and quick at times, a text is a quick one while none is slow."""
    service = 1e-5
    for number in range(1000):
        service = expect(service, 1e-3 if number % 4 else 1e-5)
    assert service < 5e-4
    for _ in range(10):
        service = expect(service, 2 * SLOW)
    assert service > SLOW


def test_nothing_takes_no_time():
    """A READ that was there at once counts for something still, or a lane would take any number."""
    pulse = Pulse()
    pulse.wake(0, 1.0)
    assert (pulse.spent(1.0), pulse.spent(2.0)) == (LEAST, LEAST)


@pytest.mark.parametrize("seconds", [1e-6, 3.0])
def test_learning(seconds):
    """The first answer is believed, later ones move the expectation by a tenth."""
    assert learn(inf, seconds) == expect(inf, seconds) == seconds
    assert learn(1.0, seconds) == pytest.approx(0.9 + seconds / 10)


class Answered:
    def __init__(self, service):
        self.service = service


@pytest.mark.parametrize(
    ("services", "spent", "parts"),
    [
        ([0.001, 0.001], 0.002, (0.001, 0.001)),  # quick: an equal part each
        ([0.001, 0.001, 0.002], 0.303, (0.300, 0.0015)),  # the first was slow
        ([0.001, 0.0], 0.3, (0.3, 0.0)),
        ([0.001, 0.9, 0.9], 0.3, (0.1, 0.1)),  # no more than an equal part
    ],
)
def test_answers_that_come_together(services, spent, parts):
    """W1: of answers in one wake-up each has a part of the time; a long wait is the first one's."""
    found = split([Answered(service) for service in services], spent)
    assert found == pytest.approx(parts)
    assert found[0] + found[1] * (len(services) - 1) == pytest.approx(spent)
