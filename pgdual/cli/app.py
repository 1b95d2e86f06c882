"""What `pgdual` offers: one file a command, gathered here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from pgdual.cli.backfill import app as backfill
from pgdual.cli.config import config
from pgdual.cli.demo import demo
from pgdual.cli.doctor import doctor
from pgdual.cli.health import health
from pgdual.cli.migrate import app as migrate
from pgdual.cli.pool_plan import pool_plan
from pgdual.cli.projections import app as projections
from pgdual.cli.schema import app as schema
from pgdual.cli.top import top

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a DSN
    help="A PostgreSQL client with an async and a blocking face of one shape.\n\nExample: pgdual health",
)
app.command()(demo)
app.add_typer(schema, name="schema")
app.add_typer(migrate, name="migrate")
app.add_typer(backfill, name="backfill")
app.add_typer(projections, name="projections")
app.command()(config)
app.command()(health)
app.command()(pool_plan)
app.command()(doctor)
app.command()(top)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgdual {version('pgdual')}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")


@app.callback()
def _options(_version: Annotated[bool, VERSION] = False) -> None:
    pass
