"""The tables of Sentinel, generated from the Avro schemas: columns, streams and transforms of both roads.

The names are those of the messages in Pascal case, as in Defender's own tables. Logstash delivers the fields of an Avro
record as columns, times as bare numbers; Event Hubs deliver each message as a text of JSON.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from connector.kafka import schemas
from connector.model import Topic
from tests.support.recorded import TOPICS

Road = Literal["logstash", "event-hub"]

TABLES: Final = {topic: f"MdeSoftware{topic.value.capitalize()}_CL" for topic in TOPICS}
"""The table of each topic."""

EVENT_HUB_STREAM: Final = "Custom-MyEventHubStream"
"""The one name that Microsoft has for a stream that comes out of an event hub; each rule has one."""

EVENT_HUB_COLUMNS: Final = {"TimeGenerated": "datetime", "RawData": "string", "Properties": "dynamic"}
"""What comes out of an event hub."""

EPOCH_OF_TIMES: Final = "datetime(1970-01-01) + 1ms * "
"""How a transform reads a time that is a number: `unixtime_milliseconds_todatetime` is not allowed there."""

CONVERSIONS: Final = {
    "string": "tostring", "boolean": "tobool", "int": "toint", "long": "tolong", "datetime": "todatetime"
}  # fmt: skip
"""How a value out of JSON becomes one of a type; `dynamic` is one already."""


class Column(NamedTuple):
    """A column: the field of the message that fills it, its name and type in the table, and what it means."""

    field: str
    name: str
    kind: str
    doc: str

    @property
    def delivered(self) -> str:
        """The type in which Logstash delivers it."""
        return "long" if self.kind == "datetime" else self.kind


@cache
def columns(topic: Topic) -> tuple[Column, ...]:
    """The columns of a topic's table, in the order of its fields."""
    fields = json.loads(schemas.schema_of(topic))["fields"]
    return tuple(
        Column(field["name"], field["name"][0].upper() + field["name"][1:], _kind(field["type"]), field["doc"])
        for field in fields
    )


def _kind(avro: Any) -> str:
    if isinstance(avro, list):
        (avro,) = (branch for branch in avro if branch != "null")
    if isinstance(avro, str):
        return avro
    if avro.get("logicalType") == "timestamp-millis":
        return "datetime"
    return {"enum": "string", "array": "dynamic", "record": "dynamic"}[avro["type"]]


def table_schema(topic: Topic) -> dict[str, str]:
    """The types of a table's columns."""
    return {"TimeGenerated": "datetime"} | {column.name: column.kind for column in columns(topic)}


def stream_name(topic: Topic) -> str:
    """The stream that Logstash sends a topic to."""
    return f"Custom-{TABLES[topic].removesuffix('_CL')}"


def stream_schema(topic: Topic, road: Road) -> dict[str, str]:
    """The types of what a road delivers."""
    if road == "event-hub":
        return EVENT_HUB_COLUMNS
    return {column.field: column.delivered for column in columns(topic)}


def transform(topic: Topic, road: Road) -> str:
    """The transform from a stream to its table.

    `TimeGenerated` is the time of arrival: Azure replaces one that is older than two days by it anyway.
    """
    if road == "event-hub":
        pairs = [f"{column.name} = {_from_json(column)}" for column in columns(topic)]
        return f"source | extend message = parse_json(RawData) | project TimeGenerated, {', '.join(pairs)}"
    pairs = [f"{column.name} = {_from_logstash(column)}" for column in columns(topic)]
    return f"source | project TimeGenerated = now(), {', '.join(pairs)}"


def _from_logstash(column: Column) -> str:
    return f"{EPOCH_OF_TIMES}{column.field}" if column.kind == "datetime" else column.field


def _from_json(column: Column) -> str:
    value = f"message.{column.field}"
    return f"{CONVERSIONS[column.kind]}({value})" if column.kind in CONVERSIONS else value
