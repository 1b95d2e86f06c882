"""What a session is told, so that a server does not go on for a caller that has left (D3).

pgdual keeps its deadlines itself; these come later, and matter only where nobody is left to keep them. What
the user, the role or the server has set already stays as it is.
"""

from __future__ import annotations

from decimal import Decimal
from math import ceil, inf

# How long after the client's own deadline the server ends a statement by itself.
MARGIN = 5.0  # seconds
# How many command clocks a transaction may stand idle.
IDLE = 5
# Source: pg_settings: "never", and Linux's two hours.
_UNSET = "('0', '7200')"
# The first server that has a limit of a transaction.
TOTAL = 170_000
# Statements that can have a group of their own with a setting in front; others must stand alone.
_GROUPED = {"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE"}
LIFTED = (
    b"SELECT set_config('statement_timeout', '0', false), "
    b"set_config('idle_in_transaction_session_timeout', '0', false)"
)
"""For a borrower, who has no time limit."""


BACKEND = (
    "SELECT pid, extract(epoch FROM backend_start)::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
"""Who serves a session: a process id, which another may have later, and when it began."""


def put_down(pid: int, begun: str) -> bytes:
    """Return what has the server end a process of its own: "SELECT 0" when it is gone, or another's (T5)."""
    # Decimal: what is put into the text is a number, whatever was said.
    is_it = f"pid = {int(pid)} AND extract(epoch FROM backend_start)::text = '{Decimal(begun)}'"
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {is_it}".encode()  # noqa: S608 - numbers


def session(command_timeout: float) -> tuple[str, str]:
    """Return what a new session is told: what every server takes, and what some do not."""
    return _unless_set(
        ("statement_timeout", _milliseconds(command_timeout + MARGIN)),
        ("idle_in_transaction_session_timeout", _milliseconds(command_timeout * IDLE)),
        ("tcp_keepalives_idle", 30),
        ("tcp_user_timeout", 30_000),
    ), _unless_set(("client_connection_check_interval", 2_000))


def _unless_set(*wanted: tuple[str, int]) -> str:
    rows = ", ".join(f"('{name}', '{value}')" for name, value in wanted)
    is_unset = f"current_setting(name, true) IN {_UNSET}"
    values = f"(VALUES {rows}) AS wanted (name, value)"
    return f"SELECT set_config(name, value, false) FROM {values} WHERE {is_unset}"  # noqa: S608 - all ours


def can_be_grouped(verb: str) -> bool:
    """True if a statement that begins with *verb* can have a setting in front of it in its own group."""
    return verb in _GROUPED


def raised(limit: float, *, is_local: bool = True) -> bytes:
    """Return what raises the server's limit for a statement that may take *limit* seconds.

    Args:
        is_local: To the end of the group or the transaction; else the session is to be cleaned.
    """
    local = "true" if is_local else "false"
    most = _milliseconds(limit if limit == inf else ceil(limit) + MARGIN)
    return f"SELECT set_config('statement_timeout', '{most}', {local})".encode()


def total(limit: float, command_timeout: float) -> bytes:
    """Return what has the server limit a transaction that may take *limit* seconds, and no statement in it.

    Only if each statement has the limit that it has from here. COMMIT has a command clock of its own.
    """
    most = ceil(limit)
    whole = _milliseconds(most + command_timeout + MARGIN)
    each = _milliseconds((command_timeout if limit <= command_timeout else most) + MARGIN)
    told = f"set_config('transaction_timeout', '{whole}', true), set_config('statement_timeout', '0', true)"
    is_ours = f"extract(epoch FROM current_setting('statement_timeout')::interval) * 1000 = {each}"
    is_unset = "current_setting('transaction_timeout') = '0'"
    return f"SELECT {told} WHERE {is_ours} AND {is_unset}".encode()


def _milliseconds(seconds: float) -> int:
    # Source: guc_tables.c: the largest is INT_MAX; 0 is no limit.
    return 0 if seconds == inf else min(int(seconds * 1000), 2**31 - 1)
