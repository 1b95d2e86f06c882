"""One trading day on two databases, on the async face.

Users place orders on the main database: an event each, in a transaction with the projectors that book it
(`projectors`); a worker writes the audit trail behind them. The virtual broker fills the orders on its own
database meanwhile, where the quotes move too. Money is `Decimal` here and DECIMAL(15,2) there, so every sum
can be held against another one exactly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from pgdual.aio import AsyncEventLog, AsyncProjectionWorker, project
from pgdual.cli.projectors import BOOKS, OrderPlaced

if TYPE_CHECKING:
    from pgdual.aio import AsyncDB, AsyncTransaction

OPENING_BALANCE = Decimal("100000.00")
OPENING_QUOTES = {
    "AAPL": Decimal("189.30"),
    "AMZN": Decimal("146.75"),
    "GOOG": Decimal("138.21"),
    "META": Decimal("325.48"),
    "MSFT": Decimal("374.51"),
    "NVDA": Decimal("467.65"),
    "TSLA": Decimal("239.29"),
}
AHEAD = 1_000  # orders placed and not yet filled
TICK = 0.05  # seconds between two moves of the quotes

QUOTE = "SELECT price FROM vb_quotes WHERE symbol = $1"
MOVE_QUOTES = """
    UPDATE vb_quotes SET price = greatest(round(price * $2, 2), 1.00), updated_at = now()
    WHERE symbol = $1
"""
FILL_ORDER = """
    INSERT INTO vb_orders (id, vb_account_id, user_id, symbol, side, quantity, price, status)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'filled')
"""
WRITE_FILL = "INSERT INTO vb_fills (id, vb_order_id, quantity, price) VALUES ($1, $2, $3, $4)"
MOVE_VB_BALANCE = "UPDATE vb_accounts SET balance = balance + $2, updated_at = now() WHERE id = $1"

Side = Literal["buy", "sell"]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class User:
    """A user with an account on each database."""

    id: UUID = field(default_factory=uuid4)
    account_id: UUID = field(default_factory=uuid4)
    vb_account_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user wants; the quote of the moment makes an order of it."""

    user: User
    symbol: str
    side: Side
    quantity: int


@dataclass(frozen=True, slots=True)
class Order:
    """A wish at a price."""

    wish: Wish
    price: Decimal
    id: UUID = field(default_factory=uuid4)

    @property
    def terms(self) -> tuple[str, Side, int, Decimal]:
        """Symbol, side, quantity and price."""
        return self.wish.symbol, self.wish.side, self.wish.quantity, self.price

    @property
    def worth(self) -> Decimal:
        """The quantity at the price."""
        return self.wish.quantity * self.price

    @property
    def cash(self) -> Decimal:
        """What the account gains; below zero for a purchase."""
        return -self.worth if self.wish.side == "buy" else self.worth

    @property
    def event(self) -> OrderPlaced:
        """What is written down when it is placed."""
        user = self.wish.user
        about = uuid4(), str(self.id), 1, datetime.now(UTC)
        return OrderPlaced(*about, user.id, user.account_id, *self.terms)


def plan_wishes(users: Sequence[User], count: int, seed: int = 0) -> list[Wish]:
    """Return *count* wishes of random users, three purchases to one sale."""
    dice = random.Random(seed)
    symbols = list(OPENING_QUOTES)
    sides: list[Side] = ["buy", "buy", "buy", "sell"]
    return [
        Wish(dice.choice(users), dice.choice(symbols), dice.choice(sides), dice.randint(1, 20))
        for _ in range(count)
    ]


async def open_market(db: AsyncDB, vb_db: AsyncDB, users: Sequence[User]) -> None:
    """Insert the users, their accounts on both databases and the opening quotes."""
    async with asyncio.TaskGroup() as both:
        both.create_task(_open_accounts(db, users))
        both.create_task(_open_vb_accounts(vb_db, users))


async def _open_accounts(db: AsyncDB, users: Sequence[User]) -> None:
    async with db.transaction() as tx:
        await tx.executemany(
            "INSERT INTO users (id, email) VALUES ($1, $2)",
            [(user.id, f"{user.id}@example.com") for user in users],
        )
        await tx.executemany(
            "INSERT INTO accounts (id, user_id, name, balance) VALUES ($1, $2, 'Trading', $3)",
            [(user.account_id, user.id, OPENING_BALANCE) for user in users],
        )


async def _open_vb_accounts(vb_db: AsyncDB, users: Sequence[User]) -> None:
    async with vb_db.transaction() as tx:
        await tx.executemany(
            "INSERT INTO vb_accounts (id, user_id, name, balance) VALUES ($1, $2, 'Paper', $3)",
            [(user.vb_account_id, user.id, OPENING_BALANCE) for user in users],
        )
        await tx.executemany(
            "INSERT INTO vb_quotes (symbol, price) VALUES ($1, $2)", list(OPENING_QUOTES.items())
        )


async def place(db: AsyncDB, vb_db: AsyncDB, wish: Wish) -> Order:
    """Make an order of *wish* at the virtual broker's quote and book it on the main database."""
    order = Order(wish, await vb_db.fetchval(QUOTE, wish.symbol))
    await db.run(_book, db, order.event)
    return order


async def _book(tx: AsyncTransaction, db: AsyncDB, event: OrderPlaced) -> None:
    await AsyncEventLog(db).append(event)
    await project(event, db, BOOKS)  # joins tx, as append does


async def fill(vb_db: AsyncDB, order: Order) -> None:
    """Fill *order* on the virtual broker's database."""
    wish, account = order.wish, order.wish.user.vb_account_id
    async with vb_db.transaction() as tx:
        await tx.execute(FILL_ORDER, order.id, account, wish.user.id, *order.terms)
        await tx.execute(WRITE_FILL, uuid4(), order.id, wish.quantity, order.price)
        await tx.execute(MOVE_VB_BALANCE, account, order.cash)


async def trade(db: AsyncDB, vb_db: AsyncDB, wishes: Sequence[Wish], concurrency: int, tell: Tell) -> None:
    """Place all wishes and fill all orders, each with *concurrency* tasks.

    Calls *tell* with "placed" and "filled", once for each order.
    """
    placed: asyncio.Queue[Order | None] = asyncio.Queue(maxsize=AHEAD)
    waiting = iter(wishes)
    worker = AsyncProjectionWorker(db, BOOKS)
    async with asyncio.TaskGroup() as market:
        ticker = market.create_task(_move_quotes(vb_db))
        market.create_task(worker.run())
        async with asyncio.TaskGroup() as brokers:
            for _ in range(concurrency):
                brokers.create_task(_fill_orders(vb_db, placed, tell))
            async with asyncio.TaskGroup() as clients:
                for _ in range(concurrency):
                    clients.create_task(_place_orders(db, vb_db, waiting, placed, tell))
            for _ in range(concurrency):
                await placed.put(None)
        ticker.cancel()
        worker.stop()
    await worker.catch_up()


async def _place_orders(
    db: AsyncDB, vb_db: AsyncDB, wishes: Iterator[Wish], placed: asyncio.Queue[Order | None], tell: Tell
) -> None:
    for wish in wishes:  # one iterator for all tasks: each takes the next
        order = await place(db, vb_db, wish)
        await placed.put(order)
        tell("placed")


async def _fill_orders(vb_db: AsyncDB, placed: asyncio.Queue[Order | None], tell: Tell) -> None:
    while (order := await placed.get()) is not None:
        await fill(vb_db, order)
        tell("filled")


async def _move_quotes(vb_db: AsyncDB) -> None:
    dice = random.Random(1)
    while True:  # until the market closes and cancels the task
        await asyncio.sleep(TICK)
        factor = Decimal(dice.randint(990, 1010)) / 1000
        await vb_db.execute(MOVE_QUOTES, dice.choice(list(OPENING_QUOTES)), factor)
