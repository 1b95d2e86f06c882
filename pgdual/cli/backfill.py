"""`pgdual backfill`: run one that a file defines, and say how far each has come."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pgdual.cli.errors import told
from pgdual.cli.progress import teller
from pgdual.cli.reach import columns
from pgdual.errors import UndefinedTable, UsageError
from pgdual.sync import DB, Client

app: typer.Typer = typer.Typer(
    help="Backfills: batches that can be interrupted.\n\nExample: pgdual backfill run totals.py:TOTALS"
)
HEADINGS = ("name", "rows", "done", "last key", "updated")
Database = Annotated[str, typer.Option(help="The database.")]
Place = Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A file, and a dict in it.")]


def _load(place: str) -> dict[str, Any]:
    path, _, name = place.rpartition(":")
    if not path or not Path(path).is_file():
        raise UsageError(f"{place}: give FILE.py:NAME, a file that is there and a name in it")
    sys.path.insert(0, str(Path(path).resolve().parent))  # as Python has it that runs the file
    found = runpy.run_path(path).get(name)
    if not isinstance(found, dict):
        raise UsageError(f"{path} has no dict {name}, with the arguments of db.backfill")
    return found


def _run(place: str, database: str, dry_run: bool, must_exist: bool) -> None:
    with told():
        wanted = _load(place)
        name = wanted.get("checkpoint", place.rpartition(":")[2])
        with Client() as client:
            if must_exist and name not in [row[0] for row in _states(client[database])]:
                raise UsageError(f"no backfill {name!r} was begun; `pgdual backfill run` begins one")
            with teller() as tell:
                arguments = {"progress": tell, **wanted, "checkpoint": name}
                if dry_run:
                    arguments["dry_run"] = True
                try:
                    state = client[database].backfill(**arguments)
                except TypeError as error:
                    raise UsageError(f"{place}: {error}") from error
        what = "done, nothing written" if dry_run else "done"
        typer.echo(f"{state.name}: {what}, {state.now} rows in this run, {state.rows} in all")


@app.command()
def run(
    place: Place,
    database: Database = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and transform, write nothing.")] = False,
) -> None:
    """Run a backfill to its end, from where it was interrupted if it was.

    The file has a dict with the arguments of `db.backfill` of the blocking face; its checkpoint is called
    by the dict's name if it has none.

    Example: pgdual backfill run totals.py:TOTALS
    """
    _run(place, database, dry_run, must_exist=False)


@app.command()
def resume(place: Place, database: Database = "main") -> None:
    """Go on with a backfill that was begun; the exit code is 1 if none was.

    Example: pgdual backfill resume totals.py:TOTALS
    """
    _run(place, database, dry_run=False, must_exist=True)


@app.command()
def status(database: Database = "main") -> None:
    """Say how far each backfill has come.

    Example: pgdual backfill status
    """
    with told(), Client() as client:
        for line in columns([HEADINGS, *([str(cell) for cell in row] for row in _states(client[database]))]):
            typer.echo(line)


def _states(database: DB) -> list[Any]:
    try:
        return list(
            database.fetch(
                "SELECT name, sum(rows) AS rows, bool_and(done) AS done,"
                " string_agg(coalesce(last_key, '-'), ' ' ORDER BY part) AS last_key,"
                " date_trunc('second', max(updated_at))::text AS updated"
                " FROM pgdual_backfill GROUP BY name ORDER BY name"
            )
        )
    except UndefinedTable:
        return []  # none was ever run
