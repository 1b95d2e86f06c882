"""`pgdual demo`: a small trading day on two databases, then the books on the blocking face."""

from __future__ import annotations

import asyncio
import os
import signal
from time import perf_counter
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from pgdual.aio import AsyncClient, AsyncEventLog
from pgdual.cli.audit import Disagreement, audit, count_rows
from pgdual.cli.places import own_schemas, schema_script, servers
from pgdual.cli.screen import Phase, counting, table_of
from pgdual.cli.trading import OPENING_BALANCE, User, open_market, plan_wishes, trade
from pgdual.errors import PgdualError
from pgdual.settings import Settings
from pgdual.sync import Client

SHOWN = 10  # disagreements printed one by one


def demo(
    users: Annotated[int, typer.Option(min=1, help="Users who trade.")] = 2_000,
    orders: Annotated[int, typer.Option(min=1, help="Orders they place.")] = 20_000,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks that place, and as many that fill.")] = 32,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the users and of the orders.")] = False,
) -> None:
    """Run a small trading day on two databases and check its books.

    Starts two private PostgreSQL servers. When POSTGRES_DSN and VB_POSTGRES_DSN
    are both set it uses those, in schemas of its own that it drops at the end.

    Exits with 1 when a sum disagrees.

    Example: pgdual demo --quick
    """
    if quick:
        users, orders = max(users // 10, 1), max(orders // 10, 1)
    # a terminated demo cleans up as an interrupted one does; asyncio knows how to be interrupted
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console(highlight=False)
    try:
        found = run(console, users, orders, concurrency)
    except Exception as error:
        console.print(f"The demo failed: {explain(error)}", style="red", markup=False)
        raise typer.Exit(1) from None
    raise typer.Exit(verdict(console, found))


def run(console: Console, users: int, orders: int, concurrency: int) -> list[Disagreement]:
    """Run the day and the audit, print the table and return the sums that disagree."""
    console.print("Two servers, main and vb: getting ready")
    with servers(os.environ) as dsns, own_schemas(*dsns) as settings:
        console.print(f"{users:,} users place {orders:,} orders (async face)")
        day = asyncio.run(trading_day(settings, console, users, orders, concurrency))
        console.print("All orders are added up again and compared (blocking face)")
        books, found, rows = bookkeeping(settings)
    console.print()
    console.print(table_of([*day, *books]))
    console.print(f"{orders:,} orders placed and filled in {day[0].seconds:.1f} s. Rows written:")
    console.print(", ".join(f"{table} {count:,}" for table, count in rows.items()))
    return found


async def trading_day(
    settings: Settings, console: Console, users: int, orders: int, concurrency: int
) -> list[Phase]:
    """Make the tables, trade, and return what the async face did on each database."""
    async with AsyncClient(settings) as client:
        db, vb_db = client["main"], client["vb"]
        await db.execute(schema_script("tradecore.sql"))
        await vb_db.execute(schema_script("tradecore_vb.sql"))
        await AsyncEventLog(db).create()
        people = [User() for _ in range(users)]
        started = perf_counter()
        await open_market(db, vb_db, people)
        with counting(console, orders) as tally:
            await trade(db, vb_db, plan_wishes(people, orders), concurrency, tally.tell)
        seconds = perf_counter() - started
        return [Phase("main, async", db.stats(), seconds), Phase("vb, async", vb_db.stats(), seconds)]


def bookkeeping(settings: Settings) -> tuple[list[Phase], list[Disagreement], dict[str, int]]:
    """Audit the day on the blocking face; return what that did, the wrong sums, and the tables' sizes."""
    with Client(settings) as client:
        db, vb_db = client["main"], client["vb"]
        started = perf_counter()
        found = audit(db, vb_db, OPENING_BALANCE)
        seconds = perf_counter() - started
        did = [Phase("main, sync", db.stats(), seconds), Phase("vb, sync", vb_db.stats(), seconds)]
        return did, found, count_rows(db, vb_db)


def verdict(console: Console, found: list[Disagreement]) -> int:
    """Say whether the books are right and return the exit code."""
    if not found:
        console.print("Every sum agrees, to the cent.", style="green")
        return 0
    for disagreement in found[:SHOWN]:
        console.print(str(disagreement), style="red", markup=False)
    console.print(f"{len(found):,} sums disagree.", style="red")
    return 1


def explain(error: BaseException) -> str:
    """Return an error in one line, or raise it on when it is nothing a user can act on."""
    while isinstance(error, BaseExceptionGroup):  # the first to fail; the others were cancelled by it
        error = error.exceptions[0]
    if isinstance(error, PgdualError | psycopg.Error | OSError | ImportError):
        return str(error).strip()
    raise error
