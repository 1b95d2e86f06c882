# Generated from tests/_async/test_event_log.py by _generate.py. Do not edit.
"""The event log: expected versions, an order without holes, and who follows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgdual.sync import EventLog, Gap, Notification, Position
from pgdual.errors import ClientClosedError, UniqueViolation, UsageError, VersionConflictError

from .clients import client_of, outside
from .runtime import gather, spawn, wait_until

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LISTENERS = "select pid from pg_stat_activity where datname = current_database() and query like 'LISTEN%'"


def event(aggregate: str = "a", version: int = 1, kind: str = "tick", **data: Any) -> dict[str, Any]:
    """Return an event."""
    return {
        "event_id": uuid4(),
        "event_type": kind,
        "aggregate_id": aggregate,
        "version": version,
        "timestamp": NOW,
        "data": data,
    }


def test_append_and_read(main_dsn: str) -> None:
    """What was appended is read in order, from the start or from a position, by type and by part."""
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        gather(*[log.create] * 4)  # at once: none fails
        given = [event("a", n, "tick" if n % 2 else "tock", n=n) for n in range(1, 6)]
        places = log.append(given)
        assert places == sorted(places)
        log.append(event("b", 1, "tick", n=6))
        found = log.read()
        assert [one.data["n"] for one in found] == [1, 2, 3, 4, 5, 6]
        assert [one.event_id for one in found[:5]] == [one["event_id"] for one in given]
        assert (found[0].timestamp, found[0].position) == (NOW, places[0])
        assert [one.data["n"] for one in log.read(places[2], limit=2)] == [4, 5]
        assert [one.data["n"] for one in log.read(event_types=["tock"])] == [2, 4]
        parts = [[one.aggregate_id for one in log.read(part=(k, 3))] for k in range(3)]
        assert sorted([one for part in parts for one in part]) == ["a"] * 5 + ["b"]
        assert sum("a" in part for part in parts) == 1
        assert log.version("a") == 5


def test_a_conflict(main_dsn: str) -> None:
    """An aggregate that is at another version than expected is a clear error, and nothing is appended."""
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        log.create()
        log.append([event("a", 1), event("a", 2)], expected_version=0)
        for expected in (0, 1, 5):
            with pytest.raises(VersionConflictError, match=rf"'a' is at version 2, not {expected}") as caught:
                log.append(event("a", expected + 1), expected_version=expected)
            error = caught.value
            assert (error.aggregate_id, error.expected, error.actual) == ("a", expected, 2)
        twice = event("a", 3)
        log.append(twice, expected_version=2)
        with pytest.raises(UniqueViolation):
            log.append({**twice, "version": 4})
        assert [one.version for one in log.read()] == [1, 2, 3]


def test_one_of_many_wins(main_dsn: str) -> None:
    """Of several that append the same version at once one succeeds; the others are told."""
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        log.create()

        def attempt(version: int) -> bool:
            try:
                log.append(event("a", version))
            except VersionConflictError:
                return False
            return True

        for version in (1, 2, 3):
            won = gather(*[lambda version=version: attempt(version)] * 4)
            assert sorted(won) == [False, False, False, True]
        assert log.version("a") == 3


WRONG = [
    ([], None, "needs an event"),
    ([event("a", 1), event("b", 2)], None, "append each apart"),
    ([event("a", 1), event("a", 3)], None, "has version 3; the next of 'a' after 1 is 2"),
    ([event("a", 2)], 0, "has version 2; the next of 'a' after 0 is 1"),
    ([event("a", 1)], -1, "expected_version=-1"),
    ([event("a", 1)], True, "expected_version=True"),
    ([42], None, "is no event"),
]


@pytest.mark.parametrize(("events", "expected", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_cannot_be_appended(events: Any, expected: Any, words: str) -> None:
    """Bad input is refused before anything is sent."""
    log = EventLog(client_of(main="postgresql://127.0.0.1:9/nowhere")["main"])
    with pytest.raises(UsageError, match=words):
        log.append(events, expected_version=expected)


@pytest.mark.parametrize("position", [None, 3, (1,), ("a", 2)])
def test_what_is_no_position(position: Any) -> None:
    """A position is that of an event."""
    log = EventLog(client_of(main="postgresql://127.0.0.1:9/nowhere")["main"])
    with pytest.raises(UsageError, match="from_position="):
        log.read(position)
    with pytest.raises(UsageError, match="limit="):
        log.read(limit=0)


RAW = """
WITH s AS (
    INSERT INTO pgdual_streams VALUES (%s, 1, pg_current_xact_id()::text::bigint) RETURNING turn
)
INSERT INTO pgdual_events (turn, event_id, event_type, aggregate_id, version, occurred_at, data)
SELECT turn, gen_random_uuid(), 'tick', %s, 1, now(), '{}' FROM s"""


def test_a_late_committer_is_not_skipped(main_dsn: str) -> None:
    """J3: an event whose transaction commits late comes after what was read meanwhile, and is not missed."""
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        log.create()
        with psycopg.connect(main_dsn) as late:
            late.execute(RAW, ["late", "late"])  # its number is the lower one, and it is not committed
            log.append(event("early", 1))
            assert log.read() == []  # a reader that went past "early" would never see "late"
            assert log.is_behind()
            late.commit()
        found = log.read()
        assert [one.aggregate_id for one in found] == ["late", "early"]
        assert not log.is_behind()


def test_an_old_transaction_appends_last(main_dsn: str) -> None:
    """J3: a transaction older than the aggregate's last event appends behind it, in the aggregate's order."""
    with client_of(main=main_dsn) as client:
        db = client["main"]
        log = EventLog(db)
        log.create()
        with db.transaction() as tx:
            tx.fetchval("select pg_current_xact_id()::text")  # from here on it has its id
            with psycopg.connect(main_dsn, autocommit=True) as other:
                other.execute(RAW, ["a", "a"])
            log.append(event("a", 2))
            assert log.read() == []
        assert [one.version for one in log.read()] == [1, 2]


def test_no_reader_misses_an_event(main_dsn: str) -> None:
    """J3: while writers commit in any order a reader that goes on from where it was sees all."""
    with client_of(main=main_dsn, pool_max_size=8) as client:
        db = client["main"]
        log = EventLog(db)
        log.create()

        def write(writer: int) -> int:
            for version in range(1, 31):
                with db.transaction() as tx:
                    log.append(event(f"w{writer}", version))
                    tx.execute("select pg_sleep($1)", (writer * version % 4) / 1000)
            return writer

        with spawn(lambda: gather(*[lambda k=k: write(k) for k in range(4)])) as writing:
            seen: list[Any] = []
            position = Position(0, 0)

            def look() -> bool:
                nonlocal position
                is_last = writing.is_done()
                found = log.read(position, limit=7)
                seen.extend(found)
                position = found[-1].position if found else position
                return is_last and not found

            wait_until(look, timeout=20)
            writing.result()
    assert len(seen) == len({one.event_id for one in seen}) == 120
    for writer in range(4):
        versions = [one.version for one in seen if one.aggregate_id == f"w{writer}"]
        assert versions == list(range(1, 31))


def test_listen(main_dsn: str) -> None:
    """listen() yields what is sent to its channels, with its payload, whatever the channel is called."""
    with client_of(main=main_dsn) as client:
        channel = 'odd"; DROP TABLE x; --'
        with client["main"].listen("a", channel) as listener:
            outside(main_dsn, "select pg_notify(%s, %s)", channel, "one")
            outside(main_dsn, "select pg_notify('a', 'two')")
            for expected in ((channel, "one"), ("a", "two")):
                found = listener.next(10)
                assert isinstance(found, Notification)
                assert (found.channel, found.payload) == expected
            assert listener.next(0.01) is None
            outside(main_dsn, "notify a")
            for one in listener:
                assert one == Notification("a", "", one.pid)
                break
        with pytest.raises(ClientClosedError, match="was closed"):
            listener.next(1)
        wait_until(lambda: not outside(main_dsn, LISTENERS))


def test_a_gap(main_dsn: str) -> None:
    """After a reconnect listen() yields a Gap, never silence, and goes on."""
    with client_of(main=main_dsn) as client, client["main"].listen("a") as listener:
        outside(main_dsn, f"select pg_terminate_backend(pid, 5000) from ({LISTENERS}) as l")
        outside(main_dsn, "notify a")  # nobody hears this one
        assert isinstance(listener.next(10), Gap)
        outside(main_dsn, "notify a, 'again'")
        found = listener.next(10)
        assert isinstance(found, Notification)
        assert found.payload == "again"


@pytest.mark.parametrize("channels", [(), ("",), ("x" * 64,), (3,), ("a\0b",)])
def test_what_is_no_channel(channels: Any) -> None:
    """A channel's name is told to be wrong before anything is sent; a long one would be cut off."""
    with pytest.raises(UsageError, match="channel"):
        client_of(main="postgresql://127.0.0.1:9/nowhere")["main"].listen(*channels)


def test_subscribe(main_dsn: str) -> None:
    """A subscription has what there is and then what comes, also what came while its listener was down."""
    with client_of(main=main_dsn) as client:
        log = EventLog(client["main"])
        log.create()
        log.append(event("a", 1))
        with log.subscribe() as events:
            assert (events.next(10)).version == 1
            assert events.next(0.01) is None
            with spawn(lambda: events.next(10)) as waiting:
                log.append(event("a", 2))
                assert (waiting.result()).version == 2
            outside(main_dsn, f"select pg_terminate_backend(pid, 5000) from ({LISTENERS}) as l")
            log.append(event("a", 3))
            for one in events:
                assert one.version == 3
                break
            again = log.subscribe(events.position)
            assert again.next(0.01) is None
            again.close()
