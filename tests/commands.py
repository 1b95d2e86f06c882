"""The command `pgdual` in a process of its own, where warnings are errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pgdual(
    *words: str, folder: Path = ROOT, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `pgdual` with these words in *folder* and return how it ended."""
    given = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "from pgdual.cli import main; main()", *words],
        env={**given, **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )
