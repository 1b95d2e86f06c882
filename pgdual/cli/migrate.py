"""`pgdual migrate`: Alembic's migrations, once, under the lock."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from pgdual.cli.errors import told
from pgdual.sync import client

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Run migrations, each once.\n\nExample: pgdual migrate upgrade"
)

DATABASE = typer.Option("--database", "-d", help="Which database: main, vb, or one of PGDUAL_DATABASES.")
FOLDER = typer.Option("--folder", "-f", help="Where each database has its folder of migrations.")
Database = Annotated[str, DATABASE]
Folder = Annotated[Path, FOLDER]
HERE = Path("schemas", "migrations")


def _migrations() -> ModuleType:
    try:
        from pgdual import migrations
    except ModuleNotFoundError as missing:
        library = str(missing.name).partition(".")[0]
        if library not in {"alembic", "sqlalchemy"}:
            raise
        sys.exit(f"pgdual migrate needs {library}: pip install 'pgdual[migrations]'")
    return migrations


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Up to this one.")] = "head",
    database: Database = "main",
    folder: Folder = HERE,
) -> None:
    """Run the migrations up to REVISION, each in a transaction of its own.

    Example: pgdual migrate upgrade --database vb
    """
    with told():
        _migrations().upgrade(client[database], folder / database, revision, typer.echo)
        _say_where(database, folder)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Down to this one; `base` for all.")],
    database: Database = "main",
    folder: Folder = HERE,
) -> None:
    """Take migrations back down to REVISION.

    Example: pgdual migrate downgrade 0001
    """
    with told():
        _migrations().downgrade(client[database], folder / database, revision, typer.echo)
        _say_where(database, folder)


def _say_where(database: str, folder: Path) -> None:
    state = _migrations().state(client[database], folder / database)
    here = ", ".join(state.current) or "base"
    typer.echo(f"{database}: at {here}{' (head)' if state.is_at_head else ''}")


@app.command()
def current(database: Database = "main", folder: Folder = HERE) -> None:
    """Show which migration the database is at.

    Example: pgdual migrate current --database vb
    """
    with told():
        _say_where(database, folder)


@app.command()
def history(database: Database = "main", folder: Folder = HERE) -> None:
    """Show all migrations from the first to the last, with a star at the database's.

    Example: pgdual migrate history
    """
    with told():
        state = _migrations().state(client[database], folder / database)
        for revision, doc in state.history:
            typer.echo(f"{'*' if revision in state.current else ' '} {revision} {doc}")


@app.command()
def check(database: Database = "main", folder: Folder = HERE) -> None:
    """Exit with 1 unless the database is at the last migration.

    Example: pgdual migrate check && granian --interface asgi app:app
    """
    with told():
        state = _migrations().state(client[database], folder / database)
        _say_where(database, folder)
        if not state.is_at_head:
            typer.echo(f"{database}: run `pgdual migrate upgrade --database {database}`", err=True)
            raise typer.Exit(1)


@app.command()
def new(
    message: Annotated[str, typer.Argument(help="What it will do, in a few words.")],
    database: Database = "main",
    folder: Folder = HERE,
) -> None:
    """Make an empty migration after the last one.

    Example: pgdual migrate new "orders have a note"
    """
    with told():
        typer.echo(_migrations().new(database, folder / database, message))
