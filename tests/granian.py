"""The example application under Granian, as a user starts it: workers in processes of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pgdual.embedded.process import LOOPBACK, free_port

from ._sync.runtime import wait_until

EXAMPLES = Path(__file__).parents[1] / "examples"


class Application:
    """`examples/tradecore_asgi.py` on a free port, with *environment* for its workers."""

    def __init__(self, folder: Path, workers: int, **environment: str) -> None:
        self.port = free_port()
        self.workers = workers
        self._log = folder / f"granian_{self.port}.log"
        given = {name: value for name, value in os.environ.items() if "POSTGRES" not in name}
        self._environment = {**given, "GRANIAN_WORKERS": str(workers), **environment}
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--respawn-failed-workers"]
        command += ["--host", LOOPBACK, "--port", str(self.port), "--working-dir", str(EXAMPLES)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "tradecore_asgi:app"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def log(self) -> str:
        """What the server and its workers have written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def said(self, pattern: str) -> list[str]:
        """Return the lines of the log that *pattern* is found in."""
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    def wait_ready(self, workers: int | None = None) -> None:
        """Return once so many workers have started, all of them by default."""
        wanted = self.workers if workers is None else workers
        wait_until(lambda: len(self.said(" tradecore ready$")) >= wanted or self._ended(), timeout=60)

    def _ended(self) -> bool:
        assert self._process.poll() is None, self.log
        return False

    def ask(self, method: str = "GET", path: str = "/") -> Any:
        """Return the answer to one request."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            assert answer.status < 300, self.log
            return json.loads(answer.read())
        finally:
            connection.close()

    def terminate(self) -> None:
        """Ask the server to end."""
        self._process.send_signal(signal.SIGTERM)

    def wait_ended(self) -> int:
        """Return the exit code once the server has ended."""
        return self._process.wait(timeout=30)
