"""`pgdual schema`: run a schema file once, and say what has run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgdual.cli.errors import told
from pgdual.sync import run_schema_from_file, schema_status

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    help="Run schema files, each once.\n\nExample: pgdual schema apply schemas/tradecore.sql",
)

DATABASE = typer.Option("--database", "-d", help="Which database: main, vb, or one of PGDUAL_DATABASES.")
REPEATABLE = typer.Option("--repeatable", help="Run it again if it has changed.")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The schema file.")],
    database: Annotated[str, DATABASE] = "main",
    repeatable: Annotated[bool, REPEATABLE] = False,
) -> None:
    """Run FILE in one transaction, unless it has run already.

    Exits with 1 when it fails; then nothing of its transaction stays.

    Example: pgdual schema apply schemas/tradecore_vb.sql --database vb
    """
    with told():
        done = run_schema_from_file(file, database, repeatable)
        what = f"ran, {done.statements} statements in {done.seconds:.3f} s" if done.ran else "has run before"
        typer.echo(f"{database}: {file} {what}")


@app.command()
def status(database: Annotated[str, DATABASE] = "main") -> None:
    """Show what has run, when, by whom and how long it took, and who holds the lock.

    Example: pgdual schema status --database vb
    """
    with told():
        found = schema_status(database)
        for row in found["files"]:
            state = f", {row['remaining']} statements still to run" if row["remaining"] else ""
            typer.echo(
                f"{database}: {row['name']} {row['digest'][:12]} ran {row['ran_at']:%Y-%m-%d %H:%M:%S%z} by "
                f"{row['ran_by']} in {row['seconds']:.3f} s, run {row['runs']}{state}"
            )
        if not found["files"]:
            typer.echo(f"{database}: no schema file has run")
        if found["holder"]:
            typer.echo(f"{database}: the schema is locked: {found['holder']}")
