"""Migrations with Alembic (the extra `migrations`), under pgdual's settings and its lock (P3).

Each database has a folder of its own, `schemas/migrations/NAME`, with an `env.py` of one call and
`versions/`. A migration runs in a transaction of its own together with Alembic's record of it; for what
cannot be in one there is `op.get_context().autocommit_block()`. Who comes second waits and finds it done.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from pgdual._sync.schema_lock import Work, answered, connection_to, once
from pgdual.core.schema import failure, masked, read
from pgdual.errors import SchemaError
from pgdual.sync import DB, client

__all__ = ["State", "downgrade", "execute_file", "new", "run_environment", "state", "upgrade"]

_ENV = '''"""Where Alembic runs the migrations of database {name}; see `pgdual.migrations`."""

from pgdual.migrations import run_environment

run_environment("{name}")
'''
_MAKO = '''"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Make the change."""
    op.execute("SELECT 1")


def downgrade() -> None:
    """Take it back."""
    op.execute("SELECT 1")
'''


class State(NamedTuple):
    """Where a database stands, and all migrations from the first to the last as (revision, what it does)."""

    current: tuple[str, ...]
    heads: tuple[str, ...]
    history: tuple[tuple[str, str], ...]

    @property
    def is_at_head(self) -> bool:
        """True if nothing is to be upgraded."""
        return set(self.current) == set(self.heads)


def upgrade(
    database: DB, folder: Path, revision: str = "head", report: Callable[[str], None] | None = None
) -> None:
    """Run the migrations up to *revision*, each once across all processes.

    Args:
        database: Which database.
        folder: That database's own, with `env.py` and `versions`.
        revision: A revision, or "+1" and the like.
        report: Called with a line for each migration.

    Raises:
        SchemaError: There is no such folder or revision, or a statement failed; its migration is rolled back.
        SchemaLockError: Another session holds the lock, or the connection was lost again and again.
    """
    _run(database, folder, report, command.upgrade, revision)


def downgrade(database: DB, folder: Path, revision: str, report: Callable[[str], None] | None = None) -> None:
    """Take migrations back down to *revision*, "base" for all; arguments and errors as for `upgrade`."""
    _run(database, folder, report, command.downgrade, revision)


def _run(
    database: DB, folder: Path, report: Callable[[str], None] | None, work: Callable[..., None], revision: str
) -> None:
    config = _config(database.name, folder)
    config.attributes.update(database=database, report=report)
    with _told(database.name):
        work(config, revision)


def state(database: DB, folder: Path) -> State:
    """Return where *database* stands and which migrations *folder* has; no lock is taken.

    Raises:
        SchemaError: There is no such folder, or its migrations are wrong.
    """
    with _told(database.name):
        scripts = ScriptDirectory.from_config(_config(database.name, folder))
        revisions = [(one.revision, one.doc) for one in scripts.walk_revisions()]
        heads = tuple(scripts.get_heads())
        with connection_to(database) as connection:
            current = answered(connection, _current, connection)
    return State(current, heads, tuple(reversed(revisions)))


def _current(lent: Any) -> tuple[str, ...]:
    with _dressed(lent) as connection:
        return tuple(MigrationContext.configure(connection).get_current_heads())


def new(name: str, folder: Path, message: str) -> Path:
    """Make an empty migration after the last one, and the folder if there is none; return its file.

    Args:
        name: The database.
        folder: That database's own.
        message: What the migration will do, in a few words.

    Raises:
        SchemaError: The migrations that there are have more than one head.
    """
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    for file, content in (("env.py", _ENV.format(name=name)), ("script.py.mako", _MAKO)):
        if not (folder / file).exists():
            (folder / file).write_text(content, encoding="utf-8")
    with _told(name):
        made = command.revision(_config(name, folder), message)
    if made is None or isinstance(made, list):
        raise SchemaError(f"{name}: no migration was made in {folder}", str(folder))
    return Path(made.path)


def execute_file(path: Path) -> None:
    """Run an SQL file as part of the migration that calls this; its transaction is the migration's.

    Raises:
        SchemaError: The server refused a statement; `line` and `statement` say which.
    """
    schema = read(path.name, path.read_text(encoding="utf-8"))
    for piece in (*schema.inside, *schema.outside):
        try:
            op.execute(text(piece.sql.replace(":", r"\:")))
        except DBAPIError as error:
            if not isinstance(error.orig, psycopg.Error) or error.connection_invalidated:
                raise
            diag = error.orig.diag
            said = diag.message_primary or str(error.orig)
            name = op.get_context().opts.get("database", "")
            raise failure(
                str(path), piece, name, said, error.orig.sqlstate, diag.statement_position
            ) from None


def run_environment(name: str) -> None:
    """Run what Alembic was asked to, on the database *name*: the whole of an `env.py`.

    The settings are those of the environment, unless a client called Alembic.
    """
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    attributes = context.config.attributes
    database: DB = attributes.get("database") or client[name]
    once(database, f"schema_init_{database.name}_migrations", _Migrations(database, attributes.get("report")))


class _Migrations(Work):
    """What Alembic was asked to do, as work to be done under the lock."""

    def __init__(self, database: DB, report: Callable[[str], None] | None) -> None:
        self._database = database
        self._report = report

    def look(self, connection: Any) -> None:
        """Find nothing done already: Alembic looks for itself."""

    def run(self, connection: Any) -> bool:
        try:
            with _dressed(connection) as dressed:
                context.configure(
                    connection=dressed,
                    transaction_per_migration=True,
                    on_version_apply=lambda *_, **told: self._tell(told["step"]),
                    database=self._database.name,
                )
                with context.begin_transaction():
                    context.run_migrations()
        except DBAPIError as error:
            if connection.closed and isinstance(error.orig, psycopg.OperationalError):
                raise error.orig from None  # the run is lost, and begins anew
            raise
        return True

    def _tell(self, step: Any) -> None:
        if self._report is not None:
            verb = "upgraded to" if step.is_upgrade else "downgraded from"
            self._report(f"{self._database.name}: {verb} {', '.join(step.up_revision_ids)}")


@contextmanager
def _dressed(connection: Any) -> Iterator[Connection]:
    """Yield SQLAlchemy's view of a psycopg connection, which stays open and whose session keeps its lock."""
    connection.autocommit = False  # SQLAlchemy does not say BEGIN, psycopg does
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    try:
        with engine.connect() as dressed:
            yield dressed
    finally:
        if not connection.closed:
            connection.rollback()
            connection.autocommit = True


def _config(name: str, folder: Path) -> Config:
    if not (folder / "env.py").is_file():
        raise SchemaError(
            f"{name}: {folder} has no env.py; `pgdual migrate new` makes it, or name another folder",
            str(folder),
        )
    config = Config(cmd_opts=Namespace(quiet=True))  # what there is to say is said by who called
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Raise what Alembic and SQLAlchemy raise as pgdual's errors."""
    try:
        yield
    except CommandError as error:
        raise SchemaError(f"{name}: {error}") from error
    except DBAPIError as error:
        problem = _problem(name, error)
    else:
        return
    raise problem


def _problem(name: str, error: DBAPIError) -> SchemaError:
    file, line = _place(error)
    said, sqlstate = str(error.orig), None
    if isinstance(error.orig, psycopg.Error):
        said, sqlstate = error.orig.diag.message_primary or said, error.orig.sqlstate
    statement = masked(error.statement or "")
    where = f"{file}, line {line}: " if file else ""
    code = f" ({sqlstate})" if sqlstate else ""
    shown = " ".join(statement.split())[:200]
    return SchemaError(f"{name}: {where}{said}{code}: {shown}", file, line, statement, sqlstate)


def _place(error: BaseException) -> tuple[str, int]:
    """Return the file and the line of the migration in which *error* was raised."""
    found, trace = ("", 0), error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).parent.name == "versions":
            found = file, trace.tb_lineno
        trace = trace.tb_next
    return found
