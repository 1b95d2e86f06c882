"""Runs the code of documents: reads a list of programs as JSON, answers what became of each.

A program is a fork of this process, which has imported the packages once, and finds the databases as the
schema files leave them. So forty of them take seconds, and none sees what another did. No server of KurrentDB
can be had: a program that talks to one talks to the fake of its client.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psycopg


def main() -> None:
    """Run each of the programs on stdin, in order."""
    import pgdual.aio
    import pgdual.sync  # noqa: F401 - what a program imports first is not what it is tested for

    asked = json.load(sys.stdin)
    json.dump([outcome(program, asked["schemas"]) for program in asked["programs"]], sys.stdout)


def outcome(program: dict[str, str], schemas: dict[str, str]) -> dict[str, Any]:
    """Return exit status and output of one program, in a process of its own."""
    for dsn, schema in schemas.items():
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {schema}".encode())
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        if (child := os.fork()) == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os.chdir(program["folder"])
            sys.path.insert(0, program["folder"])
            sys.argv = [program["file"]]
            if "kurrentdbclient" in Path(program["file"]).read_text("utf-8"):
                fake_kurrent()
            runpy.run_path(program["file"], run_name="__main__")
            sys.exit()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [stream.seek(0) or stream.read().decode() for stream in (out, errors)]
    return {"status": status, "out": said[0], "errors": said[1]}


def fake_kurrent() -> None:
    """Have this process find the fake where the client of KurrentDB is."""
    import kurrentdbclient

    from .sources.kurrent import FakeKurrent

    class FakeClient(FakeKurrent):
        def __init__(self, uri: str) -> None:
            super().__init__()

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *error: object) -> None:
            pass

    kurrentdbclient.AsyncKurrentDBClient = FakeClient  # type: ignore[assignment, misc]


if __name__ == "__main__":
    main()
