# Generated from tests/_async/test_tls.py by _generate.py. Do not edit.
"""TLS: what is asked for is verified, and what does not hold is said at once, as the mistake that it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdual.embedded import Template
from pgdual.errors import OperationalError
from tests.tls import Authority, tls_template

from .clients import client_of

HERE = "127.0.0.1"


@pytest.fixture
def tls() -> Iterator[Template]:
    with tls_template() as made:
        yield made


def test_everything_is_verified(tls: Template, tmp_path: Path) -> None:
    """verify-full with a test authority, and SCRAM bound to the channel."""
    authority = Authority(tmp_path)
    with authority.server(tls, HERE) as server:
        with client_of(main=authority.dsn(server)) as client:
            question = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            assert client["main"].fetchval(question) is True


@pytest.mark.parametrize(
    ("name", "expired", "foreign", "words"),
    [
        ("db.example.org", False, False, "does not match host name"),
        (HERE, True, False, "certificate verify failed"),
        (HERE, False, True, "certificate verify failed"),
    ],
    ids=["another host's", "expired", "foreign"],
)
def test_a_certificate_that_does_not_hold(
    tls: Template, tmp_path: Path, name: str, expired: bool, foreign: bool, words: str
) -> None:
    """It is refused at once, names the database, and is no incident: trying again would not help (B2)."""
    (tmp_path / "trusted").mkdir()
    authority, trusted = Authority(tmp_path), Authority(tmp_path / "trusted")
    with authority.server(tls, name, expired=expired) as server:
        client = client_of(main=(trusted if foreign else authority).dsn(server), breaker_failure_threshold=1)
        db = client["main"]
        with pytest.raises(OperationalError, match=words) as caught:
            db.fetchval("select 1")
        assert "database: main" in caught.value.__notes__
        assert "correct horse" not in str(caught.value)
        assert db.circuit_breaker.state == "closed"
        client.close()
