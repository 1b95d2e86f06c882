"""Settings: what their defaults are, and that every mistake names what to change."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr

import pgdual
from pgdual.errors import DatabaseNotConfiguredError, UnknownDatabaseError
from pgdual.settings import Database, DatabaseSettings, Settings, get_config

from .variables import DSN, SECRET, complaint, read

pytestmark = pytest.mark.usefixtures("empty_folder")


class TestTable:
    """Defaults, and what hangs on PGDUAL_ENV and ENABLE_VB_DATABASE."""

    @pytest.mark.parametrize(
        ("environment", "name", "expected"),
        [
            ("", "main", (5, 20, 60.0)),
            ("development", "main", (5, 20, 60.0)),
            ("Production", "main", (20, 100, 60.0)),
            ("", "vb", (10, 50, 60.0)),
            ("production", "vb", (10, 50, 60.0)),
            ("production", "reference", (10, 50, 5.0)),
            ("", "audit", (10, 50, 60.0)),
        ],
    )
    def test_defaults_by_database(self, environment, name, expected):
        """Sizes and the command clock default by database and, for main, by PGDUAL_ENV."""
        found = read(PGDUAL_ENV=environment, PGDUAL_DATABASES="audit").database(name)
        assert (found.pool_min_size, found.pool_max_size, found.command_timeout) == expected

    def test_other_defaults(self):
        """All else defaults as the table of the documents says."""
        settings = read()
        main = settings.database("main").model_dump(
            exclude={"pool_min_size", "pool_max_size", "command_timeout"}
        )
        assert main == {
            "dsn": None,
            "direct_dsn": None,
            "password": None,
            "pool_timeout": 30.0,
            "pool_max_idle": 300.0,
            "pool_max_lifetime": 3600.0,
            "pooler": "none",
            "prepared_statements": "auto",
            "search_path": None,
            "application_name": "pgdual",
            "breaker_failure_threshold": 5,
            "breaker_timeout": 30.0,
            "retry_max_attempts": 3,
            "retry_initial_delay": 0.1,
            "retry_max_delay": 2.0,
            "retry_backoff_factor": 2.0,
            "deadlock_max_attempts": 5,
        }
        assert settings.model_dump(exclude={"databases"}) == {
            "environment": "development",
            "slow_query_threshold_ms": 1000.0,
            "slow_acquire_threshold_ms": 500.0,
            "long_transaction_threshold_ms": 2000.0,
            "pool_exhaustion_threshold": 0.9,
            "leak_threshold": None,
            "log_query_args": True,
            "workers": 1,
            "redis_url": None,
            "schema_lock_ttl": 60.0,
            "schema_lock_wait": 120.0,
            "schema_lock_retry_ms": 500.0,
            "close_grace": 10.0,
            "monitor": None,
            "enable_vb_database": True,
        }

    def test_query_arguments_are_hidden_in_production_unless_asked_for(self):
        """DB_LOG_QUERY_ARGS defaults to false in production, by variable or argument."""
        assert not read(PGDUAL_ENV="production").log_query_args
        assert not Settings(environment="production").log_query_args
        assert read(PGDUAL_ENV="production", DB_LOG_QUERY_ARGS="true").log_query_args

    def test_environment_by_argument_sizes_main(self):
        """Settings(environment="production") has production's sizes."""
        assert Settings(environment="production").database("main").pool_max_size == 100

    def test_vb_can_be_switched_off(self):
        """ENABLE_VB_DATABASE=false leaves vb known and not configured, and says why."""
        settings = read(VB_POSTGRES_DSN=DSN, POSTGRES_DSN=DSN, ENABLE_VB_DATABASE="false")
        assert settings.configured == ("main",)
        with pytest.raises(DatabaseNotConfiguredError, match="ENABLE_VB_DATABASE is false"):
            settings.get_dsn("vb")
        with pytest.raises(DatabaseNotConfiguredError):
            settings.database("vb").direct_conninfo()

    def test_get_config_is_made_once(self):
        """get_config() is the environment's settings, the same object until its cache is cleared."""
        get_config.cache_clear()
        try:
            with patch.dict(os.environ, {"WORKERS": "3"}, clear=True):
                first = get_config()
                assert first.workers == 3
            assert get_config() is first
        finally:
            get_config.cache_clear()


class TestExplicit:
    """Settings made from arguments."""

    def test_explicit_databases_are_all_there_are(self):
        """With databases given, the environment adds no database and changes none."""
        own = DatabaseSettings(dsn=DSN, pool_max_size=5)
        variables = {
            "POSTGRES_DSN": "host=other",
            "PG_POOL_MAX_SIZE": "x",
            "VB_POSTGRES_DSN": "host=v",
            "PGDUAL_ENV": "production",
            "ENABLE_VB_DATABASE": "false",
        }
        with patch.dict(os.environ, variables, clear=True):
            settings = Settings(databases={Database.MAIN: own, "vb": own})
        assert settings.databases == {"main": own, "vb": own}
        assert settings.configured == ("main", "vb")
        assert all(type(name) is str for name in settings.databases)

    def test_unknown_database(self):
        """A name that no database has raises, listing those that exist."""
        with pytest.raises(UnknownDatabaseError, match=r"'mian'.*main, vb, reference"):
            read().database("mian")

    @pytest.mark.parametrize("none", [None, "", "  ", SecretStr("")])
    def test_no_dsn(self, none):
        """A missing or blank DSN is not configured: conninfo() says so."""
        database = DatabaseSettings(dsn=none)
        assert database.dsn is None
        with pytest.raises(DatabaseNotConfiguredError):
            database.conninfo()

    def test_missing_dsn_messages(self):
        """A missing DSN names the variables to set, those of its own database."""
        settings = read()
        for name, variables in [
            ("main", "POSTGRES_DSN (or DATABASE_URL)"),
            ("vb", "VB_POSTGRES_DSN (or POSTGRES_VB_DSN)"),
            ("reference", "REFERENCE_POSTGRES_DSN (or POSTGRES_REFERENCE_DSN)"),
        ]:
            message = complaint(settings.get_dsn, Database(name))
            assert message == f"DSN not configured for database '{name}'. Set {variables} in the environment."

    def test_a_default_yields_to_what_was_asked(self):
        """A maximum below the default minimum brings the minimum down, by argument or variable."""
        assert DatabaseSettings(pool_max_size=2).pool_min_size == 2
        assert DatabaseSettings(retry_max_delay=0.05).retry_initial_delay == 0.05
        settings = read(PG_POOL_MAX_SIZE="3", VB_PG_POOL_MAX_SIZE="4")
        assert [settings.database(name).pool_min_size for name in ("main", "vb")] == [3, 4]

    def test_frozen(self):
        """Settings do not change after they were made."""
        with pytest.raises(ValueError, match="frozen"):
            read().database("main").pool_max_size = 3

    def test_pool_share(self):
        """A worker has its part of the host's figures (P2); more workers than connections is an error."""
        variables = {"PGDUAL_ENV": "production", "WORKERS": "4", "PG_VB_POOL_MAX_SIZE": "3"}
        settings = read(**variables)
        assert settings.pool_share(Database.MAIN) == (5, 25)
        assert settings.pool_share("reference") == (2, 12)
        message = complaint(settings.pool_share, "vb")
        assert "4 workers" in message
        assert "VB_PG_POOL_MAX_SIZE" in message


class TestMistakes:
    """Each mistake is a ConfigurationError that names the variable, the value and the bound."""

    @pytest.mark.parametrize(
        ("variables", "parts"),
        [
            ({"PG_POOL_MAX_SIZE": "abc"}, ["PG_POOL_MAX_SIZE", "'abc'", "a whole number from 1 to 262143"]),
            ({"PG_POOL_MAX_SIZE": "0"}, ["PG_POOL_MAX_SIZE", "'0'", "from 1"]),
            ({"PG_VB_POOL_MIN_SIZE": "-1"}, ["PG_VB_POOL_MIN_SIZE", "'-1'", "from 1"]),
            ({"REFERENCE_PG_POOL_MIN_SIZE": "2.5"}, ["REFERENCE_PG_POOL_MIN_SIZE", "'2.5'", "whole"]),
            ({"VB_PG_POOL_TIMEOUT_SEC": "0"}, ["VB_PG_POOL_TIMEOUT_SEC", "'0'", "seconds from 0.001"]),
            ({"PG_POOL_COMMAND_TIMEOUT_SEC": "nan"}, ["PG_POOL_COMMAND_TIMEOUT_SEC", "'nan'", "seconds"]),
            ({"PG_COMMAND_TIMEOUT_SEC": "inf"}, ["PG_COMMAND_TIMEOUT_SEC", "'inf'", "2147483"]),
            ({"PG_POOLER": "session"}, ["PG_POOLER", "'session'", "none or transaction"]),
            ({"PG_PREPARED_STATEMENTS": "yes"}, ["PG_PREPARED_STATEMENTS", "'yes'", "auto, on or off"]),
            ({"GRANIAN_WORKERS": "0"}, ["GRANIAN_WORKERS", "'0'"]),
            ({"WEB_CONCURRENCY": "auto"}, ["WEB_CONCURRENCY", "'auto'"]),
            ({"DB_POOL_EXHAUSTION_THRESHOLD": "0"}, ["DB_POOL_EXHAUSTION_THRESHOLD", "above 0, at most 1"]),
            ({"DB_POOL_EXHAUSTION_THRESHOLD": "90"}, ["DB_POOL_EXHAUSTION_THRESHOLD", "above 0, at most 1"]),
            ({"DB_POOL_EXHAUSTION_THRESHOLD": "nan"}, ["DB_POOL_EXHAUSTION_THRESHOLD", "'nan'"]),
            ({"DB_SLOW_QUERY_THRESHOLD_MS": "-1"}, ["DB_SLOW_QUERY_THRESHOLD_MS", "milliseconds from 0"]),
            ({"DB_LEAK_THRESHOLD_SEC": "0"}, ["DB_LEAK_THRESHOLD_SEC", "seconds above 0"]),
            ({"SCHEMA_LOCK_RETRY_MS": "0"}, ["SCHEMA_LOCK_RETRY_MS", "milliseconds from 1"]),
            ({"ENABLE_VB_DATABASE": "maybe"}, ["ENABLE_VB_DATABASE", "'maybe'", "true or false"]),
            ({"PG_POOL_MIN_SIZE": "30"}, ["PG_POOL_MIN_SIZE is 30", "pool_max_size, which is 20"]),
            (
                {"VB_PG_POOL_MIN_SIZE": "60"},
                ["VB_PG_POOL_MIN_SIZE is 60", "VB_PG_POOL_MAX_SIZE, which is 50"],
            ),
            (
                {"PG_VB_POOL_MIN_SIZE": "9", "VB_PG_POOL_MAX_SIZE": "8"},
                ["PG_VB_POOL_MIN_SIZE is 9", "VB_PG_POOL_MAX_SIZE, which is 8"],
            ),
            ({"PG_RETRY_INITIAL_DELAY_SEC": "5"}, ["PG_RETRY_INITIAL_DELAY_SEC is 5", "retry_max_delay"]),
        ],
        ids=str,
    )
    def test_a_wrong_variable_is_named(self, variables, parts):
        """The message names the variable as the user spelled it, its value and what it must be."""
        message = complaint(read, **variables)
        for part in parts:
            assert part in message

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            ({"pool_max_size": 0}, ["pool_max_size is 0", "from 1"]),
            ({"pool_timeout": float("inf")}, ["pool_timeout is inf"]),
            ({"pool_min_size": 6, "pool_max_size": 5}, ["pool_min_size is 6", "pool_max_size, which is 5"]),
            ({"pool_maxsize": 5}, ["pool_maxsize is not a setting", "pool_max_size"]),
            ({"password": [SECRET]}, ["password is unusable"]),
            ({"dsn": 5}, ["dsn is unusable"]),
        ],
        ids=str,
    )
    def test_a_wrong_argument_is_named(self, arguments, parts):
        """With arguments the message names the field."""
        message = complaint(DatabaseSettings, **arguments)
        for part in parts:
            assert part in message

    @pytest.mark.parametrize(
        "arguments",
        [
            {"databases": {"main": DSN}},
            {"databases": [DSN]},
            {"databases": {"main": {"dsn": f"postgresql://u:{SECRET}@[::1/db"}}},
            {"redis_url": [SECRET]},
            {"databases": {"Not A Name": DatabaseSettings(dsn=DSN)}},
            {"nonsense": SECRET},
        ],
        ids=["str", "list", "dict", "redis", "name", "unknown"],
    )
    def test_wrong_settings_show_no_secret(self, arguments):
        """A wrong argument of Settings is a ConfigurationError without the secret in it."""
        complaint(Settings, **arguments)

    def test_no_repr_or_dump_shows_a_secret(self):
        """repr, str, model_dump and JSON mask DSNs, passwords, functions that hold them and Redis."""
        database = DatabaseSettings(dsn=DSN, direct_dsn=partial(str, DSN), password=SecretStr(SECRET))
        settings = Settings(databases={"main": database}, redis_url=f"redis://:{SECRET}@h")
        for each in (database, settings):
            dumps = [repr(each), str(each), f"{each}", repr(each.model_dump()), each.model_dump_json()]
            dumps.append(json.dumps(each.model_dump(mode="json")))
            assert not any(SECRET in dump or "db.example" in dump for dump in dumps)
            assert all("**********" in dump for dump in dumps)


def test_import_brings_nothing_beyond_its_foundation():
    """Importing the settings imports no pool, no Redis, and of pgdual nothing to the right of them."""
    code = "import sys, pgdual.settings; print(*sys.modules)"
    root = Path(pgdual.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    found = set(run.stdout.split())
    assert not {"psycopg_pool", "redis", "yaml", "anyio", "orjson", "typer"} & found
    assert not {name for name in found if name.startswith(("pgdual.core", "pgdual._"))}
