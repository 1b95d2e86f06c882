"""pgdual/foundation.py: the collector rests while what pgdual stands on is imported, and only then."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from pgdual import foundation


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foundation of two modules, the second of which breaks."""
    tmp_path.joinpath("resting.py").write_text("import gc\nwas_on = gc.isenabled()\n")
    tmp_path.joinpath("broken.py").write_text("raise LookupError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(foundation, "FOUNDATION", ("resting", "broken"))
    monkeypatch.delitem(sys.modules, "resting", raising=False)


@pytest.mark.usefixtures("modules")
def test_the_collector_is_as_it_was_afterwards() -> None:
    """On where it was on, off where its user has switched it off, whatever becomes of the import."""
    with pytest.raises(LookupError):
        foundation.load()
    assert gc.isenabled()
    assert sys.modules["resting"].was_on is False
    gc.disable()
    try:
        with pytest.raises(LookupError):
            foundation.load()
        assert not gc.isenabled()
    finally:
        gc.enable()
