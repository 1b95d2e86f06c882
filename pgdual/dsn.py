"""What libpq is given to connect: a DSN whose mistakes are found early and whose secrets stay hidden.

What libpq says about a wrong DSN is never passed on nor chained: it may quote a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from pgdual.errors import ConfigurationError

__all__ = ["UNSENDABLE", "completed", "parsed", "revealed", "without_driver"]

UNSENDABLE: Final = "[\0\ud800-\udfff]"
"""A NUL and half a character, which PostgreSQL cannot take."""

# Where the DSN is silent. Seconds, milliseconds, seconds; libpq and the kernel would hang for hours.
_CONNECTION: Final = {"keepalives_idle": 30, "tcp_user_timeout": 30_000, "connect_timeout": 10}
_REASONS: Final = {
    'missing "="': "it is neither a postgresql:// URI nor key=value pairs",
    "percent-encoded": "a % is not followed by two hexadecimal digits",
    "%00": "it holds a zero byte",
    "IPv6": "the brackets of an IPv6 address are wrong",
    "unterminated": "a quote is not closed",
    "option": "libpq does not know one of its options",
    "query parameter": "libpq does not know one of its options, or one has no value",
}


def completed(params: Mapping[str, Any], application_name: str) -> str:
    """Return what libpq connects with: *params*, and pgdual's own where they are silent."""
    return make_conninfo("", **{**_CONNECTION, "application_name": application_name, **params})


def revealed(secret: Any, label: str) -> str:
    """Return the text of a secret, or what the function that stands for it returns now.

    Raises:
        ConfigurationError: It is not a str, or cannot be sent; *label* says whose it is.
    """
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret()
    if not isinstance(text, str):
        raise ConfigurationError(f"{label}() returned a {type(text).__name__}. It must return a str.")
    if re.search(UNSENDABLE, text):
        raise ConfigurationError(f"{label} holds a character that PostgreSQL cannot take. Set it anew.")
    return text


def without_driver(dsn: str) -> str:
    """Return *dsn* without the name of a Python driver: `postgresql+asyncpg://` becomes `postgresql://`."""
    return re.sub(r"^\s*postgres(ql)?(\+\w+)?://", "postgresql://", dsn, flags=re.IGNORECASE)


def parsed(dsn: str, label: str) -> dict[str, Any]:
    """Return the parameters in *dsn*.

    Raises:
        ConfigurationError: libpq cannot read it, or would read it wrongly; *label* says whose it is.
    """
    plain, params = without_driver(dsn), {}
    try:
        params = conninfo_to_dict(plain)
        reason = _misread(plain, params)
    except Error as error:
        said = str(error)
        reason = next((why for sign, why in _REASONS.items() if sign in said), "libpq cannot read it")
    if reason:
        raise ConfigurationError(
            f"{label} is malformed: {reason}. Write postgresql://user:password@host:5432/dbname, with any "
            "of @ : / ? # % in the user or password percent-encoded."
        )
    return params


def _misread(plain: str, params: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a DSN that libpq can read, or None.

    A bare @ or / in a password moves the rest of it into host, port or dbname, which libpq and
    the server quote in their errors.
    """
    if not plain.strip():
        return "it is empty"
    ports = filter(None, str(params.get("port", "")).split(","))
    if not all(re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536 for port in ports):
        return "its port is not a number from 1 to 65535"
    places = f"{params.get('host', '')}{params.get('dbname', '')}"
    if plain.startswith("postgresql://") and "@" in places and "%40" not in plain:
        return "it has an @ too many"
    return None
