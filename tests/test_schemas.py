"""The schema files, run for real on a private server through psycopg alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, ForeignKeyViolation
from psycopg.types.json import Jsonb

SCHEMAS = Path(__file__).parents[1] / "schemas"
FILES = ["tradecore.sql", "tradecore_vb.sql"]
Connection = psycopg.Connection[Any]

UNINDEXED_FOREIGN_KEYS = """
    SELECT c.conrelid::regclass::text, c.conname FROM pg_constraint c
    WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])
"""
COLUMNS = """
    SELECT table_name || '.' || column_name, data_type, numeric_precision, numeric_scale
    FROM information_schema.columns WHERE table_schema = current_schema()
"""
RELATIONS = "SELECT relname, relkind FROM pg_class WHERE relnamespace = current_schema()::regnamespace"


def script(name: str) -> str:
    return (SCHEMAS / name).read_text(encoding="utf-8")


@pytest.fixture(params=FILES)
def schema_file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty(main_server: Any) -> Iterator[Connection]:
    """A connection in a schema of its own, dropped afterwards."""
    name = sql.Identifier(f"schemas_{uuid4().hex[:12]}")
    with psycopg.connect(main_server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("SET search_path TO {}").format(name))
        yield connection
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(name))


@pytest.fixture
def tables(empty: Connection) -> Connection:
    """The same with both files run."""
    for name in FILES:
        empty.execute(script(name))
    return empty


def columns(connection: Connection) -> dict[str, tuple[Any, ...]]:
    return {name: rest for name, *rest in connection.execute(COLUMNS)}


def indexes(connection: Connection) -> str:
    rows = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()")
    return "\n".join(definition for (definition,) in rows)


def test_running_twice_is_harmless(empty: Connection, schema_file: str) -> None:
    """A second run changes nothing and loses no row."""
    empty.execute(script(schema_file))
    before = set(empty.execute(RELATIONS))
    empty.execute(script(schema_file))
    assert set(empty.execute(RELATIONS)) == before


def test_it_is_one_transaction(empty: Connection, schema_file: str) -> None:
    """A script that fails at its end leaves nothing behind."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        empty.execute(script(schema_file) + "; SELECT 1/0")
    assert empty.execute(RELATIONS).fetchall() == []


def test_only_plain_statements(schema_file: str) -> None:
    """No DROP, no transaction words, no COPY, no psql command, no schema's name: a client can run it."""
    code = re.sub(r"--.*|'[^']*'", "", script(schema_file))
    assert not re.search(r"\b(DROP|BEGIN|COMMIT|ROLLBACK|COPY|SET)\b|^\\", code, re.IGNORECASE | re.MULTILINE)
    created = re.findall(r"^CREATE (\w+)( IF NOT EXISTS)? ([\w.]+)", code, re.MULTILINE)
    assert created
    for kind, guard, name in created:
        assert kind in {"TABLE", "INDEX"}
        assert guard, f"{kind} {name} would fail the second time"
        assert "." not in name


def test_foreign_keys_are_indexed(tables: Connection) -> None:
    """Each foreign key is the first column of some index."""
    assert tables.execute(UNINDEXED_FOREIGN_KEYS).fetchall() == []


def test_money_is_exact(tables: Connection) -> None:
    """Money is DECIMAL(15,2), and no column is a float."""
    found = columns(tables)
    money = [name for name in found if name.split(".")[1] in {"balance", "price", "total_spent"}]
    assert len(money) == 7
    assert {tuple(found[name]) for name in money} == {("numeric", 15, 2)}
    assert not [name for name, kind in found.items() if kind[0] in {"real", "double precision", "money"}]


def test_times_know_their_zone(tables: Connection) -> None:
    """No column is a timestamp without a time zone."""
    assert not [name for name, kind in columns(tables).items() if kind[0] == "timestamp without time zone"]


def test_the_indexes_of_the_guide(tables: Connection) -> None:
    """Composite, descending in time, and GIN on jsonb."""
    found = indexes(tables)
    assert "orders USING btree (user_id, status)" in found
    assert "vb_orders USING btree (user_id, status)" in found
    assert "users USING btree (created_at DESC)" in found
    jsonb = [name.split(".") for name, kind in columns(tables).items() if kind[0] == "jsonb"]
    assert jsonb
    for table, column in jsonb:
        assert re.search(rf"\b{table} USING gin \({column}\)", found)


def test_no_index_repeats_another(tables: Connection) -> None:
    """No index is a mere prefix of another one of the same table and kind."""
    rows = tables.execute(
        "SELECT indrelid::regclass::text, indexrelid::regclass::text, indkey::int2[] FROM pg_index"
        " JOIN pg_class ON oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
        " WHERE relnamespace = current_schema()::regnamespace AND amname = 'btree' AND NOT indisunique"
    ).fetchall()
    for table, name, keys in rows:
        longer = [o for t, o, k in rows if t == table and o != name and k[: len(keys)] == keys]
        assert not longer, f"{name} is part of {longer}"


def test_status_values_are_checked(tables: Connection) -> None:
    """A status nobody knows is refused, in every table that has one."""
    user = add_user(tables)
    tables.execute("INSERT INTO accounts (id, user_id) VALUES (%s, %s)", [uuid4(), user])
    tables.execute("INSERT INTO orders (id, user_id, symbol) VALUES (%s, %s, 'AAPL')", [uuid4(), user])
    tables.execute("INSERT INTO positions (user_id, symbol) VALUES (%s, 'AAPL')", [user])
    account = uuid4()
    tables.execute("INSERT INTO vb_accounts (id, user_id) VALUES (%s, %s)", [account, user])
    tables.execute(
        "INSERT INTO vb_orders (id, vb_account_id, user_id, symbol) VALUES (%s, %s, %s, 'AAPL')",
        [uuid4(), account, user],
    )
    guarded = [name.split(".")[0] for name in columns(tables) if name.endswith(".status")]
    assert len(guarded) == 6
    for table in guarded:
        with pytest.raises(CheckViolation):
            tables.execute(sql.SQL("UPDATE {} SET status = 'nonsense'").format(sql.Identifier(table)))


def test_an_order_needs_its_user(tables: Connection) -> None:
    """An order of an unknown user is refused."""
    with pytest.raises(ForeignKeyViolation):
        tables.execute("INSERT INTO orders (id, user_id, symbol) VALUES (%s, %s, 'AAPL')", [uuid4(), uuid4()])


def test_the_statements_of_the_guide(tables: Connection) -> None:
    """The guide's inserts, its upsert and its updates run as they stand there."""
    user, order = add_user(tables), uuid4()
    upsert = """
        INSERT INTO orders (id, user_id, symbol, quantity, status, placed_at)
        VALUES (%s, %s, %s, %s, %s, now())
        ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, updated_at = EXCLUDED.placed_at
    """
    for status in ("pending", "filled"):
        tables.execute(upsert, [order, user, "AAPL", 10, status])
    tables.execute(
        "UPDATE users SET total_orders = total_orders + 1, last_order_at = now(), last_login = now(),"
        " updated_at = now() WHERE id = %s",
        [user],
    )
    account = "INSERT INTO accounts (id, name, balance) VALUES (%s, %s, %s)"
    tables.execute(account, [uuid4(), "House", Decimal("100.10")])
    tables.execute("UPDATE accounts SET balance = balance - %s WHERE name = 'House'", [Decimal("0.20")])
    assert tables.execute("SELECT status FROM orders").fetchall() == [("filled",)]
    assert tables.execute("SELECT balance FROM accounts").fetchall() == [(Decimal("99.90"),)]


def test_events_are_found_by_their_content(tables: Connection) -> None:
    """`data @> ...` finds the event, through the GIN index where the planner is told to use one."""
    event = "INSERT INTO events (event_id, event_type, aggregate_id, data) VALUES (%s, 'OrderPlaced', %s, %s)"
    for symbol in ("AAPL", "MSFT"):
        tables.execute(event, [uuid4(), uuid4(), Jsonb({"symbol": symbol})])
    query = """SELECT data->>'symbol' FROM events WHERE data @> '{"symbol": "AAPL"}'"""
    assert tables.execute(query).fetchall() == [("AAPL",)]
    tables.execute("SET enable_seqscan = off")
    plan = "\n".join(line for (line,) in tables.execute("EXPLAIN " + query))
    assert "idx_events_data_gin" in plan


def add_user(connection: Connection) -> Any:
    user = uuid4()
    connection.execute(
        "INSERT INTO users (id, email, created_at) VALUES (%s, %s, now())", [user, f"{user}@example.com"]
    )
    return user
