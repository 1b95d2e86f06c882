"""Builds pgdual/core/_named.c into the wheel, or into the tree of an editable install, given a compiler.

Without one, on another interpreter than CPython, or with PGDUAL_PURE=1 the wheel is pure Python: named.py
does the same. One build serves every supported Python, for it keeps to the stable ABI.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

SOURCE = "pgdual/core/_named.c"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled file, if it can be had."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the wheel what it holds."""
        self.work = Path(tempfile.mkdtemp())
        place = Path(self.root, SOURCE).parent
        built = None if os.environ.get("PGDUAL_PURE") else compiled(self.root, self.work)
        if version == "editable":
            for old in (*place.glob("_named*.so"), *place.glob("_named*.pyd")):
                old.unlink()
        if built is None:
            self.app.display_info("without the C part of Record")
        elif version == "editable":
            shutil.copy(built, place)
        else:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["force_include"][str(built)] = f"pgdual/core/{built.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up, now that the wheel is made."""
        shutil.rmtree(self.work)


def compiled(root: str, work: Path) -> Path | None:
    """Return the file that was built in *work*, or None if it could not be."""
    if sys.implementation.name != "cpython":
        return None
    extension = Extension("_named", [str(Path(root, SOURCE))], py_limited_api=True, optional=True)
    command = build_ext(Distribution({"ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(work), str(work)
    command.ensure_finalized()
    command.run()
    built = Path(command.get_ext_fullpath("_named"))
    return built if built.exists() else None
