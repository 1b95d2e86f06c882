"""The command line. Its libraries come with the extra `cli` and are imported nowhere else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `pgdual` command, or say what to install when the extra is missing."""
    try:
        from pgdual.cli.app import app
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        if library not in {"typer", "rich", "textual"}:
            raise
        sys.exit(f"The pgdual command needs {library}: pip install 'pgdual[cli]'")
    app()
