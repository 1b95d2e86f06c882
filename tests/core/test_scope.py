"""Which transaction a call is in: its database's, its owner's, and only while it is open."""

import asyncio
import threading
from contextvars import copy_context

import pytest

from pgdual.core.scope import Scope
from pgdual.errors import TransactionClosedError, TransactionOwnerError


class Database:
    def __init__(self, name):
        self.name = name


MAIN, VB = Database("main"), Database("vb")
ME, OTHER = "me", "other"


@pytest.fixture
def scope():
    return Scope("test")


def test_outside_of_a_block(scope):
    """Without a block there is no transaction."""
    assert scope.find(MAIN, ME) is None
    assert scope.get() is None


def test_a_block_is_its_databases_own(scope):
    """R2: inside a block on main, main's transaction is found and vb has none, nested either way."""
    outer = scope.enter(MAIN, "outer", ME)
    assert (scope.find(MAIN, ME), scope.find(VB, ME)) == ("outer", None)
    inner = scope.enter(VB, "inner", ME)
    assert (scope.find(MAIN, ME), scope.find(VB, ME)) == ("outer", "inner")
    scope.leave(inner)
    assert (scope.find(MAIN, ME), scope.find(VB, ME)) == ("outer", None)
    scope.leave(outer)
    assert scope.get() is None


def test_the_innermost_block_counts(scope):
    """T4: a savepoint is found while it is open, then the transaction around it."""
    outer = scope.enter(MAIN, "outer", ME)
    inner = scope.enter(MAIN, "savepoint", ME)
    assert scope.find(MAIN, ME) == "savepoint"
    scope.leave(inner)
    assert scope.find(MAIN, ME) == "outer"
    scope.leave(outer)
    assert scope.find(MAIN, ME) is None


def test_blocks_may_end_in_any_order(scope):
    """A block that ends before one inside it is passed over, and both are forgotten in the end."""
    outer, inner = scope.enter(MAIN, "outer", ME), scope.enter(VB, "inner", ME)
    scope.leave(outer)
    assert (scope.find(MAIN, ME), scope.find(VB, ME)) == (None, "inner")
    scope.leave(inner)
    assert scope.get() is None


def test_faces_do_not_see_each_other(scope):
    """T3: a block of one face is not there for the other."""
    scope.enter(MAIN, "tx", ME)
    assert Scope("test").find(MAIN, ME) is None


def test_another_owner_is_told(scope):
    """T3: who inherits an open block is told so, with the way out, and is free on other databases."""
    scope.enter(MAIN, "tx", ME)
    with pytest.raises(TransactionOwnerError, match=r"'main' belongs to .* asyncio\.timeout\(\)"):
        scope.find(MAIN, OTHER)
    assert scope.find(VB, OTHER) is None


def test_another_owner_is_told_of_the_end(scope):
    """T3: who inherited a block that has ended since is told so, also from a block of its own inside."""
    block = scope.enter(MAIN, "tx", ME)
    inherited = copy_context()
    scope.leave(block)
    with pytest.raises(TransactionClosedError, match=r"'main' that has ended.*Context"):
        inherited.run(scope.find, MAIN, OTHER)

    def in_a_block_of_its_own():
        own = scope.enter(VB, "own", OTHER)
        assert scope.find(VB, OTHER) == "own"
        with pytest.raises(TransactionClosedError):
            scope.find(MAIN, OTHER)
        scope.leave(own)
        return scope.find(VB, OTHER)

    assert inherited.run(in_a_block_of_its_own) is None


def test_a_block_that_ended_elsewhere_is_forgotten(scope):
    """A block that began here and ended in another context is over here too, and nobody inherits it."""
    blocks = [scope.enter(MAIN, "tx", ME), scope.enter(MAIN, "savepoint", ME)]
    elsewhere = copy_context()
    for block in reversed(blocks):
        elsewhere.run(scope.leave, block)
    assert scope.find(MAIN, ME) is None
    assert copy_context().run(scope.find, MAIN, OTHER) is None


def test_a_block_after_one_that_ended_elsewhere(scope):
    """A block that begins after such a one stands alone."""
    outer = scope.enter(MAIN, "outer", ME)
    ended = scope.enter(MAIN, "ended", ME)
    copy_context().run(scope.leave, ended)
    block = scope.enter(MAIN, "tx", ME)
    assert block.outer is outer
    scope.leave(block)
    assert scope.find(MAIN, ME) == "outer"


def test_threads(scope):
    """T3: a thread begins outside of every block; with the context copied into it, it is a stranger."""
    scope.enter(MAIN, "tx", threading.get_ident())
    found = []

    def look(run):
        try:
            found.append(run(scope.find, MAIN, threading.get_ident()))
        except TransactionOwnerError:
            found.append("owner")

    for run in (lambda function, *args: function(*args), copy_context().run):
        thread = threading.Thread(target=look, args=(run,))
        thread.start()
        thread.join()
    assert found == [None, "owner"]


def test_tasks(scope):
    """T3: a task inherits the block that it was started in: a stranger while it is open, then too late."""

    async def child(ended=None):
        if ended is not None:
            await ended.wait()
        return scope.find(MAIN, asyncio.current_task())

    async def parent():
        ended = asyncio.Event()
        block = scope.enter(MAIN, "tx", asyncio.current_task())
        late = asyncio.create_task(child(ended))
        with pytest.raises(TransactionOwnerError):
            await asyncio.create_task(child())
        assert await child() == "tx"
        scope.leave(block)
        ended.set()
        with pytest.raises(TransactionClosedError):
            await late
        assert await asyncio.create_task(child()) is None

    asyncio.run(parent())


class Left:
    """A transaction whose `with` statement is over without its end."""

    def __init__(self):
        self.ends = 0

    def abandon(self):
        self.ends += 1


def test_a_block_that_was_left(scope):
    """D4: a block whose `with` statement has let go of it is ended by who finds it, once, and not joined."""
    left, held = Left(), [object()]
    frame = scope.enter(MAIN, left, ME, lambda: held[0])
    assert (scope.find(MAIN, ME), frame.is_left) == (left, False)
    held[0] = None
    assert (frame.is_left, left.ends) == (True, 0)
    assert scope.find(MAIN, ME) is None
    assert scope.find(MAIN, ME) is None
    assert (frame.is_left, left.ends) == (False, 1)
    assert scope.enter(VB, left, ME).is_left is False


def test_around_a_block_that_was_left(scope):
    """D4: the block around one that was left is found, and goes on."""
    left = Left()
    scope.enter(MAIN, "outer", ME)
    scope.enter(MAIN, left, ME, lambda: None)
    assert (scope.find(MAIN, ME), left.ends) == ("outer", 1)
