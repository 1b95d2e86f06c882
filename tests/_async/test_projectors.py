"""J1: which function projects which events, and what registration refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from pgdual.aio import Event, ProjectionType, Registry, projector, sync_projection
from pgdual.errors import ProjectionError, UsageError

from .runtime import FACE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class OrderPlacedEvent:
    event_id: UUID
    aggregate_id: str
    version: int
    timestamp: datetime
    user_id: UUID
    price: Decimal


class AccountCreated(BaseModel):
    event_id: UUID
    event_type: str = "account.created"
    aggregate_id: str
    version: int
    timestamp: datetime
    name: str


async def project_order(event: Any, db: Any) -> None:
    """Do nothing, with the right signature."""


@pytest.fixture
def registry() -> Registry:
    return Registry(FACE)


def placed() -> OrderPlacedEvent:
    return OrderPlacedEvent(uuid4(), "order-1", 1, NOW, uuid4(), Decimal("1.10"))


def test_several_for_an_event(registry: Registry) -> None:
    """J1: several functions take one event, by its class or by its name; the function stays as it is."""

    async def another(event: Any, db: Any) -> None: ...

    assert projector(OrderPlacedEvent, registry=registry)(project_order) is project_order
    projector("OrderPlacedEvent", projection_type=ProjectionType.SYNC, registry=registry)(another)
    projector(AccountCreated, registry=registry)(project_order)
    found = registry.of("OrderPlacedEvent")
    assert [(one.name, one.is_inline) for one in found] == [
        ("project_order:OrderPlacedEvent", False),  # behind the caller, unless it is asked for
        ("another:OrderPlacedEvent", True),
    ]
    assert [one.function for one in registry.of("account.created")] == [project_order]
    assert registry.of("unknown") == []


def test_the_time_limit(registry: Registry) -> None:
    """J1: @sync_projection above @projector amends the registration; 2 s otherwise."""

    @sync_projection(timeout_seconds=0.5, registry=registry)
    @projector("a", projection_type=ProjectionType.SYNC, registry=registry)
    async def one(event: Any, db: Any) -> None: ...

    @projector("a", projection_type=ProjectionType.SYNC, registry=registry)
    async def two(event: Any, db: Any) -> None: ...

    assert [one.timeout for one in registry.of("a")] == [0.5, 2.0]


@pytest.mark.parametrize("seconds", [0, -1, True, "2", None, float("nan"), float("inf")])
def test_a_limit_that_is_none(registry: Registry, seconds: Any) -> None:
    """J1: a limit is a number of seconds above zero."""
    projector("a", projection_type=ProjectionType.SYNC, registry=registry)(project_order)
    with pytest.raises(ProjectionError, match="timeout_seconds="):
        sync_projection(seconds, registry=registry)(project_order)


def test_a_limit_on_the_wrong_function(registry: Registry) -> None:
    """J1: only SYNC projectors have a time limit, and the decorators have an order."""
    with pytest.raises(ProjectionError, match="above @projector"):
        sync_projection(registry=registry)(project_order)
    projector("a", registry=registry)(project_order)
    with pytest.raises(ProjectionError, match="is not SYNC"):
        sync_projection(registry=registry)(project_order)


def test_a_name_twice(registry: Registry) -> None:
    """J1: two projectors of one name would share a checkpoint."""
    projector("a", registry=registry)(project_order)
    with pytest.raises(ProjectionError, match="registered twice"):
        projector("a", registry=registry)(project_order)
    projector("a", name="other", registry=registry)(project_order)
    assert registry.named("other").event_type == "a"
    with pytest.raises(ProjectionError, match="there are: project_order:a, other"):
        registry.named("nobody")


async def one_argument(event: Any) -> None: ...
async def three_arguments(event: Any, db: Any, more: Any) -> None: ...
async def by_keyword(event: Any, db: Any, *, more: Any) -> None: ...


@pytest.mark.parametrize("function", [one_argument, three_arguments, by_keyword])
def test_a_wrong_signature(registry: Registry, function: Any) -> None:
    """J1: a projector is called with (event, db); what cannot be is refused when it is registered."""
    with pytest.raises(ProjectionError, match=r"is called with \(event, db\)"):
        projector("a", registry=registry)(function)


@pytest.mark.parametrize(("kind", "when"), [(1, "sync"), (int, "sync"), ("", "sync"), ("a", "later")])
def test_a_wrong_registration(registry: Registry, kind: Any, when: Any) -> None:
    """J1: neither an event nor a type of projection may be something else."""
    with pytest.raises(ProjectionError, match=r"is no event|projection_type="):
        projector(kind, projection_type=when, registry=registry)(project_order)


def test_a_function_of_the_other_face() -> None:
    """J1: a face calls functions of its own colour, and says which that is."""
    other = Registry({"sync": "a" + "sync"}.get(FACE, "sync"))
    with pytest.raises(ProjectionError, match="on this face it is written"):
        projector("a", registry=other)(project_order)


def test_an_event_comes_back_as_it_was() -> None:
    """A class that went through JSON is the same again: UUID, Decimal and time have their types."""
    for given in (
        placed(),
        AccountCreated(event_id=uuid4(), aggregate_id="a", version=1, timestamp=NOW, name="x"),
    ):
        event = Event.of(given)
        read = Event(
            event.event_id,
            event.event_type,
            event.aggregate_id,
            1,
            NOW,
            json.loads(event.json()),
        )
        assert event.as_a(type(given)) is given
        assert read.as_a(type(given)) == given
        assert read.as_a("name") is read
    with pytest.raises(ProjectionError, match="is no AccountCreated"):
        Event.of(placed()).as_a(AccountCreated)


def test_a_dict_is_an_event() -> None:
    """A dict with the six keys is an event; a time without a zone is UTC."""
    key = uuid4()
    given = {"event_id": str(key), "event_type": "a", "aggregate_id": 7, "version": 2, "data": {"n": 1}}
    event = Event.of({**given, "timestamp": "2026-01-02T03:04:05"})
    assert (event.event_id, event.aggregate_id, event.data, event.timestamp) == (key, "7", {"n": 1}, NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": "x"},
        {"event_id": None},
        {"event_type": ""},
        {"aggregate_id": None},
        {"aggregate_id": "a\0b"},
        {"version": 0},
        {"version": True},
        {"version": 1 << 63},
        {"timestamp": "yesterday"},
        {"data": {"x": float("nan")}},
        {"data": {"x": b"y"}},
    ],
)
def test_what_is_no_event(wrong: dict[str, Any]) -> None:
    """A field that is missing or wrong is named before anything is sent."""
    right: dict[str, Any] = {
        "event_id": str(uuid4()),
        "event_type": "a",
        "aggregate_id": "b",
        "version": 1,
        "timestamp": NOW,
    }
    Event.of(right)
    with pytest.raises(
        UsageError, match=r"event_id=|event_type=|aggregate_id=|version=|timestamp=|JSON form"
    ):
        Event.of({**right, **wrong})
    with pytest.raises(UsageError, match="is no event"):
        Event.of(42)


def test_the_share(registry: Registry) -> None:
    """J5: above 30 % SYNC events the registry warns, once per crossing, and not before it has seen some."""
    projector("a", projection_type=ProjectionType.SYNC, registry=registry)(project_order)
    said = [registry.count(registry.of("a")) for _ in range(150)]
    assert [index for index, text in enumerate(said) if text] == [99]
    assert "[SYNC SHARE] 100% of 100 events" in str(said[99])
    assert not any(registry.count(registry.of("b")) for _ in range(400))
    assert (registry.events, registry.unprojected, registry.is_warned) == (550, 400, False)
    assert sum(registry.count(registry.of("a")) is not None for _ in range(100)) == 1
