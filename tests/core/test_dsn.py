"""DSNs: what libpq is given, what is refused at once, and that no error shows a password."""

from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from pgdual.errors import ConfigurationError
from pgdual.settings import DatabaseSettings, Settings

from .variables import DSN, SECRET, complaint, read

pytestmark = pytest.mark.usefixtures("empty_folder")


def conninfo_or_none(dsn):
    try:
        return DatabaseSettings(dsn=dsn).conninfo()
    except ConfigurationError:
        return None


class TestSecrets:
    """No error or chained exception shows a password."""

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
