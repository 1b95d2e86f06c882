"""TradeCore's projectors: what a user waits to see is SYNC, what nobody waits for is ASYNC.

    python examples/tradecore_projectors.py                                       the example, once through
    pgdual projections rebuild examples/tradecore_projectors.py analytics         a read model anew
    pgdual projections status

`POSTGRES_DSN` names a database with the tables of `schemas/tradecore.sql`. In a service the worker runs
beside the application: `task = asyncio.create_task(AsyncProjectionWorker(db).run())`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from pgdual.aio import (
    AsyncDB,
    AsyncEventLog,
    AsyncProjectionWorker,
    ProjectionType,
    close_all,
    db,
    project,
    projector,
    sync_projection,
)

SYNC = ProjectionType.SYNC
TABLES = """
CREATE TABLE IF NOT EXISTS connections (id uuid PRIMARY KEY, user_id uuid NOT NULL, broker text NOT NULL);
CREATE TABLE IF NOT EXISTS order_analytics (symbol text PRIMARY KEY, orders bigint NOT NULL);
CREATE TABLE IF NOT EXISTS notifications (event_id uuid PRIMARY KEY, user_id uuid NOT NULL, words text);
"""


@dataclass(kw_only=True)
class DomainEvent:
    """What every event has; an aggregate's first version is 1."""

    aggregate_id: str
    version: int = 1
    event_id: UUID = field(default_factory=uuid4)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(kw_only=True)
class UserCreated(DomainEvent):
    """A user has signed up; the user is the aggregate."""

    email: str


@dataclass(kw_only=True)
class AccountCreated(DomainEvent):
    """A user has an account."""

    user_id: UUID
    name: str
    balance: Decimal


@dataclass(kw_only=True)
class ConnectionCreated(DomainEvent):
    """A user is connected with a broker."""

    user_id: UUID
    broker: str


@dataclass(kw_only=True)
class OrderPlaced(DomainEvent):
    """A user has placed an order."""

    user_id: UUID
    symbol: str
    quantity: Decimal


@sync_projection(timeout_seconds=2.0)
@projector(UserCreated, projection_type=SYNC)
async def project_user_created(event: UserCreated, db: AsyncDB) -> None:
    """The page that follows shows the user."""
    await db.execute(
        "INSERT INTO users (id, email, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        event.aggregate_id, event.email, event.timestamp,
    )  # fmt: skip


@sync_projection(timeout_seconds=2.0)
@projector(AccountCreated, projection_type=SYNC)
async def project_account_created(event: AccountCreated, db: AsyncDB) -> None:
    """The page shows the new account."""
    await db.execute(
        "INSERT INTO accounts (id, user_id, name, balance) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        event.aggregate_id, event.user_id, event.name, event.balance,
    )  # fmt: skip


@sync_projection(timeout_seconds=2.0)
@projector(ConnectionCreated, projection_type=SYNC)
async def project_connection_created(event: ConnectionCreated, db: AsyncDB) -> None:
    """The page shows whether the broker is connected."""
    row = (event.aggregate_id, event.user_id, event.broker)
    await db.upsert_many("connections", [row], conflict="id")


@sync_projection(timeout_seconds=2.0)
@projector(OrderPlaced, projection_type=SYNC)
async def project_order_placed(event: OrderPlaced, db: AsyncDB) -> None:
    """The list of orders has it. The checkpoint keeps `total_orders + 1` from counting a replayed event."""
    await db.execute(
        "INSERT INTO orders (id, user_id, symbol, quantity, placed_at) VALUES ($1, $2, $3, $4, $5)",
        event.aggregate_id, event.user_id, event.symbol, event.quantity, event.timestamp,
    )  # fmt: skip
    await db.execute(
        "UPDATE users SET total_orders = total_orders + 1, last_order_at = $2 WHERE id = $1",
        event.user_id, event.timestamp,
    )  # fmt: skip


@projector(OrderPlaced, projection="analytics", batch=True, tables="order_analytics")
async def project_analytics(events: list[OrderPlaced], db: AsyncDB) -> None:
    """How much is traded in what: in batches, one row a symbol, in one order so that none deadlocks."""
    for symbol, orders in sorted(Counter(event.symbol for event in events).items()):
        await db.execute(
            "INSERT INTO order_analytics AS a VALUES ($1, $2)"
            " ON CONFLICT (symbol) DO UPDATE SET orders = a.orders + excluded.orders",
            symbol, orders,
        )  # fmt: skip


@projector(OrderPlaced, projection="audit", batch=True, tables="events")
async def project_audit(events: list[OrderPlaced], db: AsyncDB) -> None:
    """The audit trail."""
    rows = [(event.event_id, "OrderPlaced", event.aggregate_id) for event in events]
    await db.insert_many("events", rows, ["event_id", "event_type", "aggregate_id"])


@projector(OrderPlaced, projection="notifications", tables="notifications")
async def project_notification(event: OrderPlaced, db: AsyncDB) -> None:
    """What somebody else will send; a mail sent from here could go out twice."""
    words = f"Your order of {event.quantity} {event.symbol} was placed."
    await db.execute("INSERT INTO notifications VALUES ($1, $2, $3)", event.event_id, event.user_id, words)


async def tell(event: DomainEvent) -> None:
    """Append an event and have the SYNC projectors run, both or neither."""
    async with db.transaction():
        await AsyncEventLog(db).append(event)
        await project(event)


async def main() -> None:
    """Let a user sign up and trade."""
    await AsyncEventLog(db).create()
    await db.execute(TABLES)
    user = uuid4()
    await tell(UserCreated(aggregate_id=str(user), email=f"{user}@example.com"))
    await tell(AccountCreated(aggregate_id=str(uuid4()), user_id=user, name="Trading", balance=Decimal(1000)))
    await tell(ConnectionCreated(aggregate_id=str(uuid4()), user_id=user, broker="virtual"))
    for symbol in ("AAPL", "AAPL", "MSFT"):
        await tell(OrderPlaced(aggregate_id=str(uuid4()), user_id=user, symbol=symbol, quantity=Decimal(3)))
    print("orders:", await db.fetchval("SELECT total_orders FROM users WHERE id = $1", user))
    await AsyncProjectionWorker(db).catch_up()
    print("traded:", [tuple(row) for row in await db.fetch("SELECT * FROM order_analytics ORDER BY symbol")])
    print("events:", await db.fetchval("SELECT count(*) FROM events"))
    print("notifications:", await db.fetchval("SELECT count(*) FROM notifications"))
    await close_all()


if __name__ == "__main__":
    asyncio.run(main())
