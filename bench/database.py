"""On which server, tables and keys does the bench run?

A private server with the durability switched off, so that the clients are what is measured: no fsync, and no
COMMIT waits for its log to be written. Or the one named by ``PGDUAL_BENCH_DSN``, in a schema that is dropped
at the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

SCHEMA = "pgdual_bench"
ACC = f"{SCHEMA}.acc"
BULK = f"{SCHEMA}.bulk"
ROWS = 10_000
CONNECTIONS = 200  # the growth over databases holds two to each of 64

SELECT = f"SELECT id, name, created FROM {ACC} WHERE id = $1"
UPDATE = f"UPDATE {ACC} SET balance = balance + 1 WHERE id = $1"
BALANCE = f"SELECT balance FROM {ACC} WHERE id = $1"

# Room on each page and no autovacuum: updates stay in their page, and no vacuum falls into one side's round.
_TABLES = f"""
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {ACC} (
    id int PRIMARY KEY, name text, balance numeric(15, 2), created timestamptz, data jsonb
) WITH (fillfactor = 50, autovacuum_enabled = false);
INSERT INTO {ACC}
SELECT g, 'user-' || g, g * 1.25, timestamptz '2024-01-01 00:00+00' + g * interval '1 minute',
    jsonb_build_object('symbol', 'AAPL', 'quantity', g, 'tags', array['a', 'b'],
                       'nested', jsonb_build_object('x', 1.5, 'note', 'n-' || g))
FROM generate_series(1, {ROWS}) AS g;
CREATE UNLOGGED TABLE {BULK} (id int8, name text, v float8, ts timestamptz, u uuid)
WITH (autovacuum_enabled = false);
"""


@contextmanager
def database() -> Iterator[str]:
    """Yield the DSN of a server that holds the bench's tables."""
    dsn = os.environ.get("PGDUAL_BENCH_DSN")
    if dsn:
        with _tables(dsn):
            yield dsn
    else:
        with _private_server() as private, _tables(private):
            yield private


@contextmanager
def _private_server() -> Iterator[str]:
    from pgdual.embedded import Postgres  # noqa: PLC0415  # an extra, not needed with a server at hand

    with Postgres({"max_connections": CONNECTIONS, "synchronous_commit": False}) as server:
        yield server.dsn


@contextmanager
def _tables(dsn: str) -> Iterator[None]:
    import psycopg  # noqa: PLC0415  # who only wants the SQL does not load a client

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLES)
        connection.execute(f"VACUUM ANALYZE {ACC}")
    try:
        yield
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def keys(seed: int = 1) -> Callable[[], int]:
    """Return a source of random keys, drawn beforehand: drawing is no part of a call's cost."""
    draw = random.Random(seed)
    return cycle([draw.randint(1, ROWS) for _ in range(ROWS)]).__next__
