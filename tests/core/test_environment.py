"""The environment: every database reads its own variables, and those that contradict are both named."""

import os
from itertools import product
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgdual.errors import DatabaseNotConfiguredError
from pgdual.settings import Database, DatabaseSettings, Settings

from .variables import DSN, GLOBALS, ROWS, complaint, read, spellings

pytestmark = pytest.mark.usefixtures("empty_folder")


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


class TestVariables:
    """Each is read, where it is set, from the environment or `.env`."""

    @pytest.mark.parametrize(("field", "variable", "value", "expected"), GLOBALS)
    def test_variables_of_no_database(self, field, variable, value, expected):
        """Each variable sets its field, and an argument of the field's name wins over it."""
        assert getattr(read(**{variable: value}), field) == expected
        with patch.dict(os.environ, {variable: "nonsense"}, clear=True):
            assert getattr(Settings(**{field: expected}), field) == expected

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


class TestContradictions:
    """Two spellings of one setting."""

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
