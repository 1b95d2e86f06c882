"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Make the change."""
    op.execute("SELECT 1")


def downgrade() -> None:
    """Take it back."""
    op.execute("SELECT 1")
