"""Where Alembic runs the migrations of database vb; see `pgdual.migrations`."""

from pgdual.migrations import run_environment

run_environment("vb")
