"""Events, and who projects them (J1, J5), without a database: every way in, and every way to be wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict

from pgdual.core.projection import START, Event, Position, ProjectionType, Registry, is_source, name_of
from pgdual.errors import ProjectionError, UsageError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = UUID(int=7)
GIVEN: dict[str, Any] = {
    "event_id": KEY,
    "event_type": "Tick",
    "aggregate_id": "a",
    "version": 1,
    "timestamp": NOW,
}


class Side(Enum):
    BUY = "buy"


@dataclass
class Part:
    n: int


@dataclass
class Placed:
    event_id: UUID
    aggregate_id: str
    version: int
    timestamp: datetime
    price: Decimal = Decimal("1.10")
    tags: frozenset[str] = field(default_factory=frozenset)


class Named(BaseModel):
    model_config = ConfigDict(extra="allow")
    event_id: UUID = KEY
    event_type: str = "named.event"
    aggregate_id: str = "a"
    version: int = 1
    timestamp: datetime = NOW


class Unnamed(BaseModel):
    event_id: UUID = KEY


def tick(event: Any, db: Any) -> None: ...


def test_an_event_of_each_kind() -> None:
    """A dataclass, a model and a dict are events; whatever else they have is their data."""
    placed = Event.of(Placed(KEY, "a", 1, NOW))
    assert (placed.event_type, placed.data["price"], placed.position) == ("Placed", Decimal("1.10"), START)
    assert Event.of(Named(more=3)).data == {"more": 3}  # type: ignore[call-arg]
    given = Event.of({**GIVEN, "data": {"n": 1}, "more": 2})
    assert given.data == {"n": 1, "more": 2}
    assert Event.of(given) is given
    assert Event.of({**GIVEN, "timestamp": "2026-01-02T03:04:05"}).timestamp == NOW


def test_its_json() -> None:
    """What has a JSON form gets it: models, enums, times, dataclasses, sets, decimals."""
    data = {"m": Unnamed(), "s": Side.BUY, "t": NOW, "p": Part(1), "f": {1}, "d": Decimal("1.10")}
    found = json.loads(Event.of({**GIVEN, "data": data}).json())
    assert found == {
        "m": {"event_id": str(KEY)},
        "s": "buy",
        "t": NOW.isoformat(),
        "p": {"n": 1},
        "f": [1],
        "d": "1.10",
    }


def test_it_comes_back_as_its_class() -> None:
    """Who registers a class gets an instance, also of what went through JSON; by a name, an Event."""
    given = Placed(KEY, "a", 1, NOW)
    event = Event.of(given)
    read = Event(KEY, "Placed", "a", 1, NOW, json.loads(event.json()))
    assert event.as_a(Placed) is given
    assert read.as_a(Placed) == given
    assert read.as_a("Placed") is read
    with pytest.raises(ProjectionError, match="is no Placed"):
        Event.of({**GIVEN, "data": {"price": "dear"}}).as_a(Placed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": 3},
        {"event_type": None},
        {"aggregate_id": True},
        {"aggregate_id": "a\0"},
        {"version": 0},
        {"version": "1"},
        {"version": True},
        {"timestamp": 3},
        {"data": {"x": b"y"}},
    ],
)
def test_what_is_none(wrong: dict[str, Any]) -> None:
    """A field that is missing or wrong is named."""
    with pytest.raises(UsageError):
        Event.of({**GIVEN, **wrong})
    with pytest.raises(UsageError, match="is no event"):
        Event.of(Placed)


def test_names() -> None:
    """A class' events go by its event_type where it has one, by its own name otherwise."""
    assert [name_of(kind) for kind in ("x", Placed, Named, Unnamed)] == [
        "x",
        "Placed",
        "named.event",
        "Unnamed",
    ]
    for wrong in ("", 3, int):
        with pytest.raises(ProjectionError, match="is no event"):
            name_of(wrong)


def test_registration() -> None:
    """J1: several for an event; projections by name; what is given is one event, or a list for a batch."""
    registry = Registry("sync")
    one = registry.add("Tick", tick, "sync")
    two = registry.add(Named, tick, "async", projection="behind", is_batch=True, tables="t")
    three = registry.add("Tick", tick, "async", name="b", projection="behind", tables=["t", "u"])
    assert (one.name, one.projection, one.tables, one.is_inline) == ("tick:Tick", "tick:Tick", (), True)
    assert registry.of("Tick") == [one, three]
    assert registry.projection("behind") == [two, three]
    assert (registry.behind(), registry.named("b")) == (["behind"], three)
    event = Event.of(Named())
    assert (three.given([event]), two.given([event])) == (event, [event.origin])
    assert repr(registry) == "<Registry of 3 projectors>"


def by_keyword(event: Any, db: Any, *, more: Any) -> None: ...
def with_default(event: Any, db: Any, more: Any = None) -> None: ...
def with_rest(*args: Any) -> None: ...
def alone(event: Any) -> None: ...
async def waiting(event: Any, db: Any) -> None: ...


def test_what_cannot_be_registered() -> None:
    """J1: a wrong function, type, name or table is told when it is registered."""
    registry = Registry("sync")
    for function in (with_default, with_rest):
        registry.add("Tick", function, "async")
    for function in (alone, by_keyword, waiting, 3, object()):
        with pytest.raises(ProjectionError):
            registry.add("Tick", function, "async")
    with pytest.raises(ProjectionError, match="async def"):
        Registry("async").add("Tick", tick, "async")
    with pytest.raises(ProjectionError, match="projection_type="):
        registry.add("Tick", tick, "later")
    with pytest.raises(ProjectionError, match="tables="):
        registry.add("Tick", tick, "async", tables=[""])
    with pytest.raises(ProjectionError, match="registered twice"):
        registry.add("Tick", with_rest, "async")
    with pytest.raises(ProjectionError, match="SYNC and ASYNC"):
        registry.add("Tick", tick, "sync", projection="with_rest:Tick")
    for ask in (registry.named, registry.projection):
        with pytest.raises(ProjectionError, match="there are: with_default:Tick, with_rest:Tick"):
            ask("x")
        with pytest.raises(ProjectionError, match="none is registered"):
            getattr(Registry("sync"), ask.__name__)("x")


def test_limits() -> None:
    """J1: a SYNC projector has a limit above zero, and nobody else has one."""
    registry = Registry("sync")
    with pytest.raises(ProjectionError, match="is no projector"):
        registry.limit(tick, 1)
    registry.add("Tick", tick, "sync")
    registry.limit(tick, 1)
    assert registry.of("Tick")[0].timeout == 1.0
    for seconds in (0, True, "1", float("inf")):
        with pytest.raises(ProjectionError, match="timeout_seconds="):
            registry.limit(tick, seconds)
    registry.add("Tock", tick, ProjectionType.ASYNC)
    with pytest.raises(ProjectionError, match="is not SYNC"):
        registry.limit(tick, 1)


def test_the_share() -> None:
    """J5: above 30 % it warns, once per crossing, and not before it has seen some."""
    registry = Registry("sync")
    registry.add("Tick", tick, "sync")
    assert registry.share == 0.0
    said = [registry.count(registry.of("Tick")) for _ in range(120)]
    assert [index for index, text in enumerate(said) if text] == [99]
    assert not any(registry.count([]) for _ in range(400))
    assert (registry.events, registry.inline, registry.unprojected) == (520, 120, 400)
    assert sum(registry.count(registry.of("Tick")) is not None for _ in range(100)) == 1


@pytest.mark.parametrize("text", ["\0", "a\\\0", "\ud800", "\udfff\ud800"])
@pytest.mark.parametrize("where", ["aggregate_id", "event_type", "data", "key"])
def test_what_postgresql_cannot_keep(text: str, where: str) -> None:
    """J2, J3: an event with a NUL or half a character is refused at once: its failure could not be kept."""
    data = {text: 1} if where == "key" else {"deep": [{"text": text}]} if where == "data" else {}
    given = {**GIVEN, "data": data, **({where: text} if "_" in where else {})}
    with pytest.raises(UsageError):
        Event.of(given)


def test_any_other_text() -> None:
    """What only looks like a NUL is kept, and so is any whole character."""
    data = {"text": "\\u0000 \\ \U0001f600 \u00fc"}
    event = Event.of({**GIVEN, "aggregate_id": "\u00fc", "data": data})
    assert json.loads(event.json()) == data


def test_what_is_a_source() -> None:
    """A worker's source is of its own face."""

    class Awaited:
        async def tracks(self) -> None: ...

    class Asked:
        def tracks(self) -> None: ...

    found = [[is_source(one, face) for face in ("async", "sync")] for one in (Awaited(), Asked(), None)]
    assert found == [[True, False], [False, True], [False, False]]


def test_what_is_no_event_is_kept() -> None:
    """J3: what stands for a message that is no event can be kept, and is the same each time it is read."""
    values = (Position(7, 2), NOW, b"\0\xff" + b"x" * 3_000, ValueError("\0 \ud800"))
    event, again = (Event.unreadable("topic/2/6", *values) for _ in range(2))
    assert event == again
    assert (event.aggregate_id, event.version, event.event_type) == ("topic/2/6", 1, "(unreadable)")
    assert event.data["value"] == "\\0\\xff" + "x" * 1_998
    assert event.data["error"] == "topic/2/6 is no event: ValueError: \\0 \\ud800"
    assert json.loads(event.json()) == event.data
