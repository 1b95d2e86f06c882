# Generated from tests/_async/test_runtime.py by _generate.py. Do not edit.
"""tests/_sync/runtime.py and its twin: the same words mean the same on both sides."""

import pytest

from pgdual.sync import Client

from .runtime import FACE, Event, gather, sleep, spawn, wait_until


def fail() -> None:
    """Raise after a while."""
    sleep(0.01)
    raise LookupError


def test_gather_runs_at_the_same_time() -> None:
    """Each of two calls can wait for what the other does; results keep the order of the calls."""
    first, second = Event(), Event()

    def one() -> int:
        first.set()
        second.wait()
        return 1

    def two() -> int:
        first.wait()
        second.set()
        return 2

    assert gather(one, two) == [1, 2]


def test_gather_raises_when_all_have_ended() -> None:
    """One error does not stop the others; it is raised once they have ended."""
    ended = Event()

    def slow() -> None:
        sleep(0.05)
        ended.set()

    with pytest.raises(LookupError):
        gather(fail, slow)
    assert ended.is_set()


def test_spawn() -> None:
    """A spawned call runs beside the test, and its end is waited for."""
    go = Event()
    with spawn(go.wait) as spawned:
        assert not spawned.is_done()
        with pytest.raises(TimeoutError):
            spawned.result(timeout=0.01)
        go.set()
    assert spawned.is_done()
    spawned.result()
    with pytest.raises(LookupError):
        spawn(fail).result()


def test_deadlines() -> None:
    """What never comes ends in TimeoutError on both sides."""
    with pytest.raises(TimeoutError):
        Event().wait(0.01)
    with pytest.raises(TimeoutError):
        wait_until(lambda: False, timeout=0.01)


def test_wait_until_asks_calls_of_its_side() -> None:
    """The condition may itself be a call that waits."""
    asked: list[int] = []

    def third_time() -> bool:
        sleep(0)
        asked.append(1)
        return len(asked) == 3

    wait_until(third_time)
    assert len(asked) == 3


def test_face() -> None:
    """A test runs on the face of its own side, and can say which."""
    assert Client.__module__ == f"pgdual._{FACE}.client"
