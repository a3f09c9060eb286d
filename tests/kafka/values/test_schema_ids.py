"""Schema ids over the life of a process, with a registry that changes meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from connector.config.tables import SchemaRegistryConfig
from connector.errors import EncodingError, SchemaUnknown, SinkRejected, SinkUnavailable
from connector.kafka import schemas
from connector.kafka.registry import Registry, value_subject
from connector.kafka.values.avro import AvroValues
from connector.kafka.values.schema_ids import BELIEVED_SECONDS, SchemaIds
from connector.model import Topic
from tests.support.messages import topic_names
from tests.support.records import CHANGE, REPORT

MARKED_CHANGE = CHANGE | {"shortenedFields": []}
UNKNOWN = (404, {"error_code": 40403, "message": "no such schema"})


class ChangingRegistry:
    """A registry whose next answers a test chooses, and a clock.

    Attributes:
        answer: status and content.
        asked: how often it was asked.
        now: seconds on the clock.
    """

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, Any]] = (200, {"id": 7})
        self.asked = 0
        self.now = 1000.0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                registry.asked += 1
                status, content = registry.answer
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        options: dict[str, Any] = {"url": f"http://127.0.0.1:{self._server.server_port}", "max.retries": 0}
        self.client = Registry(SchemaRegistryConfig(**options))

    def close(self) -> None:
        """End the server."""
        self.client.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def registry() -> Iterator[ChangingRegistry]:
    """A registry that gives the id 7."""
    opened = ChangingRegistry()
    yield opened
    opened.close()


@pytest.fixture
def ids(registry: ChangingRegistry) -> SchemaIds:
    """Ids of that registry, by its clock."""
    return SchemaIds(registry.client, seconds=lambda: registry.now)


def id_of(ids: SchemaIds) -> int:
    """The id of the schema of changes."""
    return ids.of("s-value", schemas.schema_of(Topic.CHANGES))


def test_an_id_is_asked_for_again_after_a_while(registry: ChangingRegistry, ids: SchemaIds) -> None:
    """Until then the registry is left alone; then the id that it gives now is used."""
    assert [id_of(ids) for _ in range(3)] == [7] * 3
    registry.answer = (200, {"id": 8})
    registry.now += BELIEVED_SECONDS - 1
    assert (id_of(ids), registry.asked) == (7, 1)
    registry.now += 1
    assert (id_of(ids), registry.asked) == (8, 2)


def test_a_registry_that_is_away_does_not_stop_what_has_an_id(registry: ChangingRegistry, ids: SchemaIds) -> None:
    """The last id is used on, and the registry is asked once in a while; a schema without an id is an outage."""
    id_of(ids)
    registry.answer = (503, {})
    registry.now += BELIEVED_SECONDS
    assert [id_of(ids) for _ in range(3)] == [7] * 3
    assert registry.asked == 2
    with pytest.raises(SinkUnavailable):
        ids.of("t-value", schemas.schema_of(Topic.ALERTS))
    registry.answer = (200, {"id": 9})
    registry.now += BELIEVED_SECONDS
    assert id_of(ids) == 9


@pytest.mark.parametrize(
    ("answer", "error"), [(UNKNOWN, SchemaUnknown), ((403, {}), SinkRejected), ((422, {}), EncodingError)]
)
def test_a_refusal_is_believed_at_once(
    registry: ChangingRegistry, ids: SchemaIds, answer: tuple[int, dict[str, Any]], error: type[Exception]
) -> None:
    """A schema that is gone, or access that was taken away, stops publishing until it is back."""
    id_of(ids)
    registry.answer = answer
    registry.now += BELIEVED_SECONDS
    for _ in range(2):
        with pytest.raises(error):
            id_of(ids)
    registry.answer = (200, {"id": 8})
    assert id_of(ids) == 8


def test_an_id_that_was_said_to_be_unknown_is_not_used_again(registry: ChangingRegistry, ids: SchemaIds) -> None:
    """Not even while the registry is away."""
    id_of(ids)
    registry.answer = UNKNOWN
    registry.now += BELIEVED_SECONDS
    with pytest.raises(SchemaUnknown):
        id_of(ids)
    registry.answer = (503, {})
    with pytest.raises(SinkUnavailable):
        id_of(ids)


def test_every_value_carries_the_id_of_its_time(registry: ChangingRegistry) -> None:
    """The same record twice, with another id in between."""
    avro = AvroValues(registry.client, topic_names(), seconds=lambda: registry.now)
    first = avro.write(Topic.CHANGES, MARKED_CHANGE)
    registry.answer = (200, {"id": 258})
    registry.now += BELIEVED_SECONDS
    second = avro.write(Topic.CHANGES, MARKED_CHANGE)
    assert (first[:5], second[:5], first[5:]) == (b"\0\0\0\0\7", b"\0\0\0\1\2", second[5:])


@pytest.mark.broker
def test_a_subject_that_was_deleted_is_noticed_and_registered_again(registry_url: str, topic_prefix: str) -> None:
    """A real registry: deleted for good, the schema is unknown; with `auto_register` the next message registers it."""
    names = {topic: topic.name_under(topic_prefix) for topic in Topic}
    subject, now = value_subject(names[Topic.SNAPSHOTS]), [0.0]
    with (
        Registry(SchemaRegistryConfig(url=registry_url)) as strict,
        Registry(SchemaRegistryConfig(url=registry_url, auto_register=True)) as eager,
        SchemaRegistryClient({"url": registry_url}) as at,
    ):
        first, second = (AvroValues(registry, names, seconds=lambda: now[0]) for registry in (eager, strict))
        assert first.write(Topic.SNAPSHOTS, REPORT) == second.write(Topic.SNAPSHOTS, REPORT)
        at.delete_subject(subject)
        at.delete_subject(subject, permanent=True)
        now[0] += BELIEVED_SECONDS
        with pytest.raises(SchemaUnknown):
            second.write(Topic.SNAPSHOTS, REPORT)
        assert first.write(Topic.SNAPSHOTS, REPORT) == second.write(Topic.SNAPSHOTS, REPORT)
        assert at.get_versions(subject) != []
