"""A span for each call, and its context on the way to the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pgdual.core.thresholds import plain
from pgdual.observe._faces import kind_of

# What may be a value in a text: quoted in any of PostgreSQL's ways, or a number that is no part of a name.
# Quoted names and comments are looked for first, for a quote in one of them begins no literal.
_LITERAL = re.compile(
    r"""(?P<name>"(?:[^"]|"")*") | (?P<comment>--[^\n]* | /\*.*?\*/)
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ | \be'(?:[^'\\]|''|\\.)*' | (?:\b[bxnu]&?)?'(?:[^']|'')*'
    | (?<![\w$.])\d[\w.]*(?:[+-]\d+)?""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_propagator = TraceContextTextMapPropagator()


def without_literals(sql: str) -> str:
    """Return a text on one line with `?` in place of every literal; `$1` stays."""
    return plain(_LITERAL.sub(lambda found: found["name"] or (" " if found["comment"] else "?"), sql))


class Spans:
    """Begins and ends spans with one tracer."""

    def __init__(
        self, tracer_provider: Any, place: Callable[[str], dict[str, Any]], sends_comments: bool
    ) -> None:
        self._tracer = tracer_provider.get_tracer("pgdual")
        self._place = place
        self._sends_comments = sends_comments

    def begin(self, database: str, operation: str, statement: Any, job: Any) -> Any:
        """Return the span of a call, a child of the caller's; *job* gets its context where that is sent."""
        place = self._place(database)
        name = f"{operation or 'SCRIPT'} {place.get('db.namespace', database)}"
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT)
        if span.is_recording():
            span.set_attributes({**place, "db.query.text": without_literals(statement.sql)})
            if operation:
                span.set_attribute("db.operation.name", operation)
        if self._sends_comments and job is not None:
            job.comment = _comment(span)
        return span

    def end(self, span: Any, error: BaseException | None) -> None:
        """End a span; of an error its class and code are kept, not its words."""
        if error is not None:
            kind = kind_of(error)
            span.set_attribute("error.type", kind)
            if getattr(error, "sqlstate", None):
                span.set_attribute("db.response.status_code", kind)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _comment(span: Any) -> bytes:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    # Hexadecimal digits and dashes: nothing in it could end the comment.
    found = carrier.get("traceparent")
    return b"" if found is None else f"/*traceparent='{found}'*/".encode()
