"""Settings: names, aliases, defaults, units and bounds, here and nowhere else.

A field of the two models is a row of the table: its default, its variables as database main spells
them, and what its value must be. How another database spells them stands in `environment`.

What pydantic says about a wrong value is never passed on nor chained: it may quote a password.
"""

# No postponed annotations: pydantic would evaluate each of them again (bench row 17).
import functools
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pgdual.dsn import UNSENDABLE, completed, parsed, revealed, without_driver
from pgdual.environment import MAIN, NAME, Default, Environment, name_of, row, spellings, variables_of
from pgdual.errors import ConfigurationError, DatabaseNotConfiguredError, UnknownDatabaseError

__all__ = ["Database", "DatabaseSettings", "Settings", "get_config", "worker_share"]

_M = TypeVar("_M", bound=BaseModel)

_LONGEST: Final = 2_147_483  # seconds; PostgreSQL's timeouts are milliseconds in an int4
_MOST: Final = 262_143  # the bound of PostgreSQL's max_connections
_SECRETS: Final = frozenset({"dsn", "direct_dsn", "password", "redis_url", "databases"})
_MASK: Final = "**********"
_PAIRS: Final = (("pool_min_size", "pool_max_size"), ("retry_initial_delay", "retry_max_delay"))


class Database(StrEnum):
    """The databases that exist without being named in PGDUAL_DATABASES."""

    MAIN = MAIN
    VB = "vb"
    REFERENCE = "reference"


def _sendable(value: str) -> str:
    if re.search(UNSENDABLE, value):
        raise ValueError("PostgreSQL cannot take it")
    return value


def _blank_is_unset(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _bounded(unit: str, low: float, high: float) -> Any:
    return Field(ge=low, le=high, description=f"{unit} from {low} to {high}")


if TYPE_CHECKING:  # a plain str is accepted, and is a SecretStr when read
    _Secret = str | SecretStr | Callable[[], str] | None
else:
    _Secret = Annotated[SecretStr | Callable[[], str] | None, BeforeValidator(_blank_is_unset)]
_Text = Annotated[str | None, BeforeValidator(_blank_is_unset)]
_Sent = Annotated[str, AfterValidator(_sendable)]
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

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    dsn: _Secret = row(None, "POSTGRES_DSN", "DATABASE_URL", description=_DSN)
    direct_dsn: _Secret = row(None, "POSTGRES_DIRECT_DSN", description=_DSN)
    password: _Secret = row(None, description="a str, or a function that returns one")
    pool_min_size: _Count = row(5, "PG_POOL_MIN_SIZE")
    pool_max_size: _Count = row(20, "PG_POOL_MAX_SIZE")
    pool_timeout: _Seconds = row(30.0, "PG_POOL_TIMEOUT_SEC")
    command_timeout: _Seconds = row(60.0, "PG_COMMAND_TIMEOUT_SEC", "PG_POOL_COMMAND_TIMEOUT_SEC")
    pool_max_idle: _Seconds = row(300.0, "PG_POOL_MAX_IDLE_SEC")
    pool_max_lifetime: _Seconds = row(3600.0, "PG_POOL_MAX_LIFETIME_SEC")
    pooler: Literal["none", "transaction"] = row("none", "PG_POOLER", description="none or transaction")
    prepared_statements: Literal["auto", "on", "off"] = row(
        "auto", "PG_PREPARED_STATEMENTS", description="auto, on or off"
    )
    search_path: Annotated[_Sent | None, BeforeValidator(_blank_is_unset)] = row(
        None, "PG_SEARCH_PATH", description="schemas, such as app,public"
    )
    application_name: _Sent = row("pgdual", "PG_APPLICATION_NAME", description="text")
    breaker_failure_threshold: _Count = row(5, "PG_BREAKER_FAILURE_THRESHOLD")
    breaker_timeout: _Seconds = row(30.0, "PG_BREAKER_TIMEOUT_SEC")
    retry_max_attempts: _Count = row(3, "PG_RETRY_MAX_ATTEMPTS")
    retry_initial_delay: _Seconds = row(0.1, "PG_RETRY_INITIAL_DELAY_SEC")
    retry_max_delay: _Seconds = row(2.0, "PG_RETRY_MAX_DELAY_SEC")
    retry_backoff_factor: Annotated[float, _bounded("a factor", 1, 1000)] = row(
        2.0, "PG_RETRY_BACKOFF_FACTOR"
    )
    deadlock_max_attempts: _Count = row(5, "PG_DEADLOCK_MAX_ATTEMPTS")

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
        params = parsed(revealed(secret, field), field)
        if self.password is not None:
            params["password"] = revealed(self.password, "password")
        return completed(params, self.application_name)

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        settings = _validated(cls, data, handler)
        if not isinstance(data, dict):
            return settings
        for field in ("dsn", "direct_dsn"):
            if isinstance(secret := getattr(settings, field), SecretStr):
                label = name_of(data[field], field)
                parsed(revealed(secret, label), label)
        clipped = settings._clipped(data)
        return handler({**data, **clipped}) if clipped else settings

    def _clipped(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the lower ends that nobody asked for and that lie above their upper ends."""
        clipped = {}
        for low, high in _PAIRS:
            least, most = getattr(self, low), getattr(self, high)
            if least <= most:
                continue
            if low in data and not isinstance(data[low], Default):
                raise ConfigurationError(
                    f"{name_of(data[low], low)} is {least}, above {name_of(data.get(high), high)}, which is "
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

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        defer_build=True,
        env_file=".env",
        case_sensitive=True,
    )

    databases: dict[Annotated[str, Field(pattern=NAME)], DatabaseSettings] = row(
        {}, description="a dict of names (small letters, digits and _) and DatabaseSettings"
    )
    environment: str = row("development", "PGDUAL_ENV", description="text")
    slow_query_threshold_ms: _Milliseconds = row(1000.0, "DB_SLOW_QUERY_THRESHOLD_MS")
    slow_acquire_threshold_ms: _Milliseconds = row(500.0, "DB_SLOW_ACQUIRE_THRESHOLD_MS")
    long_transaction_threshold_ms: _Milliseconds = row(2000.0, "DB_LONG_TRANSACTION_THRESHOLD_MS")
    pool_exhaustion_threshold: float = row(
        0.9, "DB_POOL_EXHAUSTION_THRESHOLD", gt=0, le=1, description="a share above 0, at most 1"
    )
    leak_threshold: _Seconds | None = row(None, "DB_LEAK_THRESHOLD_SEC", description="seconds above 0")
    log_query_args: bool = row(True, "DB_LOG_QUERY_ARGS", description=_SWITCH)
    workers: _Count = row(1, "WORKERS", "GRANIAN_WORKERS", "WEB_CONCURRENCY")
    redis_url: Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)] = row(
        None, "REDIS_URL", description="a URL such as redis://host:6379/0"
    )
    schema_lock_ttl: _Seconds = row(60.0, "SCHEMA_LOCK_TTL_SEC")
    schema_lock_wait: _Seconds = row(120.0, "SCHEMA_LOCK_WAIT_SEC")
    schema_lock_retry_ms: Annotated[float, _bounded("milliseconds", 1, _LONGEST * 1000)] = row(
        500.0, "SCHEMA_LOCK_RETRY_MS"
    )
    close_grace: Annotated[float, _bounded("seconds", 0, _LONGEST)] = row(10.0, "PGDUAL_CLOSE_GRACE_SEC")
    monitor: _Text = row(None, "PGDUAL_MONITOR", description="the path of a folder")
    enable_vb_database: bool = row(True, "ENABLE_VB_DATABASE", description=_SWITCH)

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
            return without_driver(revealed(dsn, "dsn"))
        missing = f"DSN not configured for database '{database}'"
        if database == Database.VB and not self.enable_vb_database:
            raise DatabaseNotConfiguredError(f"{missing}: ENABLE_VB_DATABASE is false. Set it to true.")
        first, second, *_ = variables_of(DatabaseSettings, database, "dsn")
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
        known = [database.value for database in Database]
        return sources["init_settings"], Environment(Settings, DatabaseSettings, known, _defaults, dotenv)


def worker_share(min_size: int, max_size: int, workers: int, database: str) -> tuple[int, int]:
    """Return one worker's share of a host's least and most connections (P2).

    Raises:
        ConfigurationError: There are more workers than connections.
    """
    if workers > max_size:
        raise ConfigurationError(
            f"{workers} workers cannot share the {max_size} connections of database '{database}': each needs "
            f"one. Raise {spellings(database, 'PG_POOL_MAX_SIZE')[0]} or start fewer workers."
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
    is_secret = field in _SECRETS or "://" in str(value) or "password" in str(value)
    shown = "unusable" if is_secret else repr(value)[:64]
    return ConfigurationError(
        f"{name_of(value, field)} is {shown}: it must be {model.model_fields[field].description}. "
        "Correct it, or leave it out for the default."
    )
