"""T6 where the table of tokens is not where, or not what, the transaction would have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgdual.aio import AsyncDB
from pgdual.errors import (
    ConfigurationError,
    TransactionFailedError,
    UndefinedTable,
    UniqueViolation,
)
from pgdual.sync import DB
from tests._async.clients import client_of
from tests._sync.clients import first, outside

from .proxy import Proxy
from .test_lost import rows
from .test_once import tokens, voids

__all__ = ["tokens"]
TENANT = "create schema tenant; create table tenant.place (id int)"
ANOTHER = "create table tenant.pgdual_commit (like public.pgdual_commit including all)"


@pytest.fixture
def role(direct: str) -> Iterator[str]:
    """A role that may leave tokens and not ask about them."""
    outside(direct, "create role poor login; grant select, insert on t to poor")
    yield "poor"
    outside(direct, "drop owned by poor; drop role poor")


async def test_another_search_path(db: AsyncDB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: a token is left where it is asked after, whatever path the transaction has set for itself."""
    outside(direct, TENANT)
    for number, more in enumerate(("", ANOTHER)):
        outside(direct, f"select; {more}")
        before = voids(direct)
        async with db.transaction(once=True) as tx:
            await tx.execute("set local search_path = tenant")
            await tx.execute("insert into place values ($1)", number)
            proxy.cut_on(b"COMMIT")
        assert tx.replays == voids(direct) - before
    assert outside(direct, "select id from tenant.place order by id") == [(0,), (1,)]
    assert first(direct, "select count(*) from tenant.pgdual_commit") == 0


def test_another_search_path_blocking(blocking: DB, proxy: Proxy, direct: str, tokens: None) -> None:
    """T6: the same on the blocking face."""
    outside(direct, f"{TENANT}; {ANOTHER}")
    with blocking.transaction(once=True) as tx:
        tx.execute("set local search_path = tenant")
        tx.execute("insert into place values (1)")
        proxy.cut_on(b"COMMIT")
    assert first(direct, "select count(*) from tenant.place") == 1


async def test_a_role_without_rights(direct: str, tokens: None, role: str) -> None:
    """T6: who could not ask about a token is told so before anything is done, not when an answer is lost."""
    outside(direct, f"grant insert on pgdual_commit to {role}")
    async with client_of(main=direct.replace("postgres@", f"{role}@")) as client:
        db = client["main"]
        with pytest.raises(ConfigurationError, match=r"GRANT SELECT, INSERT, UPDATE ON public"):
            await db.execute("insert into t values (1)", once=True)
        assert rows(direct) == 0
        outside(direct, f"grant select, update (void) on pgdual_commit to {role}")
        assert await db.execute("insert into t values (1)", once=True) == "INSERT 0 1"
    assert rows(direct) == 1


async def test_the_table_is_dropped(db: AsyncDB, direct: str, tokens: None) -> None:
    """T6: a table that was there and is gone is a clear error, and nothing is done."""
    await db.execute("insert into t values (1)", once=True)
    outside(direct, "alter table pgdual_commit rename to elsewhere")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="create_commit_table"):
            await db.execute("insert into t values (2)", once=True)
    outside(direct, "alter table elsewhere rename to pgdual_commit")
    await db.execute("insert into t values (3)", once=True)
    assert outside(direct, "select id from t order by id") == [(1,), (3,)]


async def test_another_table_is_missing(db: AsyncDB, direct: str, tokens: None) -> None:
    """T6: what a deferred trigger misses at COMMIT is not taken for the table of tokens."""
    outside(
        direct,
        "create function bad() returns trigger language plpgsql as "
        "$$ begin perform * from nowhere; return new; end $$;"
        "create constraint trigger bad after insert on t deferrable initially deferred "
        "for each row execute function bad()",
    )
    with pytest.raises(UndefinedTable, match="nowhere"):
        await db.execute("insert into t values (1)", once=True)
    assert rows(direct) == 0


async def test_a_swallowed_error(db: AsyncDB, direct: str, tokens: None) -> None:
    """T1, T6: a block that swallowed an error is told so as without a token, with the statement's name."""
    with pytest.raises(TransactionFailedError, match="the first to fail: insert into t values"):
        async with db.transaction(once=True) as tx:
            await tx.execute("insert into t values (1)")
            with pytest.raises(UniqueViolation):
                await tx.execute("insert into t values (1)")
    assert rows(direct) == 0


async def test_an_empty_block(db: AsyncDB, direct: str, tokens: None) -> None:
    """T2, T6: a block that says nothing leaves no token, and asks for no table."""
    outside(direct, "drop table pgdual_commit")
    async with db.transaction(once=True):
        pass
    assert db.stats()["calls"] == 0
