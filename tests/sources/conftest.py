"""A mock of Kafka, and a database whose read models are made from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pgdual.aio import AsyncDB, AsyncEventLog, Registry, projector
from pgdual.sources.kafka import AsyncKafkaSource
from tests._async.clients import client_of, prepare

from .kafka import MockKafka, note, source_of


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with MockKafka(ticks=3, single=1) as made:
        yield made


@pytest.fixture
async def db(main_dsn: str) -> AsyncIterator[AsyncDB]:
    """A database with the tables of projections, totals, and what was seen in which order."""
    prepare(
        main_dsn,
        "create table totals (id text primary key, total int not null)",
        "create table seen (place serial primary key, id text not null, version int not null)",
    )
    async with client_of(main=main_dsn, pool_max_size=12) as made:
        await AsyncEventLog(made["main"]).create()
        yield made["main"]


@pytest.fixture
def registry() -> Registry:
    made = Registry("async")
    projector("tick", name="notes", registry=made)(note)
    return made


@pytest.fixture
async def source(kafka: MockKafka) -> AsyncIterator[AsyncKafkaSource]:
    async with source_of(kafka) as made:
        yield made
