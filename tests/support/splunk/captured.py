"""What the demo publishes, as Splunk's HTTP Event Collector is given it: from Avro, or from JSON values."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

from connector.cli import demo
from connector.model import Topic
from tests.support.recorded import recorded
from tests.support.splunk.app import SOURCETYPES, at_search_time
from tests.support.splunk.expressions import Row

Event = dict[str, Any]
Spelling = Literal["avro", "json"]

TOPICS: Final = {topic: sourcetype for sourcetype, topic in SOURCETYPES.items()}


def hec_event(topic: Topic, value: dict[str, Any], spelling: Spelling) -> Event:
    """One value as the collector is given it, at the time of publishing."""
    event = {name: _spelled(one, spelling) if isinstance(one, datetime) else one for name, one in value.items()}
    published: datetime = value.get("emittedAt") or value["finishedAt"] or value["startedAt"]
    return {
        "time": published.timestamp(),
        "host": value.get("deviceName") or "connect-1",
        "source": f"kafka:{topic.name_under(demo.PREFIX)}",
        "sourcetype": TOPICS[topic],
        "index": "mde",
        "event": event,
        "fields": {"ce_type": "mde.software"},
    }


def _spelled(moment: datetime, spelling: Spelling) -> str:
    """A time as Java's Jackson writes it, or as it stands in JSON values."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000" if spelling == "avro" else "Z")


def demo_events(spelling: Spelling = "avro") -> list[Event]:
    """Everything that the demo publishes, as events."""
    return [hec_event(topic, value, spelling) for topic, values in recorded().values.items() for value in values]


@cache
def demo_rows(spelling: Spelling) -> tuple[Row, ...]:
    """The same as searches see them."""
    return tuple(map(at_search_time, demo_events(spelling)))
