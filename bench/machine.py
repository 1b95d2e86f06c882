"""On what, and against which versions, was this measured?"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg
from psycopg import pq

from pgdual.core import pipeline

PACKAGES = (
    "pgdual",
    "psycopg",
    "psycopg-pool",
    "asyncpg",
    "psycopg2-binary",
    "sqlalchemy",
    "psqlpy",
    "uvloop",
    "msgspec",
)
# What decides how long a commit takes, and what is read without the disk.
SERVER = ("fsync", "synchronous_commit", "shared_buffers")
ASKED = "SELECT name || ' ' || current_setting(name) FROM unnest(%s::text[]) AS name"


def describe(dsn: str, cores: str) -> dict[str, str]:
    """Return what a reader needs to judge the figures, a few words each; *cores*: whether they sleep."""
    versions = {name: _version(name) for name in PACKAGES}
    versions["pgdual"] += ", its core compiled" if is_compiled() else ", its core in Python"
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "cores": cores,
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "postgresql": _server(dsn),
        "libpq": f"{pq.version() // 10_000}.{pq.version() % 10_000} (psycopg's, {pq.__impl__})",
        **versions,
    }


def is_compiled() -> bool:
    """Return what pgdual's hot path runs as: users install it compiled, a source tree is Python."""
    return not str(pipeline.__file__).endswith(".py")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source tree" if package == "pgdual" else "not installed"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _server(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        info = connection.info
        told = [setting for (setting,) in connection.execute(ASKED, (list(SERVER),))]
        return f"{info.parameter_status('server_version')}, {', '.join(told)}, {info.host}:{info.port}"
