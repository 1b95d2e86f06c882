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


def describe(dsn: str) -> dict[str, str]:
    """Return what a reader needs to judge the figures, a few words each."""
    versions = {name: _version(name) for name in PACKAGES}
    versions["pgdual"] += ", its core compiled" if is_compiled() else ", its core in Python"
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}",
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
        query = "SELECT current_setting('server_version'), current_setting('fsync')"
        row = connection.execute(query).fetchone() or ("unknown", "unknown")
        return f"{row[0]}, fsync {row[1]}, {connection.info.host}:{connection.info.port}"
