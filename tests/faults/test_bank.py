"""T5, T6: a bank whose transfers run into each other all the time, and whose callers hardly hear of it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests._sync.clients import prepare

from . import bank
from .proxy import DOWN, UP, Proxy

LONG = 60.0


def breaking(proxy: Proxy) -> Callable[[], None]:
    """Return what breaks connections in one of several ways."""
    chance = random.Random(4)

    def strike() -> None:
        ways: list[Callable[[], None]] = [
            proxy.reset,
            lambda: proxy.cut(chance.randint(1, 2000), UP),
            lambda: proxy.cut(chance.randint(1, 2000), DOWN),
            lambda: proxy.cut_on(b"COMMIT"),
        ]
        chance.choice(ways)()

    return strike


@pytest.mark.parametrize("once", [False, True], ids=["plain", "once"])
async def test_without_faults(main_dsn: str, once: bool) -> None:
    """T5: deadlocks are absorbed, no transfer is lost or done twice, and the sum stays."""
    prepare(main_dsn, *bank.SCHEMA)
    done = await bank.run(main_dsn, main_dsn, 2.0, once)
    print(done)  # noqa: T201
    assert not done.violations(main_dsn)
    assert done.ok
    assert done.absorbed
    assert not done.unknown
    assert done.share >= 99.0


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True], ids=["plain", "once"])
async def test_a_minute(main_dsn: str, once: bool) -> None:
    """T5: the same for a minute, where a transfer touches three accounts, which meet far more often."""
    prepare(main_dsn, *bank.SCHEMA)
    done = await bank.run(main_dsn, main_dsn, LONG, once, parties=3)
    print(done)  # noqa: T201
    assert not done.violations(main_dsn)
    assert not done.unknown
    assert done.share >= 99.0


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True], ids=["plain", "once"])
async def test_a_minute_of_faults(main_dsn: str, proxy: Proxy, once: bool) -> None:
    """T5, T6: connections break all the while; only without `once` a caller hears of an unknown outcome."""
    prepare(main_dsn, *bank.SCHEMA)
    done = await bank.run(main_dsn, proxy.dsn(main_dsn), LONG, once, breaking(proxy))
    print(done)  # noqa: T201
    assert not done.violations(main_dsn)
    assert done.ok
    assert not once or not done.unknown
