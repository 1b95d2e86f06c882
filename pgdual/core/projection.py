"""Events and who projects them: what is known without asking a database.

An event is whatever names its `event_id`, `aggregate_id`, `version` and `timestamp`: a dataclass, a pydantic
model or a dict. A projector registered by class gets an instance of that class, also when the event comes
back out of the log; one registered by name gets an `Event`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from inspect import Parameter, iscoroutinefunction, signature
from math import isfinite
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel, TypeAdapter, ValidationError

from pgdual.errors import ProjectionError, UsageError

ENVELOPE = ("event_id", "event_type", "aggregate_id", "version", "timestamp")
TIMEOUT = 2.0  # seconds. Source: the guide, "SYNC Projections (2s Timeout)"
SHARE = 0.3  # J5. Source: the guide, "Target: <30% SYNC rate"
FEW = 100  # events before the share says anything


class ProjectionType(StrEnum):
    """When a projector runs: before the caller goes on, or behind it."""

    SYNC = "sync"
    ASYNC = "async"


class Position(NamedTuple):
    """A place in the event log; later events compare greater."""

    turn: int
    number: int


START = Position(0, 0)
LONGEST = 2_000  # bytes of a message that are kept
UNREADABLE = "(unreadable)"  # the type of what stands for a message that is no event


@dataclasses.dataclass(frozen=True, slots=True)  # slots: half the work of the garbage collector
class Event:
    """An event as the log has it."""

    event_id: UUID
    event_type: str
    aggregate_id: str
    version: int  # the first of an aggregate is 1
    timestamp: datetime
    data: dict[str, Any]
    position: Position = START
    origin: Any = dataclasses.field(default=None, compare=False, repr=False)  # what the user gave

    @classmethod
    def of(cls, given: Any) -> Event:
        """Return *given* as an event.

        Raises:
            UsageError: It is none, or a field of it is missing or wrong.
        """
        if isinstance(given, cls):
            return given
        fields = _fields(given)
        name = fields.pop("event_type", None) or (
            None if isinstance(given, Mapping) else type(given).__name__
        )
        values = {key: fields.pop(key, None) for key in ENVELOPE if key != "event_type"}
        data = fields.pop("data", None) if isinstance(fields.get("data"), Mapping) else {}
        event = cls(
            _uuid(values["event_id"]),
            _text("event_type", name),
            _text("aggregate_id", values["aggregate_id"]),
            _version(values["version"]),
            _time(values["timestamp"]),
            {**fields, **data},
            origin=given,
        )
        event.json()  # what cannot be kept is told here
        return event

    @classmethod
    def unreadable(
        cls, place: str, position: Position, timestamp: datetime, value: bytes, error: Exception
    ) -> Event:
        """Return what stands for a message that is no event, so that it can be kept with its *error*.

        Args:
            place: Where it is; it is taken for the first event of an aggregate of this name.
        """
        words = f"{place} is no event: {type(error).__name__}: {error}"
        shown = (value[:LONGEST], words.encode("utf-8", "backslashreplace"))
        text, reason = (one.decode("utf-8", "backslashreplace").replace("\0", "\\0") for one in shown)
        data = {"error": reason, "value": text}
        return cls(uuid5(NAMESPACE_URL, place), UNREADABLE, place, 1, timestamp, data, position)

    def json(self) -> str:
        """Return the data as JSON.

        Raises:
            UsageError: Something in it has no JSON form, or PostgreSQL could not keep it.
        """
        try:
            text = json.dumps(self.data, default=_plain, allow_nan=False, ensure_ascii=False)
            text.encode()  # half a character has no bytes
            # Without the escaped backslashes what is left are escapes.
            if "\\u0000" in text and "\\u0000" in text.replace("\\\\", ""):
                raise ValueError("PostgreSQL has no NUL in a text")
            return text
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the data of event {self.event_id} has no JSON form to be kept: {error}"
            ) from None

    def as_a(self, kind: Any) -> Any:
        """Return the event as projectors registered by *kind* get it.

        Raises:
            ProjectionError: It does not fit the class.
        """
        if isinstance(kind, str):
            return self
        if isinstance(self.origin, kind):
            return self.origin
        fields = {key: getattr(self, key) for key in ENVELOPE}
        try:
            return _adapter(kind).validate_python({**self.data, "data": self.data, **fields})
        except ValidationError as error:
            raise ProjectionError(f"event {self.event_id} is no {kind.__name__}: {error}") from None


def _fields(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, BaseModel):
        return {**given.__dict__, **(given.model_extra or {})}
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    raise UsageError(f"{given!r:.80} is no event: give a dataclass, a pydantic model or a dict")


def _uuid(value: Any) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise UsageError(f"event_id={value!r}: an event has a UUID of its own") from None


def _text(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, (str, UUID, int)) and not isinstance(value, bool) else ""
    if not text or "\0" in text or text.encode(errors="ignore").decode() != text:  # half a character
        raise UsageError(f"{name}={value!r}: an event names it as text")
    return text


def _version(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 63:
        raise UsageError(f"version={value!r}: an event has the version of its aggregate, the first is 1")
    return value


def _time(value: Any) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise UsageError(f"timestamp={value!r}: give a datetime, or its ISO 8601 text") from None
    # The log's column is an instant: what has no zone would change with the server's setting.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime) or hasattr(value, "isoformat"):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, bytes):
        raise TypeError("bytes")
    return str(value)  # UUID, Decimal and the like: pydantic reads them back


@lru_cache(maxsize=256)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def name_of(kind: Any) -> str:
    """Return the event_type of events of *kind*, which is a class or the name itself.

    Raises:
        ProjectionError: It is neither.
    """
    if isinstance(kind, str) and kind:
        return kind
    if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
        raise ProjectionError(f"{kind!r} is no event: give a dataclass, a pydantic model or the event's name")
    if issubclass(kind, BaseModel):
        field = kind.model_fields.get("event_type")
        default = None if field is None else field.default
    else:
        default = getattr(kind, "event_type", None)
    return default if isinstance(default, str) and default else kind.__name__


@dataclasses.dataclass
class Projector:
    """A function that turns one kind of event into rows."""

    name: str
    function: Callable[..., Any]
    kind: Any  # a class, or an event's name
    event_type: str
    when: ProjectionType
    projection: str  # what it is a part of: they go along the log together
    is_batch: bool = False  # it is given lists of events
    tables: tuple[str, ...] = ()  # that this projection alone writes
    timeout: float = TIMEOUT  # seconds, where it is SYNC

    @property
    def is_inline(self) -> bool:
        """True if it runs before the caller goes on."""
        return self.when is ProjectionType.SYNC

    def given(self, events: list[Event]) -> Any:
        """Return what the function is called with for *events*, which are one if it takes no batches."""
        if not self.is_batch:
            return events[0].as_a(self.kind)
        return events.copy() if isinstance(self.kind, str) else [event.as_a(self.kind) for event in events]


class Registry:
    """Who projects what on one face, and how many events were projected (J5)."""

    def __init__(self, face: str) -> None:
        self._face = face
        self._projectors: dict[str, Projector] = {}
        self.events: int = 0  # that were given to `project`
        self.inline: int = 0  # of them, with a SYNC projector
        self.unprojected: int = 0  # of them, with none at all
        self.is_warned: bool = False

    def add(
        self,
        kind: Any,
        function: Any,
        when: Any,
        name: str | None = None,
        projection: str | None = None,
        is_batch: bool = False,
        tables: Iterable[str] = (),
    ) -> Projector:
        """Register *function* for events of *kind*.

        Raises:
            ProjectionError: It is no function `(event, db)` of this face, its name is taken, or its
                projection is of the other type.
        """
        event_type = name_of(kind)
        if when not in list(ProjectionType):
            raise ProjectionError(f"projection_type={when!r}: give a ProjectionType")
        _check_function(function, self._face)
        own = name or f"{function.__name__}:{event_type}"
        if own in self._projectors:
            raise ProjectionError(
                f"projector {own!r} is registered twice; its checkpoint goes by its name, so give another "
                "with name="
            )
        made = Projector(
            own, function, kind, event_type, ProjectionType(when), projection or own, is_batch, _names(tables)
        )
        if any(one.when is not made.when for one in self if one.projection == made.projection):
            raise ProjectionError(
                f"projection {made.projection!r} has SYNC and ASYNC projectors, which go on apart; "
                "give them another with projection="
            )
        self._projectors[own] = made
        return made

    def limit(self, function: Any, seconds: Any) -> None:
        """Give the SYNC projectors of *function* a time limit.

        Raises:
            ProjectionError: It has none, or *seconds* is not above zero.
        """
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, (int, float))
            or not seconds > 0
            or not isfinite(seconds)
        ):
            raise ProjectionError(f"timeout_seconds={seconds!r}: give seconds above 0")
        found = [one for one in self if one.function is function]
        name = getattr(function, "__name__", repr(function))
        if not found:
            raise ProjectionError(f"{name} is no projector: write @sync_projection above @projector(...)")
        if not all(one.is_inline for one in found):
            raise ProjectionError(
                f"{name} is not SYNC, so it has no time limit: register it with "
                "projection_type=ProjectionType.SYNC"
            )
        for one in found:
            one.timeout = float(seconds)

    def named(self, name: str) -> Projector:
        """Return one projector.

        Raises:
            ProjectionError: None has this name; the message lists those that there are.
        """
        if name not in self._projectors:
            known = ", ".join(self._projectors) or "none is registered"
            raise ProjectionError(f"no projector {name!r}; there are: {known}")
        return self._projectors[name]

    def projection(self, name: str) -> list[Projector]:
        """Return the projectors of one projection.

        Raises:
            ProjectionError: There is none of this name; the message lists those that there are.
        """
        found = [one for one in self if one.projection == name]
        if not found:
            known = ", ".join(sorted({one.projection for one in self})) or "none is registered"
            raise ProjectionError(f"no projection {name!r}; there are: {known}")
        return found

    def behind(self) -> list[str]:
        """Return the names of the ASYNC projections, which a worker runs."""
        return list(dict.fromkeys(one.projection for one in self if not one.is_inline))

    def of(self, event_type: str) -> list[Projector]:
        """Return the projectors of one type of event, in the order of their registration."""
        return [one for one in self if one.event_type == event_type]

    def count(self, projectors: list[Projector]) -> str | None:
        """Count an event that has *projectors*; return what there is to say of the share of SYNC (J5)."""
        self.events += 1
        self.inline += any(one.is_inline for one in projectors)
        self.unprojected += not projectors
        if self.events < FEW or self.share <= SHARE:
            self.is_warned = self.is_warned and self.share > SHARE
            return None
        if self.is_warned:
            return None
        self.is_warned = True  # once per crossing
        return (
            f"[SYNC SHARE] {self.share:.0%} of {self.events} events have SYNC projectors (threshold: "
            f"{SHARE:.0%}); each holds up its caller: make ASYNC what nobody waits to see"
        )

    @property
    def share(self) -> float:
        """The share of events with a SYNC projector, from 0 to 1."""
        return self.inline / self.events if self.events else 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._projectors)} projectors>"

    def __iter__(self) -> Iterator[Projector]:
        return iter(list(self._projectors.values()))


def is_source(source: Any, face: str) -> bool:
    """True if a worker of *face* can have its events from *source*."""
    tracks = getattr(source, "tracks", None)
    return callable(tracks) and iscoroutinefunction(tracks) == (face == "async")


def _names(tables: Iterable[str]) -> tuple[str, ...]:
    listed = (tables,) if isinstance(tables, str) else tuple(tables)
    if not all(isinstance(table, str) and table for table in listed):
        raise ProjectionError(f"tables={tables!r}: give the names of tables, as in SQL")
    return listed


def _check_function(function: Any, face: str) -> None:
    if not callable(function) or not hasattr(function, "__name__"):
        raise ProjectionError(f"{function!r} is no function: a projector is a function (event, db)")
    name = function.__name__
    if iscoroutinefunction(function) != (face == "async"):
        way = "async def" if face == "async" else "def"
        raise ProjectionError(f"projector {name}: on this face it is written `{way} {name}(event, db)`")
    parameters = list(signature(function).parameters.values())
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    given = [one for one in parameters if one.kind in places]
    needed = [one for one in parameters if one.default is Parameter.empty and "VAR_" not in one.kind.name]
    is_open = any(one.kind is Parameter.VAR_POSITIONAL for one in given)
    if (len(given) < 2 and not is_open) or len(needed) > 2 or any(one not in given for one in needed):
        raise ProjectionError(f"projector {name}{signature(function)} is called with (event, db)")
