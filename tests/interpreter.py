"""Scripts in an interpreter of their own, for what a test process must not do: fork, end, be fresh."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

PRELUDE = """
import asyncio, gc, logging, multiprocessing, os, signal, sys, threading, time
logging.basicConfig(level=logging.WARNING)
"""


def script(text: str, main: str, vb: str, **environment: str) -> str:
    """Run *text* with these databases, where warnings are errors; return what it printed.

    Whatever it says on stderr is a failure: a warning, a log line, an error nobody looked at.
    """
    given = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
    given |= {"POSTGRES_DSN": main, "VB_POSTGRES_DSN": vb, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(text)],
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "", done.stderr
    assert done.returncode == 0
    return done.stdout
