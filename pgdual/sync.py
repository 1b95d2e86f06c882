"""The blocking face: `from pgdual.sync import db, vb_db`; the same names as `pgdual.aio`."""

from __future__ import annotations

from ._sync.borrowed import Borrowed
from ._sync.call import DEFAULT
from ._sync.client import Client
from ._sync.db import DB
from ._sync.listen import Gap, Listener, Notification
from ._sync.projection.failures import failures as projection_failures
from ._sync.projection.failures import retry as retry_projection
from ._sync.projection.failures import skip as skip_projection
from ._sync.projection.failures import status as projection_status
from ._sync.projection.log import EventLog
from ._sync.projection.rebuild import rebuild
from ._sync.projection.registry import REGISTRY, projector, sync_projection
from ._sync.projection.worker import ProjectionWorker
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
    project,
    prune_commits,
    reference_db,
    run_schema_from_file,
    run_vb_schema,
    schema_status,
    transaction_for_db,
    vb_db,
)
from ._sync.transaction import Transaction
from .core.projection import START, Event, Position, ProjectionType, Registry
from .core.record import Record
from .core.schema import SchemaRun
from .settings import Database, DatabaseSettings, Settings

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
