"""What `pgdual doctor` looks for: a query each, and what is said of a row of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString

from pgdual.core.thresholds import plain

WIDTH = 120  # characters of a statement that are shown
_QUERY = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|MERGE|VALUES|WITH|TABLE)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and the SQL that would mend it."""

    title: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Check:
    """A query whose rows are findings; *needs* is one that has a row where the query can be asked at all."""

    title: str
    sql: LiteralString
    what: Callable[[Any], str]
    fix: Callable[[Any], str]
    needs: LiteralString | None = None

    def finding(self, row: Any) -> Finding:
        """Return what is said of *row*."""
        return Finding(self.title, self.what(row), self.fix(row))


def _short(sql: str | None) -> str:
    line = plain(sql or "a statement that this role may not see")
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def _end(pid: int, state: str | None) -> str:
    # What is idle in a transaction has nothing to cancel.
    return f"SELECT {'pg_cancel_backend' if state == 'active' else 'pg_terminate_backend'}({pid});"


def _explained(sql: str, number: int, has_generic_plan: bool) -> str:
    # What was cut or masked, or is no query, cannot be explained as it stands here.
    text = " ".join(sql.split())
    if has_generic_plan and plain(sql) == text and "--" not in sql and _QUERY.match(text):
        return f"EXPLAIN (GENERIC_PLAN) {text};"
    return f"SELECT query FROM pg_stat_statements WHERE queryid = {number};  -- EXPLAIN what it runs"  # noqa: S608 - shown, not run


def _naming(table: str) -> str:
    name = table.rpartition(".")[2].strip('"').replace("'", "''")
    return f"SELECT query FROM pg_stat_statements WHERE query LIKE '%{name}%' ORDER BY total_exec_time DESC;"  # noqa: S608 - shown, not run


LOCKS = Check(
    "waiting for a lock",
    """
    SELECT w.pid, w.query, extract(epoch FROM clock_timestamp() - w.query_start)::float8 AS seconds,
        b.pid AS by, b.state, b.query AS holding
    FROM pg_stat_activity w
    CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker(pid)
    JOIN pg_stat_activity b ON b.pid = blocker.pid
    WHERE w.datname = current_database() AND w.wait_event_type = 'Lock' ORDER BY seconds DESC LIMIT 20
    """,
    lambda row: (
        f"{row.pid} has waited {row.seconds:.0f} s in `{_short(row.query)}` for {row.by}, which is "
        f"{row.state or 'unknown'} after `{_short(row.holding)}`"
    ),
    lambda row: _end(row.by, row.state),
)
SESSIONS = Check(
    "long session",
    """
    SELECT pid, usename, state, query, application_name,
        extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::float8 AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND state <> 'idle'
        AND clock_timestamp() - coalesce(xact_start, query_start) > make_interval(secs => %(longer_than)s)
    ORDER BY seconds DESC LIMIT 20
    """,
    lambda row: (
        f"{row.pid} ({row.usename}, {row.application_name or 'no name'}) {row.state} for "
        f"{row.seconds:.0f} s: `{_short(row.query)}`"
    ),
    lambda row: _end(row.pid, row.state),
)
STATEMENTS = Check(
    "slow statement",
    """
    SELECT queryid, query, calls, mean_exec_time AS mean, total_exec_time AS total,
        current_setting('server_version_num')::int >= 160000 AS has_generic_plan
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
    WHERE d.datname = current_database() AND mean_exec_time > %(slower_than_ms)s
        AND queryid IS NOT NULL -- of another role, which this one may not look at
    ORDER BY total DESC LIMIT 10
    """,
    lambda row: (
        f"{row.mean:.0f} ms on average, {row.calls} call{'s' * (row.calls != 1)}, {row.total / 1e3:.1f} s in "
        f"all: `{_short(row.query)}`"
    ),
    lambda row: _explained(row.query, row.queryid, row.has_generic_plan),
    # Its settings are there only where it was loaded with the server, else the view raises. It may be in a
    # schema of its own; the path is that of this transaction.
    needs="""
    SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''),
        quote_ident(nspname)), true)
    FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
    WHERE extname = 'pg_stat_statements'
        AND EXISTS (SELECT 1 FROM pg_settings WHERE name = 'pg_stat_statements.max')
    """,
)
UNUSED = Check(
    "unused index",
    """
    SELECT format('%%I.%%I', s.schemaname, s.indexrelname) AS name,
        format('%%I.%%I', s.schemaname, s.relname) AS on_table, pg_relation_size(s.indexrelid) AS bytes,
        pg_size_pretty(pg_relation_size(s.indexrelid)) AS size,
        (SELECT stats_reset::date FROM pg_stat_database WHERE datname = current_database()) AS since
    FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
    WHERE s.idx_scan = 0 AND i.indisvalid AND NOT i.indisunique AND NOT i.indisexclusion
        AND pg_relation_size(s.indexrelid) >= %(min_bytes)s
        AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = s.indexrelid
            OR (c.contype = 'f' AND c.conrelid = i.indrelid
                AND (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1] @> c.conkey))
    ORDER BY bytes DESC LIMIT 20
    """,
    lambda row: (
        f"{row.name} on {row.on_table}, {row.size}, was not read since "
        f"{row.since or 'statistics began'} (look at the standbys too)"
    ),
    lambda row: f"DROP INDEX CONCURRENTLY {row.name};",
)
FOREIGN = Check(
    "missing index",
    """
    SELECT c.conname, format('%%I.%%I', n.nspname, r.relname) AS on_table, pg_relation_size(r.oid) AS bytes,
        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
            FROM unnest(c.conkey) WITH ORDINALITY AS k(number, place)
            JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number) AS names
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE c.contype = 'f' AND pg_relation_size(r.oid) >= %(min_bytes)s AND NOT EXISTS (
        SELECT 1 FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
            AND (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1] @> c.conkey)
    ORDER BY bytes DESC LIMIT 20
    """,
    lambda row: (
        f"the foreign key {row.conname} of {row.on_table} ({row.names}): each delete above reads it all"
    ),
    lambda row: f"CREATE INDEX CONCURRENTLY ON {row.on_table} ({row.names});",
)
SCANNED = Check(
    "missing index",
    """
    SELECT format('%%I.%%I', schemaname, relname) AS name, seq_scan, seq_tup_read / seq_scan AS rows,
        coalesce(idx_scan, 0) AS idx_scan
    FROM pg_stat_user_tables
    WHERE seq_scan > 100 AND seq_tup_read / seq_scan > 10000 AND seq_scan > coalesce(idx_scan, 0)
        AND pg_relation_size(relid) >= %(min_bytes)s
    ORDER BY seq_tup_read DESC LIMIT 20
    """,
    lambda row: (
        f"{row.name} was read from end to end {row.seq_scan} times, {row.rows} rows each, through an index "
        f"{row.idx_scan} times"
    ),
    lambda row: f"{_naming(row.name)}  -- then CREATE INDEX CONCURRENTLY on what its WHERE names",
)
BLOAT = Check(
    "bloat",
    """
    SELECT format('%%I.%%I', schemaname, relname) AS name, n_dead_tup AS dead, n_live_tup AS live,
        pg_size_pretty(pg_relation_size(relid)) AS size,
        coalesce(greatest(last_vacuum, last_autovacuum)::text, 'never') AS vacuumed
    FROM pg_stat_user_tables
    WHERE n_dead_tup > 1000 AND n_dead_tup > 0.2 * (n_live_tup + n_dead_tup)
        AND pg_relation_size(relid) >= %(min_bytes)s
    ORDER BY n_dead_tup DESC LIMIT 20
    """,
    lambda row: (
        f"{row.name}, {row.size}: about {100 * row.dead / (row.live + row.dead):.0f} % of its rows are dead "
        f"({row.dead}); vacuumed {row.vacuumed}"
    ),
    lambda row: f"VACUUM (ANALYZE) {row.name};",
)
INVALID = Check(
    "invalid index",
    """
    SELECT format('%%I.%%I', n.nspname, r.relname) AS name, i.indrelid::regclass::text AS on_table
    FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE NOT i.indisvalid AND r.relkind = 'i' AND NOT EXISTS (
        SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
    """,
    lambda row: f"{row.name} on {row.on_table} was not finished: it is kept up and never read",
    lambda row: f"REINDEX INDEX CONCURRENTLY {row.name};",
)
SEQUENCES = Check(
    "sequence near its end",
    """
    WITH used AS (
        SELECT s.schemaname, s.sequencename, s.last_value, a.attrelid, a.attname, a.atttypid,
            least(s.max_value, CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                WHEN 'int4'::regtype THEN 2147483647 ELSE s.max_value END) AS most
        FROM pg_sequences s
        LEFT JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass
            AND d.objid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass
            AND d.deptype IN ('a', 'i')
        LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE s.increment_by > 0 AND NOT s.cycle)
    SELECT format('%%I.%%I', schemaname, sequencename) AS name, last_value, most,
        attrelid::regclass::text AS on_table, quote_ident(attname) AS column
    FROM used WHERE last_value > 0.75 * most ORDER BY last_value::float8 / most DESC
    """,
    lambda row: f"{row.name} is at {row.last_value} of {row.most} ({100 * row.last_value / row.most:.0f} %)",
    lambda row: (
        f"ALTER TABLE {row.on_table} ALTER COLUMN {row.column} TYPE bigint; "
        f"ALTER SEQUENCE {row.name} AS bigint;"
        if row.on_table
        else f"ALTER SEQUENCE {row.name} AS bigint MAXVALUE 9223372036854775807;"
    ),
)
CHECKS = (LOCKS, SESSIONS, STATEMENTS, UNUSED, FOREIGN, SCANNED, BLOAT, INVALID, SEQUENCES)
