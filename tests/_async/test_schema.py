"""P3: a schema file runs once across all workers, whole or not at all, and says where it went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdual._async import schema_lock
from pgdual.aio import create_commit_table, prune_commits, run_schema_from_file, schema_status
from pgdual.errors import ConfigurationError, SchemaError, SchemaLockError, UsageError
from tests.pgbouncer import PgBouncer

from .clients import client_of, first, outside, prepare
from .runtime import gather, spawn, wait_until
from .schemas import COUNTED, GATED, client_with, file_of, gate, is_gated, runs, tables

WAITER = "from pg_stat_activity a where application_name = 'waiter'"
HELD_BY_WAITER = (
    f"select state, query {WAITER} and state <> 'active' and (backend_xmin is not null or xact_start is not "
    "null or exists (select from pg_locks l where l.pid = a.pid))"
)


async def test_it_runs_once(main_dsn: str, tmp_path: Path) -> None:
    """P3: the first call runs the file and records it, the second finds it done."""
    file = file_of(tmp_path, COUNTED)
    async with client_with(main_dsn) as client:
        first_run = await run_schema_from_file(file, client["main"])
        again = await run_schema_from_file(str(file), client["main"])
        status = await schema_status(client["main"])
        assert outside(main_dsn, "select pid from pg_locks where locktype = 'advisory'") == []
    assert (first_run.ran, first_run.statements, again.ran, again.statements) == (True, 3, False, 0)
    assert first_run.digest == again.digest
    assert runs(main_dsn) == (1, 1)
    (row,) = status["files"]
    assert (row["name"], row["path"], row["digest"]) == ("tradecore.sql", str(file), first_run.digest)
    assert (row["remaining"], row["runs"]) == (0, 1)
    assert row["ran_by"].startswith("postgres from ")
    assert 0 < row["seconds"] <= first_run.seconds
    assert status["holder"] is None


async def test_many_at_once(main_dsn: str, tmp_path: Path) -> None:
    """P3: of eight clients that come at once one runs the file; all return, and one says that it ran."""
    file = file_of(tmp_path, COUNTED)

    async def work() -> bool:
        async with client_with(main_dsn) as client:
            return (await run_schema_from_file(file, client["main"])).ran

    assert sorted(await gather(*[work] * 8)) == [False] * 7 + [True]
    assert runs(main_dsn) == (1, 1)


async def test_a_waiter_holds_nothing(main_dsn: str, tmp_path: Path) -> None:
    """P3: while one runs the file the other waits without a lock, a transaction or a snapshot."""
    file = file_of(tmp_path, GATED)
    async with client_with(main_dsn) as one, client_with(main_dsn, {"application_name": "waiter"}) as two:
        with gate(main_dsn) as door:
            async with spawn(lambda: run_schema_from_file(file, one["main"])) as running:
                await wait_until(lambda: is_gated(main_dsn))
                async with spawn(lambda: run_schema_from_file(file, two["main"])) as waiting:
                    await wait_until(lambda: first(main_dsn, f"select 1 {WAITER}"))
                    for _ in range(40):  # some 200 ms, four tries
                        # Two looks: the server shows states before locks, and it may begin to ask between.
                        looks = [outside(main_dsn, HELD_BY_WAITER) for _ in range(2)]
                        assert [] in looks
                    assert not waiting.is_done()
                    door.close()
                    assert (await running.result()).ran
                    assert not (await waiting.result()).ran
    assert runs(main_dsn) == (1, 1)


async def test_another_was_quicker(main_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P3: who gets the lock after another has run the file since it looked finds it done."""
    file = file_of(tmp_path, COUNTED)
    ask, quicker = schema_lock._value, []

    async def late(connection: Any, query: str, *args: Any) -> Any:
        if "pg_try_advisory_lock" in query and not quicker:
            quicker.append(True)
            async with client_with(main_dsn) as other:
                assert (await run_schema_from_file(file, other["main"])).ran
        return await ask(connection, query, *args)

    monkeypatch.setattr(schema_lock, "_value", late)
    async with client_with(main_dsn) as client:
        assert not (await run_schema_from_file(file, client["main"])).ran
    assert quicker
    assert runs(main_dsn) == (1, 1)


async def test_a_changed_file(main_dsn: str, tmp_path: Path) -> None:
    """P3: a file that has changed is refused, unless it or the caller says that it may run again."""
    async with client_with(main_dsn) as client:
        db = client["main"]
        await run_schema_from_file(file_of(tmp_path, COUNTED), db)
        more = "INSERT INTO runs DEFAULT VALUES;"
        with pytest.raises(SchemaError, match=r"tradecore\.sql has changed since it ran.*repeatable"):
            await run_schema_from_file(file_of(tmp_path, more), db)
        assert runs(main_dsn) == (1, 1)
        assert (await run_schema_from_file(file_of(tmp_path, more), db, repeatable=True)).ran
        assert runs(main_dsn) == (2, 2)
        marked = file_of(tmp_path, f"-- what is here\n-- pgdual: repeatable\n{more}")
        assert [(await run_schema_from_file(marked, db)).ran for _ in range(2)] == [True, False]
        assert runs(main_dsn) == (3, 3)


async def test_a_mistake_in_line_40(main_dsn: str, tmp_path: Path) -> None:
    """P3: a syntax error names file, line and statement, and nothing of the file stays."""
    file = file_of(tmp_path, COUNTED + "\n" * 34 + "CREATE TABLE u (\n  id int,\n  bad bad bad\n);\n")
    async with client_with(main_dsn) as client:
        with pytest.raises(SchemaError) as caught:
            await run_schema_from_file(file, client["main"])
        error = caught.value
        assert (error.path, error.line, error.sqlstate) == (str(file), 40, "42601")
        assert error.statement.startswith("CREATE TABLE u (")
        assert str(error).startswith(f'main: {file}, line 40: syntax error at or near "bad" (42601): CREATE')
        assert isinstance(error.__cause__, psycopg.errors.SyntaxError)
        assert tables(main_dsn) == set()
        assert (await schema_status(client["main"]))["files"] == []
        assert (await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])).ran


async def test_a_constraint_at_commit(main_dsn: str, tmp_path: Path) -> None:
    """L2: what the server finds only at COMMIT is an error of the file, and nothing of it stays."""
    text = (
        "CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO a VALUES (1, 2);"
    )
    async with client_with(main_dsn) as client:
        with pytest.raises(SchemaError, match=r"tradecore\.sql: .*foreign key.*23503"):
            await run_schema_from_file(file_of(tmp_path, text), client["main"])
    assert tables(main_dsn) == set()


async def test_what_is_refused(main_dsn: str, tmp_path: Path) -> None:
    """P3: a file that would commit by itself is refused before anything is sent."""
    file = file_of(tmp_path, "CREATE TABLE t (id int);\nBEGIN;\nSELECT 2;\nCOMMIT;")
    async with client_with(main_dsn) as client:
        with pytest.raises(SchemaError, match=r"tradecore\.sql, line 2: BEGIN is in it") as caught:
            await run_schema_from_file(file, client["main"])
        assert (caught.value.line, caught.value.statement) == (2, "BEGIN")
        assert not client["main"].stats()["calls"]
    assert tables(main_dsn) == set()


async def test_a_missing_file(main_dsn: str, tmp_path: Path) -> None:
    """A file that is not there, or is no text, is named."""
    async with client_with(main_dsn) as client:
        with pytest.raises(SchemaError, match=r"main: the schema file .*none\.sql cannot be read: No such"):
            await run_schema_from_file(tmp_path / "none.sql", client["main"])
        (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9'")
        with pytest.raises(SchemaError, match="it is not UTF-8"):
            await run_schema_from_file(tmp_path / "latin.sql", client["main"])


async def test_no_transaction(main_dsn: str, tmp_path: Path) -> None:
    """P3: what cannot be in a transaction is marked; the error for one that is not marked says how."""
    index = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_n ON t (n);"
    table = "CREATE TABLE t (n int);\nINSERT INTO t VALUES (1), (1);\n"
    async with client_with(main_dsn) as client:
        db = client["main"]
        with pytest.raises(SchemaError, match=r"line 3: .*cannot run inside.*-- pgdual: outside") as caught:
            await run_schema_from_file(file_of(tmp_path, table + index), db)
        assert caught.value.sqlstate == "25001"
        file = file_of(tmp_path, f"{table}-- pgdual: outside\n{index}\n-- pgdual: outside\nVACUUM t;")
        with pytest.raises(SchemaError, match="line 4: could not create unique index"):
            await run_schema_from_file(file, db)
        # Its transaction stays, and an index that is not valid; what is left to do is known.
        assert first(main_dsn, "select remaining from pgdual_schema") == 2
        assert first(main_dsn, "select indisvalid from pg_index where indexrelid = 't_n'::regclass") is False
        outside(main_dsn, "delete from t where ctid = (select min(ctid) from t)")
        run = await run_schema_from_file(file, db)
        assert (run.ran, run.statements) == (True, 2)
        assert first(main_dsn, "select indisvalid from pg_index where indexrelid = 't_n'::regclass") is True
        assert first(main_dsn, "select count(*) from t") == 1
        assert outside(main_dsn, "select remaining, digest = %s from pgdual_schema", run.digest) == [
            (0, True)
        ]
        assert not (await run_schema_from_file(file, db)).ran


async def test_the_session_is_lost(main_dsn: str, tmp_path: Path) -> None:
    """P3: losing the connection loses the run; it begins anew, and has run once."""
    file = file_of(tmp_path, GATED)
    ours = "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and not granted"
    async with client_with(main_dsn) as client:
        with gate(main_dsn):
            async with spawn(lambda: run_schema_from_file(file, client["main"])) as running:
                await wait_until(lambda: is_gated(main_dsn))
                outside(main_dsn, ours)
                await wait_until(lambda: is_gated(main_dsn))
                assert tables(main_dsn) == set()
                outside(main_dsn, ours)
                await wait_until(lambda: is_gated(main_dsn))
                outside(main_dsn, ours)
                with pytest.raises(SchemaLockError, match=r"main: .*lost 3 times.*terminating"):
                    await running.result()
        assert tables(main_dsn) == set()
        assert (await run_schema_from_file(file, client["main"])).ran
    assert runs(main_dsn) == (1, 1)


async def test_a_stuck_holder(main_dsn: str, tmp_path: Path) -> None:
    """P3: a lock that does not come free is an error that says who holds it, since when, and its query."""
    file = file_of(tmp_path, COUNTED)
    async with client_with(main_dsn, schema_lock_wait=0.3) as client:
        with psycopg.connect(main_dsn, autocommit=True, application_name="stuck") as holder:
            holder.execute("select pg_advisory_lock(%s)", [schema_lock.LOCK])
            with pytest.raises(SchemaLockError) as caught:
                await run_schema_from_file(file, client["main"])
            said = str(caught.value)
            assert said.startswith(
                "main: no lock on its schema within 0.3 s (SCHEMA_LOCK_WAIT_SEC): process "
            )
            for part in (
                f"process {holder.info.backend_pid} of the server",
                "user postgres, application 'stuck', from 127.0.0.1",
                "connected since 20",
                "idle since 20",
                ": select pg_advisory_lock",
            ):
                assert part in said
            assert "stuck" in (await schema_status(client["main"]))["holder"]
        assert (await run_schema_from_file(file, client["main"])).ran


async def test_a_role_without_rights(main_dsn: str, tmp_path: Path) -> None:
    """A role that may not create tables is told so, and skips what another has run."""
    role = f"reader_{main_dsn.rpartition('_')[2]}"
    prepare(main_dsn, "revoke create on schema public from public", f"create role {role} login")
    try:
        file = file_of(tmp_path, COUNTED)
        async with client_with(main_dsn, {"dsn": main_dsn.replace("postgres@", f"{role}@")}) as client:
            with pytest.raises(SchemaError, match=r"permission denied for schema public \(42501\); grant it"):
                await run_schema_from_file(file, client["main"])
            async with client_with(main_dsn) as other:
                await run_schema_from_file(file, other["main"])
            with pytest.raises(SchemaError, match="permission denied for table pgdual_schema"):
                await run_schema_from_file(file, client["main"])
            prepare(main_dsn, f"grant select on pgdual_schema to {role}")
            assert not (await run_schema_from_file(file, client["main"])).ran
        way = {"dsn": main_dsn.replace("postgres@", f"{role}@")}
        async with client_with(main_dsn, way, schema_lock_wait=0.1) as client:
            with psycopg.connect(main_dsn, autocommit=True) as holder:
                holder.execute("select pg_advisory_lock(%s)", [schema_lock.LOCK])
                said = (
                    f"process {holder.info.backend_pid} of the server holds it; a role in pg_read_all_stats"
                )
                with pytest.raises(SchemaLockError, match=said):
                    await run_schema_from_file(file_of(tmp_path, "SELECT 1"), client["main"], repeatable=True)
    finally:
        prepare(main_dsn, f"drop owned by {role}", f"drop role {role}")


async def test_nowhere_to_go(main_dsn: str, tmp_path: Path) -> None:
    """A search_path that leads nowhere is an error that says so."""
    async with client_with(main_dsn, {"search_path": "nowhere"}) as client:
        with pytest.raises(SchemaError, match="no schema in the search_path exists"):
            await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])


async def test_passwords_are_masked(main_dsn: str, tmp_path: Path) -> None:
    """A password in a statement that fails is in no message, attribute or cause."""
    file = file_of(tmp_path, "CREATE ROLE somebody LOGIN PASSWORD 'hunter2' NONSENSE;")
    async with client_with(main_dsn) as client:
        with pytest.raises(SchemaError, match="NONSENSE") as caught:
            await run_schema_from_file(file, client["main"])
    error = caught.value
    assert "hunter2" not in f"{error} {error.statement} {error.__cause__} {error.__context__}"


async def test_the_file_changes_the_session(main_dsn: str, tmp_path: Path) -> None:
    """L7: a file may set its search_path, as one from pg_dump does; the record and the pool do not notice."""
    text = "CREATE SCHEMA app;\nSELECT set_config('search_path', 'app', false);\nCREATE TABLE t (id int);\n"
    async with client_with(main_dsn, {"pool_max_size": 1}) as client:
        assert (await run_schema_from_file(file_of(tmp_path, text), client["main"])).ran
        assert await client["main"].fetchval("show search_path") == '"$user", public'
        assert await client["main"].fetchval("select count(*) from pgdual_schema") == 1
        assert first(main_dsn, "select count(*) from app.t") == 0


async def test_inside_a_transaction(main_dsn: str, tmp_path: Path) -> None:
    """A schema run inside db.transaction() would not be part of it, and is refused."""
    async with client_with(main_dsn) as client:
        with pytest.raises(UsageError, match=r"outside of db\.transaction"):
            async with client["main"].transaction():
                await run_schema_from_file(file_of(tmp_path, COUNTED), client["main"])


async def test_behind_a_pooler(pooler: PgBouncer, main_dsn: str, tmp_path: Path) -> None:
    """N2, P3: a lock through a transaction pooler would be others'; POSTGRES_DIRECT_DSN leads past it."""
    file = file_of(tmp_path, COUNTED)
    way = pooler.through(main_dsn)
    for option in ("none", "transaction"):
        async with client_of(main=way, pooler=option) as client:
            with pytest.raises(ConfigurationError, match="Set POSTGRES_DIRECT_DSN"):
                await run_schema_from_file(file, client["main"])
    async with client_of(main=way, pooler="transaction", direct_dsn=way) as client:
        with pytest.raises(ConfigurationError, match="Set POSTGRES_DIRECT_DSN"):
            await run_schema_from_file(file, client["main"])
    assert tables(main_dsn) == set()
    async with client_of(main=way, pooler="transaction", direct_dsn=main_dsn) as client:
        assert (await run_schema_from_file(file, client["main"])).ran
        assert await client["main"].fetchval("select count(*) from runs") == 1


async def test_the_table_of_commit_tokens(main_dsn: str) -> None:
    """T6: it is made once, a token's age is that of its insert, and only old ones are removed."""
    async with client_with(main_dsn) as client:
        db = client["main"]
        assert await create_commit_table(db)
        assert not await create_commit_table(db)
        async with db.transaction() as tx:
            await tx.fetch("select pg_sleep(0.01)")
            await tx.execute("insert into pgdual_commit (token) values (gen_random_uuid())")
            assert await tx.fetchval("select min(made_at) > now() from pgdual_commit")
        old = "select gen_random_uuid(), now() - interval '2 hours' from generate_series(1, 3)"
        await db.execute(f"insert into pgdual_commit (token, made_at) {old}")
        assert await prune_commits(database=db) == 0
        with pytest.raises(UsageError, match="older_than is 60 s"):
            await prune_commits(60, db)
        assert await prune_commits(3600, db) == 3
        assert await db.fetchval("select count(*) from pgdual_commit") == 1
