"""`pgdual health`: does every database answer?"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pgdual.cli.reach import columns, settings_of
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client

HEADINGS = ("database", "status", "role", "version", "latency ms", "lag ms", "breaker", "error")
KEYS = (
    "database", "status", "role", "server_version", "latency_ms", "replication_lag_ms", "breaker", "error",
)  # fmt: skip


def health(
    database: Annotated[list[str] | None, typer.Argument(help="Databases; all that have a DSN.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a database.")] = False,
) -> None:
    """Ask each database how it is; the exit code is 0 when all are healthy, else 1.

    Example: pgdual health main vb --json
    """
    settings, names = settings_of(database)
    reports = checked(settings, names)
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    else:
        for line in columns(
            [HEADINGS, *([_cell(report[key]) for key in KEYS] for report in reports.values())]
        ):
            typer.echo(line)
    raise typer.Exit(any(report["status"] != "healthy" for report in reports.values()))


def _cell(value: Any) -> str:
    return "-" if value is None else " ".join(str(value).split())


def checked(settings: Settings, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the health of the databases *names*, each asked with as few connections as there can be."""
    databases = {
        name: DatabaseSettings(**{**dict(settings.database(name)), "pool_min_size": 1, "pool_max_size": 1})
        for name in names
    }
    client = Client(Settings(databases=databases, close_grace=0, workers=1))
    try:
        return client.health_check()
    finally:
        client.close()
