"""What pgdual stands on, imported with the garbage collector at rest.

Nothing that an import makes is garbage, and the collector would look through all of it again and again: a
tenth of the time. Source: bench row 17.
"""

from __future__ import annotations

import gc
from importlib import import_module

FOUNDATION = ("psycopg_pool", "pydantic_settings")


def load() -> None:
    """Import the foundation, if it was not yet."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        for name in FOUNDATION:
            import_module(name)
    finally:
        if was_on:
            gc.enable()
