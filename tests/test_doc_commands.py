"""The commands of README and docs run as they stand, in a shell, in the order of the page.

`.venv` is this test's own environment, and the schema files and examples are where a checkout has them. What
stays in the foreground (a server) has a terminal of its own until the page has been read; in README and the
tutorial the programs are run in the other one, too, as a reader does, who has one database for all of them.
Ports are the one thing that is replaced, since somebody else may have them: PORTS names each.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer

from pgdual.cli.app import app
from pgdual.embedded import Postgres
from pgdual.embedded.postgres import AS_SOMEBODY
from pgdual.embedded.process import LOOPBACK, free_port
from pgdual.testing import fresh_database

from . import pgbouncer
from ._sync.runtime import wait_until
from .test_docs import PAGES, PROGRAMS, ROOT, SCHEMAS, Block, blocks, files_of

COMMANDS = [block for block in blocks() if block.language == "sh"]
# What is not run here, by how it ends, and why. A test holds that each of them stands somewhere.
EXCEPTIONS = {
    "pgdual demo": "installs; tests/test_demo.py runs the demo",
    "pytest -q -n auto": "installs, and runs the tests that this is one of",
    "install '.[embedded,cli]'": "installs what is here already",
    "install fastapi granian httpx2": "installs what is here already",
    "install litestar granian httpx": "installs what is here already",
    "install fastapi granian": "installs what is here already",
    "install '.[embedded]' pytest": "installs what is here already",
}
# Ports that the pages name, and where Granian listens by itself, told through its own variable.
SERVER, POOLER = "5433", "6432"
PORTS = (SERVER, POOLER)
STAYS = re.compile(r" -ic | \S*granian |^\S*granian |^pgbouncer ")
HOW_TO_TRY = ".venv/bin/python examples/try.py"
READ_ON = ["README.md", "docs/tutorial.md"]  # programs whose commands start the server that they want
PATHS = {
    "docs/howto/fastapi.md": "/health",
    "docs/howto/litestar.md": "/schema",
    "docs/howto/granian.md": "/",
}
AFTER = {"docs/howto/pgbouncer.md": "docs/tutorial.md"}  # it goes on where the other has a server


def reason(block: Block) -> str | None:
    """Return why *block* is not run, or None."""
    return next((why for end, why in EXCEPTIONS.items() if block.code.rstrip().endswith(end)), None)


def place(page: Path) -> str:
    """Return where *page* is in the repository."""
    return page.relative_to(ROOT).as_posix()


RUN = [block for block in COMMANDS if reason(block) is None]
READ = sorted({block.page for block in RUN})


class Desk:
    """A checkout's folder with the files of *page*, and the terminals that a reader has open there."""

    def __init__(self, page: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.page, self.folder = page, files_of(page, folder)
        self.ports = {port: str(free_port()) for port in PORTS}
        self.http = free_port()
        self.typed: list[str] = []
        self._open = ExitStack()
        self._settle()
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        kept = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
        self._environment = {
            **kept,
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": path,
            "PYTEST_ADDOPTS": "-W error -p no:asyncio",  # which warns where nobody has set it up
            "GRANIAN_PORT": str(self.http),
            **environment,
        }

    def _settle(self) -> None:
        (self.folder / ".venv").symlink_to(sys.prefix)
        (self.folder / "bin").mkdir()
        (self.folder / "examples").mkdir()
        if pgbouncer.PROGRAM is not None:  # which refuses to run as root
            words = [*(AS_SOMEBODY if os.getuid() == 0 else []), pgbouncer.PROGRAM]
            (self.folder / "bin/pgbouncer").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (self.folder / "bin/pgbouncer").chmod(0o755)
        for file in self.folder.glob("*.ini"):
            file.write_text(self.with_ports(file.read_text("utf-8")), "utf-8")

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def with_ports(self, text: str) -> str:
        """Return *text* with ports that are free."""
        return re.sub("|".join(PORTS), lambda port: self.ports[port.group()], text)

    def type(self, block: Block) -> None:
        """Run a command: in a terminal of its own if it stays, in the other one after what was said there."""
        if STAYS.search(block.code):
            self._open.enter_context(self.foreground(block))
        else:
            self.say(block.code)
            self.typed += [line for line in block.code.splitlines() if line.startswith("export ")]

    def say(self, command: str) -> str:
        """Run *command* in the second terminal and return what it printed."""
        text = self.with_ports("\n".join(["set -e", *self.typed, command]))
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def foreground(self, block: Block) -> Iterator[None]:
        """Have a server run until Ctrl-D, where it reads what is typed, and Ctrl-C."""
        log = self.folder / "server.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                ["bash", "-c", self.with_ports(block.code)],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self.answers(server, block, log), timeout=60)
            yield
            assert server.poll() is None, log.read_text("utf-8")
            self.end(server, block)
            assert server.wait(30) in (0, -signal.SIGINT), log.read_text("utf-8")
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
            server.communicate()

    def end(self, server: subprocess.Popen[bytes], block: Block) -> None:
        """Type what ends *server*."""
        assert server.stdin is not None
        server.stdin.close()
        if " -ic " not in block.code:
            os.killpg(server.pid, signal.SIGINT)

    def answers(self, server: subprocess.Popen[bytes], block: Block, log: Path) -> bool:
        """Say whether *server* is ready for the next step of its page."""
        assert server.poll() is None, log.read_text("utf-8")
        try:
            if "granian" in block.code:
                said = log.read_text("utf-8")  # a worker that has not started yet is deaf to Ctrl-C
                is_whole = said.count("Spawning worker-") == said.count("Started worker-")
                return self.ask(PATHS[place(block.page)]) == 200 and is_whole
            port = POOLER if "pgbouncer" in block.code else SERVER
            name = "vb" if port == SERVER else "postgres"  # vb is the last thing that is made
            psycopg.connect(host=LOOPBACK, port=self.ports[port], user="postgres", dbname=name).close()
        except (OSError, psycopg.OperationalError):
            return False
        return True

    def ask(self, path: str) -> int:
        """Return the status of an answer over HTTP."""
        connection = http.client.HTTPConnection(LOOPBACK, self.http, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def given(main_server: Postgres, vb_server: Postgres) -> Iterator[dict[str, str]]:
    """Where the databases are that a how-to takes for granted, with the example tables."""
    with ExitStack() as stack:
        main, vb = (
            stack.enter_context(contextmanager(fresh_database)(server)) for server in (main_server, vb_server)
        )
        for dsn, name in ((main, "tradecore"), (vb, "tradecore_vb")):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute((SCHEMAS / f"{name}.sql").read_bytes())
        yield {"POSTGRES_DSN": main, "VB_POSTGRES_DSN": vb}


@pytest.mark.parametrize("page", READ, ids=place)
def test_the_commands_run(page: Path, given: dict[str, str], tmp_path: Path) -> None:
    """Each of a page's commands ends well; a server answers, and Ctrl-D or Ctrl-C ends it."""
    before = [block for block in RUN if place(block.page) == AFTER.get(place(page))]
    commands = [*before, *(block for block in RUN if block.page == page)]
    if any(block.code.startswith("pgbouncer") for block in commands) and pgbouncer.PROGRAM is None:
        pytest.skip("PgBouncer is not installed (Debian's package pgbouncer)")
    with Desk(page, tmp_path / "checkout", given) as desk:
        for block in commands:
            desk.type(block)
        for program in [block for block in PROGRAMS if block.page == page and place(page) in READ_ON]:
            (desk.folder / "examples/try.py").write_text(program.code, encoding="utf-8")
            assert desk.say(HOW_TO_TRY), program.name


@pytest.mark.parametrize("page", READ_ON)
def test_a_page_says_how_its_programs_are_run(page: str) -> None:
    """As it is done above: a file beside the package would import the source, not what is installed."""
    assert f"`{HOW_TO_TRY}`" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("end", EXCEPTIONS)
def test_an_exception_stands_somewhere(end: str) -> None:
    """What is not run is a command of the pages, and one that installs."""
    found = [block for block in COMMANDS if block.code.rstrip().endswith(end)]
    assert found
    assert all("pip install " in block.code for block in found)


# -- commands in the text ----------------------------------------------------------------------------


def named() -> list[str]:
    """Return what the pages name as `pgdual ...`, within a line."""
    texts = [
        re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL) for page in PAGES
    ]
    return sorted({found for text in texts for found in re.findall(r"`(pgdual [^`\[]+)`", text)})


@pytest.mark.parametrize("command", named())
def test_a_command_in_the_text_exists(command: str) -> None:
    """Its words lead to a command, or to each of several, which has the options that are named."""
    at: Any = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    plain = [*takewhile(lambda word: not word.startswith("-"), words)]
    for word in plain:
        below = getattr(at, "commands", {})
        if not below:
            break  # an argument
        assert set(word.split("|")) <= below.keys()
        at = below[word.split("|")[0]]
    options = {option for parameter in at.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options | {"--help"}
