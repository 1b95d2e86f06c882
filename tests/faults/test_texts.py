"""Q1, Q2: generated SQL texts; what is called a READ runs on a real server, and nothing of it stays there."""

import re
from itertools import cycle

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from psycopg.pq import ExecStatus

from pgdual.core.statement import READ, Statement
from pgdual.errors import UsageError

# A text is made in three steps: a QUERY whose Q and E are filled in, down to leaves that are written @;
# what stands for @ and for the places #with# to #lock#; then other letters, blanks and comments.
QUERIES = [
    "select E #into#",
    "select E as L, E as L #into# from t where E > 0 #lock#",
    "select * #into# from t order by E, (E) limit E offset (E) #lock#",
    "select distinct on (E) E from t",
    "select all E, sum(E) filter (where E > 0), string_agg('x', ',' order by id) from t having E > 0",
    "select count(*) over (partition by E order by E), lag(id) over w from t window w as (order by E)",
    "select percentile_disc(0.5) within group (order by E) from t x(i) group by rollup (i), (E)",
    "select 1 from t group by grouping sets ((id), (), cube (id)) having E > 0",
    "select a.id from t d(e), t a join only t b using (id) left join lateral (Q) c on E = 1",
    "select * from t natural join t as v(id), (Q) w where id in (Q)",
    "select E from generate_series(1, E) with ordinality as g(a, b), unnest(array[E]) u(i)",
    "select * from rows from (generate_series(1, E), unnest(array[E, 2])) as r(a, b)",
    "select E from t tablesample system (10) repeatable (1) fetch first (1) rows only",
    "select x.* from json_to_recordset('[{}]') as x(a int, b text) where E is distinct from E",
    "select j.a from json_table('[1]', '$[*]' columns (a int path '$')) j where E > 1",
    "with #with# c as (Q) #main# select E from c",
    "with c as not materialized (Q), #with# d as materialized (Q) table c #lock#",
    "with recursive #with# c(n) as (values (1) union all select n + 1 from c where n < 3) select E from c",
    "with recursive #with# c(n) as (select 1 union all table c) search depth first by n set o select E",
    "with recursive #with# c(n) as (select 1 union all table c) cycle n set m using p #main# select E from c",
    "with recursive c(n) as (select 1) values (E), ((select n from c))",
    "values (E, E), (1, 2)",
    "table t #lock#",
    "(Q) union all (Q)",
    "((Q)) order by 1 limit E",
    "select exists (Q), array(Q), (E, E) = (1, 2), row(E), interval '1' second(2), time(0) '10:00'",
]
EXPLAINS = [
    "explain analyze",
    "explain (analyze)",
    'explain ("analyze")',
    "explain (costs off, analyze true)",
    "explain analyse verbose",
]
EXPRESSIONS = [
    "@",
    "@",
    "E + E",
    "E operator(pg_catalog.+) E",
    "- E",
    "(E)",
    "abs(E)",
    "pg_catalog.abs(E)",
    '"abs"(E)',
    'pg_catalog."abs"(E)',
    "coalesce(E, E)",
    "greatest(E, nullif(E, 3))",
    "case when E > 1 then E else E end",
    "case E when E then 1 end",
    "cast(E as numeric(15, 2))::int",
    "E::int",
    "(array[E, E])[abs(E)]",
    "length(E::text || 'it''s')",
    "extract(year from now() at time zone ('utc'))::int",
    "length(substring('abc' from E for E)) + position('a' in 'cba')",
    "length(trim(both from 'a'))",
    "(select E #lock#)",
    "(select count(*) from (Q) q)::int",
    "(E between E and E)::int",
    "(E = any (array[E]))::int",
    "('a' like ('%'))::int",
    "jsonb_array_length(jsonb_build_array(E)) + (to_jsonb(E) ->> 0)::int",
]
LEAVES = [
    "1",
    "null::int",
    "0x1F",
    "1e0",
    "length('a;b -- c')",
    "length('f(1)')",
    r"length(E'\'; delete from t; --')",
    "length($$ insert into t; '$$)",
    "length($q$ $$ for update $q$)",
    r"length(U&'\0061\0027')",
    "length(b'101')",
    """(select "for update" from (values (1)) as "t("("for update"))""",
    """(select "into"."delete" from (select 1 as "delete") "into")""",
    "length(pg_sleep(0)::text)",
    "random()::int",
    "length(current_setting('search_path'))",
    "length(txid_status(1))",
]
LABELS = [
    "a",
    "select",
    "from",
    "for",
    "update",
    "set",
    "with",
    '"with"',
    '"Upper ""x"""',
    'U&"\\0061"',
    "groß",
    "\u017f",
]
# What no READ may hold, where a value may stand.
CALLS = [
    "set_config('app.a', 'b', false)",
    "pg_catalog.set_config('app.a', 'b', 1 > 2)",
    """"set_config"('app.a', 'b', false)""",
    "set_config('app.a', 'b', true)",
    "set_config('app.a', 'b', is_local => false)",
    "nextval('s')",
    "pg_catalog . nextval ('s')",
    "setval('s', 5)",
    "currval('s')",
    "lastval()",
    "pg_advisory_lock(7)",
    """"pg_catalog"."pg_try_advisory_lock"(7)""",
    "(7::bigint).pg_advisory_lock",
    "pg_advisory_unlock_all()",
    "pg_advisory_xact_lock(7)",
    "lo_creat(-1)",
    "lo_from_bytea(0, '')",
    "pg_notify('news', 'x')",
    "pg_terminate_backend(0)",
    "query_to_xml('delete from t', true, true, '')",
    "txid_current()",
    "setseed(0.5)",
    "dblink('', 'delete from t')",
    "dblink_exec('delete from t')",
    "postgres_fdw_disconnect_all()",
    "soil(1)",
    "public . soil (1)",
    '"Soil"(1)',
    r'U&"\0073oil"(1)',
    "public.lower(1)",
    "public.coalesce(1, 2)",
    "\u017foil(1)",
]
# The same where a clause may stand.
CLAUSES = {
    "#with#": [
        "m as (insert into t values (1) returning id),",
        "m(i) as materialized (update t set id = 2 returning id),",
        "m as not materialized (delete from t returning *),",
        "m as (with n as (select 1) delete from t returning id),",
        "m as (merge into t using t u on t.id = u.id when matched then delete returning 1),",
        "m as (with recursive n(i) as (select 1) cycle i set a using p delete from t returning id),",
        "m as (with recursive values(i) as (select 1) cycle i set a using p update t set id = 2),",
    ],
    "#main#": ["insert into t", "insert into t as d (id) overriding user value"],
    "#into#": ["into u", "into table u", "into temp u", "into pg_temp.u", "into unlogged table u"],
    "#lock#": ["for update", "for no key update nowait", "for share of t", "for key share skip locked"],
}
NOISE = [
    *(
        "'",
        '"',
        "$$",
        "$q$",
        "E'",
        "U&'",
        "/*",
        "*/",
        "--",
        ";",
        "(",
        ")",
        ",",
        "\\",
        "\n",
        "\0",
        "$1",
        "::",
        ".",
    ),
    *("for update", "for", "into", "delete", "insert", "select", "from", "with ordinality", "as", "analyze"),
    *("explain", "show", "table", "only", "order by", "lateral", "distinct on", "update set", "listen news"),
    *CALLS,
]
TOKEN = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|(?:\w&?)?'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|(?:U&)?"(?:[^"]|"")*"|::|=>"""
    r"""|\#\w+\#|\w+(?:\.\d+)?|[-+*/<>=~!@%^&|]+|\S""",
    re.DOTALL,
)
OPERATOR = re.compile(r"[-+*/<>=~!@%^&|]+")
GAPS = [" ", "", "\n\t", " /* c */ ", "/* '/* \" */ $$ */", " -- f(1) ' $$ \" /*\n", " --\r", "\f"]
FOLDS = [str.lower, str.lower, str.upper, str.title]

SETUP = """
    create table t (id int primary key);
    insert into t values (1), (2), (3);
    create sequence s;
    create function soil(i int) returns int language sql as
        $$ insert into t values (i); select set_config('app.a', 'b', false); select 1 $$;
    listen news;
"""
STATE = b"""
    select array(select name || '=' || setting from pg_settings where source = 'session' and
            not starts_with(name, 'transaction_') order by 1),
        coalesce(current_setting('app.a', true), ''),
        array(select mode || objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
        array(select name from pg_prepared_statements), array(select pg_listening_channels()),
        array(select name from pg_cursors),
        array(select relname from pg_class where relnamespace = pg_my_temp_schema()),
        (select count(*) from pg_largeobject_metadata), pg_current_xact_id_if_assigned()
"""


@st.composite
def filled(draw, template, depth):
    """Fill in Q, E and L of a template, with less in them the deeper they stand."""

    def part(found):
        if found[0] == "L":
            return draw(st.sampled_from(LABELS))
        if depth <= 0:
            return "@" if found[0] == "E" else "select @"
        pool = EXPRESSIONS if found[0] == "E" else QUERIES
        return draw(filled(draw(st.sampled_from(pool)), depth - 1))

    return re.sub(r"\b[QEL]\b(?!')", part, template)


@st.composite
def texts(draw, spoiled=False):
    """A query; *spoiled* has one thing in it that no READ may hold."""
    text = draw(filled(draw(st.sampled_from(QUERIES)), draw(st.integers(0, 2))))
    if draw(st.integers(0, 9)) == 0:
        text = f"{draw(st.sampled_from(EXPLAINS))} {text}"
    places = [*re.finditer(r"@|#\w+#", text)]
    chosen = draw(st.sampled_from(places)) if spoiled and places else None

    def part(found):
        if chosen is not None and found.start() == chosen.start():
            return draw(st.sampled_from(CLAUSES.get(found[0], CALLS)))
        return draw(st.sampled_from(LEAVES)) if found[0] == "@" else ""

    text = re.sub(r"@|#\w+#", part, text)
    return draw(dressed(f"select {draw(st.sampled_from(CALLS))}" if spoiled and not places else text))


@st.composite
def dressed(draw, text):
    """The same text with other blanks, comments and capitals."""
    gaps = cycle(draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=4)))
    folds = cycle(draw(st.lists(st.sampled_from(FOLDS), min_size=1, max_size=3)))
    out, before = [], ""
    for found in TOKEN.finditer(text):
        token, gap = found[0], next(gaps)
        if OPERATOR.fullmatch(before) or (not gap and not {token, before} & {"(", ")", ",", "[", "]"}):
            gap = f" {gap}"
        out += [gap, next(folds)(token) if token.isascii() and token.isidentifier() else token]
        before = token
    return "".join(out[1:])


@st.composite
def mutants(draw):
    """A text that was valid, and up to three mistakes or malicious words in it."""
    parts = re.findall(r"\s+|\w+|.", draw(texts(spoiled=draw(st.integers(0, 5)) == 0)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(parts)))
        cut = draw(st.integers(0, 2))
        parts[at : at + cut] = draw(
            st.lists(st.sampled_from(NOISE).map(lambda word: f" {word} "), max_size=1)
        )
    return "".join(parts)


def sorted_as(text):
    """Return the statement, or None where it is refused before anything is sent."""
    try:
        return Statement(text)
    except UsageError:
        return None


class Session:
    """One connection, and what a text has left behind on it."""

    def __init__(self, dsn):
        self.dsn = dsn
        with psycopg.connect(dsn, autocommit=True) as connection:
            for text in SETUP.split(";\n    c"):
                connection.execute(text if text.startswith("\n") else f"c{text}")
        self.renew()

    def renew(self):
        self.connection = psycopg.connect(self.dsn, autocommit=True, options="-c statement_timeout=1000")
        self.pgconn = self.connection.pgconn
        self.connection.execute("listen news")
        self.clean = self.state()

    def ask(self, text):
        result = self.pgconn.exec_params(text, None)
        assert result.status == ExecStatus.TUPLES_OK, result.error_message
        return [result.get_value(0, column) for column in range(result.nfields)]

    def state(self):
        used = self.pgconn.exec_params(b"select currval('s')", None).status == ExecStatus.TUPLES_OK
        return [*self.ask(STATE), used, self.ask(b"select count(*), sum(id) from t")]

    def run(self, statement):
        """Run a READ in a read-only transaction and return the server's error, or None."""
        self.pgconn.exec_(b"begin read only")
        result = self.pgconn.exec_params(statement.query, [None] * statement.parameters or None)
        error = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        if error is None:
            # Before the end: locks of the transaction, and whether it was given an id.
            assert self.ask(STATE) == self.clean[:9]
        self.pgconn.exec_(b"commit")
        self.pgconn.consume_input()
        assert self.pgconn.notifies() is None
        assert error != b"25006"
        assert self.state() == self.clean
        return error


@pytest.fixture
def session(main_dsn):
    """A session with a table, a sequence, a function that leaves traces and a channel it listens to."""
    made = Session(main_dsn)
    yield made
    made.connection.close()


def checked(session, text):
    """Hold the server's answer against what a READ may do; afterwards the session is as new."""
    statement = sorted_as(text)
    if statement is None or statement.kind is not READ:
        event("not called a READ")
        return
    try:
        error = session.run(statement)
        event(f"READ, {error.decode() if error else 'done'}")
    except BaseException:
        session.connection.close()
        session.renew()
        raise


slow = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@settings(slow, max_examples=300)
@given(text=texts())
def test_what_only_reads_is_called_a_read(session, text):
    """Q1: whatever is made of known functions, however nested and written, is a READ and leaves nothing."""
    assert sorted_as(text).kind is READ
    checked(session, text)


@settings(slow, max_examples=800)
@given(text=texts(spoiled=True))
def test_what_does_more_is_seen_wherever_it_stands(text):
    """Q1: one call off the list, row lock, INTO or change of data anywhere, and the text is no READ."""
    assert sorted_as(text).kind is not READ


@settings(slow, max_examples=800)
@given(text=mutants())
def test_a_read_is_never_refused_and_leaves_nothing(session, text):
    """Q1, Q2: what is called a READ is not refused as a write, and nothing of it stays in the session."""
    checked(session, text)
