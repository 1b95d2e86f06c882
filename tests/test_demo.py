"""The command line and the demo, run for real on two servers."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from importlib.metadata import version

import psycopg
import pytest
from rich.console import Console

from pgdual.cli import demo as command
from pgdual.cli.audit import Disagreement, add_up, audit, compare
from pgdual.cli.demo import explain, verdict
from pgdual.cli.places import own_schemas, schema_script, servers
from pgdual.cli.screen import Bars, Lines, Phase, counting, percentiles, table_of
from pgdual.cli.trading import OPENING_BALANCE, User, plan_wishes
from pgdual.errors import PoolTimeoutError
from pgdual.settings import Settings
from pgdual.sync import Client

SMALL = ["--users", "20", "--orders", "200"]
CLI = [sys.executable, "-W", "error", "-c", "from pgdual.cli import main; main()"]
NO_SERVERS = {
    name: value for name, value in os.environ.items() if not name.endswith(("_DSN", "DATABASE_URL"))
}


def pgdual(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        env=NO_SERVERS | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def schemas(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgdual_demo_%'")
        return [name for (name,) in rows]


def wait_for(condition: Callable[[], object], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# The comparison


def order(user: str, side: str, quantity: int, price: str) -> tuple[str, str, str, Decimal, Decimal]:
    return user, "AAPL", side, Decimal(quantity), Decimal(price)


def test_orders_add_up() -> None:
    """Purchases count as spent, sales do not; cash and positions move both ways."""
    books = add_up(
        [order("ann", "buy", 3, "10.10"), order("ann", "sell", 1, "11.00"), order("bob", "buy", 1, "5")]
    )
    assert books.total_orders == {"ann": 2, "bob": 1}
    assert books.total_spent == {"ann": Decimal("30.30"), "bob": Decimal(5)}
    assert books.cash == {"ann": Decimal("-19.30"), "bob": Decimal(-5)}
    assert books.positions == {("ann", "AAPL"): 2, ("bob", "AAPL"): 1}


def test_equal_sums_agree() -> None:
    """Equal sums agree whatever their scale, and a key that is missing counts as zero."""
    assert compare("spent", {"ann": Decimal("1.10"), "bob": Decimal(0)}, {"ann": Decimal("1.100")}) == []


@pytest.mark.parametrize(
    ("kept", "computed"),
    [
        ({"ann": Decimal("1.10")}, {"ann": Decimal("1.11")}),
        ({"ann": Decimal("1.10")}, {}),
        ({}, {"ann": Decimal("0.01")}),
    ],
)
def test_a_wrong_sum_is_found(kept: dict[str, Decimal], computed: dict[str, Decimal]) -> None:
    """One cent is enough, on either side."""
    (found,) = compare("spent", kept, computed)
    assert found.key == "ann"
    assert found.kept != found.computed
    assert str(found) == f"spent of ann: kept {found.kept}, the orders say {found.computed}"


def test_the_verdict_is_the_exit_code() -> None:
    """No disagreement is 0, any is 1; a long list is cut."""
    console = Console(file=io.StringIO())
    assert verdict(console, []) == 0
    assert verdict(console, [Disagreement("spent", n, Decimal(1), Decimal(2)) for n in range(1000)]) == 1
    said = console.file.getvalue()
    assert "1,000 sums disagree" in said
    assert said.count("kept 1") == 10


# The day


@pytest.fixture
def market(main_dsn: str, vb_dsn: str) -> Iterator[Settings]:
    """Settings for both databases after a small day."""
    with own_schemas(main_dsn, vb_dsn) as settings:
        asyncio.run(command.trading_day(settings, Console(file=io.StringIO()), 20, 200, 8))
        yield settings


def test_the_books_of_a_day_agree(market: Settings) -> None:
    """After a day of concurrent orders each sum is exact, and the audit has read every order."""
    phases, found, rows = command.bookkeeping(market)
    assert found == []
    assert rows["orders"] == rows["events"] == rows["vb_orders"] == rows["vb_fills"] == 200
    assert rows["users"] == rows["accounts"] == rows["vb_accounts"] == 20
    assert phases[0].stats["rows"] >= 200


@pytest.mark.parametrize(
    ("database", "statement", "names"),
    [
        (
            "main",
            "UPDATE users SET total_spent = total_spent + 0.01 WHERE total_orders > 0",
            {"users.total_spent"},
        ),
        ("main", "UPDATE users SET total_orders = total_orders + 1", {"users.total_orders"}),
        ("main", "UPDATE accounts SET balance = balance - 0.01", {"accounts.balance"}),
        ("main", "UPDATE positions SET quantity = quantity + 1", {"positions.quantity"}),
        ("vb", "UPDATE vb_accounts SET balance = 0", {"vb_accounts.balance"}),
        ("vb", "DELETE FROM vb_fills", {"vb_fills, number", "vb_fills, cash"}),
    ],
)
def test_the_audit_finds_what_is_wrong(
    market: Settings, database: str, statement: str, names: set[str]
) -> None:
    """Whatever sum is falsified on either database, the audit names that one and no other."""
    with Client(market) as client:
        client[database].execute(statement)
        found = audit(client["main"], client["vb"], OPENING_BALANCE)
    assert {disagreement.name for disagreement in found} == names


# The command


def test_version() -> None:
    """`--version` says it on a line of its own."""
    assert pgdual("--version").stdout == f"pgdual {version('pgdual')}\n"


def test_no_command_shows_the_help() -> None:
    """Without a command the help lists them."""
    done = pgdual()
    assert "demo" in done.stdout + done.stderr


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_a_missing_extra_is_named(library: str) -> None:
    """Without the extra the command says what to install, and shows no traceback."""
    code = f"import sys; sys.modules[{library!r}] = None; from pgdual.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"The pgdual command needs {library}: pip install 'pgdual[cli]'\n"


def test_the_demo_on_private_servers() -> None:
    """Without DSNs it starts servers of its own, and the last word is that every sum agrees."""
    done = pgdual("demo", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Every sum agrees, to the cent.\n")
    for row in ("main, async", "vb, async", "main, sync", "vb, sync", "p50", "calls/s"):
        assert row in done.stdout
    assert done.stderr == ""


def test_the_demo_on_given_servers(main_dsn: str, vb_dsn: str) -> None:
    """With both DSNs it uses those servers and leaves nothing behind."""
    done = pgdual("demo", "--quick", *SMALL, POSTGRES_DSN=main_dsn, VB_POSTGRES_DSN=vb_dsn)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 users place 20 orders" in done.stdout
    assert schemas(main_dsn) == schemas(vb_dsn) == []


def test_a_failing_demo_cleans_up(main_dsn: str) -> None:
    """When vb cannot be reached it says so in a line without the password, and main is clean."""
    nowhere = "postgresql://someone:secret-word@127.0.0.1:1/nowhere"
    done = pgdual("demo", *SMALL, POSTGRES_DSN=main_dsn, VB_POSTGRES_DSN=nowhere)
    assert done.returncode == 1
    assert "The demo failed: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "secret-word" not in done.stdout + done.stderr
    assert schemas(main_dsn) == []


@contextmanager
def running(main_dsn: str, vb_dsn: str) -> Iterator[subprocess.Popen[str]]:
    """A long demo that has begun to trade."""
    environment = NO_SERVERS | {"POSTGRES_DSN": main_dsn, "VB_POSTGRES_DSN": vb_dsn}
    arguments = [*CLI, "demo", "--orders", "1000000"]
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        try:
            assert demo.stdout
            wait_for(lambda: "orders placed" in demo.stdout.readline() or demo.poll())
            yield demo
        finally:
            demo.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up(main_dsn: str, vb_dsn: str, number: int) -> None:
    """Ctrl-C or a termination in the middle of the day drops the schemas on both servers."""
    with running(main_dsn, vb_dsn) as demo:
        assert len(schemas(main_dsn)) == len(schemas(vb_dsn)) == 1
        demo.send_signal(number)
        demo.communicate(timeout=30)
        assert demo.returncode == 130
    assert schemas(main_dsn) == schemas(vb_dsn) == []


# Its parts


def test_servers_are_given_or_private() -> None:
    """Two DSNs are taken as they are; with one alone both servers are private."""
    both = {"POSTGRES_DSN": "postgresql://a", "VB_POSTGRES_DSN": "postgresql://b"}
    with servers(both) as dsns:
        assert dsns == ("postgresql://a", "postgresql://b")
    with servers({"POSTGRES_DSN": "postgresql://a"}) as (main, vb):
        assert main != vb
        for dsn in (main, vb):
            psycopg.connect(dsn).close()


def test_schema_scripts_are_found() -> None:
    """The demo runs the very files of the repository."""
    assert "CREATE TABLE IF NOT EXISTS users" in schema_script("tradecore.sql")
    assert "CREATE TABLE IF NOT EXISTS vb_accounts" in schema_script("tradecore_vb.sql")


def test_wishes_are_the_same_every_day() -> None:
    """The same seed plans the same day; sales and purchases both happen."""
    users = [User() for _ in range(5)]
    wishes = plan_wishes(users, 100)
    assert wishes == plan_wishes(users, 100)
    assert {wish.side for wish in wishes} == {"buy", "sell"}


def test_a_terminal_gets_bars() -> None:
    """On a terminal each count has a bar, which ends full."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with counting(console, of=3) as tally:
        assert isinstance(tally, Bars)
        for _ in range(3):
            tally.tell("placed")
    assert "3/3" in console.file.getvalue()


def test_a_log_gets_lines() -> None:
    """Elsewhere a plain line comes now and then, without escape codes."""
    console = Console(file=io.StringIO())
    with counting(console, of=3) as tally:
        assert isinstance(tally, Lines)
        tally.every = 0
        tally.tell("placed")
    assert console.file.getvalue() == "  orders placed 1 of 3\n"


def test_the_table_fits_a_terminal() -> None:
    """With large figures no line of the table is over 80 columns or cut."""
    times = {"count": 9, "p50": 0.01234, "p95": 12.345, "p99": 1234.5, "max": 9999.0}
    stats = {"rows": 1_234_567, "calls": 1_234_567, "acquire": times, "query": times}
    console = Console(file=io.StringIO(), width=80)
    console.print(table_of([Phase("main, async", stats, 20.0)]))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(
        re.search(r"main, async +1,234,567 +1,234,567 +61,728 +0.01 12.3 1234 +0.01 12.3 1234", line)
        for line in lines
    )


def test_percentiles_are_short() -> None:
    """Each takes four characters, with as many digits as fit."""
    assert percentiles({"p50": 0.1, "p95": 25.04, "p99": 123.4}) == "0.10 25.0  123"


def test_only_known_errors_are_explained() -> None:
    """A group is explained by its first error; a bug is raised on with its traceback."""
    assert explain(ExceptionGroup("both", [PoolTimeoutError("no connection"), OSError()])) == "no connection"
    with pytest.raises(KeyError):
        explain(ExceptionGroup("both", [KeyError("bug")]))
