"""Every exception that pgdual raises.

::

    PgdualError
    ├── ConfigurationError           a setting is missing, wrong or contradicts another
    │   ├── DatabaseNotConfiguredError   the database has no DSN
    │   └── UnknownDatabaseError         no database has this name
    ├── UsageError (ValueError)      the call is wrong; nothing was run
    ├── PoolTimeoutError (TimeoutError)   no connection within the acquire clock
    ├── QueryTimeoutError (TimeoutError)  no answer within the command clock
    ├── OutcomeUnknownError          a write was sent and its answer was lost
    ├── CircuitOpenError             the breaker is open; come back after `retry_after`
    ├── TransactionOwnerError        another task or thread owns the transaction
    ├── TransactionClosedError       the transaction is over
    ├── TransactionFailedError       a block ended well although a statement in it had failed
    ├── ReplayMismatchError          a replayed transaction saw something else
    ├── SchemaError                  a schema file cannot run, or a statement in it failed
    ├── SchemaLockError              the schema lock could not be had or was lost
    ├── ProjectionError              a projector is wrong or failed
    │   └── ProjectionTimeoutError (TimeoutError)   a SYNC projector was not done in time
    ├── VersionConflictError         the aggregate has other events than expected
    └── ClientClosedError            the client was closed

The server's own errors stay psycopg's classes and are re-exported here, so that
`except UniqueViolation` works on both faces.
"""

from __future__ import annotations

from typing import Literal

from psycopg import DatabaseError, Error, InterfaceError, OperationalError
from psycopg.errors import (
    CheckViolation,
    DeadlockDetected,
    DivisionByZero,
    ExclusionViolation,
    ForeignKeyViolation,
    InFailedSqlTransaction,
    InsufficientPrivilege,
    IntegrityError,
    InvalidTextRepresentation,
    LockNotAvailable,
    NotNullViolation,
    NumericValueOutOfRange,
    QueryCanceled,
    ReadOnlySqlTransaction,
    SerializationFailure,
    SyntaxError,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedTable,
    UniqueViolation,
)

__all__ = [
    "CheckViolation",
    "CircuitOpenError",
    "ClientClosedError",
    "ConfigurationError",
    "DatabaseError",
    "DatabaseNotConfiguredError",
    "DeadlockDetected",
    "DivisionByZero",
    "Error",
    "ExclusionViolation",
    "ForeignKeyViolation",
    "InFailedSqlTransaction",
    "InsufficientPrivilege",
    "IntegrityError",
    "InterfaceError",
    "InvalidTextRepresentation",
    "LockNotAvailable",
    "NotNullViolation",
    "NumericValueOutOfRange",
    "OperationalError",
    "OutcomeUnknownError",
    "PgdualError",
    "PoolTimeoutError",
    "ProjectionError",
    "ProjectionTimeoutError",
    "QueryCanceled",
    "QueryTimeoutError",
    "ReadOnlySqlTransaction",
    "ReplayMismatchError",
    "SchemaError",
    "SchemaLockError",
    "SerializationFailure",
    "SyntaxError",
    "TransactionClosedError",
    "TransactionFailedError",
    "TransactionOwnerError",
    "UndefinedColumn",
    "UndefinedFunction",
    "UndefinedTable",
    "UniqueViolation",
    "UnknownDatabaseError",
    "UsageError",
    "VersionConflictError",
]

Outcome = Literal["rolled back", "not sent", "unknown"]


class PgdualError(Exception):
    """The root of all errors that are pgdual's own."""


class ConfigurationError(PgdualError):
    """A setting is missing, out of bounds, or contradicts another."""


class DatabaseNotConfiguredError(ConfigurationError):
    """The database is known but has no DSN."""


class UnknownDatabaseError(ConfigurationError):
    """No database has this name; the message lists those that exist."""


class UsageError(PgdualError, ValueError):
    """The call is wrong; the statement was not run."""


class PoolTimeoutError(PgdualError, TimeoutError):
    """No connection came free, or could be made, within the acquire clock."""


class QueryTimeoutError(PgdualError, TimeoutError):
    """No answer came within the command clock.

    `outcome` is "rolled back" when the server said so, "not sent" when it never had the statement,
    and "unknown" when it may still be running or may have finished.
    """

    def __init__(self, message: str, outcome: Outcome = "unknown") -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome


class OutcomeUnknownError(PgdualError):
    """A statement that writes was sent and its answer was lost: it may have happened or not.

    `database` and `statement` say which; `known` says what is known of it.
    """

    database: str = ""
    statement: str = ""
    known: str = "sent, and not answered"


class OutcomeUnknownTimeoutError(OutcomeUnknownError, QueryTimeoutError):
    """The same after a deadline."""


class CircuitOpenError(PgdualError):
    """The database's breaker is open.

    `retry_after` is the number of seconds until the next probe is let through.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TransactionOwnerError(PgdualError):
    """A transaction was used by a task or thread that did not open it."""


class TransactionClosedError(PgdualError):
    """A transaction was used after its end."""


class TransactionFailedError(PgdualError):
    """A block ended without an error although a statement in it had failed: it was rolled back."""


class ReplayMismatchError(PgdualError):
    """A transaction that was run again saw something else than the first time."""


class SchemaError(PgdualError):
    """A schema file cannot run, or the server refused a statement in it: its transaction was rolled back.

    `path` is the file; `line` (the first is 1, 0 if it is the whole file), `statement` (its passwords
    masked) and `sqlstate` say which statement and why, where there is one.
    """

    def __init__(
        self, message: str, path: str = "", line: int = 0, statement: str = "", sqlstate: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.statement = statement
        self.sqlstate = sqlstate


class SchemaLockError(PgdualError):
    """The lock on a database's schema could not be had, or was lost while the schema ran."""


class ProjectionError(PgdualError):
    """A projector is registered wrongly, or failed."""


class ProjectionTimeoutError(ProjectionError, TimeoutError):
    """A SYNC projector was not done within its time limit; what it did was rolled back."""


class VersionConflictError(PgdualError):
    """Somebody else has appended events to this aggregate; none of ours was.

    Load it again and decide anew. `expected` and `actual` are versions of `aggregate_id`; 0 is none yet.
    """

    def __init__(self, message: str, aggregate_id: str, expected: int, actual: int) -> None:
        super().__init__(message)
        self.aggregate_id = aggregate_id
        self.expected = expected
        self.actual = actual


class ClientClosedError(PgdualError):
    """The client was closed; make a new one or open it again."""
