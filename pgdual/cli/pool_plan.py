"""`pgdual pool-plan`: do the pools of so many workers fit their servers?"""

from __future__ import annotations

from typing import Annotated, Any

import psycopg
import typer

from pgdual.cli.reach import columns, connected, fail, one_line, settings_of
from pgdual.core.sizing import Plan, Server, plan
from pgdual.environment import spellings
from pgdual.settings import Settings

# A server is known by its start and its port: databases behind two DSNs may share one. Other clients are
# those that are not this program's pools; each column can be read by any role.
_FACTS = """
SELECT pg_postmaster_start_time()::text || ' ' || coalesce(inet_server_port(), 0) AS server,
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int
        + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND pid <> pg_backend_pid() AND application_name NOT IN (%s, 'pgdual pool-plan'))::int AS others,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND application_name = %s)::int AS ours
"""


def pool_plan(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on the host; WORKERS by default.", show_default=False)
    ] = None,
    database: Annotated[list[str] | None, typer.Argument(help="Databases; all that have a DSN.")] = None,
) -> None:
    """Hold the pools of all workers against each server's max_connections, and say what to change.

    The guide's formula: workers x (PG_POOL_MAX_SIZE // workers) x 2 <= max_connections. What other
    clients hold now counts too. An open `db.listen()` is a connection more, and so is, for its moment, a
    health check of a pool that is all in use. The exit code is 0 when all fits, else 1.

    Example: pgdual pool-plan --workers 4
    """
    settings, names = settings_of(database)
    plans = planned(settings, names, workers or settings.workers)
    for number, (made, ours) in enumerate(plans):
        if number:
            typer.echo()
        _show(made, ours)
    raise typer.Exit(any(made.changes for made, _ in plans))


def planned(settings: Settings, names: list[str], workers: int) -> list[tuple[Plan, int]]:
    """Return a plan for each server, and how many connections pgdual's pools hold there now."""
    servers: dict[str, tuple[Any, dict[str, int]]] = {}
    for name in names:
        database = settings.database(name)
        facts = _asked(name, database)
        servers.setdefault(facts.server, (facts, {}))[1][name] = database.pool_max_size
    variables = {name: spellings(name, "PG_POOL_MAX_SIZE")[0] for name in names}
    return [
        (
            plan(sizes, variables, workers, Server(facts.max_connections, facts.reserved, facts.others)),
            facts.ours,
        )
        for facts, sizes in servers.values()
    ]


def _asked(name: str, database: Any) -> Any:
    try:
        with connected(database, "pool-plan") as connection:
            return connection.execute(_FACTS, (database.application_name,) * 2).fetchone()
    except psycopg.Error as error:
        fail(f"{name}: {one_line(error)}", 1)


def _show(made: Plan, ours: int) -> None:
    server = made.server
    rows = [("database", "a host", "a worker", "all workers")]
    rows += [(pool.database, str(pool.max_size), str(pool.each), str(pool.total)) for pool in made.pools]
    for line in columns(rows):
        typer.echo(line)
    typer.echo(
        f"{made.workers} workers open up to {made.total} connections; x 2 is {made.wanted}. "
        f"The server allows {server.max_connections}, keeps {server.reserved} for superusers, "
        f"and others hold {server.others} now ({ours} are pgdual's)."
    )
    for change in made.changes:
        typer.secho(change, fg=typer.colors.YELLOW)
    if not made.changes:
        typer.secho("It fits.", fg=typer.colors.GREEN)
