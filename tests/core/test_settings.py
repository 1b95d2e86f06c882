"""Settings: every database reads its own variables, every mistake names what to change, no secret shows."""

import json
import os
import subprocess
import sys
import traceback
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

import pgdual
from pgdual.errors import ConfigurationError, DatabaseNotConfiguredError, UnknownDatabaseError
from pgdual.settings import Database, DatabaseSettings, Settings, get_config

SECRET = "h7unt3r2"
DSN = f"postgresql://app:{SECRET}@db.example:5432/tradecore"

# field, main's variable, a value that is nobody's default, what it becomes
ROWS = [
    ("pool_min_size", "PG_POOL_MIN_SIZE", "3", 3),
    ("pool_max_size", "PG_POOL_MAX_SIZE", "77", 77),
    ("pool_timeout", "PG_POOL_TIMEOUT_SEC", "1.5", 1.5),
    ("command_timeout", "PG_COMMAND_TIMEOUT_SEC", "2.5", 2.5),
    ("command_timeout", "PG_POOL_COMMAND_TIMEOUT_SEC", "2.5", 2.5),
    ("pool_max_idle", "PG_POOL_MAX_IDLE_SEC", "7", 7.0),
    ("pool_max_lifetime", "PG_POOL_MAX_LIFETIME_SEC", "8", 8.0),
    ("pooler", "PG_POOLER", "transaction", "transaction"),
    ("prepared_statements", "PG_PREPARED_STATEMENTS", "off", "off"),
    ("search_path", "PG_SEARCH_PATH", "app,public", "app,public"),
    ("application_name", "PG_APPLICATION_NAME", "orders", "orders"),
    ("breaker_failure_threshold", "PG_BREAKER_FAILURE_THRESHOLD", "9", 9),
    ("breaker_timeout", "PG_BREAKER_TIMEOUT_SEC", "11", 11.0),
    ("retry_max_attempts", "PG_RETRY_MAX_ATTEMPTS", "4", 4),
    ("retry_initial_delay", "PG_RETRY_INITIAL_DELAY_SEC", "0.2", 0.2),
    ("retry_max_delay", "PG_RETRY_MAX_DELAY_SEC", "3", 3.0),
    ("retry_backoff_factor", "PG_RETRY_BACKOFF_FACTOR", "1.5", 1.5),
    ("deadlock_max_attempts", "PG_DEADLOCK_MAX_ATTEMPTS", "6", 6),
]
GLOBALS = [
    ("environment", "PGDUAL_ENV", "staging", "staging"),
    ("slow_query_threshold_ms", "DB_SLOW_QUERY_THRESHOLD_MS", "0", 0.0),
    ("slow_acquire_threshold_ms", "DB_SLOW_ACQUIRE_THRESHOLD_MS", "1", 1.0),
    ("long_transaction_threshold_ms", "DB_LONG_TRANSACTION_THRESHOLD_MS", "2", 2.0),
    ("pool_exhaustion_threshold", "DB_POOL_EXHAUSTION_THRESHOLD", "1", 1.0),
    ("leak_threshold", "DB_LEAK_THRESHOLD_SEC", "30", 30.0),
    ("log_query_args", "DB_LOG_QUERY_ARGS", "false", False),
    ("workers", "WORKERS", "4", 4),
    ("workers", "GRANIAN_WORKERS", "4", 4),
    ("workers", "WEB_CONCURRENCY", "4", 4),
    ("schema_lock_ttl", "SCHEMA_LOCK_TTL_SEC", "61", 61.0),
    ("schema_lock_wait", "SCHEMA_LOCK_WAIT_SEC", "121", 121.0),
    ("schema_lock_retry_ms", "SCHEMA_LOCK_RETRY_MS", "501", 501.0),
    ("close_grace", "PGDUAL_CLOSE_GRACE_SEC", "0", 0.0),
    ("monitor", "PGDUAL_MONITOR", "127.0.0.1:9187", "127.0.0.1:9187"),
    ("enable_vb_database", "ENABLE_VB_DATABASE", "off", False),
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(**variables):
    with patch.dict(os.environ, variables, clear=True):
        return Settings()


def spellings(name, variable):
    if name == "main":
        return [variable]
    family, rest = variable.split("_", 1)
    return [f"{name.upper()}_{variable}", f"{family}_{name.upper()}_{rest}"]


def complaint(make, *args, **kwargs):
    """Return the message of the error, whose whole traceback and chain hold no secret."""
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **kwargs)
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def conninfo_or_none(dsn):
    try:
        return DatabaseSettings(dsn=dsn).conninfo()
    except ConfigurationError:
        return None


class TestRouting:
    """The analysis' three bugs, and what is around them."""

    def test_bug_1_pool_configuration_is_the_databases_own(self):
        """get_pool_config answers for the database asked, not for main."""
        settings = read(PGDUAL_ENV="production")
        main, reference = (settings.get_pool_config(each) for each in (Database.MAIN, Database.REFERENCE))
        assert (main.pool_min_size, main.pool_max_size, main.command_timeout) == (20, 100, 60.0)
        assert (reference.pool_min_size, reference.pool_max_size, reference.command_timeout) == (10, 50, 5.0)

    def test_bug_2_dsn_resolution_never_falls_back_to_main(self):
        """get_dsn returns the database's own DSN, or raises; main's DSN is never another's."""
        settings = read(POSTGRES_DSN="postgresql://main/a", REFERENCE_POSTGRES_DSN="postgresql://ref/b")
        assert settings.get_dsn() == "postgresql://main/a"
        assert settings.get_dsn(Database.REFERENCE) == "postgresql://ref/b"
        with pytest.raises(DatabaseNotConfiguredError):
            settings.get_dsn(Database.VB)

    def test_bug_3_environment_fallbacks_are_the_databases_own(self):
        """PG_REFERENCE_POOL_* sets reference alone, and PG_POOL_* leaves reference alone."""
        settings = read(
            PG_POOL_MIN_SIZE="1",
            PG_POOL_MAX_SIZE="9",
            PG_COMMAND_TIMEOUT_SEC="9",
            PG_REFERENCE_POOL_MAX_SIZE="33",
        )
        main, reference = settings.database("main"), settings.database("reference")
        assert (main.pool_min_size, main.pool_max_size, main.command_timeout) == (1, 9, 9.0)
        assert (reference.pool_min_size, reference.pool_max_size, reference.command_timeout) == (10, 33, 5.0)

    @given(
        chosen=st.sets(
            st.sampled_from([*ROWS, ("dsn", "POSTGRES_DSN", DSN, 0), ("dsn", "DATABASE_URL", DSN, 0)])
        )
    )
    def test_no_set_of_mains_variables_reaches_another_database(self, chosen):
        """Whatever main's environment is, vb, reference and a further one are as without it (R1)."""
        settings = read(PGDUAL_DATABASES="audit", **{variable: value for _, variable, value, _ in chosen})
        untouched = read(PGDUAL_DATABASES="audit")
        for name in ("vb", "reference", "audit"):
            assert settings.database(name) == untouched.database(name)

    @pytest.mark.parametrize(
        ("name", "row"), list(product(["main", "vb", "reference", "audit"], ROWS)), ids=str
    )
    def test_each_spelling_sets_one_field_of_one_database(self, name, row):
        """A variable in any of its spellings changes its own field of its own database, and nothing else."""
        field, variable, value, expected = row
        base = read(PGDUAL_DATABASES="audit")
        for spelling in spellings(name, variable):
            settings = read(PGDUAL_DATABASES="audit", **{spelling: value})
            changed = {
                (each, key): getattr(settings.database(each), key)
                for each in settings.databases
                for key in DatabaseSettings.model_fields
                if getattr(settings.database(each), key) != getattr(base.database(each), key)
            }
            assert changed == {(name, field): expected}

    @pytest.mark.parametrize(
        ("name", "variables"),
        [
            ("main", ["POSTGRES_DSN", "DATABASE_URL"]),
            ("vb", ["VB_POSTGRES_DSN", "POSTGRES_VB_DSN", "VB_DATABASE_URL"]),
            ("reference", ["REFERENCE_POSTGRES_DSN", "POSTGRES_REFERENCE_DSN", "REFERENCE_DATABASE_URL"]),
        ],
    )
    def test_dsn_spellings(self, name, variables):
        """Each spelling of a DSN configures its own database only."""
        for variable in variables:
            settings = read(**{variable: DSN})
            assert settings.configured == (name,)
            assert settings.get_dsn(name) == DSN

    def test_direct_dsn(self):
        """The way past a pooler is each database's own, and the DSN where there is none."""
        settings = read(
            POSTGRES_DSN=DSN,
            VB_POSTGRES_DSN="host=pooler",
            VB_POSTGRES_DIRECT_DSN="host=vb",
            REFERENCE_POSTGRES_DSN="host=r",
            POSTGRES_REFERENCE_DIRECT_DSN="host=rd",
        )
        hosts = {
            name: conninfo_to_dict(settings.database(name).direct_conninfo())["host"]
            for name in settings.configured
        }
        assert hosts == {"main": "db.example", "vb": "vb", "reference": "rd"}

    def test_further_databases(self):
        """Names in PGDUAL_DATABASES, in any case and with blanks, are databases with vb's defaults."""
        settings = read(PGDUAL_DATABASES=" Audit, main,,audit ", AUDIT_POSTGRES_DSN="host=a")
        assert list(settings.databases) == ["main", "vb", "reference", "audit"]
        assert settings.configured == ("audit",)
        assert settings.database("audit").pool_max_size == 50

    @pytest.mark.parametrize(
        ("name", "shared"),
        [
            ("direct", "POSTGRES_DIRECT_DSN"),
            ("pool", "PG_POOL_COMMAND_TIMEOUT_SEC"),
            ("vb_direct", "POSTGRES_VB_DIRECT_DSN"),
        ],
    )
    def test_a_name_whose_variables_belong_to_another_is_refused(self, name, shared):
        """A further database whose variable would also be another's cannot be named (R1)."""
        message = complaint(read, PGDUAL_DATABASES=name)
        assert shared in message
        assert repr(name) in message

    def test_a_name_that_cannot_be_spelled_is_refused(self):
        """A name in PGDUAL_DATABASES must be able to stand in a variable."""
        assert "'my-db'" in complaint(read, PGDUAL_DATABASES="my-db")


class TestTable:
    """Defaults, and the variables that belong to no database."""

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

    @pytest.mark.parametrize(("field", "variable", "value", "expected"), GLOBALS)
    def test_variables_of_no_database(self, field, variable, value, expected):
        """Each variable sets its field, and an argument of the field's name wins over it."""
        assert getattr(read(**{variable: value}), field) == expected
        with patch.dict(os.environ, {variable: "nonsense"}, clear=True):
            assert getattr(Settings(**{field: expected}), field) == expected

    def test_query_arguments_are_hidden_in_production_unless_asked_for(self):
        """DB_LOG_QUERY_ARGS defaults to false in production, by variable or argument."""
        assert not read(PGDUAL_ENV="production").log_query_args
        assert not Settings(environment="production").log_query_args
        assert read(PGDUAL_ENV="production", DB_LOG_QUERY_ARGS="true").log_query_args

    def test_environment_by_argument_sizes_main(self):
        """Settings(environment="production") has production's sizes."""
        assert Settings(environment="production").database("main").pool_max_size == 100

    def test_workers_in_order(self):
        """WORKERS goes before GRANIAN_WORKERS, and that before WEB_CONCURRENCY."""
        assert read(WORKERS="2", GRANIAN_WORKERS="3", WEB_CONCURRENCY="4").workers == 2
        assert read(WORKERS="", GRANIAN_WORKERS="3", WEB_CONCURRENCY="4").workers == 3

    @pytest.mark.parametrize("blank", ["", "  "])
    def test_an_empty_variable_is_not_set(self, blank):
        """Blank variables, whatever their type, leave the default and contradict nothing."""
        variables = {variable: blank for _, variable, _, _ in ROWS + GLOBALS}
        settings = read(
            POSTGRES_DSN=blank, DATABASE_URL=DSN, REDIS_URL=blank, PGDUAL_DATABASES=blank, **variables
        )
        assert settings == read(DATABASE_URL=DSN)

    def test_dotenv_is_read_below_the_environment(self, tmp_path):
        """`.env` sets what the environment leaves open."""
        (tmp_path / ".env").write_text(f"POSTGRES_DSN={DSN}\nPG_POOL_MAX_SIZE=7\nWORKERS=3\nUNRELATED=1\n")
        settings = read(PG_POOL_MAX_SIZE="8", WORKERS="")
        assert (settings.get_dsn(), settings.database("main").pool_max_size, settings.workers) == (DSN, 8, 3)

    def test_names_of_fields_are_not_variables(self):
        """Only the table's variables are read: ENVIRONMENT or DATABASES of some other program is not."""
        assert read(ENVIRONMENT="production", DATABASES="x", MONITOR="x", pool_max_size="x") == read()

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

    @pytest.mark.parametrize("name", ["vb", "reference", "audit"])
    def test_two_spellings_that_differ_are_both_named(self, name):
        """Both spellings set to different values is an error naming both, for every variable."""
        for _, variable, value, _ in ROWS:
            one, other = spellings(name, variable)
            message = complaint(read, PGDUAL_DATABASES="audit", **{one: value, other: value + "1"})
            assert one in message
            assert other in message
            read(PGDUAL_DATABASES="audit", **{one: value, other: value})

    @pytest.mark.parametrize(
        "variables",
        [
            {"POSTGRES_DSN": DSN, "DATABASE_URL": DSN + "2"},
            {"VB_POSTGRES_DSN": DSN, "POSTGRES_VB_DSN": DSN + "2"},
            {"REFERENCE_DATABASE_URL": DSN, "POSTGRES_REFERENCE_DSN": DSN + "2"},
            {"PG_COMMAND_TIMEOUT_SEC": "1", "PG_POOL_COMMAND_TIMEOUT_SEC": "2"},
        ],
        ids=str,
    )
    def test_contradicting_variables_are_named_without_their_values(self, variables):
        """Two variables of one setting that differ are both named; a DSN is not shown."""
        message = complaint(read, **variables)
        assert all(variable in message for variable in variables)

    def test_two_spellings_of_one_value_agree(self):
        """The same number written differently, or one DSN with and without a driver, is no contradiction."""
        settings = read(
            POSTGRES_DSN=DSN,
            DATABASE_URL=DSN.replace("postgresql", "postgresql+asyncpg"),
            PG_COMMAND_TIMEOUT_SEC="9",
            PG_POOL_COMMAND_TIMEOUT_SEC="9.0",
        )
        assert (settings.get_dsn(), settings.database("main").command_timeout) == (DSN, 9.0)


class TestSecrets:
    """No repr, dump, error or chained exception shows a password."""

    @pytest.mark.parametrize(
        "dsn",
        [
            f"postgresql://u:%zz{SECRET}@h/db",
            f"postgresql://u:{SECRET}@[::1/db",
            f"postgresql://u:{SECRET}/x@h/db",
            f"postgresql://u:12/{SECRET}@h/db",
            f"postgresql://u:p@{SECRET}@h/db",
            f"postgresql://u:p@h/db?{SECRET}=1",
            f"postgresql://u:p@h/db?{SECRET}",
            f"postgresql://u:{SECRET}@h:99999/db",
            f"postgresql://u:{SECRET}@h:0/db",
            f"postgresql://u:{SECRET}%00@h/db",
            f"postgresql://u:{SECRET}\0@h/db",
            f"postgresql://u:{SECRET}\udc80@h/db",
            f"mysql://u:{SECRET}@h/db",
            f"postgresql+psycopg2://u:%{SECRET}@h/db",
            f"host=h password='{SECRET}",
            f"host=h pass {SECRET}=x",
            f"passwrod={SECRET} host=h",
            f"host=h port={SECRET}",
            SECRET,
        ],
    )
    def test_a_malformed_dsn_is_refused_at_once_and_never_shown(self, dsn):
        """A DSN that libpq would not read, or read wrongly, is named by its variable or field only."""
        for make in (
            partial(DatabaseSettings, dsn=dsn),
            partial(DatabaseSettings, direct_dsn=SecretStr(dsn)),
        ):
            assert "dsn" in complaint(make)
        if "\0" not in dsn and "\udc80" not in dsn:
            message = complaint(read, VB_DATABASE_URL=dsn)
            assert message.startswith("VB_DATABASE_URL is malformed: ")
            assert "postgresql://user:password@host:5432/dbname" in message
        with pytest.raises(ConfigurationError) as caught:
            DatabaseSettings(dsn=lambda: dsn).conninfo()
        assert SECRET not in str(caught.value)

    @given(
        before=st.text("@:/?#%&= '\"\\[]", max_size=4),
        after=st.text("@:/?#%&= '\"\\[]", max_size=4),
        shape=st.sampled_from(
            [
                "postgresql://u:{}@h/db",
                "postgres+x://u:{}@h",
                "host=h password={}",
                "{}",
                "postgresql://h/db?password={}",
            ]
        ),
    )
    def test_no_punctuation_in_a_password_makes_an_error_show_it(self, before, after, shape):
        """Whatever stands around a password, an error about its DSN does not show it."""
        dsn = shape.format(before + SECRET + after)
        if (conninfo := conninfo_or_none(dsn)) is None:
            complaint(DatabaseSettings, dsn=dsn)
        else:
            places = conninfo_to_dict(conninfo)
            assert SECRET not in f"{places.get('host', '')}{places.get('port', '')}"

    def test_no_repr_or_dump_shows_a_secret(self):
        """repr, str, model_dump and JSON mask DSNs, passwords, functions that hold them and Redis."""
        database = DatabaseSettings(dsn=DSN, direct_dsn=partial(str, DSN), password=SecretStr(SECRET))
        settings = Settings(databases={"main": database}, redis_url=f"redis://:{SECRET}@h")
        for each in (database, settings):
            dumps = [repr(each), str(each), f"{each}", repr(each.model_dump()), each.model_dump_json()]
            dumps.append(json.dumps(each.model_dump(mode="json")))
            assert not any(SECRET in dump or "db.example" in dump for dump in dumps)
            assert all("**********" in dump for dump in dumps)


class TestConninfo:
    """What libpq is given."""

    @pytest.mark.parametrize(
        "driver", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+psycopg2", " POSTGRESQL+psycopg"]
    )
    def test_a_driver_is_taken_out(self, driver):
        """The name of a Python driver in a DSN does not reach libpq."""
        database = DatabaseSettings(dsn=driver + "://u:p%40ss@h:5433/db")
        expected = {"user": "u", "password": "p@ss", "host": "h", "port": "5433", "dbname": "db"}
        assert expected.items() <= conninfo_to_dict(database.conninfo()).items()

    def test_what_the_dsn_says_goes_before_pgduals_own(self):
        """Keepalives, time limits and the application's name are added only where the DSN is silent."""
        silent = conninfo_to_dict(DatabaseSettings(dsn="host=h", application_name="orders").conninfo())
        assert silent == {
            "host": "h",
            "keepalives_idle": "30",
            "tcp_user_timeout": "30000",
            "connect_timeout": "10",
            "application_name": "orders",
        }
        loud = "host=h keepalives_idle=1 tcp_user_timeout=2 connect_timeout=3 application_name=x"
        assert conninfo_to_dict(DatabaseSettings(dsn=loud).conninfo()) == conninfo_to_dict(loud)

    def test_functions_are_asked_each_time(self):
        """A DSN and a password that are functions are called for every conninfo."""
        passwords, hosts = iter(["a", "b"]), iter(["one", "two"])
        database = DatabaseSettings(
            dsn=lambda: f"host={next(hosts)} password=old", password=lambda: next(passwords)
        )
        found = [conninfo_to_dict(database.conninfo()) for _ in range(2)]
        assert [(each["host"], each["password"]) for each in found] == [("one", "a"), ("two", "b")]

    def test_get_dsn_asks_the_function(self):
        """get_dsn answers with what the function returns now."""
        assert Settings(databases={"main": DatabaseSettings(dsn=lambda: DSN)}).get_dsn() == DSN

    @pytest.mark.parametrize("wrong", [None, 5, b"host=h", "", " "])
    def test_a_function_that_returns_no_dsn(self, wrong):
        """A function that returns something else than a DSN is a ConfigurationError."""
        assert "dsn" in complaint(DatabaseSettings(dsn=lambda: wrong).conninfo)

    @given(password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    def test_any_password_arrives_whole(self, password):
        """A password of any characters reaches libpq unchanged, percent-encoded or on its own."""
        own = DatabaseSettings(dsn="postgresql://u@h/db", password=lambda: password)
        encoded = DatabaseSettings(dsn=f"postgresql://u:{quote(password, safe='')}@h/db")
        for database in (own, encoded):
            assert conninfo_to_dict(database.conninfo())["password"] == password

    @pytest.mark.parametrize(
        "dsn",
        [
            "host=/run/pg",
            "host=@abstract",
            "host=a,b port=1,2",
            "postgresql://a:1,b:2/x",
            "postgresql:///x",
            "service=s",
        ],
    )
    def test_uncommon_dsns_are_fine(self, dsn):
        """Sockets, several hosts and services are libpq's to read."""
        assert conninfo_to_dict(dsn).items() <= conninfo_to_dict(DatabaseSettings(dsn=dsn).conninfo()).items()


def test_import_brings_nothing_beyond_its_foundation():
    """Importing the settings imports no pool, no Redis, and of pgdual the errors alone."""
    code = "import sys, pgdual.settings; print(*sys.modules)"
    root = Path(pgdual.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    found = set(run.stdout.split())
    assert not {"psycopg_pool", "redis", "yaml", "anyio", "orjson", "typer"} & found
    assert not {name for name in found if name.startswith(("pgdual.core", "pgdual._"))}
