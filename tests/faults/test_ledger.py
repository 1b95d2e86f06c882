"""Rule O1, held against everything that can go wrong, all at once."""

from __future__ import annotations

import random

import pytest

from pgdual.embedded import Postgres

from .ledger import run

FIXED = 20260731


@pytest.mark.parametrize(
    "seed", [pytest.param(FIXED, id="fixed"), pytest.param(None, id="random", marks=pytest.mark.slow)]
)
async def test_the_ledger(main_server: Postgres, main_dsn: str, seed: int | None) -> None:
    """O1: what is ok is there, what failed is not, nothing is there twice, and no money was made."""
    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    print(f"seed {chosen}")  # noqa: T201
    book, violations = await run(main_server, main_dsn, chosen, 10.0)
    print(book)  # noqa: T201
    assert not violations
    assert book.ok
