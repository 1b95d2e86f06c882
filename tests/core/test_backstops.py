"""What sessions are told for the case that nobody is left to keep a deadline (D3)."""

from decimal import InvalidOperation
from math import inf

import pytest

from pgdual.core.backstops import can_be_grouped, put_down, raised, session, total


def test_a_session_is_told_later_than_the_client_would_act():
    """The server's limits lie beyond the client's, and leave alone what is set already."""
    everywhere, somewhere = session(60.0)
    assert "('statement_timeout', '65000')" in everywhere
    assert "('idle_in_transaction_session_timeout', '300000')" in everywhere
    assert "('client_connection_check_interval', '2000')" in somewhere
    assert everywhere.endswith("WHERE current_setting(name, true) IN ('0', '7200')")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (119.2, b"SELECT set_config('statement_timeout', '125000', true)"),
        (inf, b"SELECT set_config('statement_timeout', '0', true)"),
        (1e9, b"SELECT set_config('statement_timeout', '2147483647', true)"),
    ],
)
def test_a_longer_limit(limit, text):
    """A longer time limit is raised for the statement's own group, some seconds beyond it."""
    assert raised(limit) == text
    assert raised(limit, is_local=False) == text.replace(b"true", b"false")


@pytest.mark.parametrize(
    ("limit", "whole", "each"),
    [(10.0, 75_000, 65_000), (60.0, 125_000, 65_000), (119.2, 185_000, 125_000), (1e9, 2**31 - 1, 2**31 - 1)],
)
def test_a_limit_of_all(limit, whole, each):
    """Where each statement has pgdual's limit, the transaction has one that is as long as it may take."""
    text = total(limit, 60.0).decode()
    assert f"set_config('transaction_timeout', '{whole}', true), set_config('statement_timeout', '0'" in text
    assert f"* 1000 = {each} AND current_setting('transaction_timeout') = '0'" in text


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("SELECT", True), ("UPDATE", True), ("VACUUM", False), ("CALL", False), ("", False)],
)
def test_what_can_stand_in_a_group(verb, expected):
    """VACUUM and its like, and what may commit inside, stand alone."""
    assert can_be_grouped(verb) is expected


def test_who_is_put_down():
    """T5: a process is ended by its number and by when it began, and only numbers get into the text."""
    text = put_down(42, "1700000000.123456")
    assert text.startswith(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = 42 AND ")
    assert text.endswith(b"::text = '1700000000.123456'")
    with pytest.raises(InvalidOperation):
        put_down(42, "1'; drop table t; --")
    with pytest.raises(ValueError, match="invalid literal"):
        put_down("1 or true", "1")
