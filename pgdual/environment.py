"""How settings are read from the environment: which variables are whose, and what they were set to.

A model's field lists its variables as database main spells them (`row`). Another database NAME reads
NAME_PG_X and PG_NAME_X where main reads PG_X, NAME_POSTGRES_X and POSTGRES_NAME_X where main reads
POSTGRES_X, NAME_DATABASE_URL where main reads DATABASE_URL; never main's own (R1).

A value from the environment is a `Given`, a str that knows its variable, so that a complaint names what
the user set. The models themselves are parameters: they are made in `settings`, which imports this.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self, cast

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from pgdual.dsn import without_driver
from pgdual.errors import ConfigurationError

__all__ = ["MAIN", "NAME", "Default", "Environment", "Given", "name_of", "row", "spellings", "variables_of"]

MAIN: Final = "main"  # the database whose variables do not hold its name
NAME: Final = "^[a-z][a-z0-9_]*$"


class Given(str):
    """A value from the environment."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def of(cls, value: str, variable: str) -> Self:
        """Return *value* as the one that *variable* is set to."""
        given = cls(value)
        given.variable = variable
        return given


class Default(Given):
    """A default that depends on the database: not what the user asked for, so it may yield."""

    __slots__ = ()


def name_of(value: object, field: str) -> str:
    """Return what the user calls a setting: the variable that it came from, or else its field."""
    return value.variable if isinstance(value, Given) else field


def row(default: Any, *variables: str, **more: Any) -> Any:
    """Return a field with its default and its variables, the first of them the one to recommend."""
    return Field(default, json_schema_extra={"variables": list(variables)}, **more)


def spellings(database: str, variable: str) -> list[str]:
    """Return how *database* spells one of main's variables."""
    if database == MAIN:
        return [variable]
    family, _, rest = variable.partition("_")  # R1: from here on it is not main's any more
    own = f"{database.upper()}_{variable}"
    return [own] if family == "DATABASE" else [own, f"{family}_{database.upper()}_{rest}"]


def variables_of(model: type[BaseModel], database: str, field: str) -> list[str]:
    """Return the variables that set *field* of *database*, in all spellings."""
    own = (spellings(database, variable) for variable in _variables(model.model_fields[field]))
    return list(itertools.chain.from_iterable(own))


def _variables(field: FieldInfo) -> list[str]:
    return cast(dict[str, list[str]], field.json_schema_extra)["variables"]


def _canonical(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return without_driver(value)


class Environment(PydanticBaseSettingsSource):
    """The environment, and `.env` for what it leaves open; an empty variable is not set.

    Args:
        model: The settings of a client.
        database_model: The settings of one of its databases.
        known: The databases that exist without being named in PGDUAL_DATABASES.
        defaults: Returns a database's own defaults, from its name and PGDUAL_ENV.
        dotenv: What `.env` holds.
    """

    def __init__(
        self,
        model: type[BaseSettings],
        database_model: type[BaseModel],
        known: Iterable[str],
        defaults: Callable[[str, str], Mapping[str, int]],
        dotenv: Mapping[str, str | None],
    ) -> None:
        super().__init__(model)
        self._model = database_model
        self._known = known
        self._defaults = defaults
        self._dotenv = dotenv

    def __call__(self) -> dict[str, Any]:
        """Return what is set, by field; a database's values are a dict of their own.

        Raises:
            ConfigurationError: Two variables contradict each other, or a name cannot be a database's.
        """
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        values = {name: given for name, given in found.items() if given is not None}
        if "databases" in self.current_state:
            values.pop("enable_vb_database", None)  # it is said of the environment's own vb
        else:
            environment = self.current_state.get("environment") or values.get("environment", "")
            values["databases"] = {name: self._database(name, environment) for name in self._names()}
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the first of the field's variables that is set, or None."""
        found = (self._get(variable) for variable in _variables(field))
        return next((given for given in found if given is not None), None), field_name, False

    def _get(self, variable: str) -> Given | None:
        for place in (os.environ, self._dotenv):
            if value := (place.get(variable) or "").strip():
                return Given.of(value, variable)
        return None

    def _names(self) -> list[str]:
        listed = [name.strip().lower() for name in (self._get("PGDUAL_DATABASES") or "").split(",")]
        names = list(dict.fromkeys([*self._known, *filter(None, listed)]))
        owners: dict[str, str] = {}
        for name in names:
            if not re.fullmatch(NAME, name):
                raise ConfigurationError(
                    f"PGDUAL_DATABASES holds {name!r}. A name is a letter, then letters, digits and _."
                )
            self._claim(name, owners)
        return names

    def _claim(self, database: str, owners: dict[str, str]) -> None:
        """Enter the variables of *database* into *owners*, where each may stand for one database (R1)."""
        variables = (variables_of(self._model, database, field) for field in self._model.model_fields)
        for variable in itertools.chain.from_iterable(variables):
            if owners.setdefault(variable, database) != database:
                raise ConfigurationError(
                    f"PGDUAL_DATABASES holds {database!r}, but {variable} is a variable of "
                    f"{owners[variable]!r}. Choose another name."
                )

    def _database(self, name: str, environment: str) -> dict[str, Any]:
        values: dict[str, Any] = {
            field: Default.of(str(default), variables_of(self._model, name, field)[0])
            for field, default in self._defaults(name, environment).items()
        }
        for field in self._model.model_fields:
            if (given := self._agreed(variables_of(self._model, name, field))) is not None:
                values[field] = given
        return values

    def _agreed(self, variables: list[str]) -> Given | None:
        found = [given for variable in variables if (given := self._get(variable)) is not None]
        for other in found[1:]:
            if _canonical(other) != _canonical(found[0]):
                raise ConfigurationError(
                    f"{found[0].variable} and {other.variable} are both set, to different values. "
                    "Keep one of them."
                )
        return found[0] if found else None
