"""Reads Avro without a registry, by the schemas that come with the connector: those of this and of earlier releases.

For topics that were published as Avro before `kafka.value_format` became `json`. The id in a value says nothing here;
a value belongs to the schema by which it can be read, and written again, to the same bytes.
"""

from __future__ import annotations

import json
from functools import cache
from io import BytesIO
from typing import Any, Final, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from connector.errors import EncodingError
from connector.kafka import schemas
from connector.kafka.values.avro import PREFIX_BYTES
from connector.kafka.values.problems import Schema
from connector.model import Topic

HINT: Final = (
    'It looks like Avro, but not like that of this or an earlier release: set kafka.value_format = "avro" and its'
    " schema_registry.url to read it."
)


class ShippedAvro:
    """Reads values in Confluent's wire format: the half of a `Values` that reads."""

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """As `Values.read`."""
        records = [
            record
            for name, writer_schema in _released()
            if topic is None or schemas.NAMES[topic] == name
            if (record := _read(value[PREFIX_BYTES:], writer_schema, topic)) is not None
        ]
        if not records or any(record != records[0] for record in records):
            raise EncodingError(f"a value of {len(value)} bytes cannot be read without a schema registry", hint=HINT)
        return records[0]


def _read(content: bytes, writer_schema: Schema, topic: Topic | None) -> dict[str, Any] | None:
    """The record, resolved to the type of `topic` where that is given; None if the content has another schema."""
    try:
        written = schemaless_reader(BytesIO(content), writer_schema, None)
        again = BytesIO()
        schemaless_writer(again, writer_schema, written)
        if again.getvalue() != content:
            return None
        reader_schema = None if topic is None else _parse(schemas.schema_of(topic))
        return cast("dict[str, Any]", schemaless_reader(BytesIO(content), writer_schema, reader_schema))
    except Exception:  # noqa: BLE001 - there is no telling what fastavro raises on bytes of another schema
        return None


@cache
def _released() -> list[tuple[str, Schema]]:
    """The name of each record type with a schema of it, this release's first; each schema once."""
    texts = {json.dumps(schema): schema["name"] for schema in schemas.released_schemas()}
    return [(name, _parse(text)) for text, name in texts.items()]


@cache
def _parse(text: str) -> Schema:
    return cast("Schema", parse_schema(json.loads(text)))
