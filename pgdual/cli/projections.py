"""`pgdual projections`: how far they have come, what has failed, and what is to become of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pgdual.cli.errors import told
from pgdual.cli.reach import columns
from pgdual.errors import UndefinedTable
from pgdual.sync import DB, Client, projection_failures, projection_status, retry_projection, skip_projection

app = typer.Typer(no_args_is_help=True, help="Projections: events into read models.")
STATUS = ("projection", "checkpoint", "events after it")
FAILED = ("failed", "aggregate", "version", "event", "tries", "at", "error")
Database = Annotated[str, typer.Option("--database", "-d", help="The database.")]
Projector = Annotated[str, typer.Argument(help="As `status` names it.")]


def _asked(function: Any, database: DB) -> list[dict[str, Any]]:
    try:
        return list(function(database))
    except UndefinedTable:
        return []  # there is no event log


def _say(headings: Sequence[object], rows: list[Sequence[object]]) -> None:
    for line in columns([headings, *rows]) if rows else []:
        typer.echo(line)


@app.command()
def status(database: Database = "main") -> None:
    """Say how far each projection has come, and which events have failed or wait behind one.

    Exits with 1 when there are failed events.

    Example: pgdual projections status
    """
    with told(), Client() as client:
        places = _asked(projection_status, client[database])
        failed = _asked(projection_failures, client[database])
        _say(STATUS, [(row["projection"], f"{row['turn']}/{row['number']}", row["after"]) for row in places])
        _say(FAILED, [_failure(row) for row in failed])
    if not places and not failed:
        typer.echo("nothing was projected")
    raise typer.Exit(bool(failed))


def _failure(row: dict[str, Any]) -> Sequence[object]:
    at, error = f"{row['failed_at']:%Y-%m-%d %H:%M:%S}", " ".join(row["error"].split())
    event = f"{row['event_type']} {row['event_id']}"
    return row["projector"], row["aggregate_id"], row["version"], event, row["tries"], at, error


@app.command()
def retry(
    projector: Projector,
    aggregate: Annotated[str | None, typer.Argument(help="Of this aggregate alone.")] = None,
    database: Database = "main",
) -> None:
    """Give failed events new tries; a worker makes them.

    Example: pgdual projections retry orders order-17
    """
    with told(), Client() as client:
        count = retry_projection(client[database], projector, aggregate)
    typer.echo(f"{projector}: {count} to be tried again")


@app.command()
def skip(
    projector: Projector,
    aggregate: Annotated[str, typer.Argument(help="Whose first failed event is given up.")],
    database: Database = "main",
) -> None:
    """Give up the first failed event of an aggregate for good; those that wait behind it go on.

    Example: pgdual projections skip orders order-17
    """
    with told(), Client() as client:
        version = skip_projection(client[database], projector, aggregate)
    typer.echo(f"{projector}: version {version} of {aggregate} is skipped")
