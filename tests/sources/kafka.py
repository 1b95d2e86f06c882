"""A Kafka cluster for tests: librdkafka's mock, which speaks the protocol and keeps all in memory.

It is no Kafka: it has groups, idempotence and offsets, but no administration and no files. The wheel of
confluent-kafka has the library; its Python side knows neither topics of a given size nor brokers that go
down, so the library itself is asked.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import files
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pgdual.aio import AsyncDB
from pgdual.sources.kafka import AsyncKafkaSource
from tests._async.test_event_log import event

ADD = "insert into totals values ($1, 1) on conflict (id) do update set total = totals.total + 1"
NOTE = "insert into seen (id, version) values ($1, $2)"
ORDER = "select id, array_agg(version order by place) from seen group by 1 order by 1"
# The mock waits for a session to end, less a second, before it gives partitions to others.
QUICK = {"session_timeout_ms": 1_100, "heartbeat_interval_ms": 100, "metadata_max_age_ms": 500}
QUICK |= {"fetch_max_wait_ms": 20}  # a question waits behind a fetch
PRODUCER = 0
UNKNOWN_TOPIC = 3  # Source: Kafka's error codes
BROKER = 1


@cache
def library() -> Any:
    """Return librdkafka, with the types of what is called here."""
    import confluent_kafka  # noqa: F401 - it loads what the library needs

    path = next(file for file in files("confluent-kafka") or () if file.name.startswith("librdkafka"))
    found = ctypes.CDLL(str(path.locate()))
    for name in ("conf_new", "new", "mock_cluster_new"):
        getattr(found, f"rd_kafka_{name}").restype = ctypes.c_void_p
    found.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return found


class MockKafka:
    """One broker.

    Args:
        partitions: Of each topic, by its name.
    """

    def __init__(self, **partitions: int) -> None:
        self._library = library()
        said = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._library.rd_kafka_conf_set(conf, b"log_level", b"3", said, len(said))
        self._client = ctypes.c_void_p(self._library.rd_kafka_new(PRODUCER, conf, said, len(said)))
        assert self._client, said.value
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._client, 1))
        self.address = str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())
        self._ask("group_initial_rebalance_delay_ms", 0)
        for topic, count in partitions.items():
            self._ask("topic_create", topic.encode(), count, 1)

    def _ask(self, name: str, *args: Any) -> None:
        getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *args)

    def hide(self, topic: str) -> None:
        """Answer as if there were no such topic."""
        self._ask("topic_set_error", topic.encode(), UNKNOWN_TOPIC)

    def set_down(self) -> None:
        """Cut all connections and refuse new ones; what was sent is kept."""
        self._ask("broker_set_down", BROKER)

    def set_up(self) -> None:
        """Take connections again."""
        self._ask("broker_set_up", BROKER)

    def remove(self, topic: str, partition: int, before: int) -> None:
        """Remove the messages *before* an offset, as retention does."""
        self._ask("partition_delete_records", topic.encode(), partition, ctypes.c_int64(before))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


async def note(one: Any, db: AsyncDB) -> None:
    """Note and count an event; fail with one that says so."""
    await db.execute(NOTE, one.aggregate_id, one.version)
    await db.execute(ADD, one.aggregate_id)
    await db.execute("select 1 / $1::int", one.data.get("by", 1))


def source_of(kafka: MockKafka, topic: str = "ticks", **options: Any) -> AsyncKafkaSource:
    return AsyncKafkaSource(topic, kafka.address, consumer=QUICK, **options)


async def fill(source: AsyncKafkaSource, aggregates: int, versions: range, **data: Any) -> None:
    """Send events of several aggregates."""
    await source.append([event(f"a{n}", one, **data) for one in versions for n in range(aggregates)])


async def committed(kafka: MockKafka, topic: str = "ticks", group: str = "pgdual.notes") -> dict[int, int]:
    """Return the offsets that a group has committed, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(3 if topic == "ticks" else 1)]
        found = {one.partition: await consumer.committed(one) for one in places}
    finally:
        await consumer.stop()
    return {number: offset for number, offset in found.items() if offset}


async def send(kafka: MockKafka, *values: bytes | None, topic: str = "single") -> None:
    """Send what may be no event."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value, key=b"k")
    await producer.stop()
