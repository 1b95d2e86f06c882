"""Settings out of random environments: an error that names a variable, or values where they belong (R1)."""

import io
import logging
import os
import re
import traceback
from contextlib import redirect_stderr
from unittest.mock import patch

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pgdual.errors import ConfigurationError
from pgdual.settings import DatabaseSettings, Settings

from .variables import GLOBALS, ROWS, SECRET, spellings

pytestmark = pytest.mark.usefixtures("empty_folder")

NAMES = ["main", "vb", "reference", "audit"]
DSNS = ["POSTGRES_DSN", "DATABASE_URL", "POSTGRES_DIRECT_DSN"]
FIELDS = {variable: field for field, variable, _, _ in [*ROWS, *GLOBALS]}
FIELDS |= {"POSTGRES_DSN": "dsn", "DATABASE_URL": "dsn", "POSTGRES_DIRECT_DSN": "direct_dsn"}
BLANKS = ["", " ", "\t"]
WRONG = [
    "x",
    "-1",
    "nan",
    "inf",
    "1e400",
    "0x10",
    "10,5",
    "\u0661\u0662",
    "[1]",
    "null",
    "9" * 400,
    "\x1b[31m",
    "{}",
]
NUMBERS = [
    "1",
    "2",
    "3",
    "7",
    "19",
    "21",
    "50",
    "262143",
    "2.5",
    "0.5",
    " 3 ",
    "+4",
    "05",
    "1e1",
    "1_0",
    "0",
    "1e9",
]
WORDS = [
    "none",
    "transaction",
    "auto",
    "on",
    "off",
    "true",
    "false",
    "yes",
    "app,public",
    "orders",
    "Production",
]
DSN_SHAPES = [
    "postgresql://u:{}@{}/db",
    "postgres+asyncpg://u:{}@{}/db",
    "host={1} password={0}",
    "postgresql://{1}/db?password={0}",
    "postgresql://u:{}%zz@{}/db",
    "postgresql://u:{}@x@{}/db",
    "postgresql://u:{}/x@{}/db",
    "postgresql://u:{}@{}:0/db",
    "postgresql://u:{}@[::1{}/db",
    "host={1} password='{0}",
    "host={1} passwrod={0}",
    "mysql://u:{}@{}/db",
    "{0} {1}",
    "redis://:{}@{}:6379/0",
]


def own(name, variable):
    """Return the spellings of one of main's variables for a database; `DATABASE_URL` has one."""
    return spellings(name, variable)[:1] if variable == "DATABASE_URL" else spellings(name, variable)


# Each variable that is read: whose it is (None for no database's), and the field that it sets.
TABLE = {
    spelling: (name, FIELDS[variable])
    for name in NAMES
    for variable in [*DSNS, *(row[1] for row in ROWS)]
    for spelling in own(name, variable)
} | {variable: (None, field) for field, variable, _, _ in GLOBALS}
OFTEN = {spelling: value for name in NAMES for _, row, value, _ in ROWS for spelling in own(name, row)}
OFTEN |= {variable: value for _, variable, value, _ in GLOBALS}


@st.composite
def dsns(draw):
    """A DSN, well made or not, with a password; its host says which one it is."""
    shape = draw(st.sampled_from(DSN_SHAPES[:4] if draw(st.booleans()) else DSN_SHAPES))
    return shape.format(SECRET, f"h{draw(st.integers(1, 3))}.example")


@st.composite
def environments(draw):
    """Some of the table's variables in any spelling; few of them wrong, so that many are all right."""
    variables = {}
    is_wild = draw(st.integers(0, 2)) == 0
    values = st.sampled_from([*NUMBERS, *WORDS, *WRONG, *BLANKS])
    for variable in draw(st.lists(st.sampled_from(sorted(TABLE)), max_size=12, unique=True)):
        if TABLE[variable][1].endswith("dsn"):
            variables[variable] = draw(dsns())
        elif is_wild and draw(st.booleans()):
            variables[variable] = draw(values)
        else:
            variables[variable] = draw(st.sampled_from([*NUMBERS[:5], OFTEN.get(variable, "1"), *BLANKS]))
    if draw(st.booleans()):
        variables["REDIS_URL"] = f"redis://:{SECRET}@h/0"
    if draw(st.booleans()):
        variables["PGDUAL_DATABASES"] = draw(st.sampled_from(["audit", " Audit ,vb", "audit,main,"]))
    if is_wild and draw(st.integers(0, 3)) == 0:
        variables["PGDUAL_DATABASES"] = draw(
            st.sampled_from(["a-b", "direct", "audit,", "pool", "1a", "ä", "x"])
        )
    return variables


def made(variables):
    """Return the settings of this environment, or the error; nothing else was written anywhere."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    try:
        with patch.dict(os.environ, variables, clear=True), redirect_stderr(said):
            return Settings()
    except ConfigurationError as error:
        return error
    finally:
        logging.getLogger().removeHandler(handler)
        assert SECRET not in said.getvalue()


def outcome(make, **arguments):
    """Return what it makes, or the error."""
    try:
        return make(**arguments)
    except ConfigurationError as error:
        return error


def is_shown(error):
    """Return whether anything that a program may print of an error holds the secret."""
    seen = traceback.TracebackException.from_exception(error, capture_locals=False)
    texts = [
        str(error),
        repr(error),
        *map(repr, error.args),
        *seen.format(),
        *getattr(error, "__notes__", []),
    ]
    chain = [error.__cause__, error.__context__]
    return any(SECRET in text for text in texts) or any(link is not None for link in chain)


def values_of(database):
    return {field: getattr(database, field) for field in DatabaseSettings.model_fields}


@settings(deadline=None, max_examples=400)
@given(variables=environments())
def test_an_environment_is_read_or_a_variable_is_named(variables):
    """Any environment makes settings, or an error that names what to take out and shows no secret."""
    found = made(variables)
    if isinstance(found, ConfigurationError):
        event("refused")
        assert not is_shown(found)
        named = set(re.findall(r"\w+", str(found)))
        rest = {name: value for name, value in variables.items() if name not in named or not value.strip()}
        assert len(rest) < len(variables)
        assert str(made(rest)) != str(found)
        return
    event("made")
    dumps = [repr(found), str(found), repr(found.model_dump()), found.model_dump_json(), *map(repr, found)]
    assert not any(SECRET in dump or ".example" in dump for dump in dumps)


@settings(deadline=None, max_examples=300)
@given(variables=environments())
def test_each_database_has_the_values_of_its_own_variables(variables):
    """R1: a database's settings are what they are with every other database's variables taken away."""
    found = made(variables)
    if isinstance(found, ConfigurationError):
        return
    shared = {name: variables[name] for name in variables if TABLE.get(name, (None,))[0] is None}
    for name in found.databases:
        its_own = {each: value for each, value in variables.items() if TABLE.get(each, (None,))[0] == name}
        alone = made(shared | its_own)
        assert values_of(alone.database(name)) == values_of(found.database(name))
        assert (name in found.configured) == (name in alone.configured)


@settings(deadline=None, max_examples=300)
@given(variables=environments())
def test_what_is_set_is_what_is_read_and_nothing_else(variables):
    """R1: a field differs from its default only where a variable of its own database is set."""
    found = made(variables)
    if isinstance(found, ConfigurationError):
        return
    which = {"PGDUAL_DATABASES", "PGDUAL_ENV", "ENABLE_VB_DATABASE"}
    plain = made({name: value for name, value in variables.items() if name in which})
    set_fields = {TABLE[name] for name, value in variables.items() if name in TABLE and value.strip()}
    # A lower end that nobody set yields to an upper end that somebody did.
    set_fields |= {(name, "pool_min_size") for name, field in set_fields if field == "pool_max_size"}
    set_fields |= {(name, "retry_initial_delay") for name, field in set_fields if field == "retry_max_delay"}
    for name, database in found.databases.items():
        before = values_of(plain.database(name))
        changed = {(name, field) for field, value in values_of(database).items() if value != before[field]}
        assert changed <= set_fields


@settings(deadline=None, max_examples=300)
@given(variables=environments(), name=st.sampled_from(NAMES))
def test_what_is_made_later_shows_no_secret_either(variables, name):
    """DSNs, shares and connection strings that are asked for later are right, or refused without a secret."""
    found = made(variables)
    if isinstance(found, ConfigurationError):
        return
    for ask in (
        lambda: found.get_dsn(name),
        lambda: found.database(name).conninfo(),
        lambda: found.database(name).direct_conninfo(),
        lambda: found.pool_share(name),
    ):
        answer = outcome(ask)
        assert answer
        assert not isinstance(answer, ConfigurationError) or not is_shown(answer)


@settings(deadline=None, max_examples=200)
@given(
    field=st.sampled_from(sorted(DatabaseSettings.model_fields)),
    value=st.sampled_from([0, -1, 5, 1e400, "x", b"x", [1], {}, object, str]),
    secret=st.sampled_from([SECRET, [SECRET], {SECRET: 1}, SECRET.encode(), object]) | dsns(),
    dsn=dsns(),
)
def test_wrong_arguments_show_no_secret(field, value, secret, dsn):
    """An error about any argument shows no DSN and no password, neither its own nor those beside it."""
    given = secret if field in {"dsn", "direct_dsn", "password"} else value
    found = outcome(DatabaseSettings, **({"dsn": dsn, "password": SECRET} | {field: given}))
    if isinstance(found, ConfigurationError):
        assert not is_shown(found)
        return
    dumps = [repr(found), str(found), found.model_dump_json(), repr(found.model_dump())]
    assert not any(SECRET in dump for dump in dumps)
