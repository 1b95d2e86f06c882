"""What `pgdual` offers: one file a command, gathered here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from pgdual.cli.demo import demo
from pgdual.cli.migrate import app as migrate
from pgdual.cli.schema import app as schema

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may hold a DSN
    help="A PostgreSQL client with an async and a blocking face of one shape.",
)
app.command()(demo)
app.add_typer(schema, name="schema")
app.add_typer(migrate, name="migrate")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgdual {version('pgdual')}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")


@app.callback()
def _options(_version: Annotated[bool, VERSION] = False) -> None:
    pass
