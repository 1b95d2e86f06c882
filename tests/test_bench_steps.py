"""The list of where a call's microseconds go puts what py-spy saw where it belongs."""

import pytest

from bench.steps import step

LOOP = "<module> (<string>:1);BaseEventLoop.run_until_complete (asyncio/base_events.py:640)"
WIRE = "CPyPy__async___wire___Wire____on_readable (__native_pgdual.c:77767)"


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        ("EpollSelector.select (selectors.py:468);select_epoll_poll (selectmodule.c.h:841)", "asyncio"),
        ("EpollSelector.select (selectors.py:468);epoll_wait (libc.so.6)", "kernel: epoll_wait"),
        (f"{WIRE};Py_DECREF (object.h:537)", "pgdual/_async/wire.py"),
        (f"{WIRE};CPyDef_results___Results___receive (__native_pgdual.c:1)", "pgdual/core/results.py"),
        (f"{WIRE};PQgetResult (libpq-e9b5c9ac.so.5.18)", "libpq"),
        (f"{WIRE};PQflush (libpq-e9b5c9ac.so.5.18);__libc_send (libc.so.6)", "kernel: send"),
        (f"{WIRE};AsyncQueries.fetchrow (pgdual/_async/queries.py:90)", "pgdual/_async/queries.py"),
        ("work (bench/harness.py:168);_PyEval_EvalFrameDefault (ceval.c:1)", "bench/harness.py"),
    ],
)
def test_the_innermost_counts(frames: str, named: str) -> None:
    """A look counts for the innermost function of pgdual or asyncio, or for the library below it."""
    assert step(f"{LOOP};{frames}") == named


def test_what_is_before_the_calls_is_left_out() -> None:
    """Imports and the connections that are made first are no part of a call."""
    assert step("<module> (<string>:1);<module> (pgdual/aio.py:12)") is None
    assert step(f"Stage.open_async (bench/harness.py:138);{LOOP};{WIRE}") is None
