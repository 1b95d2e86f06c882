"""What several of these tests stand on."""

from pathlib import Path

import pytest


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no `.env` is."""
    monkeypatch.chdir(tmp_path)
