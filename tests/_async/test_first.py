"""The first query of all: both faces answer, each database from its own server."""

from __future__ import annotations

from pgdual.aio import AsyncClient
from pgdual.settings import DatabaseSettings, Settings


async def test_a_query_runs_on_both_databases(main_dsn: str, vb_dsn: str) -> None:
    """`client["main"]` and `client["vb"]` each ask their own server (R1)."""
    settings = Settings(
        databases={"main": DatabaseSettings(dsn=main_dsn), "vb": DatabaseSettings(dsn=vb_dsn)}
    )
    async with AsyncClient(settings) as client:
        main = await client["main"].fetchval("select current_setting('port')")
        vb = await client["vb"].fetchval("select current_setting('port')")
    assert main != vb
