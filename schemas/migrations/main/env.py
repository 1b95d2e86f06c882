"""Where Alembic runs the migrations of database main; see `pgdual.migrations`."""

from pgdual.migrations import run_environment

run_environment("main")
