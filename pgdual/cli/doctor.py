"""`pgdual doctor`: what is wrong with a database, and the SQL that would mend it. It changes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from pgdual.cli.checks import CHECKS, Check, Finding
from pgdual.cli.reach import connected, one_line, settings_of

_RIGHTS = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') AS may, current_user::text AS role"


def doctor(
    database: Annotated[list[str] | None, typer.Argument(help="Databases; all that have a DSN.")] = None,
    longer_than: Annotated[float, typer.Option(min=0, help="Seconds from which a session is long.")] = 60.0,
    slower_than_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds on average from which a statement is slow.")
    ] = 100.0,
    min_size_mb: Annotated[
        float, typer.Option(min=0, help="Smaller tables and indexes are passed over.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a database.")] = False,
) -> None:
    """Look for locks, long sessions, slow statements, indexes, bloat and sequences; change nothing.

    Each finding comes with the SQL that would fix it. The exit code is 0 when there is none, 1 when there
    are some, 2 when something could not be looked at.

    Example: pgdual doctor main --longer-than 30
    """
    settings, names = settings_of(database)
    options = {
        "longer_than": longer_than,
        "slower_than_ms": slower_than_ms,
        "min_bytes": int(min_size_mb * 1024 * 1024),
    }
    results = {name: examined(settings.database(name), options) for name in names}
    if as_json:
        plain = {
            name: {"findings": [asdict(finding) for finding in findings], "not_looked_at": gaps}
            for name, (findings, gaps) in results.items()
        }
        typer.echo(json.dumps(plain, indent=2))
    else:
        for name, (findings, gaps) in results.items():
            _show(name, findings, gaps)
    is_blind = any(gaps for _, gaps in results.values())
    raise typer.Exit(2 if is_blind else any(findings for findings, _ in results.values()))


def examined(database: Any, options: dict[str, Any]) -> tuple[list[Finding], list[str]]:
    """Return what was found in one database, and what could not be looked at."""
    findings: list[Finding] = []
    gaps: list[str] = []
    try:
        with connected(database, "doctor") as connection:
            rights: Any = connection.execute(_RIGHTS).fetchone()
            for check in CHECKS:
                try:
                    with connection.transaction():  # a savepoint: what fails does not end the others
                        findings += looked(connection, check, options)
                except psycopg.errors.InsufficientPrivilege as error:
                    gaps.append(f"{check.title}: {one_line(error)}. GRANT pg_monitor TO {rights.role};")
                except psycopg.Error as error:
                    if connection.closed:
                        raise
                    gaps.append(f"{check.title}: {one_line(error)}")
            if not rights.may:
                gaps.append(
                    f"sessions and statements of other roles: {rights.role} sees only its own. "
                    f"GRANT pg_monitor TO {rights.role};"
                )
    except psycopg.Error as error:
        gaps.append(one_line(error))
    return findings, gaps


def looked(connection: psycopg.Connection[Any], check: Check, options: dict[str, Any]) -> list[Finding]:
    """Return what one check finds."""
    if check.needs is not None and not connection.execute(check.needs).fetchone():
        return []
    return [check.finding(row) for row in connection.execute(check.sql, options)]


def _show(name: str, findings: list[Finding], gaps: list[str]) -> None:
    typer.secho(f"{name}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}", bold=True)
    for finding in findings:
        typer.secho(f"  {finding.title}: {finding.what}", fg=typer.colors.YELLOW)
        typer.echo(f"    {finding.fix}")
    for gap in gaps:
        typer.secho(f"  not looked at: {gap}", fg=typer.colors.RED)
