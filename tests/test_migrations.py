"""P3: migrations run once, under the lock that schema files have, and describe the same databases."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgdual import migrations
from pgdual.errors import SchemaError, SchemaLockError
from pgdual.sync import run_schema_from_file

from ._sync.clients import first, outside, prepare
from ._sync.runtime import spawn, wait_until
from ._sync.schemas import client_with, gate, is_gated, tables
from .commands import ROOT, pgdual
from .pgbouncer import PgBouncer

SCHEMAS = ROOT / "schemas"
LOCK = 0x706764_75616C
OWN = "('alembic_version', 'pgdual_schema', 'pgdual_commit')"
CATALOGUE = f"""
    SELECT 'column', relname, attname, format_type(atttypid, atttypmod), attnotnull::text,
        pg_get_expr(adbin, adrelid), attidentity::text || attgenerated::text
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        AND relname NOT IN {OWN}
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT IN {OWN}
    UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '', ''
    FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT IN {OWN}
    UNION ALL SELECT 'relation', relname, relkind::text, array_to_string(reloptions, ','), '', '', ''
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = oid), oid)::regclass::text NOT IN {OWN}
        AND relname NOT LIKE 'pgdual%'
    UNION ALL SELECT 'routine', proname, '', pg_get_functiondef(oid), '', '', ''
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '', ''
    FROM pg_trigger WHERE NOT tgisinternal
"""
VERSION = """
from alembic import op

revision, down_revision = {revision!r}, {down!r}


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    op.execute("DROP TABLE t")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of migrations: a table that counts runs, then an index that no transaction may hold."""
    made = migrations.new("main", tmp_path / "main", "nothing")
    made.unlink()
    add(
        made.parent.parent,
        "0001",
        None,
        "op.execute('CREATE TABLE t (n serial); INSERT INTO t DEFAULT VALUES')",
    )
    index = "op.execute('CREATE INDEX CONCURRENTLY t_n ON t (n)')"
    add(made.parent.parent, "0002", "0001", f"with op.get_context().autocommit_block():\n        {index}")
    return tmp_path / "main"


def add(folder: Path, revision: str, down: str | None, upgrade: str) -> Path:
    path = folder / "versions" / f"{revision}_x.py"
    path.write_text(VERSION.format(revision=revision, down=down, upgrade=upgrade), "utf-8")
    return path


def catalogue(dsn: str) -> set[Any]:
    found = outside(dsn, CATALOGUE)
    assert len(found) > 30
    return set(found)


@pytest.mark.parametrize("name", ["main", "vb"])
def test_files_and_migrations_describe_the_same(name: str, main_dsn: str, vb_dsn: str) -> None:
    """P3: what the schema file makes and what the migrations make have the same catalogue."""
    file = SCHEMAS / ("tradecore.sql" if name == "main" else "tradecore_vb.sql")
    with client_with(main_dsn) as one, client_with(vb_dsn) as two:
        run_schema_from_file(file, one["main"])
        migrations.upgrade(two["main"], SCHEMAS / "migrations" / name)
        made = catalogue(main_dsn)
        assert made == catalogue(vb_dsn)
        migrations.upgrade(one["main"], SCHEMAS / "migrations" / name)  # harmless where the file has run
        assert catalogue(main_dsn) == made
        prepare(vb_dsn, f"create index surplus on {next(iter(tables(vb_dsn) - {'alembic_version'}))} ((1))")
        assert made != catalogue(vb_dsn)
        migrations.downgrade(two["main"], SCHEMAS / "migrations" / name, "base")
        assert tables(vb_dsn) == {"alembic_version"}


def test_many_at_once(main_dsn: str, folder: Path) -> None:
    """P3: three that upgrade at once run each migration once between them."""
    words = ("migrate", "upgrade", "--folder", str(folder.parent))
    with ThreadPoolExecutor(3) as processes:
        ends = [processes.submit(pgdual, *words, POSTGRES_DSN=main_dsn) for _ in range(3)]
        results = [one.result() for one in ends]
    assert [one.returncode for one in results] == [0] * 3, results
    said = [line for one in results for line in one.stdout.splitlines()]
    assert sorted(said) == ["main: at 0002 (head)"] * 3 + ["main: upgraded to 0001", "main: upgraded to 0002"]
    assert first(main_dsn, "select count(*) from t") == 1
    assert first(main_dsn, "select indisvalid from pg_index where indexrelid = 't_n'::regclass") is True


def test_the_connection_comes_back_clean(main_dsn: str, folder: Path) -> None:
    """L7: after migrations the pool's connection is as before, and no lock is left."""
    with client_with(main_dsn, {"pool_max_size": 1}) as client:
        db = client["main"]
        pid = db.fetchval("select pg_backend_pid()")
        lines: list[str] = []
        migrations.upgrade(db, folder, report=lines.append)
        assert lines == ["main: upgraded to 0001", "main: upgraded to 0002"]
        assert outside(main_dsn, "select * from pg_locks where locktype = 'advisory'") == []
        assert db.fetchval("select pg_backend_pid()") == pid
        assert db.execute("insert into t default values") == "INSERT 0 1"
        with db.connection() as connection:
            assert connection.autocommit
        assert first(main_dsn, "select count(*) from t") == 2
        assert migrations.state(db, folder).is_at_head


def test_a_statement_that_fails(main_dsn: str, folder: Path) -> None:
    """P3: an error names the database, the migration's file and line; it alone is rolled back."""
    wrong = add(folder, "0003", "0002", "op.execute('CREATE TABLE u (id int)')\n    op.execute('SELEKT 1')")
    with client_with(main_dsn) as client:
        with pytest.raises(SchemaError, match=r'main: .*line 9: syntax error at or near "SELEKT"') as caught:
            migrations.upgrade(client["main"], folder)
        assert (caught.value.path, caught.value.line, caught.value.sqlstate) == (str(wrong), 9, "42601")
        assert migrations.state(client["main"], folder).current == ("0002",)
        assert "u" not in tables(main_dsn)
        (folder / "versions" / "0003.sql").write_text("SELECT 'a: b', ':c'::text;\n\nSELEKT 2;", "utf-8")
        sql = "__import__('pathlib').Path(__file__).with_name('0003.sql')"
        add(folder, "0003", "0002", f"__import__('pgdual.migrations').migrations.execute_file({sql})")
        with pytest.raises(SchemaError, match=r"main: .*0003\.sql, line 3: syntax error") as caught:
            migrations.upgrade(client["main"], folder)
        with pytest.raises(SchemaError, match=r"nowhere has no env\.py"):
            migrations.upgrade(client["main"], folder / "nowhere")
        with pytest.raises(SchemaError, match="main: Can't locate revision"):
            migrations.upgrade(client["main"], folder, "0009")


def test_the_lock_is_the_same(main_dsn: str, folder: Path) -> None:
    """P3: while a schema file runs no migration does; who waits too long is told who has the lock."""
    with client_with(main_dsn, schema_lock_wait=0.3) as client:
        with psycopg.connect(main_dsn, autocommit=True) as holder:
            holder.execute("select pg_advisory_lock(%s)", [LOCK])
            with pytest.raises(
                SchemaLockError, match=f"process {holder.info.backend_pid} of the server holds"
            ):
                migrations.upgrade(client["main"], folder)
            assert migrations.state(client["main"], folder).current == ()
        migrations.upgrade(client["main"], folder)


def test_the_session_is_lost(main_dsn: str, folder: Path) -> None:
    """P3: losing the connection loses the migration that runs, and it begins anew."""
    add(
        folder, "0003", "0002", "op.execute('INSERT INTO t DEFAULT VALUES; SELECT pg_advisory_xact_lock(42)')"
    )
    with client_with(main_dsn) as client, gate(main_dsn) as door:
        with spawn(lambda: migrations.upgrade(client["main"], folder)) as running:
            wait_until(lambda: is_gated(main_dsn))
            outside(main_dsn, "select pg_terminate_backend(pid, 5000) from pg_locks where not granted")
            wait_until(lambda: is_gated(main_dsn))
            door.close()
            running.result()
        assert migrations.state(client["main"], folder).is_at_head
    assert first(main_dsn, "select count(*) from t") == 2


def test_behind_a_pooler(pooler: PgBouncer, main_dsn: str, folder: Path) -> None:
    """N2: behind a transaction pooler migrations go by POSTGRES_DIRECT_DSN."""
    way = pooler.through(main_dsn)
    with client_with(main_dsn, {"dsn": way, "pooler": "transaction", "direct_dsn": main_dsn}) as client:
        migrations.upgrade(client["main"], folder)
    assert first(main_dsn, "select version_num from alembic_version") == "0002"


def test_the_commands(vb_dsn: str) -> None:
    """`pgdual schema` and `pgdual migrate` do what they say."""
    file = "schemas/tradecore_vb.sql"
    steps = [
        ("migrate", "check"),
        ("schema", "apply", file),
        ("migrate", "upgrade"),
        ("schema", "status"),
        ("migrate", "history"),
    ]
    done = [pgdual(*words, "--database", "vb", VB_POSTGRES_DSN=vb_dsn) for words in steps]
    assert [one.returncode for one in done] == [1, 0, 0, 0, 0], done
    said = [one.stdout + one.stderr for one in done]
    assert said[0] == "vb: at base\nvb: run `pgdual migrate upgrade --database vb`\n"
    assert said[1].startswith(f"vb: {file} ran, 12 statements in ")
    assert said[2] == "vb: upgraded to 0001\nvb: at 0001 (head)\n"
    assert said[3].startswith("vb: tradecore_vb.sql ")
    assert ", run 1" in said[3]
    assert said[4].startswith("* 0001 The tables that tradecore_vb.sql first had")


def test_new_migrations(main_dsn: str, tmp_path: Path) -> None:
    """`pgdual migrate new` makes the folder and files that run, up and down, one by one."""
    done = pgdual("migrate", "new", "add a thing", folder=tmp_path, POSTGRES_DSN=main_dsn)
    assert (done.returncode, done.stderr) == (0, "")
    made = tmp_path / done.stdout.strip()
    folder = tmp_path / "schemas" / "migrations" / "main"
    assert made.parent.parent == folder
    files = [made, migrations.new("main", folder, "add another")]
    one, two = [file.name.partition("_")[0] for file in files]
    with client_with(main_dsn) as client:
        db = client["main"]
        lines: list[str] = []
        migrations.upgrade(db, folder, "+1", lines.append)
        state = migrations.state(db, folder)
        assert state == ((one,), (two,), ((one, "add a thing"), (two, "add another")))
        assert not state.is_at_head
        migrations.upgrade(db, folder, report=lines.append)
        migrations.downgrade(db, folder, "base", lines.append)
        assert migrations.state(db, folder).current == ()
    verbs = ["upgraded to"] * 2 + ["downgraded from"] * 2
    assert lines == [f"main: {verb} {it}" for verb, it in zip(verbs, [one, two, two, one], strict=True)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("schema", "apply", "x.sql"), 'SchemaError: main: x.sql, line 2: syntax error at or near "SELEKT"'),
        (("schema", "status", "-d", "x"), "UnknownDatabaseError: No database is called 'x'"),
        (("migrate", "upgrade"), "SchemaError: main: schemas/migrations/main has no env.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_commands_that_fail(main_dsn: str, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """A command that fails says so in one line without a password, and exits with 1."""
    (tmp_path / "x.sql").write_text("SELECT 1;\nSELEKT 2;", "utf-8")
    dsn = main_dsn.replace("postgres@", "postgres:hunter2@")
    done = pgdual(*words, folder=tmp_path, POSTGRES_DSN=dsn)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_without_alembic() -> None:
    """Without the extra the command says what to install."""
    code = "import sys; sys.modules['alembic'] = None; from pgdual.cli import main; main()"
    command = [sys.executable, "-c", code, "migrate", "history"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "pgdual migrate needs alembic: pip install 'pgdual[migrations]'\n"


@pytest.mark.slow
def test_plain_alembic(main_dsn: str, tmp_path: Path) -> None:
    """Alembic's own command takes pgdual's settings by the same env.py, and can write SQL instead."""
    folder = SCHEMAS / "migrations" / "main"
    (tmp_path / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}\npath_separator = os\n", "utf-8"
    )

    def alembic(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *words],
            env={**os.environ, "POSTGRES_DSN": main_dsn},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "CREATE TABLE IF NOT EXISTS users" in alembic("upgrade", "head", "--sql")
    assert tables(main_dsn) == set()
    alembic("upgrade", "head")
    assert "users" in tables(main_dsn)
