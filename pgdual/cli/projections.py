"""`pgdual projections`: how far they have come, what has failed, and what is to become of it."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn

from pgdual import aio, sync
from pgdual.cli.errors import told
from pgdual.cli.progress import bar
from pgdual.cli.reach import columns
from pgdual.errors import ProjectionError, UndefinedTable, UsageError
from pgdual.sync import DB, Client, projection_failures, projection_status, retry_projection, skip_projection

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    help="Projections: events into read models.\n\nExample: pgdual projections status",
)
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
        _say(STATUS, [_place(row) for row in places])
        _say(FAILED, [_failure(row) for row in failed])
    if not places and not failed:
        typer.echo("nothing was projected")
    raise typer.Exit(bool(failed))


def _place(row: dict[str, Any]) -> Sequence[object]:
    after = "unknown" if row["after"] is None else row["after"]  # it has another source than the log here
    return row["projection"], f"{row['turn']}/{row['number']}", after


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


@app.command()
def rebuild(
    place: Annotated[str, typer.Argument(help="A file or a module that registers the projectors.")],
    projection: Annotated[str, typer.Argument(help="The projection.")],
    database: Database = "main",
    in_place: Annotated[bool, typer.Option("--in-place", help="In one transaction; it pauses.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an interrupted one did.")] = False,
) -> None:
    """Make the tables of a projection anew from the whole event log, and swap them in at the end.

    Interrupted with Ctrl-C, the same command goes on where it was. The projectors may be of either face.

    Example: pgdual projections rebuild app/projectors.py orders
    """
    _load(place)
    with told(), _bar(projection) as tell:
        try:
            known = {one.projection for one in (*aio.REGISTRY, *sync.REGISTRY)}
            if projection not in known:
                names = ", ".join(sorted(known)) or "none is registered"
                raise ProjectionError(f"no projection {projection!r}; there are: {names}")
            if projection in {one.projection for one in aio.REGISTRY}:
                done = asyncio.run(_waited(projection, database, in_place, restart, tell))
            else:
                with Client() as client:
                    done = sync.rebuild(
                        projection, client[database], in_place=in_place, restart=restart, progress=tell
                    )
        except KeyboardInterrupt:
            typer.echo(f"{projection}: interrupted; the same command goes on where it was", err=True)
            raise typer.Exit(130) from None
    typer.echo(f"{projection}: rebuilt from {done.done} events, {done.rate:.0f} events/s")


async def _waited(projection: str, database: str, in_place: bool, restart: bool, tell: Any) -> Any:
    async with aio.AsyncClient() as client:
        return await aio.rebuild(
            projection, client[database], in_place=in_place, restart=restart, progress=tell
        )


def _load(place: str) -> None:
    with told():
        sys.path.insert(0, "")
        try:
            if Path(place).is_file():
                _load_file(place)
            else:
                importlib.import_module(place)
        except ImportError as error:
            raise UsageError(f"{place}: give a file that is there, or a module: {error}") from error
        except ProjectionError as error:
            raise ProjectionError(f"{place}: {error}") from error


def _load_file(path: str) -> None:
    name = f"pgdual_loaded_{Path(path).stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no file of Python")
    # It stays: annotations of its events are looked up in it later.
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)


@contextmanager
def _bar(projection: str) -> Iterator[Callable[[Any], None] | None]:
    """Yield what shows the progress with its rate and the time left on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with bar(Console(stderr=True), projection, MofNCompleteColumn()) as move:

        def tell(state: Any) -> None:
            left = "" if state.left == inf else f", {state.left:.0f} s left"
            move(completed=state.done, total=state.total, said=f"{state.rate:,.0f} events/s{left}")

        yield tell
