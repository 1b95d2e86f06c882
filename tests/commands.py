"""The command `pgdual` in a process of its own, where warnings are errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-W", "error", "-c", "from pgdual.cli import main; main()"]


def pgdual(
    *words: str, folder: Path = ROOT, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `pgdual` with these words in *folder* and return how it ended."""
    given = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
    return subprocess.run(
        [*PROGRAM, *words],
        env={**given, **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )


def started(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start `pgdual` with these words, to be interrupted."""
    given = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*PROGRAM, *words], env={**given, **environment}, cwd=ROOT, text=True, **pipes)
