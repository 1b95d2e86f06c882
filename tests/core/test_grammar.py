"""What a statement leaves behind, locks and commits, and whom it calls (L7, T5)."""

from __future__ import annotations

import pytest

from pgdual.core.functions import READERS, SESSION, SYNTAX, WRITERS
from pgdual.core.grammar import Kind, sort, spelled
from pgdual.core.script import tokenize
from pgdual.errors import UsageError


def part(text, *pure):
    return sort(tokenize(text).words, {spelled(name) for name in pure})


@pytest.mark.parametrize(
    "text",
    [
        "insert into t (a, b) values ($1, lower($2)) returning id",
        "insert into s.t as x (a) values (1) on conflict (a) where b do update set (a) = row(1)",
        "insert into t (a) values (1) on conflict on constraint c do nothing",
        "update t set (a, b) = (select 1, 2), c = nextval('s') where id in (1)",
        "merge into t using s on (true) when not matched then insert (a) values (1)",
        "with x(a) as (insert into t (a) values (1) returning a) select * from x",
        "with c as (select 1) insert into t (a) select 1 on conflict (a) do nothing",
        "delete from t using s where t.a = s.a returning lower(t.b)",
        "select pg_notify('a', 'b'), pg_advisory_xact_lock(1), lo_unlink(1)",
        "select set_config('a', 'b', true)",
        "select 1 for update",
        "drop table t (a)",
        "grant select (a) on t to u",
        "vacuum (analyze) t (a)",
        "notify a",
        "lock t",
    ],
)
def test_writes_without_traces(text):
    """A plain write needs no cleaning of the wire afterwards (L7)."""
    assert not part(text).leaves_traces


@pytest.mark.parametrize(
    "text",
    [
        "select f(1)",
        "insert into t select f(1)",
        "insert into t (a) values (f(1))",
        "update t set a = f(1)",
        "update t set a = set(1)",
        "delete from t where f(1)",
        "insert into t default values returning with (old as o) f(1)",
        "select * from a join b on conflict(1) = 2",
        "select setseed(1)",
        "declare c cursor for select f(1)",
        "explain analyze select f(1)",
        "explain select f(1)",
        "call p()",
        "do ''",
        "create table t (a int default 1)",
        "alter table t add a int",
        "refresh materialized view v",
        "create extension x",
        "whatever x",
    ],
)
def test_statements_with_traces(text):
    """What may have run a user's function is cleaned up after (L7)."""
    assert part(text).leaves_traces


@pytest.mark.parametrize(
    ("text", "locks"),
    {
        "select 1 for update": True,
        "select 1 for key share": True,
        "lock table t": True,
        "select pg_advisory_xact_lock(1)": True,
        "select pg_advisory_lock(1)": True,
        "insert into t select * from u for update": True,
        "explain select 1 for update": False,
        "update t set a = 1": False,
        "select substring('a' for 2)": False,
    }.items(),
)
def test_locks(text, locks):
    """A lock that is taken for its own sake is seen (T5)."""
    assert part(text).sight.locks is locks


@pytest.mark.parametrize(
    ("text", "ordered"),
    {
        "select 1 order by 1": True,
        "with x as (select 1) select * from x order by 1": True,
        "select 1 union select 2 order by 1": True,
        "select a order": False,
        "select array_agg(a order by a) from t": False,
        "select rank() over (order by a) from t": False,
        "select * from (select 1 order by 1) x": False,
        "select t.order by from t": False,
        "(select 1 order by 1)": True,
        "fetch 2 from c": True,
        "select 1) order by 1": True,
    }.items(),
)
def test_ordered(text, ordered):
    """Only an ORDER BY of the whole statement gives its rows an order, or a cursor that may have one (T5)."""
    assert part(text).sight.ordered is ordered


@pytest.mark.parametrize(
    ("text", "commits"),
    {
        "call p()": True,
        "do ''": True,
        "create index concurrently i on t (a)": True,
        "drop index concurrently i": True,
        "alter table t detach partition p concurrently": True,
        "explain call p()": False,
        "create index i on t (a)": False,
        "insert into t values (1)": False,
        "select concurrently from t": False,
    }.items(),
)
def test_may_commit(text, commits):
    """What commits inside is known: a conflict then does not mean that it did nothing."""
    assert part(text).may_commit is commits


def test_pure_functions():
    """A user's word turns a WRITE into a READ, for exactly the function that was named."""
    assert part("select f(1)", "f").kind is Kind.READ
    assert part("select F(1)", "f").kind is Kind.READ
    assert part("select f(1)", "F").kind is Kind.READ
    assert part('select "f"(1)', "f").kind is Kind.READ
    assert part("select s.f(1)", " S . f").kind is Kind.READ
    assert part('select "F"(1)', '"F"').kind is Kind.READ
    assert part('select "F"(1)', "F").kind is Kind.WRITE
    assert part("select s.f(1)", "f").kind is Kind.WRITE
    assert part("select f(1)", "s.f").kind is Kind.WRITE
    assert part("select f(g(1))", "f").kind is Kind.WRITE
    assert not part("insert into t select f(1)", "f").leaves_traces


@pytest.mark.parametrize("name", ["", "f()", "f(int)", "1", "'f'", "a b", "a.", ".a", "f;", "$1"])
def test_what_is_no_function(name):
    """A wrong name is refused, or the user would wait for its effect."""
    with pytest.raises(UsageError, match="not the name of a function"):
        spelled(name)


@pytest.mark.parametrize(
    ("text", "what"),
    {
        "commit": "use db.transaction",
        "copy t from stdin": "cursor.copy",
        "COPY (select 1) TO STDOUT (format csv)": "cursor.copy",
        "deallocate all": "db.connection",
        "discard all": "db.connection",
        "deallocate p": None,
        "discard plans": None,
        "copy t from '/x'": None,
    }.items(),
)
def test_refusals(text, what):
    """What is refused wherever it stands names the right way."""
    refusal = part(text).refusal
    assert refusal is None if what is None else what in refusal


def test_lists():
    """The lists do not overlap, and hold what their names say."""
    assert not READERS & WRITERS
    assert not (READERS | WRITERS) & SESSION
    assert {
        "now",
        "lower",
        "count",
        "row_number",
        "random",
        "pg_sleep",
        "jsonb_agg",
        "generate_series",
    } <= READERS
    for name in (
        "nextval",
        "set_config",
        "query_to_xml",
        "ts_stat",
        "setseed",
        "lo_get",
        "dblink",
        "txid_current",
    ):
        assert name not in READERS
    assert {"select", "coalesce", "values", "numeric", "any"} <= SYNTAX
    assert not {"f", "set", "filter", "over", "left", "rollup"} & SYNTAX
