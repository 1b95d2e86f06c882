"""bench/awake.py: the request that cores stay awake is held while the bench runs, where it may be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import awake as module
from bench.awake import awake


def is_held(path: Path) -> bool:
    return path in [open_file.resolve() for open_file in Path("/proc/self/fd").iterdir()]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list what is open")
def test_the_request_lasts_as_long_as_the_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for no latency at all, and given up at the end, however that comes."""
    asked = tmp_path / "cpu_dma_latency"
    asked.touch()
    monkeypatch.setattr(module, "LATENCY", asked)
    with pytest.raises(LookupError), awake() as told:
        assert told == f"kept awake ({asked})"
        assert is_held(asked)
        assert asked.read_bytes() == bytes(4)
        raise LookupError
    assert not is_held(asked)


def test_who_may_not_ask_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench goes on, and its report says that the cores may have slept."""
    monkeypatch.setattr(module, "LATENCY", tmp_path / "nowhere" / "cpu_dma_latency")
    with awake() as told:
        assert told.startswith("may sleep (")
        assert told.endswith("No such file or directory)")
