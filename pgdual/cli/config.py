"""`pgdual config`: every setting as it is resolved, and where it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from dotenv import dotenv_values
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, SecretStr

from pgdual.cli.reach import columns
from pgdual.dsn import without_driver
from pgdual.environment import MAIN, variables_of
from pgdual.errors import ConfigurationError
from pgdual.settings import DatabaseSettings, Settings

MASK = "**********"
# What of a DSN is no secret; whatever else it holds is counted.
SHOWN = ("host", "hostaddr", "port", "dbname", "user", "sslmode", "target_session_attrs")
MOST = 50  # errors that are looked for


def config() -> None:
    """Show every setting, its value, and the variable that it comes from.

    Passwords are masked. Ends with code 2 and one line for each error when a variable is wrong.

    Example: PG_POOL_MAX_SIZE=50 pgdual config
    """
    complaints = list(mistakes())
    if complaints:
        for complaint in complaints:
            typer.secho(complaint, fg=typer.colors.RED, err=True)
        raise typer.Exit(2)
    settings = Settings()
    rows = [("setting", "value", "from"), *rows_of(settings, sources())]
    for line in columns(rows):
        typer.echo(line)


def sources() -> dict[str, str]:
    """Return where each variable that is set was set: the environment comes before `.env`."""
    found = {name: f"{name} (.env)" for name, value in dotenv_values(".env").items() if (value or "").strip()}
    return found | {name: name for name, value in os.environ.items() if value.strip()}


def rows_of(settings: Settings, places: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and origin of every setting, those of the databases last."""
    for field in Settings.model_fields:
        if field != "databases":
            yield _row(field, settings, Settings, MAIN, field, places)
    for name, database in settings.databases.items():
        for field in DatabaseSettings.model_fields:
            yield _row(f"{name}.{field}", database, DatabaseSettings, name, field, places)


def _row(
    label: str,
    settings: BaseModel,
    model: type[BaseModel],
    database: str,
    field: str,
    places: Mapping[str, str],
) -> tuple[str, str, str]:
    variables = variables_of(model, database, field)
    origin = next((places[variable] for variable in variables if variable in places), "default")
    return label, shown(field, getattr(settings, field)), origin


def shown(field: str, value: Any) -> str:
    """Return a value as it may be read by anybody."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return address(value.get_secret_value()) if field.endswith("dsn") else MASK
    return MASK if callable(value) else f"{value:g}" if isinstance(value, float) else str(value)


def address(dsn: str) -> str:
    """Return of a DSN what is no secret."""
    parts = {name: str(value) for name, value in conninfo_to_dict(without_driver(dsn)).items()}
    words = [f"{name}={parts.pop(name)}" for name in SHOWN if name in parts]
    if parts.pop("password", None):
        words.append(f"password={MASK}")
    return " ".join([*words, f"(+{len(parts)} more)"] if parts else words)


def mistakes() -> Iterator[str]:
    """Yield what is wrong with the settings, one complaint after the other.

    The settings stop at the first mistake, so the variables that a complaint names are taken out, and the
    rest is read again; the process is about to end.
    """
    known = _variables()
    for _ in range(MOST):
        try:
            Settings()
        except ConfigurationError as error:
            yield str(error)
            named = [name for name in re.findall(r"[A-Z][A-Z0-9_]+", str(error)) if name in known]
            if not [os.environ.pop(name) for name in named if name in os.environ]:
                return  # it stands in .env, or there is no variable to take out
        else:
            return


def _variables() -> set[str]:
    databases = {MAIN, "vb", "reference"}
    listed = os.environ.get("PGDUAL_DATABASES", "").lower().split(",")
    databases |= {name.strip() for name in listed if re.fullmatch(r"[a-z][a-z0-9_]*", name.strip())}
    own = {
        variable
        for database in databases
        for field in DatabaseSettings.model_fields
        for variable in variables_of(DatabaseSettings, database, field)
    }
    shared = {name for field in Settings.model_fields for name in variables_of(Settings, MAIN, field)}
    return own | shared | {"PGDUAL_DATABASES"}
