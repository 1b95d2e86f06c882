"""The tables that tradecore.sql first had; harmless where that file has run."""

from pathlib import Path

from alembic import op

from pgdual.migrations import execute_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and their indexes."""
    execute_file(Path(__file__).with_suffix(".sql"))


def downgrade() -> None:
    """Drop them, with all that is in them."""
    op.execute("DROP TABLE events, positions, orders, accounts, users")
