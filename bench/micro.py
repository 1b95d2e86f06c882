"""How long do the blocking calls and the small steps of a call take, and has that changed?

Run by pytest-benchmark, as ``nox -s micro``: each run is saved, and ``-- --benchmark-compare`` sets it beside
the one before. What has to answer a call is here with its peers, in one group; what it is made of is below.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.blocking import PYFORMAT
from bench.clients import AUTOCOMMIT, pgdual_blocking, psycopg2_connection, psycopg_pool
from bench.database import SELECT, database
from bench.peers import TUNED
from pgdual.core.meter import Histogram
from pgdual.core.record import record_class
from pgdual.core.statement import Statements

NAMES = ("id", "name", "created")
SAVED = Path(__file__).with_name("report") / "micro"
# The settings of the suite are not read: what is timed shares no processor with other workers, and to find no
# earlier run to compare with is worth a warning, not an error.
OPTIONS = (
    "-q",
    "-c",
    os.devnull,
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "--benchmark-autosave",
    f"--benchmark-storage={SAVED}",
)


def main(arguments: list[str] | None = None) -> int:
    """Time everything here and keep it; *arguments* are pytest's."""
    given = sys.argv[1:] if arguments is None else arguments
    # Not in this process: pytest rewrites the asserts of what has yet to be imported.
    return subprocess.run(
        [sys.executable, "-m", "pytest", __file__, *OPTIONS, *given], check=False
    ).returncode


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with database() as found:
        yield found


@pytest.mark.benchmark(group="blocking select by key")
def test_pgdual(benchmark: Any, dsn: str) -> None:
    with pgdual_blocking(dsn, 1) as db:
        assert benchmark(db.fetchrow, SELECT, 42)["name"] == "user-42"


@pytest.mark.benchmark(group="blocking select by key")
def test_psycopg2(benchmark: Any, dsn: str) -> None:
    with psycopg2_connection(dsn) as connection:
        cursor = connection.cursor()

        def call() -> Any:
            cursor.execute(PYFORMAT, (42,))
            return cursor.fetchone()

        assert benchmark(call)[1] == "user-42"


@pytest.mark.benchmark(group="blocking select by key")
@pytest.mark.parametrize(
    ("options", "binary"),
    [({}, None), (AUTOCOMMIT, None), (TUNED, True)],
    ids=["as documented", "as in row 9", "tuned"],
)
def test_psycopg_pool(benchmark: Any, dsn: str, options: dict[str, Any], binary: bool | None) -> None:
    with psycopg_pool(dsn, options) as pool:
        pool.wait()

        def call() -> Any:
            with pool.connection() as connection:
                return connection.execute(PYFORMAT, (42,), binary=binary).fetchone()

        assert benchmark(call)[1] == "user-42"


@pytest.mark.benchmark(group="a row")
@pytest.mark.parametrize(
    "read",
    [lambda row: row[1], lambda row: row["name"], lambda row: row.name],
    ids=["by position", "by name", "as an attribute"],
)
def test_a_record_is_read(benchmark: Any, read: Callable[[Any], Any]) -> None:
    row = record_class(NAMES)((42, "user-42", None))
    assert benchmark(read, row) == "user-42"


@pytest.mark.benchmark(group="a step")
def test_a_text_is_known(benchmark: Any) -> None:
    statements = Statements()
    first = statements.get(SELECT)
    assert benchmark(statements.get, SELECT) is first


@pytest.mark.benchmark(group="a step")
def test_a_text_is_new(benchmark: Any) -> None:
    assert benchmark(lambda: Statements().get(SELECT)).sql == SELECT


@pytest.mark.benchmark(group="a step")
def test_a_time_is_recorded(benchmark: Any) -> None:
    histogram = Histogram()
    benchmark(histogram.record, 0.001)


if __name__ == "__main__":
    sys.exit(main())
