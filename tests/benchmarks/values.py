"""Changes as Avro and as JSON: bytes an event, alone and in batches as Kafka compresses them, and events a second."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, Final

from connector.config.tables import ValueFormat
from connector.kafka.values import Values
from connector.kafka.values.avro import AvroValues
from connector.kafka.values.json import JsonValues
from connector.model import Topic
from tests.benchmarks.measuring import Figures, best, measure, print_table
from tests.support.messages import fresh_registry, topic_names
from tests.support.records import CHANGE

DIFFERENT: Final = 1_000
"""Changes that differ from each other; as many are in a batch."""
EVENTS_MAX: Final = 200_000
ROUNDS: Final = 3

FORMATS: Final[tuple[ValueFormat, ...]] = ("avro", "json")


def changes() -> list[dict[str, Any]]:
    """Installations on as many devices: most changes are like them, one path and nothing before."""
    paths = {"diskPaths": ["c:\\program files\\java\\jre\\bin\\java.exe"], "registryPaths": []}
    return [
        CHANGE
        | paths
        | {
            "changeType": "ADDED",
            "reason": "INSTALLED",
            "changedFields": [],
            "before": None,
            "softwareName": "java_runtime",
            "eventId": f"{number:08x}-8d5e-572f-80d6-9e779ea2f038",
            "sequence": number,
            "shortenedFields": [],
            "deviceId": f"{number:040x}",
            "deviceName": f"lt-gva-{number:05}.corp.example",
            "softwareVersion": f"{number % 90}.{number % 7}.{number}",
        }
        for number in range(DIFFERENT)
    ]


def values_of(value_format: ValueFormat) -> Values:
    """What writes a format."""
    return JsonValues() if value_format == "json" else AvroValues(fresh_registry(), topic_names())


def write(value_format: ValueFormat, events: int) -> int:
    """Write as many events. Returns their bytes."""
    values = values_of(value_format)
    return sum(len(values.write(Topic.CHANGES, change)) for change in islice(cycle(changes()), events))


def batch_bytes(value_format: ValueFormat) -> tuple[float, float]:
    """Bytes an event, alone and within a compressed batch."""
    values = values_of(value_format)
    written = [values.write(Topic.CHANGES, change) for change in changes()]
    return sum(map(len, written)) / len(written), len(gzip.compress(b"".join(written), 6)) / len(written)


def rows(events: int) -> Iterator[tuple[object, ...]]:
    """A row for each format."""
    for value_format in FORMATS:
        figures: Figures = best(measure(write, value_format, events) for _ in range(ROUNDS))
        start = best(measure(write, value_format, 1) for _ in range(ROUNDS))
        seconds = max(figures.cpu_seconds - start.cpu_seconds, 0.001)
        alone, batched = batch_bytes(value_format)
        yield value_format, f"{alone:.0f}", f"{batched:.0f}", f"{events / seconds:,.0f}"


def run(records: int) -> None:
    """Measure, and print the table."""
    events = min(records, EVENTS_MAX)
    print_table(
        f"values of {events:,} changes, on one processor",
        ("format", "bytes", "bytes in gzip", "events/s"),
        list(rows(events)),
    )
