# Generated from tests/_async/test_first.py by _generate.py. Do not edit.
"""The first query of all: both faces answer, each database from its own server."""

from __future__ import annotations

from pgdual.sync import Client
from pgdual.settings import DatabaseSettings, Settings


def test_a_query_runs_on_both_databases(main_dsn: str, vb_dsn: str) -> None:
    """`client["main"]` and `client["vb"]` each ask their own server (R1)."""
    settings = Settings(
        databases={"main": DatabaseSettings(dsn=main_dsn), "vb": DatabaseSettings(dsn=vb_dsn)}
    )
    with Client(settings) as client:
        main = client["main"].fetchval("select current_setting('port')")
        vb = client["vb"].fetchval("select current_setting('port')")
    assert main != vb
