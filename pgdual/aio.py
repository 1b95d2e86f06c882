"""The async face: `from pgdual.aio import db, vb_db`."""

from __future__ import annotations

from ._async.borrowed import AsyncBorrowed
from ._async.call import DEFAULT
from ._async.client import AsyncClient
from ._async.db import AsyncDB
from ._async.listen import AsyncListener, Gap, Notification
from ._async.projection.failures import failures as projection_failures
from ._async.projection.failures import retry as retry_projection
from ._async.projection.failures import skip as skip_projection
from ._async.projection.failures import status as projection_status
from ._async.projection.log import AsyncEventLog
from ._async.projection.rebuild import rebuild
from ._async.projection.registry import REGISTRY, projector, sync_projection
from ._async.projection.worker import AsyncProjectionWorker
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
    project,
    prune_commits,
    reference_db,
    run_schema_from_file,
    run_vb_schema,
    schema_status,
    transaction_for_db,
    vb_db,
)
from ._async.transaction import AsyncTransaction
from .core.projection import START, Event, Position, ProjectionType, Registry
from .core.record import Record
from .core.schema import SchemaRun
from .settings import Database, DatabaseSettings, Settings

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
