"""What does a program say in a fresh interpreter, and how much CPU does its process take?"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

# Not resolved: through a link beside nothing else of the source, what is measured is what is installed.
ROOT = Path(__file__).absolute().parents[1]


def children_cpu() -> float:
    """Return the CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(program: str, *arguments: str, tree: Path = ROOT) -> tuple[str, float]:
    """Run *program* in a fresh interpreter; return what it printed and the CPU seconds of its process.

    Args:
        tree: Where pgdual and the bench are.

    Raises:
        RuntimeError: It failed; the message is its last line.
    """
    cpu = children_cpu()
    with begun(program, *arguments, tree=tree) as process:
        printed, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said.strip().splitlines()[-1])
    return printed, children_cpu() - cpu


def begun(program: str, *arguments: str, tree: Path = ROOT) -> subprocess.Popen[str]:
    """Return a fresh interpreter that runs *program*."""
    # -P and PYTHONPATH for every side alike: the same length of sys.path is searched. Byte code is kept for
    # all, as it is for what pip installs.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**kept, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
