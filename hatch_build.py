"""Builds what of pgdual can be compiled, given a compiler: a Record's `row["x"]`, and the hot path.

The first is `_named.c`, and named.py does the same. The second are the modules that pyproject.toml names,
which mypyc compiles as they stand: without it they run as the Python that they are. An editable install has
them so, for there what was edited is to be what runs. With PGDUAL_PURE=1 nothing is compiled.
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
# Where mypyc throws an error into what is awaited, and how; `tests/test_compiled.py` sees when that changes.
THROWS = "misc_ops.c"
WITH_THREE = "PyObject_CallFunctionObjArgs(_m, type, value, traceback, NULL)"
WITH_ONE = "PyObject_CallOneArg(_m, value)"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled files, if they can be had."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the wheel what it holds."""
        self.work = Path(tempfile.mkdtemp())
        is_editable = version == "editable"
        if is_editable:
            place = Path(self.root, SOURCE).parent
            for old in (*place.glob("_named*.so"), *place.glob("_named*.pyd")):
                old.unlink()
        built = self._built([] if is_editable else self.config["mypyc"])
        if not built:
            self.app.display_info("nothing of it is compiled")
        elif is_editable:
            for name, path in built.items():
                shutil.copy(path, Path(self.root, name))
        else:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            python = f"cp{sys.version_info.major}{sys.version_info.minor}"
            build_data["pure_python"] = False
            build_data["tag"] = f"{python}-{python}-{platform}"
            build_data["force_include"] |= {str(path): name for name, path in built.items()}

    def _built(self, modules: list[str]) -> dict[str, Path]:
        if os.environ.get("PGDUAL_PURE") or sys.implementation.name != "cpython":
            return {}
        try:
            return compiled(self.root, modules, self.work)
        except (Exception, SystemExit) as reason:  # no compiler; mypyc leaves with an exit of its own
            self.app.display_warning(f"not compiled: {reason}")
            return {}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up, now that the wheel is made."""
        shutil.rmtree(self.work)


def compiled(root: str, modules: list[str], work: Path) -> dict[str, Path]:
    """Return the files that were built in *work*, all of them, by their names in the wheel."""
    named = "pgdual.core._named"
    extensions = [Extension(named, [str(Path(root, SOURCE))], py_limited_api=True)]
    if modules:
        from mypyc.build import mypycify  # noqa: PLC0415  # what is edited in place needs no mypyc

        # What else is installed is not looked at: in each build the same is known, and the same comes of it.
        known = ("--ignore-missing-imports", "--follow-imports=silent", "--no-site-packages")
        options = ["--config-file=", f"--cache-dir={work / 'mypy'}", *known, *modules]
        extensions += mypycify(options, target_dir=str(work / "c"), group_name="pgdual")
        throw_one(work / "c", extensions)
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "temp")
    command.ensure_finalized()
    command.run()
    paths = [Path(command.get_ext_fullpath(one.name)) for one in extensions]
    return {path.relative_to(work / "lib").as_posix(): path for path in paths}


def throw_one(folder: Path, extensions: list[Extension]) -> None:
    """Have compiled coroutines throw an error on with one argument, by a changed file in *folder*.

    mypyc throws with three, of which Python warns since 3.12: where a warning is an error, a deadline or a
    cancellation would end as a DeprecationWarning.
    """
    from mypyc.build import include_dir  # noqa: PLC0415

    text = Path(include_dir(), THROWS).read_text("utf-8")
    (folder / THROWS).write_text(text.replace(WITH_THREE, WITH_ONE), "utf-8")
    for one in extensions:
        one.include_dirs.insert(0, str(folder))  # before mypyc's own
