"""The blocking face: `from pgdual.sync import db, vb_db`; the same names as `pgdual.aio`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._sync.borrowed import Borrowed
from ._sync.call import DEFAULT
from ._sync.client import Client
from ._sync.db import DB
from ._sync.listen import Gap, Listener, Notification
from ._sync.tradecore import (
    acquire_connection_for_db,
    client,
    close_all,
    create_commit_table,
    db,
    execute_for_db,
    fetch_for_db,
    fetchrow_for_db,
    fetchval_for_db,
    get_circuit_breaker,
    get_pool,
    get_pool_for_db,
    get_postgres_dsn,
    get_postgres_dsn_for_db,
    health_check_all,
    health_check_for_db,
    init_all,
    init_db_pool,
    init_pool_for_db,
    lifespan,
    open_all,
    prune_commits,
    reference_db,
    run_schema_from_file,
    run_vb_schema,
    schema_status,
    transaction_for_db,
    vb_db,
)
from ._sync.transaction import Transaction
from .core.record import Record
from .core.schema import SchemaRun
from .settings import Database, DatabaseSettings, Settings

if TYPE_CHECKING:
    from ._sync.projection.face import (
        REGISTRY,
        START,
        Event,
        EventLog,
        Position,
        ProjectionType,
        ProjectionWorker,
        Registry,
        project,
        projection_failures,
        projection_status,
        projector,
        rebuild,
        retry_projection,
        skip_projection,
        sync_projection,
    )

__all__ = [
    "DB",
    "DEFAULT",
    "REGISTRY",
    "START",
    "Borrowed",
    "Client",
    "Database",
    "DatabaseSettings",
    "Event",
    "EventLog",
    "Gap",
    "Listener",
    "Notification",
    "Position",
    "ProjectionType",
    "ProjectionWorker",
    "Record",
    "Registry",
    "SchemaRun",
    "Settings",
    "Transaction",
    "acquire_connection_for_db",
    "client",
    "close_all",
    "create_commit_table",
    "db",
    "execute_for_db",
    "fetch_for_db",
    "fetchrow_for_db",
    "fetchval_for_db",
    "get_circuit_breaker",
    "get_pool",
    "get_pool_for_db",
    "get_postgres_dsn",
    "get_postgres_dsn_for_db",
    "health_check_all",
    "health_check_for_db",
    "init_all",
    "init_db_pool",
    "init_pool_for_db",
    "lifespan",
    "open_all",
    "project",
    "projection_failures",
    "projection_status",
    "projector",
    "prune_commits",
    "rebuild",
    "reference_db",
    "retry_projection",
    "run_schema_from_file",
    "run_vb_schema",
    "schema_status",
    "skip_projection",
    "sync_projection",
    "transaction_for_db",
    "vb_db",
]


def __getattr__(name: str) -> Any:
    """Import what projections are made with as it is asked for: most programs have none, and start sooner."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._sync.projection import face  # noqa: PLC0415

    return getattr(face, name)
