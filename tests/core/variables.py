"""The settings' variables, and the ways in which their tests read them."""

import os
import traceback
from unittest.mock import patch

import pytest

from pgdual.errors import ConfigurationError
from pgdual.settings import Settings

SECRET = "h7unt3r2"
DSN = f"postgresql://app:{SECRET}@db.example:5432/tradecore"

# field, main's variable, a value that is nobody's default, what it becomes
ROWS = [
    ("pool_min_size", "PG_POOL_MIN_SIZE", "3", 3),
    ("pool_max_size", "PG_POOL_MAX_SIZE", "77", 77),
    ("pool_timeout", "PG_POOL_TIMEOUT_SEC", "1.5", 1.5),
    ("command_timeout", "PG_COMMAND_TIMEOUT_SEC", "2.5", 2.5),
    ("command_timeout", "PG_POOL_COMMAND_TIMEOUT_SEC", "2.5", 2.5),
    ("pool_max_idle", "PG_POOL_MAX_IDLE_SEC", "7", 7.0),
    ("pool_max_lifetime", "PG_POOL_MAX_LIFETIME_SEC", "8", 8.0),
    ("pooler", "PG_POOLER", "transaction", "transaction"),
    ("prepared_statements", "PG_PREPARED_STATEMENTS", "off", "off"),
    ("search_path", "PG_SEARCH_PATH", "app,public", "app,public"),
    ("application_name", "PG_APPLICATION_NAME", "orders", "orders"),
    ("breaker_failure_threshold", "PG_BREAKER_FAILURE_THRESHOLD", "9", 9),
    ("breaker_timeout", "PG_BREAKER_TIMEOUT_SEC", "11", 11.0),
    ("retry_max_attempts", "PG_RETRY_MAX_ATTEMPTS", "4", 4),
    ("retry_initial_delay", "PG_RETRY_INITIAL_DELAY_SEC", "0.2", 0.2),
    ("retry_max_delay", "PG_RETRY_MAX_DELAY_SEC", "3", 3.0),
    ("retry_backoff_factor", "PG_RETRY_BACKOFF_FACTOR", "1.5", 1.5),
    ("deadlock_max_attempts", "PG_DEADLOCK_MAX_ATTEMPTS", "6", 6),
]
GLOBALS = [
    ("environment", "PGDUAL_ENV", "staging", "staging"),
    ("slow_query_threshold_ms", "DB_SLOW_QUERY_THRESHOLD_MS", "0", 0.0),
    ("slow_acquire_threshold_ms", "DB_SLOW_ACQUIRE_THRESHOLD_MS", "1", 1.0),
    ("long_transaction_threshold_ms", "DB_LONG_TRANSACTION_THRESHOLD_MS", "2", 2.0),
    ("pool_exhaustion_threshold", "DB_POOL_EXHAUSTION_THRESHOLD", "1", 1.0),
    ("leak_threshold", "DB_LEAK_THRESHOLD_SEC", "30", 30.0),
    ("log_query_args", "DB_LOG_QUERY_ARGS", "false", False),
    ("workers", "WORKERS", "4", 4),
    ("workers", "GRANIAN_WORKERS", "4", 4),
    ("workers", "WEB_CONCURRENCY", "4", 4),
    ("schema_lock_ttl", "SCHEMA_LOCK_TTL_SEC", "61", 61.0),
    ("schema_lock_wait", "SCHEMA_LOCK_WAIT_SEC", "121", 121.0),
    ("schema_lock_retry_ms", "SCHEMA_LOCK_RETRY_MS", "501", 501.0),
    ("close_grace", "PGDUAL_CLOSE_GRACE_SEC", "0", 0.0),
    ("monitor", "PGDUAL_MONITOR", "127.0.0.1:9187", "127.0.0.1:9187"),
    ("enable_vb_database", "ENABLE_VB_DATABASE", "off", False),
]


def read(**variables):
    with patch.dict(os.environ, variables, clear=True):
        return Settings()


def spellings(name, variable):
    if name == "main":
        return [variable]
    family, rest = variable.split("_", 1)
    return [f"{name.upper()}_{variable}", f"{family}_{name.upper()}_{rest}"]


def complaint(make, *args, **kwargs):
    """Return the message of the error, whose whole traceback and chain hold no secret."""
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **kwargs)
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)
