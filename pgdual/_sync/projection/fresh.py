# Generated from pgdual/_async/projection/fresh.py by _generate.py. Do not edit.
"""Fresh tables beside live ones, in a schema of their own, and the swap (J4).

They are made like the live ones, their indexes and constraints under the same names; a transaction whose
search_path begins with that schema finds them where the others are meant. Foreign keys, from them and to
them, rights and the owner are set in the swap. What cannot come along (a view, a trigger) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from psycopg.sql import SQL, Identifier

from pgdual.core.track import OF, GoneError
from pgdual.errors import ProjectionError

_TABLE = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
    array_to_string(c.reloptions, ', ') AS options
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)
"""
# Each of these hangs on the table itself, not on its name.
_HANGING = """
SELECT 'is no ordinary table' FROM pg_class WHERE oid = $1::oid AND relkind <> 'r'
UNION ALL SELECT 'has row security' FROM pg_class WHERE oid = $1::oid AND relrowsecurity
UNION ALL SELECT 'is a partition, or inherits' FROM pg_inherits WHERE $1::oid IN (inhrelid, inhparent)
UNION ALL SELECT 'has the trigger ' || tgname FROM pg_trigger WHERE tgrelid = $1::oid AND NOT tgisinternal
UNION ALL SELECT 'is in a publication' FROM pg_publication_rel WHERE prrelid = $1::oid
UNION ALL
SELECT 'has rights on the column ' || attname FROM pg_attribute
WHERE attrelid = $1::oid AND attacl IS NOT NULL
UNION ALL SELECT DISTINCT 'is used by ' || r.ev_class::regclass
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = $1::oid
"""
_KEYS = """
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = $1::oid AND contype IN ('p', 'u', 'x') ORDER BY contype, conname
"""
_INDEXES = """
SELECT pg_get_indexdef(indexrelid), format(' ON %I.%I USING', $2::text, $3::text)
FROM pg_index WHERE indrelid = $1::oid
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
"""
# With search_path empty the definitions name their schemas.
_FOREIGN = """
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE contype = 'f' AND (conrelid = ANY($1::oid[]) OR confrelid = ANY($1::oid[]))
"""
_RIGHTS = """
SELECT format('GRANT %s ON %s TO %s%s', privilege_type, $2::text,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class, aclexplode(relacl) WHERE oid = $1::oid AND grantee <> relowner
"""
_SEQUENCES = """
SELECT format('ALTER SEQUENCE %s OWNED BY ', s.oid::regclass), format('%s.%I', $2::text, a.attname)
FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype = 'a' AND d.refobjid = $1::oid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE s.relkind = 'S'
"""


_SHAPE = """
SELECT string_agg(word, ', ' ORDER BY word) FROM (
    SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull) FROM pg_attribute
    WHERE attrelid = {0} AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT conname FROM pg_constraint WHERE conrelid = {0} AND contype IN ('c', 'p', 'u', 'x')
    UNION ALL
    SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = {0}
) AS words (word)
"""
_IS_LIKE = f"SELECT ({_SHAPE.format('$1::oid')}) = ({_SHAPE.format('to_regclass($2)')})"
_SCHEMA = "SELECT max(oid::bigint), current_setting('search_path') FROM pg_namespace WHERE nspname = $1"
_ENTER = "SELECT set_config('search_path', $1, true) FROM pg_namespace WHERE nspname = $2 AND oid = $3"
_TRACK = "SELECT projector FROM pgdual_positions WHERE starts_with(projector, $1) ORDER BY 1 LIMIT 1"


class Live(NamedTuple):
    """A live table."""

    oid: int
    schema: str
    name: str
    owner: str
    options: str | None


class Fresh(NamedTuple):
    """Where projectors find the fresh tables, as long as these are there."""

    name: str  # of the database, and of the projection
    projection: str
    schema: str
    oid: int  # another who begins anew makes a schema of the same name
    path: str

    def enter(self, tx: Any) -> None:
        """Have the tables found before others until the transaction ends.

        Raises:
            GoneError: Somebody else has put them in their place, or has begun anew.
        """
        if tx.fetchval(_ENTER, self.path, self.schema, self.oid) is None:
            raise self.gone()

    def gone(self) -> GoneError:
        """Return what is to be raised where they are not there any more."""
        return GoneError(f"{self.name}: {self.projection!r} was rebuilt by somebody else meanwhile")


def schema_of(projection: str) -> str:
    """Return the name of the schema that a projection's fresh tables are in."""
    return f"pgdual_rebuild_{crc32(projection.encode()):08x}"


def check_source(database: Any, projection: str) -> None:
    """Make sure that a projection has its events from the log, which is what is replayed.

    Raises:
        ProjectionError: It has them from elsewhere.
    """
    begin = projection + OF
    key = database.fetchval(_TRACK, begin)
    if key is not None:
        raise ProjectionError(
            f"{database.name}: {projection!r} has its events from {key.removeprefix(begin)}, and only the "
            "log in PostgreSQL is replayed: register it under another name, which begins anew, with other "
            "tables"
        )


def live_tables(database: Any, names: Sequence[str]) -> list[Live]:
    """Return the live tables of these names.

    Raises:
        ProjectionError: There is none of a name.
    """
    found = []
    for name in names:
        row = database.fetchrow(_TABLE, name)
        if row is None:
            raise ProjectionError(f"{database.name}: there is no table {name}")
        found.append(Live(*row))
    return found


def check(database: Any, tables: Sequence[Live]) -> None:
    """Make sure that nothing hangs on the live tables which would not come along.

    Raises:
        ProjectionError: Something does.
    """
    for table in tables:
        hanging = [row[0] for row in database.fetch(_HANGING, table.oid)]
        if hanging:
            raise ProjectionError(
                f"{database.name}: {table.name} {', '.join(hanging)}, which a fresh table in its place would "
                "not have; rebuild it in place (in_place=True, --in-place)"
            )


def full(table: Live, schema: str | None = None) -> str:
    """Return a table's name with its schema, as in SQL: the live one's, or that in *schema*."""
    return Identifier(table.schema if schema is None else schema, table.name).as_string()


def make(tx: Any, schema: str, tables: Sequence[Live]) -> None:
    """Make the schema, and the fresh tables in it."""
    tx.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)).as_string())
    tx.execute("SET LOCAL search_path = ''")
    for table in tables:
        fresh, live = full(table, schema), full(table)
        tx.execute(f"CREATE TABLE {fresh} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES)")
        if table.options:
            tx.execute(f"ALTER TABLE {fresh} SET ({table.options})")
        for (text,) in tx.fetch(_KEYS, table.oid, fresh):
            tx.execute(text)
        for text, place in tx.fetch(_INDEXES, table.oid, table.schema, table.name):
            tx.execute(text.replace(place, f" ON {fresh} USING", 1))


def swap(tx: Any, schema: str, tables: Sequence[Live]) -> None:
    """Put the fresh tables in the place of the live ones, and remove those and the schema."""
    path = tx.fetchval("SELECT current_setting('search_path')")
    tx.execute("SET LOCAL search_path = ''")
    texts = [row[0] for row in tx.fetch(_FOREIGN, [table.oid for table in tables])]
    for table in tables:
        live = full(table)
        texts += [row[0] for row in tx.fetch(_RIGHTS, table.oid, live)]
        for text, column in tx.fetch(_SEQUENCES, table.oid, live):
            tx.execute(f"{text} NONE")
            texts.append(text + column)
    tx.execute("DROP TABLE " + ", ".join(full(table) for table in tables) + " CASCADE")
    for table in tables:
        place, owner = (Identifier(name).as_string() for name in (table.schema, table.owner))
        tx.execute(f"ALTER TABLE {full(table, schema)} SET SCHEMA {place}")
        tx.execute(f"ALTER TABLE {full(table)} OWNER TO {owner}")
    for text in texts:
        tx.execute(text, timeout=None)  # a foreign key reads the table
    tx.execute(SQL("DROP SCHEMA {}").format(Identifier(schema)).as_string())
    tx.execute("SELECT set_config('search_path', $1, true)", path)


def remove(tx: Any, schema: str) -> None:
    """Remove the fresh tables and their schema."""
    tx.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)).as_string())


def is_there(tx: Any, schema: str, tables: Sequence[Live]) -> bool:
    """Return whether there is such a schema: a rebuild was begun.

    Raises:
        ProjectionError: The tables in it are not like the live ones any more.
    """
    if not tx.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema):
        return False
    for table in tables:
        if tx.fetchval(_IS_LIKE, table.oid, full(table, schema)) is not True:
            raise ProjectionError(
                f"{tx._database.name}: {table.name} has changed since its rebuild was begun: begin anew "
                "(restart=True, --restart)"
            )
    return True


def found(database: Any, projection: str, schema: str) -> Fresh:
    """Return where the fresh tables of a projection are."""
    oid, path = database.fetchrow(_SCHEMA, schema)
    return Fresh(database.name, projection, schema, oid, f"{schema}, {path}" if path else schema)
