"""Chooses the value format. One is written; both are read, as a topic has both once the format has been changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector.config.tables import ValueFormat
from connector.kafka.registry import Registry
from connector.kafka.values import ValueReader, Values
from connector.kafka.values.avro import AvroValues
from connector.kafka.values.json import JsonValues
from connector.kafka.values.shipped import ShippedAvro
from connector.model import Topic

JSON_BEGINS = b"{"


class EitherValues:
    """Writes one format, and reads each value by the format that it is in: a `Values`.

    Args:
        writer: the format that is written.
        avro: reads Avro.
        as_json: reads JSON.
    """

    def __init__(self, writer: Values, *, avro: ValueReader, as_json: ValueReader) -> None:
        self.content_type = writer.content_type
        self.write = writer.write
        self.sql = writer.sql
        self._avro = avro
        self._json = as_json

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """As `Values.read`."""
        reader = self._json if value.startswith(JSON_BEGINS) else self._avro
        return reader.read(value, topic)


def choose_values(
    value_format: ValueFormat, names: Mapping[Topic, str], registry: Callable[[], Registry]
) -> EitherValues:
    """The values of a configuration. The registry is only asked for where Avro is written.

    Args:
        value_format: `kafka.value_format`.
        names: full names of the topics.
        registry: gives the schema registry.
    """
    as_json = JsonValues()
    if value_format == "json":
        return EitherValues(as_json, avro=ShippedAvro(), as_json=as_json)
    avro = AvroValues(registry(), names)
    return EitherValues(avro, avro=avro, as_json=as_json)
