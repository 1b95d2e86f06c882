"""Private PostgreSQL and Valkey servers for the demo, the tests and the bench."""

from .postgres import Postgres, Template, find_postgres
from .valkey import Valkey, find_valkey

__all__ = ["Postgres", "Template", "Valkey", "find_postgres", "find_valkey"]
