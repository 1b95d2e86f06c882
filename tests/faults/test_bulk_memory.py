"""Ten million rows pass through a small process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEGABYTES = 100  # resident, the interpreter's own included
PROGRAM = """
import sys
from pathlib import Path
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client
count = {count}
with Client(Settings(databases={{"main": DatabaseSettings(dsn=sys.argv[1], pool_min_size=1)}})) as client:
    total = seen = 0
    text = "select n, 'name-' || n as name, n * 1.5::float8 as x from generate_series(1, $1::int) n"
    for row in client["main"].stream(text, count):
        seen, total = seen + 1, total + row.n
assert (seen, total) == (count, count * (count + 1) // 2)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process' peak")
@pytest.mark.parametrize("count", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_a_stream_of_any_length(main_dsn: str, count: int) -> None:
    """10 million rows are streamed, each seen once, in less than 100 MB of resident memory."""
    words = [sys.executable, "-c", PROGRAM.format(count=count), main_dsn]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    peak = int(done.stdout) >> 10
    sys.stdout.write(f"{count} rows streamed, {peak} MB resident at most\n")
    assert peak < MEGABYTES
