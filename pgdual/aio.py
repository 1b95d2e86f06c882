"""The async face: `from pgdual.aio import db, vb_db`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._async.borrowed import AsyncBorrowed
from ._async.call import DEFAULT
from ._async.client import AsyncClient
from ._async.db import AsyncDB
from ._async.listen import AsyncListener, Gap, Notification
from ._async.tradecore import (
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
from ._async.transaction import AsyncTransaction
from .core.record import Record
from .core.schema import SchemaRun
from .settings import Database, DatabaseSettings, Settings

if TYPE_CHECKING:
    from ._async.projection.face import (
        REGISTRY,
        START,
        AsyncEventLog,
        AsyncProjectionWorker,
        Event,
        Position,
        ProjectionType,
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
    "DEFAULT",
    "REGISTRY",
    "START",
    "AsyncBorrowed",
    "AsyncClient",
    "AsyncDB",
    "AsyncEventLog",
    "AsyncListener",
    "AsyncProjectionWorker",
    "AsyncTransaction",
    "Database",
    "DatabaseSettings",
    "Event",
    "Gap",
    "Notification",
    "Position",
    "ProjectionType",
    "Record",
    "Registry",
    "SchemaRun",
    "Settings",
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
    from ._async.projection import face  # noqa: PLC0415

    return getattr(face, name)
