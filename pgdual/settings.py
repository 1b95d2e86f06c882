"""Settings: names, aliases, defaults, units and bounds, here and nowhere else.

A field of the two models is a row of the table: its default, its variables as database main spells
them, and what its value must be. Another database NAME reads NAME_PG_X and PG_NAME_X where main
reads PG_X, NAME_POSTGRES_X and POSTGRES_NAME_X where main reads POSTGRES_X, NAME_DATABASE_URL where
main reads DATABASE_URL; never main's own (R1).

A value from the environment is a `_Given`, a str that knows its variable, so that a complaint names
what the user set. What libpq or pydantic says about a wrong value is never passed on nor chained:
either may quote a password.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar, cast

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pgdual.errors import ConfigurationError, DatabaseNotConfiguredError, UnknownDatabaseError

__all__ = ["Database", "DatabaseSettings", "Settings", "get_config", "worker_share"]

_M = TypeVar("_M", bound=BaseModel)

_LONGEST: Final = 2_147_483  # seconds; PostgreSQL's timeouts are milliseconds in an int4
_MOST: Final = 262_143  # the bound of PostgreSQL's max_connections
# Where the DSN is silent. Seconds, milliseconds, seconds; libpq and the kernel would hang for hours.
_CONNECTION: Final = {"keepalives_idle": 30, "tcp_user_timeout": 30_000, "connect_timeout": 10}
_SECRETS: Final = frozenset({"dsn", "direct_dsn", "password", "redis_url", "databases"})
_MASK: Final = "**********"
_PAIRS: Final = (("pool_min_size", "pool_max_size"), ("retry_initial_delay", "retry_max_delay"))
_NAME: Final = "^[a-z][a-z0-9_]*$"
_REASONS: Final = {
    'missing "="': "it is neither a postgresql:// URI nor key=value pairs",
    "percent-encoded": "a % is not followed by two hexadecimal digits",
    "%00": "it holds a zero byte",
    "IPv6": "the brackets of an IPv6 address are wrong",
    "unterminated": "a quote is not closed",
    "option": "libpq does not know one of its options",
    "query parameter": "libpq does not know one of its options, or one has no value",
}


class Database(StrEnum):
    """The databases that exist without being named in PGDUAL_DATABASES."""

    MAIN = "main"
    VB = "vb"
    REFERENCE = "reference"


class _Given(str):
    """A value from the environment."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def of(cls, value: str, variable: str) -> Self:
        given = cls(value)
        given.variable = variable
        return given


class _Default(_Given):
    """A default that depends on the database: not what the user asked for, so it may yield."""

    __slots__ = ()


def _label(value: object, field: str) -> str:
    return value.variable if isinstance(value, _Given) else field


def _blank_is_unset(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _row(default: Any, *variables: str, **more: Any) -> Any:
    return Field(default, json_schema_extra={"variables": list(variables)}, **more)


def _bounded(unit: str, low: float, high: float) -> Any:
    return Field(ge=low, le=high, description=f"{unit} from {low} to {high}")


if TYPE_CHECKING:  # a plain str is accepted, and is a SecretStr when read
    _Secret = str | SecretStr | Callable[[], str] | None
else:
    _Secret = Annotated[SecretStr | Callable[[], str] | None, BeforeValidator(_blank_is_unset)]
_Text = Annotated[str | None, BeforeValidator(_blank_is_unset)]
_Count = Annotated[int, _bounded("a whole number", 1, _MOST)]
_Seconds = Annotated[float, _bounded("seconds", 0.001, _LONGEST)]
_Milliseconds = Annotated[float, _bounded("milliseconds", 0, _LONGEST * 1000)]
_DSN = "a DSN such as postgresql://user:password@host:5432/dbname, or a function that returns one"
_SWITCH = "true or false"


class DatabaseSettings(BaseModel):
    """What one database is and how it is used; nothing in it is shared with another (R1).

    Times are float seconds. A DSN or password may be a function, called anew for each `conninfo()`.
    Wrong values raise `ConfigurationError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    dsn: _Secret = _row(None, "POSTGRES_DSN", "DATABASE_URL", description=_DSN)
    direct_dsn: _Secret = _row(None, "POSTGRES_DIRECT_DSN", description=_DSN)
    password: _Secret = _row(None, description="a str, or a function that returns one")
    pool_min_size: _Count = _row(5, "PG_POOL_MIN_SIZE")
    pool_max_size: _Count = _row(20, "PG_POOL_MAX_SIZE")
    pool_timeout: _Seconds = _row(30.0, "PG_POOL_TIMEOUT_SEC")
    command_timeout: _Seconds = _row(60.0, "PG_COMMAND_TIMEOUT_SEC", "PG_POOL_COMMAND_TIMEOUT_SEC")
    pool_max_idle: _Seconds = _row(300.0, "PG_POOL_MAX_IDLE_SEC")
    pool_max_lifetime: _Seconds = _row(3600.0, "PG_POOL_MAX_LIFETIME_SEC")
    pooler: Literal["none", "transaction"] = _row("none", "PG_POOLER", description="none or transaction")
    prepared_statements: Literal["auto", "on", "off"] = _row(
        "auto", "PG_PREPARED_STATEMENTS", description="auto, on or off"
    )
    search_path: _Text = _row(None, "PG_SEARCH_PATH", description="schemas, such as app,public")
    application_name: str = _row("pgdual", "PG_APPLICATION_NAME", description="text")
    breaker_failure_threshold: _Count = _row(5, "PG_BREAKER_FAILURE_THRESHOLD")
    breaker_timeout: _Seconds = _row(30.0, "PG_BREAKER_TIMEOUT_SEC")
    retry_max_attempts: _Count = _row(3, "PG_RETRY_MAX_ATTEMPTS")
    retry_initial_delay: _Seconds = _row(0.1, "PG_RETRY_INITIAL_DELAY_SEC")
    retry_max_delay: _Seconds = _row(2.0, "PG_RETRY_MAX_DELAY_SEC")
    retry_backoff_factor: Annotated[float, _bounded("a factor", 1, 1000)] = _row(
        2.0, "PG_RETRY_BACKOFF_FACTOR"
    )
    deadlock_max_attempts: _Count = _row(5, "PG_DEADLOCK_MAX_ATTEMPTS")

    def conninfo(self) -> str:
        """Return what libpq needs to connect, the password included; functions are called anew.

        Raises:
            DatabaseNotConfiguredError: There is no DSN.
            ConfigurationError: A function returned what is not a DSN or not a password.
        """
        return self._conninfo("dsn")

    def direct_conninfo(self) -> str:
        """Return the same for the way past a pooler, or `conninfo()` where there is no other way.

        Raises:
            DatabaseNotConfiguredError: There is no DSN.
            ConfigurationError: A function returned what is not a DSN or not a password.
        """
        return self._conninfo("dsn" if self.direct_dsn is None else "direct_dsn")

    def _conninfo(self, field: str) -> str:
        if (secret := getattr(self, field)) is None:
            raise DatabaseNotConfiguredError("These settings have no DSN. Give one as dsn=.")
        params = _parsed(_revealed(secret, field), field)
        if self.password is not None:
            params["password"] = _revealed(self.password, "password")
        return make_conninfo("", **{**_CONNECTION, "application_name": self.application_name, **params})

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        settings = _validated(cls, data, handler)
        if not isinstance(data, dict):
            return settings
        for field in ("dsn", "direct_dsn"):
            if isinstance(secret := getattr(settings, field), SecretStr):
                label = _label(data[field], field)
                _parsed(_revealed(secret, label), label)
        clipped = settings._clipped(data)
        return handler({**data, **clipped}) if clipped else settings

    def _clipped(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the lower ends that nobody asked for and that lie above their upper ends."""
        clipped = {}
        for low, high in _PAIRS:
            least, most = getattr(self, low), getattr(self, high)
            if least <= most:
                continue
            if low in data and not isinstance(data[low], _Default):
                raise ConfigurationError(
                    f"{_label(data[low], low)} is {least}, above {_label(data.get(high), high)}, which is "
                    f"{most}. Lower the first or raise the second."
                )
            clipped[low] = most
        return clipped

    @field_serializer("dsn", "direct_dsn", "password")
    def _masked(self, secret: object) -> str | None:
        return None if secret is None else _MASK

    def __repr_args__(self) -> Any:
        # a partial or a bound method would show its arguments
        return [(name, _MASK if callable(value) else value) for name, value in super().__repr_args__()]


def _defaults(database: str, environment: str) -> dict[str, int]:
    """Return what differs from the rows above, which are those of main in development."""
    if database == Database.MAIN:
        return {"pool_min_size": 20, "pool_max_size": 100} if _is_production(environment) else {}
    sizes = {"pool_min_size": 10, "pool_max_size": 50}
    return {**sizes, "command_timeout": 5} if database == Database.REFERENCE else sizes


def _is_production(environment: object) -> bool:
    return str(environment).lower() == "production"


class Settings(BaseSettings):
    """Every setting of one client, from arguments, else the environment, else `.env`.

    With `databases` given, those are all there are, and the environment is not read for any.
    Times are float seconds, or milliseconds where the name says so. Wrong values raise
    `ConfigurationError`.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        defer_build=True,
        env_file=".env",
        case_sensitive=True,
    )

    databases: dict[Annotated[str, Field(pattern=_NAME)], DatabaseSettings] = _row(
        {}, description="a dict of names (small letters, digits and _) and DatabaseSettings"
    )
    environment: str = _row("development", "PGDUAL_ENV", description="text")
    slow_query_threshold_ms: _Milliseconds = _row(1000.0, "DB_SLOW_QUERY_THRESHOLD_MS")
    slow_acquire_threshold_ms: _Milliseconds = _row(500.0, "DB_SLOW_ACQUIRE_THRESHOLD_MS")
    long_transaction_threshold_ms: _Milliseconds = _row(2000.0, "DB_LONG_TRANSACTION_THRESHOLD_MS")
    pool_exhaustion_threshold: float = _row(
        0.9, "DB_POOL_EXHAUSTION_THRESHOLD", gt=0, le=1, description="a share above 0, at most 1"
    )
    leak_threshold: _Seconds | None = _row(None, "DB_LEAK_THRESHOLD_SEC", description="seconds above 0")
    log_query_args: bool = _row(True, "DB_LOG_QUERY_ARGS", description=_SWITCH)
    workers: _Count = _row(1, "WORKERS", "GRANIAN_WORKERS", "WEB_CONCURRENCY")
    redis_url: Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)] = _row(
        None, "REDIS_URL", description="a URL such as redis://host:6379/0"
    )
    schema_lock_ttl: _Seconds = _row(60.0, "SCHEMA_LOCK_TTL_SEC")
    schema_lock_wait: _Seconds = _row(120.0, "SCHEMA_LOCK_WAIT_SEC")
    schema_lock_retry_ms: Annotated[float, _bounded("milliseconds", 1, _LONGEST * 1000)] = _row(
        500.0, "SCHEMA_LOCK_RETRY_MS"
    )
    close_grace: Annotated[float, _bounded("seconds", 0, _LONGEST)] = _row(10.0, "PGDUAL_CLOSE_GRACE_SEC")
    monitor: _Text = _row(None, "PGDUAL_MONITOR", description="text")
    enable_vb_database: bool = _row(True, "ENABLE_VB_DATABASE", description=_SWITCH)

    @property
    def configured(self) -> tuple[str, ...]:
        """The names of the databases that have a DSN."""
        return tuple(name for name, database in self.databases.items() if database.dsn is not None)

    def database(self, name: Database | str) -> DatabaseSettings:
        """Return the settings of one database, with a DSN or without.

        Raises:
            UnknownDatabaseError: No database has this name.
        """
        if (found := self.databases.get(name)) is None:
            raise UnknownDatabaseError(
                f"No database is called {str(name)!r}. Use one of {', '.join(self.databases)}, "
                "or name it in PGDUAL_DATABASES."
            )
        return found

    def get_pool_config(self, database: Database | str = Database.MAIN) -> DatabaseSettings:
        """Return `database(database)`: the guide's name for it."""
        return self.database(database)

    def get_dsn(self, database: Database | str = Database.MAIN) -> str:
        """Return the DSN of one database, its password included and a driver's name taken out.

        Raises:
            DatabaseNotConfiguredError: The database has no DSN, or is switched off.
            UnknownDatabaseError: No database has this name.
        """
        dsn = self.database(database).dsn
        if dsn is not None:
            return _without_driver(_revealed(dsn, "dsn"))
        missing = f"DSN not configured for database '{database}'"
        if database == Database.VB and not self.enable_vb_database:
            raise DatabaseNotConfiguredError(f"{missing}: ENABLE_VB_DATABASE is false. Set it to true.")
        first, second, *_ = _variables_of(database, "dsn")
        raise DatabaseNotConfiguredError(f"{missing}. Set {first} (or {second}) in the environment.")

    def pool_share(self, name: Database | str) -> tuple[int, int]:
        """Return the least and the most connections that this worker may hold to one database.

        Raises:
            ConfigurationError: There are more workers than connections.
            UnknownDatabaseError: No database has this name.
        """
        database = self.database(name)
        return worker_share(database.pool_min_size, database.pool_max_size, self.workers, name)

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        if isinstance(data, dict) and _is_production(data.get("environment")):
            data = {"log_query_args": False, **data}
        settings = _validated(cls, data, handler)
        if not settings.enable_vb_database and (vb := settings.databases.get(Database.VB)):
            settings.databases[Database.VB.value] = vb.model_copy(update={"dsn": None, "direct_dsn": None})
        return settings

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the table's variables in place of pydantic-settings' own names."""
        dotenv = cast(DotEnvSettingsSource, sources["dotenv_settings"]).env_vars
        return sources["init_settings"], _Environment(settings_cls, dotenv)


def worker_share(min_size: int, max_size: int, workers: int, database: str) -> tuple[int, int]:
    """Return one worker's share of a host's least and most connections (P2).

    Raises:
        ConfigurationError: There are more workers than connections.
    """
    if workers > max_size:
        raise ConfigurationError(
            f"{workers} workers cannot share the {max_size} connections of database '{database}': each needs "
            f"one. Raise {_spellings(database, 'PG_POOL_MAX_SIZE')[0]} or start fewer workers."
        )
    share = max_size // workers
    return min(max(1, min_size // workers), share), share


@functools.cache
def get_config() -> Settings:
    """Return the settings of this process, made once from the environment.

    `get_config.cache_clear()` makes the next call read it again.

    Raises:
        ConfigurationError: A variable is wrong or contradicts another.
    """
    return Settings()


def _validated(model: type[_M], data: Any, handler: Callable[[Any], _M]) -> _M:
    try:
        return handler(data)
    except ValidationError as invalid:
        problem = _problem(model, invalid)
    raise problem  # out of the except block: the cause holds the value, which may be a secret


def _problem(model: type[BaseModel], invalid: ValidationError) -> ConfigurationError:
    found = invalid.errors(include_url=False, include_context=False)[0]
    value = found["input"]
    if not found["loc"]:
        return ConfigurationError(
            f"{model.__name__} takes its settings by name, as in {model.__name__}(name=value), "
            f"not as a {type(value).__name__}."
        )
    if (field := str(found["loc"][0])) not in model.model_fields:
        return ConfigurationError(
            f"{field} is not a setting of {model.__name__}. Use one of {', '.join(model.model_fields)}."
        )
    shown = "unusable" if field in _SECRETS else repr(value)[:64]
    return ConfigurationError(
        f"{_label(value, field)} is {shown}: it must be {model.model_fields[field].description}. "
        "Correct it, or leave it out for the default."
    )


def _revealed(secret: Any, label: str) -> str:
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret()
    if not isinstance(text, str):
        raise ConfigurationError(f"{label}() returned a {type(text).__name__}. It must return a str.")
    if re.search("[\0\ud800-\udfff]", text):
        raise ConfigurationError(f"{label} holds a character that PostgreSQL cannot take. Set it anew.")
    return text


def _without_driver(dsn: str) -> str:
    return re.sub(r"^\s*postgres(ql)?(\+\w+)?://", "postgresql://", dsn, flags=re.IGNORECASE)


def _parsed(dsn: str, label: str) -> dict[str, Any]:
    plain, params = _without_driver(dsn), {}
    try:
        params = conninfo_to_dict(plain)
        reason = _misread(plain, params)
    except Error as error:
        said = str(error)
        reason = next((why for sign, why in _REASONS.items() if sign in said), "libpq cannot read it")
    if reason:
        raise ConfigurationError(
            f"{label} is malformed: {reason}. Write postgresql://user:password@host:5432/dbname, with any "
            "of @ : / ? # % in the user or password percent-encoded."
        )
    return params


def _misread(plain: str, params: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a DSN that libpq can read, or None.

    A bare @ or / in a password moves the rest of it into host, port or dbname, which libpq and
    the server quote in their errors.
    """
    if not plain.strip():
        return "it is empty"
    ports = filter(None, str(params.get("port", "")).split(","))
    if not all(re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536 for port in ports):
        return "its port is not a number from 1 to 65535"
    places = f"{params.get('host', '')}{params.get('dbname', '')}"
    if plain.startswith("postgresql://") and "@" in places and "%40" not in plain:
        return "it has an @ too many"
    return None


def _variables(field: FieldInfo) -> list[str]:
    return cast(dict[str, list[str]], field.json_schema_extra)["variables"]


def _variables_of(database: str, field: str) -> list[str]:
    own = (_spellings(database, variable) for variable in _variables(DatabaseSettings.model_fields[field]))
    return list(itertools.chain.from_iterable(own))


def _spellings(database: str, variable: str) -> list[str]:
    if database == Database.MAIN:
        return [variable]
    family, _, rest = variable.partition("_")  # R1: from here on it is not main's any more
    own = f"{database.upper()}_{variable}"
    return [own] if family == "DATABASE" else [own, f"{family}_{database.upper()}_{rest}"]


def _claim(database: str, owners: dict[str, str]) -> None:
    """Enter the variables of *database* into *owners*, where each may stand for one database (R1)."""
    variables = (_variables_of(database, field) for field in DatabaseSettings.model_fields)
    for variable in itertools.chain.from_iterable(variables):
        if owners.setdefault(variable, database) != database:
            raise ConfigurationError(
                f"PGDUAL_DATABASES holds {database!r}, but {variable} is a variable of "
                f"{owners[variable]!r}. Choose another name."
            )


def _canonical(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return _without_driver(value)


class _Environment(PydanticBaseSettingsSource):
    """The environment, and `.env` for what it leaves open; an empty variable is not set."""

    def __init__(self, model: type[BaseSettings], dotenv: Mapping[str, str | None]) -> None:
        super().__init__(model)
        self._dotenv = dotenv

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in Settings.model_fields.items()}
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

    def _get(self, variable: str) -> _Given | None:
        for place in (os.environ, self._dotenv):
            if value := (place.get(variable) or "").strip():
                return _Given.of(value, variable)
        return None

    def _names(self) -> list[str]:
        listed = [name.strip().lower() for name in (self._get("PGDUAL_DATABASES") or "").split(",")]
        names = list(dict.fromkeys([*(known.value for known in Database), *filter(None, listed)]))
        owners: dict[str, str] = {}
        for name in names:
            if not re.fullmatch(_NAME, name):
                raise ConfigurationError(
                    f"PGDUAL_DATABASES holds {name!r}. A name is a letter, then letters, digits and _."
                )
            _claim(name, owners)
        return names

    def _database(self, name: str, environment: str) -> dict[str, Any]:
        values: dict[str, Any] = {
            field: _Default.of(str(default), _variables_of(name, field)[0])
            for field, default in _defaults(name, environment).items()
        }
        for field in DatabaseSettings.model_fields:
            if (given := self._agreed(_variables_of(name, field))) is not None:
                values[field] = given
        return values

    def _agreed(self, variables: list[str]) -> _Given | None:
        found = [given for variable in variables if (given := self._get(variable)) is not None]
        for other in found[1:]:
            if _canonical(other) != _canonical(found[0]):
                raise ConfigurationError(
                    f"{found[0].variable} and {other.variable} are both set, to different values. "
                    "Keep one of them."
                )
        return found[0] if found else None
