"""Fill users.total_spent from the orders, in batches that can be interrupted.

    pgdual backfill run examples/total_spent.py:TOTAL_SPENT --dry-run
    pgdual backfill run examples/total_spent.py:TOTAL_SPENT

Ctrl-C, kill -9 or a failover lose nothing: the same command goes on where it was. What places an order must
lock its user first and add to the sums itself, and do so before this begins.
"""

from __future__ import annotations

from typing import Any

from pgdual.sync import Transaction

# The users are locked first: an order that is placed meanwhile adds to what stands here then.
LOCK = "SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE"
SUM = """
UPDATE users AS u
SET total_orders = s.orders, total_spent = s.spent, last_order_at = s.last, updated_at = now()
FROM (
    SELECT wanted.id, count(o.id) AS orders, coalesce(sum(o.quantity * o.price), 0) AS spent,
        max(o.placed_at) AS last
    FROM unnest($1::uuid[]) AS wanted (id) LEFT JOIN orders AS o ON o.user_id = wanted.id
    GROUP BY wanted.id
) AS s
WHERE u.id = s.id
"""


def write(tx: Transaction, users: list[dict[str, Any]]) -> None:
    """Sum up the orders of these users, one statement for all of them."""
    ids = [user["id"] for user in users]
    tx.fetch(LOCK, ids)
    tx.execute(SUM, ids)


TOTAL_SPENT = {
    "source": "SELECT id FROM users",
    "transform": None,
    "target": write,
    "key": "id",
    "parallel": 2,
}
