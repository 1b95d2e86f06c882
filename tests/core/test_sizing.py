"""Sizing: a worker's share, and the one figure that both faces of a process keep to (P2)."""

import gc
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgdual.core.sizing import Pool, Server, Share, plan, share_for, worker_share
from pgdual.errors import ConfigurationError, UsageError


@pytest.fixture
def _hasty_threads():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize(
    ("sizes", "workers", "expected"),
    [
        ((20, 100), 4, (5, 25)),
        ((5, 20), 1, (5, 20)),
        ((5, 20), 3, (1, 6)),
        ((1, 20), 8, (1, 2)),
        ((20, 20), 20, (1, 1)),
        ((30, 20), 1, (20, 20)),
    ],
)
def test_worker_share(sizes, workers, expected):
    """A worker has the host's figures over the workers, at least one, its minimum within its maximum."""
    assert worker_share(*sizes, workers, "main") == expected


def test_more_workers_than_connections():
    """Where not every worker can have a connection, the error gives both figures and what to change."""
    with pytest.raises(ConfigurationError, match=r"9 workers.*8 connections.*'vb'.*VB_PG_POOL_MAX_SIZE"):
        worker_share(1, 8, 9, "vb")


@given(low=st.integers(1, 200), high=st.integers(1, 200), workers=st.integers(1, 200))
def test_the_workers_never_exceed_the_host(low, high, workers):
    """All workers together stay within the host's maximum, and each has at least one connection."""
    if workers > high:
        with pytest.raises(ConfigurationError):
            worker_share(low, high, workers, "main")
    else:
        least, most = worker_share(low, high, workers, "main")
        assert 1 <= least <= most
        assert most * workers <= high


class ShareMachine(RuleBasedStateMachine):
    """A share behaves as a dict of counts whose sum is bounded."""

    def __init__(self):
        super().__init__()
        self.share, self.model = Share(5), dict.fromkeys(range(3), 0)

    @rule(token=st.integers(0, 2))
    def take(self, token):
        """A connection is had exactly where the sum is below the limit."""
        had = self.share.take(token)
        assert had == (sum(self.model.values()) < 5)
        self.model[token] += had

    @rule(token=st.integers(0, 2), n=st.integers(1, 3))
    def give(self, token, n):
        """What was taken can be given back, and no more."""
        if n > self.model[token]:
            with pytest.raises(UsageError):
                self.share.give(token, n)
        else:
            self.share.give(token, n)
        self.model[token] = max(0, self.model[token] - n)

    @rule(token=st.integers(0, 2))
    def forget(self, token):
        """A pool that is over leaves all that it held."""
        self.share.forget(token)
        self.model[token] = 0

    @invariant()
    def agrees(self):
        """The figures are the model's."""
        assert [self.share.held(token) for token in range(3)] == list(self.model.values())
        assert self.share.total() == sum(self.model.values())
        assert repr(self.share) == f"<Share {self.share.total()}/5>"


TestShare = ShareMachine.TestCase


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_never_exceed_the_limit():
    """Eight threads that take and give at once never hold more than the limit, and lose nothing."""
    share, threads, limit = Share(3), 8, 3
    start, holders, seen = Barrier(threads), [], []

    def work(token):
        start.wait()
        for _ in range(3000):
            if share.take(token % 4):
                holders.append(None)
                seen.append(len(holders))
                holders.pop()
                share.give(token % 4)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    assert 0 < max(seen) <= limit
    assert share.total() == 0
    assert all(share.take(9) for _ in range(limit))
    assert not share.take(9)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_ask_at_once_get_one_share():
    """However many threads ask for a key's share first, they get the same one."""
    threads = 8
    start = Barrier(threads)

    def ask(round_):
        start.wait()
        return share_for(("race", round_), 4)

    with ThreadPoolExecutor(threads) as pool:
        for round_ in range(200):
            assert len(set(map(id, list(pool.map(ask, [round_] * threads))))) == 1


def test_a_share_lives_while_someone_holds_it():
    """Holders of one key share; when the last is gone the next begins anew, with any limit."""
    share = share_for("main", 4)
    assert share.take(1)
    assert share_for("main", 4) is share
    assert share_for("vb", 4) is not share
    del share
    gc.collect()
    assert share_for("main", 5).total() == 0


def test_one_process_has_one_limit():
    """Two faces that size one database differently are told so."""
    share = share_for("twice", 4)
    with pytest.raises(ConfigurationError, match="as 4 and as 5"):
        share_for("twice", 5)
    assert share.limit == 4


def test_a_pool_that_may_not_grow_is_heard():
    """A pool gives way to one that waits with nothing, or if it has an idle one, or more than its part."""
    share = Share(4)
    for _ in range(4):
        assert share.take(1)
    assert not share.is_wanted(1, has_idle=True)
    share.want(2)
    assert share.is_wanted(1, has_idle=False)
    assert not share.is_wanted(2, has_idle=True)
    share.give(1)
    assert share.take(2)
    assert share.is_wanted(1, has_idle=False)
    share.give(1)
    assert share.take(2)
    assert [share.is_wanted(1, has_idle=idle) for idle in (False, True)] == [False, True]
    share.want_none(2)
    assert not share.is_wanted(1, has_idle=True)
    share.want(2)
    share.forget(2)
    assert not share.is_wanted(1, has_idle=True)


def test_a_pool_grows_only_into_its_part_while_another_wants_to():
    """While another waits, a pool takes no more than its part, and nothing while the other has none."""
    share = Share(4)
    share.want(2)
    assert share.may_take(1)  # it has none itself
    assert share.take(1)
    assert share.may_take(2)
    assert not share.may_take(1)
    assert share.take(2)
    assert share.may_take(1)
    assert share.take(1)
    assert not share.may_take(1)
    share.want_none(2)
    assert share.may_take(1)


def test_a_pool_without_any_is_given_one() -> None:
    """Where one pool waits with none at all, one that holds some gives up, and takes no more (P2)."""
    share = Share(2)
    assert share.take(1)
    assert share.take(1)
    assert not share.is_wanted(1, has_idle=True)
    share.want(2)
    assert share.is_wanted(1, has_idle=False)
    assert not share.is_wanted(2, has_idle=False)
    share.give(1)
    assert not share.may_take(1)
    assert share.may_take(2)
    assert share.take(2)
    share.want_none(2)
    assert share.may_take(1)


def test_pools_that_all_want_more_come_to_the_same_part() -> None:
    """Two pools that both want more end with half each; an idle connection goes to whoever wants it (P2)."""
    share = Share(5)
    for token in (1, 1, 1, 1, 2):
        assert share.take(token)
    share.want(1)
    share.want(2)
    assert share.is_wanted(1, has_idle=False)
    share.give(1)
    assert share.may_take(2)
    assert share.take(2)
    assert not share.is_wanted(1, has_idle=False)
    assert not share.may_take(1)
    assert share.is_wanted(2, has_idle=True)
    share.forget(1)
    assert not share.is_wanted(2, has_idle=True)


MAIN, VB = "PG_POOL_MAX_SIZE", "VB_PG_POOL_MAX_SIZE"
NAMES = {"main": MAIN, "vb": VB}


def test_the_guides_example():
    """P2: 4 workers of 25 are 100, and a server of 200 is what the guide asks for."""
    made = plan({"main": 100}, NAMES, 4, Server(200, 3, 10))
    assert (made.pools, made.total, made.wanted, made.changes) == (
        (Pool("main", 100, 25, 100, MAIN),),
        100,
        200,
        (),
    )


@pytest.mark.parametrize(
    ("sizes", "workers", "server", "change"),
    [
        ({"main": 2}, 4, Server(100, 3, 0), f"main: 4 workers cannot share 2 connections: set {MAIN}=4"),
        ({"main": 100}, 4, Server(100, 3, 37), f"only 60 connections are left for 100: set {MAIN}=60"),
        ({"main": 60}, 4, Server(100, 3, 0), f"or set {MAIN}=48"),
        ({"main": 60}, 4, Server(100, 3, 0), "ALTER SYSTEM SET max_connections = 120"),
        ({"main": 40, "vb": 20}, 2, Server(100, 3, 0), f"set {MAIN}=32, {VB}=16"),
        ({"main": 40, "vb": 20}, 20, Server(30, 3, 0), "start fewer than 20 workers"),
        ({"main": 40}, 4, Server(100, 3, 97), "only 0 connections are left for 40: start fewer"),
    ],
)
def test_what_does_not_fit(sizes, workers, server, change):
    """P2: what does not fit is said once, with the values that would."""
    (said,) = plan(sizes, NAMES, workers, server).changes
    assert change in said


@given(
    st.dictionaries(st.sampled_from(["main", "vb"]), st.integers(1, 300), min_size=1),
    st.integers(1, 20),
    st.builds(Server, st.integers(10, 500), st.integers(0, 5), st.integers(0, 50)),
)
def test_what_is_advised_fits(sizes, workers, server):
    """P2: whoever sets the sizes that were advised has pools that the server can serve."""
    made = plan(sizes, NAMES, workers, server)
    if made.changes and all(pool.each for pool in made.pools):
        advised = dict(re.findall(r"(\w*PG_POOL_MAX_SIZE)=(\d+)", made.changes[0]))
        if advised:
            again = plan({name: int(advised[NAMES[name]]) for name in sizes}, NAMES, workers, server)
            assert again.total <= server.left
    else:
        assert bool(made.changes) == any(not pool.each for pool in made.pools)
