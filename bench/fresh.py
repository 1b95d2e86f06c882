"""What does a program say in a fresh interpreter, and how much CPU does its process take?"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def children_cpu() -> float:
    """Return the CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(program: str, *arguments: str) -> tuple[str, float]:
    """Run *program* in a fresh interpreter; return what it printed and the CPU seconds of its process.

    Raises:
        RuntimeError: It failed; the message is its last line.
    """
    cpu = children_cpu()
    # -P and PYTHONPATH for every side alike: the same length of sys.path is searched. Byte code is kept for
    # all, as it is for what pip installs.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout, children_cpu() - cpu
