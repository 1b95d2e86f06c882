"""Do the cores sleep? Not while the bench runs, if the system lets it say so.

A core with nothing to do for a moment goes to sleep, and a virtual one takes 5 to 300 us to wake, as its host
is in the mood to: more than most of what is measured here. Client and server sleep and wake each other with
every call, so the figures would be the host's. A server under load has no time to sleep.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# As long as somebody holds it open, a core is back within the microseconds that he has written there: within
# none it is if it never sleeps. Source: Documentation/power/pm_qos_interface.rst of Linux.
LATENCY = Path("/dev/cpu_dma_latency")
NONE = (0).to_bytes(4)


@contextmanager
def awake() -> Iterator[str]:
    """Keep the cores awake, where this user may; yield what a reader of the figures is to know of it."""
    try:
        request = LATENCY.open("wb", buffering=0)
    except OSError as error:
        yield f"may sleep ({LATENCY}: {error.strerror})"
        return
    with request:
        request.write(NONE)
        yield f"kept awake ({LATENCY})"
