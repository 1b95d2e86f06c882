"""Which Chromium is there to look at the report with?"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """Return the system's Chromium, or None; Playwright's own would have to be downloaded."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


def chromium(playwright: Playwright) -> Browser:
    """Start the system's Chromium without a window.

    Raises:
        RuntimeError: There is none.
    """
    found = program()
    if found is None:
        raise RuntimeError(f"none of {', '.join(PROGRAMS)} is on PATH")
    # As root, in a container, its sandbox cannot be made; it sees one local file.
    return playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
