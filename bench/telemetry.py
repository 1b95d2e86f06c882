"""What do OpenTelemetry's metrics cost a call? Row 16b, beside row 16.

Both sides are pgdual; ours is told of by `pgdual.observe.opentelemetry` while its round is played. No SDK
takes part in a call: durations are kept in pgdual's own buckets and exported when the SDK exports.
"""

from __future__ import annotations

from bench.clients import pgdual_async
from bench.database import SELECT, keys
from bench.harness import Call, Question, Sample, Side, Stage
from bench.verdict import Promise

TASKS = 100


def _side(stage: Stage, call: Call, answer: Call) -> Side:
    played = stage.calls(call, TASKS)

    def play(seconds: float) -> Sample:
        cpu = played(seconds).cpu
        return Sample(cpu * 1e6, cpu)

    async def told() -> tuple[object, ...]:
        row: object = await answer()
        assert isinstance(row, tuple)
        return tuple(row)

    return Side(lambda: stage.run(told()), play)


def _contest(stage: Stage) -> tuple[Side, Side]:
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415  # an extra

    from pgdual.observe.opentelemetry import OpenTelemetry  # noqa: PLC0415

    db = stage.open_async(pgdual_async(stage.dsn))
    telemetry, provider = OpenTelemetry(), MeterProvider(shutdown_on_exit=False)
    mine, other = keys(), keys()
    plain = _side(stage, lambda: db.fetchrow(SELECT, other()), lambda: db.fetchrow(SELECT, 42))
    quiet = _side(stage, lambda: db.fetchrow(SELECT, mine()), lambda: db.fetchrow(SELECT, 42))

    def play(seconds: float) -> Sample:
        telemetry.start(provider)
        try:
            return quiet.round(seconds)
        finally:
            telemetry.stop()

    return Side(quiet.answer, play), plain


PROMISE = Promise(
    "16b",
    "OpenTelemetry metrics on, CPU a call, 100 tasks",
    "pgdual without",
    3,
    5,
    "us",
    lower_is_better=True,
    is_difference=True,
)
QUESTIONS = [Question(PROMISE, _contest)]
