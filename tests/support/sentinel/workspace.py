"""A Log Analytics workspace in DuckDB: messages come in by the shipped transforms, the shipped KQL runs on them.

`duckdb-kql` runs the KQL. What it lacks is translated here: the clock, which is the search time of the recorded demo;
`ingestion_time()`, a column beside each table's own; numbers of milliseconds; and the watchlist, which is a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import duckdb_kql

from connector.kafka.values.json import JsonValues
from connector.model import Topic
from tests.support.recorded import recorded
from tests.support.sentinel import content
from tests.support.sentinel.tables import TABLES, Road, columns, stream_schema, table_schema, transform

NOW: Final = datetime(2026, 1, 6, 14, tzinfo=UTC)
"""When queries run: two hours after the last generation of the recorded demo."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
JSON: Final = JsonValues()

DUCKDB_TYPES: Final = {
    "string": "VARCHAR", "boolean": "BOOLEAN", "int": "INTEGER", "long": "BIGINT", "datetime": "TIMESTAMP",
    "dynamic": "JSON",
}  # fmt: skip
WATCHLIST: Final = f"Watchlist_{content.WATCHLIST}"
INGESTED: Final = "IngestionTime"

Value = dict[str, Any]
Row = dict[str, Any]


def translated(kql: str, now: datetime = NOW) -> str:
    """A query in words that duckdb-kql knows."""
    moment = f"datetime({now:%Y-%m-%dT%H:%M:%S}Z)"
    kql = re.sub(
        r"datetime\(1970-01-01\) \+ 1ms \* (\w+)", r"datetime_add('millisecond', \1, datetime(1970-01-01))", kql
    )
    kql = kql.replace(f"_GetWatchlist('{content.WATCHLIST}')", WATCHLIST).replace("ingestion_time()", INGESTED)
    return re.sub(r"\bago\(([^)]+)\)", rf"({moment} - \1)", kql).replace("now()", moment)


class Workspace:
    """The tables, the parser functions, and the watchlist."""

    def __init__(self, functions: Mapping[str, str]) -> None:
        self._connection = duckdb_kql.connect()
        self._functions = functions
        for topic, table in TABLES.items():
            self._create(table, table_schema(topic) | {INGESTED: "datetime"})
        self._create(WATCHLIST, {"SearchKey": "string"})

    def _create(self, table: str, schema: Mapping[str, str]) -> None:
        typed = ", ".join(f'"{name}" {DUCKDB_TYPES[kind]}' for name, kind in schema.items())
        self._connection.execute(f"CREATE OR REPLACE TABLE {table} ({typed})")

    def ingest(self, road: Road, topic: Topic, values: Iterable[Value], at: datetime | None = None) -> None:
        """Bring messages into a table by a road, each when it was published or at the time given.

        A text that is null becomes an empty one, as in every table of Log Analytics.
        """
        stream, kinds = stream_schema(topic, road), table_schema(topic)
        for moment, batch in by_arrival(values, at).items():
            self._create("source", stream)
            rows = [list(delivered(road, topic, value, moment).values()) for value in batch]
            self._connection.executemany(f"INSERT INTO source VALUES ({', '.join('?' for _ in stream)})", rows)
            result = duckdb_kql.kql(self._connection, translated(transform(topic, road), moment))
            result.create_view("transformed", replace=True)
            chosen = [f"coalesce({name}, '') AS {name}" if kinds[name] == "string" else name for name in result.columns]
            self._connection.execute(
                f"INSERT INTO {TABLES[topic]} BY NAME "
                f"SELECT {', '.join(chosen)}, "
                f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}' AS {INGESTED} FROM transformed"
            )

    def query(self, kql: str, now: datetime = NOW, period: timedelta = timedelta(days=3650)) -> list[Row]:
        """The rows of a query over what had arrived by now, within the period before; dynamic values decoded."""
        duckdb_kql.set_functions(
            [f"function {name}() {{ {_within(text, now, period)} }}" for name, text in self._functions.items()]
        )
        result = duckdb_kql.kql(self._connection, _within(kql, now, period))
        kinds = [str(kind) for kind in result.types]
        return [
            {
                name: json.loads(value) if kind == "JSON" and value is not None else value
                for name, kind, value in zip(result.columns, kinds, row, strict=True)
            }
            for row in result.fetchall()
        ]

    def know(self, product: str) -> None:
        """Put a product on the watchlist."""
        self._connection.execute(f"INSERT INTO {WATCHLIST} VALUES (?)", [product])

    def arrivals(self) -> list[datetime]:
        """When anything arrived, in order."""
        union = " UNION ".join(f"SELECT {INGESTED} FROM {table}" for table in TABLES.values())
        rows = self._connection.execute(f"{union} ORDER BY 1").fetchall()
        return [moment.replace(tzinfo=UTC) for (moment,) in rows]


def _within(kql: str, now: datetime, period: timedelta) -> str:
    """A query that sees of each table what a rule sees that looks back for a period."""
    begin, end = (f"datetime({moment:%Y-%m-%dT%H:%M:%S}Z)" for moment in (now - period, now))
    seen = rf"\1 | where TimeGenerated > {begin} and TimeGenerated <= {end}"
    return re.sub(rf"\b({'|'.join(TABLES.values())})\b", seen, translated(kql, now))


def by_arrival(values: Iterable[Value], at: datetime | None = None) -> dict[datetime, list[Value]]:
    """Messages by the second of their arrival: when they were published, or at the time given."""
    batches: dict[datetime, list[Value]] = {}
    for value in values:
        published: datetime = value.get("emittedAt") or value["finishedAt"] or value["startedAt"]
        batches.setdefault(at or published.replace(microsecond=0), []).append(value)
    return batches


def delivered(road: Road, topic: Topic, value: Value, moment: datetime) -> Row:
    """A message as a road delivers it to the transform."""
    if road == "event-hub":
        text = JSON.write(topic, {name: as_milliseconds(field) for name, field in value.items()}).decode()
        return {"TimeGenerated": moment.replace(tzinfo=None), "RawData": text, "Properties": "{}"}
    return {column.field: as_java_has_it(value[column.field], column.kind) for column in columns(topic)}


def as_java_has_it(value: Any, kind: str) -> Any:
    """A field of Avro's generic record after Logstash has read it: a time is its number of milliseconds."""
    return json.dumps(value) if kind == "dynamic" else as_milliseconds(value)


def as_milliseconds(value: Any) -> Any:
    """A time as the messages' own number; anything else as it is."""
    return (value - EPOCH) // timedelta(milliseconds=1) if isinstance(value, datetime) else value


@cache
def demo_workspace(road: Road) -> Workspace:
    """A workspace that has everything which the recorded demo published; for reading only."""
    return filled(road, recorded().values)


def filled(road: Road, *published: Mapping[Topic, Iterable[Value]]) -> Workspace:
    """A workspace that has what was published."""
    workspace = Workspace(content.functions())
    for values in published:
        for topic, listed in values.items():
            workspace.ingest(road, topic, listed)
    return workspace
