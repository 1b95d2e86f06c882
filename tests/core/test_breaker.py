"""The breaker counts incidents, refuses at once while open, and lets one probe through (B1, B2)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pgdual.core.breaker import Breaker, CircuitBreaker, State

SECONDS = 30.0


def opened():
    breaker = Breaker(5, SECONDS)
    for _ in range(5):
        breaker.fail(100.0)
    return breaker


def test_it_opens_after_as_many_incidents_in_a_row():
    """B1: the fifth incident opens it, and an answer in between starts the count anew."""
    breaker = Breaker(5, SECONDS)
    assert [breaker.fail(0.0) for _ in range(4)] == [False] * 4
    breaker.succeed()
    assert [breaker.fail(0.0) for _ in range(5)] == [False] * 4 + [True]
    assert (breaker.state(0.0), breaker.failures, breaker.openings) == (State.OPEN, 5, 1)


def test_a_call_is_refused_with_the_time_that_is_left():
    """B1: while it is open a call hears after how many seconds it may come again."""
    assert opened().admit(110.0, "call") == SECONDS - 10
    assert Breaker(5, SECONDS).admit(110.0, "call") == 0


def test_one_probe_at_a_time():
    """B1: half open, one call goes on and the others wait for what becomes of it."""
    breaker, now = opened(), 131.0
    assert breaker.state(now) is State.HALF_OPEN
    assert [breaker.admit(now, caller) for caller in ("probe", "other", "probe")] == [0, SECONDS, 0]
    breaker.succeed()
    assert breaker.state(now) is State.CLOSED
    assert breaker.admit(now, "other") == 0


def test_a_probe_that_fails_opens_it_anew():
    """B1: the next probe waits as long as the first one did."""
    breaker = opened()
    assert breaker.admit(131.0, "probe") == 0
    assert breaker.fail(132.0)
    assert breaker.admit(133.0, "probe") == SECONDS - 1


def test_a_probe_that_was_cancelled_frees_its_place():
    """B2: a cancelled probe says nothing of the server."""
    breaker = opened()
    assert breaker.admit(131.0, "probe") == 0
    breaker.withdraw("other")
    assert breaker.admit(131.0, "other") == SECONDS
    breaker.withdraw("probe")
    assert breaker.admit(131.0, "other") == 0


def test_a_connection_closes_it_at_once():
    """B1: a connection that could be made closes it however long it was to be open."""
    breaker = opened()
    breaker.succeed()
    assert breaker.state(101.0) is State.CLOSED
    assert breaker.failures == 0


def test_what_its_users_see():
    """State, incidents and the time that is left are there to be read, and reset() closes it."""
    seen = CircuitBreaker(opened(), lambda: 110.0)
    assert (seen.state, seen.failures, seen.retry_after) == ("open", 5, SECONDS - 10)
    assert repr(seen) == "<CircuitBreaker open failures=5>"
    seen.reset()
    assert (seen.state, seen.failures, seen.retry_after) == ("closed", 0, 0.0)
    assert CircuitBreaker(opened(), lambda: 130.0).state == "half-open"


def test_wires_lost_together_are_one_incident():
    """B2: all wires of one generation count once; those that were made since count again."""
    breaker = Breaker(3, SECONDS)
    first = breaker.generation
    for _ in range(10):
        assert not breaker.fail(0.0, first)
    assert breaker.failures == 1
    assert not breaker.fail(0.0, breaker.generation)
    assert not breaker.fail(0.0, first)
    assert breaker.fail(0.0, breaker.generation)


def test_calls_that_got_no_answer_one_after_the_other():
    """B2: wires of one generation are lost together within a second; later each call counts for itself."""
    breaker = Breaker(3, SECONDS)
    assert [breaker.fail(now, 0) for now in (0.0, 0.5, 0.9, 1.0, 1.9)] == [False] * 5
    assert breaker.failures == 2
    assert breaker.fail(2.0, 0)


def test_what_a_bare_connection_proves():
    """B1, B2: through a pooler, whose door is open, it undoes attempts that failed and not lost answers."""
    breaker = Breaker(2, SECONDS)
    breaker.fail(0.0, 0)
    assert breaker.fail(5.0, breaker.generation)
    breaker.reach()
    assert (breaker.state(6.0), breaker.failures) == (State.OPEN, 2)
    breaker.fail(7.0)
    breaker.reach()
    assert (breaker.state(8.0), breaker.failures) == (State.CLOSED, 0)


class AgainstModel(RuleBasedStateMachine):
    """The breaker beside the lines that say the same in the plainest way."""

    def __init__(self):
        super().__init__()
        self.breaker = Breaker(3, 10)
        self.now, self.row, self.opened_at, self.probe = 0, 0, None, None
        self.wires, self.losses, self.was_lost = [], [], False  # when each was made, and was counted as lost

    @rule(seconds=st.sampled_from([0, 0.5, 1, 5, 12]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def succeed(self):
        self.breaker.succeed()
        self.closed()

    @rule()
    def reach(self):
        self.breaker.reach()
        if not self.was_lost:
            self.closed()

    def closed(self):
        self.row, self.opened_at, self.probe = 0, None, None

    @rule()
    def fail(self):
        assert self.breaker.fail(self.now) is self.incident()
        self.was_lost = False

    @rule()
    def connect(self):
        self.wires.append((self.breaker.generation, len(self.losses)))

    @precondition(lambda self: self.wires)
    @rule(data=st.data())
    def lose(self, data):
        generation, losses_before = self.wires.pop(data.draw(st.integers(0, len(self.wires) - 1)))
        is_older = losses_before < len(self.losses)
        if is_older and self.now - self.losses[-1] < 1:
            assert not self.breaker.fail(self.now, generation)
            return
        self.losses.append(self.now)
        assert self.breaker.fail(self.now, generation) is self.incident()
        self.was_lost = True

    def incident(self):
        self.row += 1
        half_open = self.opened_at is not None and self.now >= self.opened_at + 10
        opens = half_open or (self.opened_at is None and self.row >= 3)
        if opens:
            self.opened_at, self.probe = self.now, None
        return opens

    @rule(caller=st.sampled_from("abc"))
    def admit(self, caller):
        if self.opened_at is None:
            expected = 0
        elif self.now < self.opened_at + 10:
            expected = self.opened_at + 10 - self.now
        else:
            self.probe = self.probe or caller
            expected = 0 if self.probe == caller else 10
        assert self.breaker.admit(self.now, caller) == expected

    @rule(caller=st.sampled_from("abc"))
    def withdraw(self, caller):
        self.breaker.withdraw(caller)
        self.probe = None if self.probe == caller else self.probe

    @invariant()
    def same_state(self):
        expected = State.CLOSED
        if self.opened_at is not None:
            expected = State.OPEN if self.now < self.opened_at + 10 else State.HALF_OPEN
        assert self.breaker.state(self.now) is expected
        assert self.breaker.is_closed is (expected is State.CLOSED)
        assert self.breaker.failures == self.row


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
