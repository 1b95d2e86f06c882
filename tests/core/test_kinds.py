"""READ, WRITE, SESSION, CONTROL: the tables are the claim (Q1, Q4)."""

from __future__ import annotations

import pytest

from pgdual.core.grammar import Kind, sort
from pgdual.core.script import tokenize


def part(text):
    return sort(tokenize(text).words, frozenset())


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


READS = """
    select 1
    SELECT * FROM users WHERE id = $1
    ((select 1))
    (select 1) union all (select 2) order by 1
    values (1, 'a'), (2, 'b')
    table users
    show search_path
    select now(), pg_catalog.now(), "lower"('A'), "pg_catalog"."upper"('a')
    select LOWER('A'), Upper('a'), pg_catalog . lower ('A')
    select count(*), count(distinct a), sum(a) filter (where b) from t
    select rank() over (partition by (a) order by (b)), lag(a) over w from t window w as (order by b)
    select percentile_cont(0.5) within group (order by a) from t
    select a from t where a in (1, 2) and not (b or (c)) or exists (select 1)
    select a from t where d = any ($1) and e > all (select 1) and f <> some ($2)
    select case when (a) then (b) else (c) end, cast(a as numeric(15, 2))
    select a::varchar(10), b::character varying (3), c::double precision
    select a::vector(3), b::public.geometry(Point, 4326), cast(c as vector(3)), array(select 1), row(1, 2)
    select coalesce(a, nullif(b, 0)), greatest(1, 2), least(a, b), grouping(a) from t group by a
    select extract(year from a), substring(a from 1 for 2), position('a' in b), normalize(a)
    select overlay(a placing 'x' from 1 for 2)
    select trim(both from a), trim(leading 'x' from a), a at time zone ('utc'), a collate "C" from t
    select interval(3) '1', timestamp(3) with time zone '2020-01-01', time(0) '10:00', interval '1' second(2)
    select current_timestamp(3), localtime(0), current_date, user, (a, b) overlaps (c, d)
    select * from t as x(a, b), unnest($1::int[]) as y(c), unnest($2::int[]) z(d)
    select * from unnest($1::int[], $2::text[]) with ordinality as u(a, b, n)
    select * from unnest($1::int[]) with ordinality u(a, n)
    select * from t x(a) join only (u) on (true) left join lateral (select 1) v on true
    select * from s.t x(a), s.u y(b)
    select * from a join b using (id) where (x) like ('%') and y ilike ('%') and z similar to ('a')
    select * from rows from (generate_series(1, 2), generate_series(1, 3)) as x(a, b)
    select * from json_to_recordset('[]') as x(a int, b text)
    select * from t tablesample bernoulli (10) repeatable (1)
    select * from t tablesample system (10)
    select distinct on (a) b from t order by a, (b)
    select a from t group by rollup (a), cube (b), grouping sets ((a), (b), cube (a)), (c)
    select a from t group by distinct cube (a), rollup (b)
    select 1 limit (1) offset (2)
    select 1 fetch first (1) rows only
    with x as (select 1) select * from x
    with x(a) as (select 1), y(b, c) as not materialized (select 2, 3) select * from x, y
    with z as materialized (select 4) select * from z
    with recursive x(a) as (values (1) union all select a + 1 from x where a < 9) select * from x
    with recursive x(a) as (select 1) search depth first by a set o select * from x
    select a.update, t.into, t.for, t.order from t
    select "update", "into", "for", "delete" from t where "insert" = 1
    select 'insert into t', $$delete from t$$, E'\\'; update' -- for update
    select /* insert into t select f(1) */ 1
    select 'f(1)' || "f" || $f$f(1)$f$ from "t(1)"
    select a -> 'b', a ->> 'c', a ? 'd', a #> '{e}', a @> '{}', a %s, a % 2 from t
    select a operator(pg_catalog.+) b
    select 1 from t join u on (1) operator(pg_catalog.=) 1
    select random(), clock_timestamp(), pg_sleep(0), gen_random_uuid(), pg_total_relation_size('t')
    select current_setting('x'), to_char(now(), 'YYYY'), jsonb_agg(to_jsonb(t)) from t
    select string_agg(a, ',' order by a) from t t
    select xmlelement(name a, xmlattributes(1 as b), xmlforest(c))
    select json_object('a': 1), json_arrayagg(a) from t
    select * from json_table('[]', '$[*]' columns (a int path '$.a', nested path '$.b' columns (c int)))
    select json_value(a, '$' returning numeric(3)), json_query(a, '$' with wrapper), json_exists(a, '$')
    select array[lower('a')], (array[1])[abs(-1)]
    explain select 1
    explain verbose insert into t (a) values (1)
    explain (costs off, format json) update t set (a, b) = (1, 2)
    explain delete from t where lower(a) = 'b'
    explain select * from t for update
    explain insert into t values (nextval('s'))
    explain analyze select 1
    explain (analyze, buffers) select lower('A') from t
"""

WRITES = """
    insert into t values (1)
    insert into t (a, b) select 1, 2 on conflict (a) do update set (a, b) = (1, 2) returning *
    update t set a = 1
    delete from t
    merge into t using s on t.a = s.a when matched then update set b = 1
    merge into t using s on t.a = s.a when not matched then insert (a) values (1)
    with x as (insert into t values (1) returning *) select * from x
    with x as (select 1) insert into t select * from x
    with x as (select 1), y as (delete from t) select 1
    with x(a) as not materialized (update t set a = 1 returning a) select 1
    with recursive x(a) as (select 1) search depth first by a set b insert into t select 1
    (with x as (insert into t values (1) returning 1) select * from x)
    select 1 for update
    select 1 for no key update nowait
    select 1 for share of t
    select 1 for key share skip locked
    table t for update
    select 1for update
    select 1 for/**/update
    select * into t2 from t
    select 1 as a into t2
    select f(1)
    select f (1)
    select f/**/(1)
    select "F"(1)
    select s.lower('a')
    select db.pg_catalog.lower('a')
    select pg_catalog.f(1)
    select public."lower"('a')
    select "coalesce"(1, 2)
    select s.coalesce(1, 2)
    select U&"\\0066"(1)
    select \u017fum(1)
    values (f(1))
    select 1 where a = f(1)
    select * from f(1)
    select * from f(1) as x(a)
    select * from t, f(1)
    select * from t join f(1) on true
    select * from t join lateral f(1) x(a) on true
    select * from rows from (f(1), lower('a'))
    select lower(f(1))
    select lower('a'), f(1)
    select count(*) filter (where f(1)) from t
    select sum(f(1)) over (order by a) from t
    select sum(a) over (partition by f(1)) from t
    select a from t group by rollup (f(1))
    select a, cube(1, 2) from t
    select 1 order by rollup(1)
    select a from t group by b % rollup(1)
    select case f(1) when 1 then 2 end
    select case when f(1) then 2 end
    select distinct f(1)
    select distinct on (a) f(1) from t
    select all f(1)
    select array[f(1)], x[f(1)], x[1:f(1)]
    select row(f(1))
    select cast(f(1) as int), f(1)::int
    select extract(year from f(1))
    select filter(1), over(1), columns(1), by(1), set(1), sets(1), zone(1), first(1), second(1), varying(1)
    select not materialized(1)
    select a at time zone f(1)
    select timestamp with time zone '2020-01-01', f(1)
    select a::timestamp with time zone, f(1)
    select * from unnest($1) with ordinality, f(1)
    select json_query(lower(a) with array wrapper), f(1)
    select * from json_table(columns(1), '$' columns (a int path '$'))
    select json_object(key 'a' value f(1)), json_objectagg(key f(1) value 2)
    select a operator(s.+) b
    select (a) operator(s.+) b
    select query_to_xml('delete from t', true, true, '')
    select ts_stat('select 1'), setseed(1)
    select nextval('s')
    select setval('s', 1), currval('s')
    select pg_notify('a', 'b')
    select pg_advisory_xact_lock(1)
    select lo_create(0)
    select txid_current()
    select set_config('a', 'b', true)
    select pg_catalog.set_config('a', f(1), true)
    select set_config('a', 'b', is_local => true)
    with x as (select 1) select f(1) from x
    with x as (select f(1)) select 1
    with x(a) as (select 1), y as (select 2) select f(a) from x, g(1)
    select 1 union (select f(1))
    explain analyze insert into t values (1)
    explain (analyze) delete from t
    explain (verbose, analyze true) select f(1)
    explain analyse verbose update t set a = 1
    explain select f(1)
    explain create table t as select 1
    explain explain select 1
    create table t (a int)
    create table temp (a int)
    create table t as select 1
    create function f() returns int language sql set search_path = a, pg_temp as 'select 1'
    create index concurrently i on t (lower(a))
    alter table t add b int
    drop table t
    truncate t
    vacuum t
    analyze t
    lock table t
    notify a, 'b'
    grant select (a) on t to u
    comment on table t is 'x'
    refresh materialized view v
    call p(1)
    do $$ begin end $$
    copy t from '/tmp/x'
    copy t to '/tmp/x'
    copy t to program 'cat'
    selec 1
    'a'
    \u017felect 1
    12
"""

SESSIONS = """
    set search_path = a
    SET TIME ZONE 'UTC'
    set session characteristics as transaction read only
    set role r
    reset all
    listen a
    unlisten *
    prepare p as select 1
    execute p(1)
    explain execute p(1)
    deallocate p
    declare c cursor with hold for select 1
    load 'x'
    discard temp
    create temp table t (a int)
    create temporary table t as select 1
    create local temp table t (a int)
    create global temporary table t (a int)
    create or replace temp view v as select 1
    create temp sequence s
    create table pg_temp.t (a int)
    create function pg_temp.f() returns int language sql as 'select 1'
    select 1 into temp t
    select 1 into temporary table t
    select 1 into local temp t
    select 1 into pg_temp.t
    select pg_advisory_lock(1)
    select pg_catalog.pg_advisory_lock(1)
    select "pg_try_advisory_lock"(1)
    select pg_advisory_unlock(1), pg_advisory_unlock_all()
    with x as (select pg_advisory_lock_shared(1)) select * from x
    select set_config('a', 'b', false)
    select set_config('a', 'b', $1)
    select set_config('a', 'b', a = true)
    select set_config('a', 'b', not true)
    select set_config('a', 'b', true = any(x))
    select set_config('a', 'b', 'true')
    select set_config('a', 'b',
    insert into t select set_config('a', 'b', false)
"""

LOCALS = """
    set local a = 1
    set transaction isolation level serializable
    set constraints all deferred
    declare c cursor for select lower('a')
    fetch 10 from c
    move 10 in c
    close c
"""

CONTROLS = """
    begin
    BEGIN ISOLATION LEVEL SERIALIZABLE
    start transaction
    commit
    commit and chain
    commit prepared 'a'
    end
    rollback
    rollback to savepoint a
    rollback prepared 'a'
    abort
    savepoint a
    release a
    prepare transaction 'a'
    /* x */ Begin
"""


@pytest.mark.parametrize("text", lines(READS))
def test_reads(text):
    """A READ leaves nothing, locks nothing, and may be sent again."""
    found = part(text)
    assert found.kind is Kind.READ
    assert not found.leaves_traces
    assert not found.sight.locks
    assert not found.may_commit


@pytest.mark.parametrize("text", lines(WRITES))
def test_writes(text):
    """What is not known to read alone is a WRITE."""
    assert part(text).kind is Kind.WRITE


@pytest.mark.parametrize("text", lines(SESSIONS))
def test_session_text(text):
    """What would stay in the session is SESSION text and leaves traces."""
    found = part(text)
    assert found.kind is Kind.SESSION
    assert found.leaves_traces
    assert not found.local


@pytest.mark.parametrize("text", lines(LOCALS))
def test_local_session_text(text):
    """What ends with the transaction is SESSION text without traces."""
    found = part(text)
    assert found.kind is Kind.SESSION
    assert found.local
    assert not found.leaves_traces


@pytest.mark.parametrize("text", lines(CONTROLS))
def test_control_text(text):
    """What begins and ends transactions is CONTROL text."""
    assert part(text).kind is Kind.CONTROL


@pytest.mark.parametrize("text", lines(READS))
def test_a_call_in_a_read_makes_it_a_write(text):
    """A user's function beside anything that is read is seen."""
    assert part("select * from (values (1)) as x(a), lateral f(a) as y where exists (" + text + ")").kind in (
        Kind.WRITE,
        Kind.SESSION,
    )


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select '' operator(pg_catalog.||) set_config('app.a', 'b', false)", Kind.SESSION),
        ("select 1 as with, set_config('app.a', 'b', false)", Kind.SESSION),
        ("select 1 as with from (select 1) x, set_config('app.a', 'b', false) y", Kind.SESSION),
        ("with recursive x(a) as (select 1) cycle a set c using p delete from t", Kind.WRITE),
        ("with m as (with x(a) as (table u) cycle a set c using p delete from t) table m", Kind.WRITE),
        ("with recursive values(a) as (select 1) cycle a set c using p delete from t", Kind.WRITE),
        ("with recursive x(a) as (select 1) cycle a set c using p select * from x", Kind.READ),
        ("explain (\"analyze\") select pg_notify('news', 'x')", Kind.WRITE),
        ("explain (U&\"analyze\") select pg_notify('news', 'x')", Kind.WRITE),
        ("select (7::bigint).pg_advisory_lock", Kind.WRITE),
        ("select (pid).pg_terminate_backend from pg_stat_activity", Kind.WRITE),
        ("select s.pg_advisory_lock from generate_series(1, 1) s", Kind.WRITE),
        ('select s."pg_advisory_lock" from generate_series(1, 1) s', Kind.WRITE),
        ("select (address).street, a.pg_class_id from a", Kind.WRITE),
        ("select (address).street, a.id from a", Kind.READ),
        ("select pg_catalog.lower(name) from pg_catalog.pg_class", Kind.READ),
    ],
)
def test_calls_in_disguise(sql, kind):
    """Q1: a call behind an operator, a label, an option in quotes or a dot is seen, in doubt as a WRITE."""
    assert part(sql).kind is kind
