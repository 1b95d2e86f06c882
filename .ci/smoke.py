"""Shows that an installed wheel works: both faces, a private server, a transaction, the schema files.

It is copied away from the source before it runs.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import distribution, version
from importlib.resources import files

import pgdual
from pgdual.aio import AsyncClient, Record
from pgdual.core import pipeline
from pgdual.embedded import Postgres
from pgdual.settings import DatabaseSettings, Settings
from pgdual.sync import Client, run_schema_from_file

QUERY = "SELECT status FROM users WHERE email = $1"


def blocking(settings: Settings) -> str:
    """Run the schema and a transaction; return the server's version."""
    with Client(settings) as client:
        db = client["main"]
        assert run_schema_from_file(str(files("pgdual") / "schemas/tradecore.sql"), database=db).ran
        with db.transaction() as tx:
            tx.execute("INSERT INTO users (id, email) VALUES (gen_random_uuid(), $1)", "ann@example.com")
        assert db.fetchval(QUERY, "ann@example.com") == "active"
        return str(db.fetchval("SHOW server_version"))


async def asynchronous(settings: Settings) -> None:
    """Read what the other face wrote."""
    async with AsyncClient(settings) as client:
        rows = await asyncio.gather(*[client["main"].fetchrow(QUERY, "ann@example.com") for _ in range(20)])
        assert {row.status for row in rows if row is not None} == {"active"}


def language() -> str:
    """Return what it runs as: compiled, in the wheels that are not pure Python."""
    is_pure = "Root-Is-Purelib: true" in str(distribution("pgdual").read_text("WHEEL"))
    assert Record.__bases__[0].__module__ == ("pgdual.core.named" if is_pure else "pgdual.core._named")
    assert str(pipeline.__file__).endswith(".py") is is_pure, pipeline.__file__
    return "pure Python" if is_pure else "compiled"


def main() -> None:
    """Say what was tried."""
    assert "site-packages" in str(pgdual.__file__), pgdual.__file__
    with Postgres() as server:
        settings = Settings(databases={"main": DatabaseSettings(dsn=server.dsn)})
        number = blocking(settings)
        asyncio.run(asynchronous(settings))
    python = ".".join(map(str, sys.version_info[:3]))
    what = f"pgdual {version('pgdual')}, {language()}"
    sys.stdout.write(f"{what}, on Python {python} and PostgreSQL {number}\n")


if __name__ == "__main__":
    main()
