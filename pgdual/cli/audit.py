"""The books held against the orders, on the blocking face.

Every order is read and added up here again, in Python, and each sum that a database kept during the
day must be equal to the last cent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgdual.sync import DB

ORDERS = "SELECT user_id, symbol, side, quantity, price FROM orders"
VB_ORDERS = """
    SELECT o.user_id, o.symbol, o.side, f.quantity, f.price
    FROM vb_orders o JOIN vb_fills f ON f.vb_order_id = o.id
"""
WRITTEN = """
    SELECT 'users', count(*) FROM users UNION ALL SELECT 'accounts', count(*) FROM accounts
    UNION ALL SELECT 'orders', count(*) FROM orders UNION ALL SELECT 'positions', count(*) FROM positions
    UNION ALL SELECT 'events', count(*) FROM events
"""
VB_WRITTEN = """
    SELECT 'vb_accounts', count(*) FROM vb_accounts UNION ALL SELECT 'vb_orders', count(*) FROM vb_orders
    UNION ALL SELECT 'vb_fills', count(*) FROM vb_fills
"""
Sums = Mapping[Any, Decimal]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A sum that was kept and is not what the orders add up to."""

    name: str
    key: Hashable
    kept: Decimal
    computed: Decimal

    def __str__(self) -> str:
        """Return it as one line for a person."""
        return f"{self.name} of {self.key}: kept {self.kept}, the orders say {self.computed}"


@dataclass(slots=True)
class Books:
    """What orders add up to."""

    total_orders: defaultdict[Any, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    total_spent: defaultdict[Any, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cash: defaultdict[Any, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    positions: defaultdict[Any, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, user: Any, symbol: str, side: str, quantity: Decimal, price: Decimal) -> None:
        """Add one order."""
        bought = quantity if side == "buy" else -quantity
        self.total_orders[user] += 1
        self.total_spent[user] += max(bought, Decimal(0)) * price
        self.cash[user] -= bought * price
        self.positions[user, symbol] += bought


def add_up(orders: Iterable[tuple[Any, str, str, Decimal, Decimal]]) -> Books:
    """Return what *orders* (user, symbol, side, quantity, price) add up to."""
    books = Books()
    for order in orders:
        books.add(*order)
    return books


def compare(name: str, kept: Sums, computed: Sums) -> list[Disagreement]:
    """Return where *kept* and *computed* are not exactly equal; a key that one lacks counts as 0 there."""
    zero = Decimal(0)
    return [
        Disagreement(name, key, kept.get(key, zero), computed.get(key, zero))
        for key in kept.keys() | computed.keys()
        if kept.get(key, zero) != computed.get(key, zero)
    ]


def audit(db: DB, vb_db: DB, opening_balance: Decimal) -> list[Disagreement]:
    """Add all orders up again and return every sum that disagrees; an empty list is a good day."""
    with db.transaction(isolation="repeatable read", readonly=True):  # one snapshot for all sums
        books = add_up(db.fetch(ORDERS))
        found = audit_main(db, books, opening_balance)
    with vb_db.transaction(isolation="repeatable read", readonly=True):
        return found + audit_vb(vb_db, books, opening_balance)


def count_rows(db: DB, vb_db: DB) -> dict[str, int]:
    """Return how many rows each table has."""
    return dict([*db.fetch(WRITTEN), *vb_db.fetch(VB_WRITTEN)])


def audit_main(db: DB, books: Books, opening_balance: Decimal) -> list[Disagreement]:
    """Compare the main database's totals, balances and positions with *books*."""
    counts = db.fetch("SELECT id, total_orders::numeric FROM users")
    spent = db.fetch("SELECT id, total_spent FROM users")
    accounts = db.fetch("SELECT user_id, balance - $1 FROM accounts", opening_balance)
    positions = db.fetch("SELECT user_id, symbol, quantity FROM positions")
    return [
        *compare("users.total_orders", dict(counts), books.total_orders),
        *compare("users.total_spent", dict(spent), books.total_spent),
        *compare("accounts.balance", dict(accounts), books.cash),
        *compare("positions.quantity", {(user, symbol): n for user, symbol, n in positions}, books.positions),
    ]


def audit_vb(vb_db: DB, books: Books, opening_balance: Decimal) -> list[Disagreement]:
    """Compare the virtual broker's fills and balances with *books*, those of the main database."""
    fills = add_up(vb_db.fetch(VB_ORDERS))
    accounts = vb_db.fetch("SELECT user_id, balance - $1 FROM vb_accounts", opening_balance)
    return [
        *compare("vb_fills, number", fills.total_orders, books.total_orders),
        *compare("vb_fills, cash", fills.cash, books.cash),
        *compare("vb_accounts.balance", dict(accounts), books.cash),
    ]
