"""The Splunk app in `deploy/`: its configuration files as Splunk reads them, and what they make of an event."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from connector.kafka import schemas
from connector.model import Topic
from tests.support.splunk import expressions, filters, pipeline
from tests.support.splunk.expressions import Row, text
from tests.support.splunk.pipeline import Search

ROOT: Final = Path(__file__).parents[3]
SPLUNK: Final = ROOT / "deploy" / "splunk"
APP: Final = SPLUNK / "app" / "TA-mde-inventory-connector"
PAGE: Final = ROOT / "docs" / "splunk.md"
VIEW: Final = APP / "default" / "data" / "ui" / "views" / "mde_software.xml"

SOURCETYPES: Final = {
    "mde:software:change": Topic.CHANGES,
    "mde:software:alert": Topic.ALERTS,
    "mde:software:snapshot": Topic.SNAPSHOTS,
    "mde:software:campaign": Topic.CAMPAIGNS,
}
SPLUNKS_OWN: Final = {"_time", "_raw", "host", "source", "sourcetype", "index"}
"""Fields that every event has."""

Conf = dict[str, dict[str, str]]


def page_commands() -> list[str]:
    """The command lines of docs/splunk.md, with their marks."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def page_command(word: str) -> list[str]:
    """The one command of the page that has a word, as it is started."""
    (line,) = (line for line in page_commands() if word in line and "# not run here" not in line)
    return shlex.split(line)


def read_conf(content: str) -> Conf:
    """The stanzas of a configuration file; a line that ends in a backslash goes on in the next."""
    stanzas: Conf = {}
    stanza: dict[str, str] = {}
    for line in re.sub(r"\s*\\\n", " ", content).splitlines():
        if line.startswith("[") and line.endswith("]"):
            stanza = stanzas.setdefault(line[1:-1], {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            stanza[key.strip()] = value.strip()
    return stanzas


@cache
def conf(name: str) -> Conf:
    """A file of the app, such as `props`."""
    return read_conf((APP / "default" / f"{name}.conf").read_text(encoding="utf-8"))


def properties(name: str) -> dict[str, str]:
    """A file of Java properties beside the app."""
    lines = (SPLUNK / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def alternatives(name: str) -> dict[str, str]:
    """The properties of such a file that stand behind a comment mark, for those who need them."""
    content = (SPLUNK / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^#([a-z.]+)=(.*)$", content, re.MULTILINE))


def with_campaigns() -> dict[str, str]:
    """The lines of the sink's file that take the optional topic too."""
    return {key: value for key, value in alternatives("connect-sink.properties").items() if "campaign" in value} | {
        "splunk.indexes": alternatives("connect-sink.properties")["splunk.indexes"]
    }


def expanded(search: str) -> str:
    """A search with its macros in place."""
    macros = conf("macros")
    while "`" in search:
        search = re.sub(r"`(\w+)`", lambda match: macros[match[1]]["definition"], search)
    return search


def saved_searches() -> dict[str, str]:
    """Every saved search, as it is written."""
    return {name: stanza["search"] for name, stanza in conf("savedsearches").items()}


def dashboard() -> dict[str, Any]:
    """The definition of the dashboard."""
    match = re.search(r"<!\[CDATA\[(.*)\]\]>", VIEW.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    definition: dict[str, Any] = json.loads(match[1])
    return definition


def panels() -> dict[str, str]:
    """The search of every panel."""
    sources = dashboard()["dataSources"]
    return {f"panel {source['name']}": source["options"]["query"].replace("\n", " ") for source in sources.values()}


def searches() -> dict[str, str]:
    """Everything that is searched: saved searches and panels."""
    return saved_searches() | panels()


def parsed(search: str) -> Search:
    """A search with its macros in place, parsed."""
    pipeline.declare(lookup_columns())
    return pipeline.parse(expanded(search))


def lookup_columns() -> dict[str, list[str]]:
    """The columns of each lookup."""
    lookups = {name: stanza.get("fields_list") for name, stanza in conf("transforms").items()}
    return {name: columns.split(", ") for name, columns in lookups.items() if columns}


def empty_lookups() -> pipeline.Lookups:
    """The KV store of a fresh installation."""
    return {name: {} for name in lookup_columns()}


# ---- fields


def schema_fields(topic: Topic) -> Iterator[str]:
    """The names that Splunk gives the fields of a topic's messages."""
    for field in json.loads(schemas.schema_of(topic))["fields"]:
        yield from _names(field["name"], field["type"])


def _names(name: str, kind: Any) -> Iterator[str]:
    branch = next((one for one in kind if one != "null"), None) if isinstance(kind, list) else kind
    if isinstance(branch, dict) and branch["type"] == "array":
        yield f"{name}{{}}"
    elif isinstance(branch, dict) and branch["type"] == "record":
        for field in branch["fields"]:
            yield from _names(f"{name}.{field['name']}", field["type"])
    else:
        yield name


def calculated(sourcetype: str) -> dict[str, str]:
    """The fields that props.conf calculates, with their expressions."""
    stanza = conf("props")[sourcetype]
    return {key.removeprefix("EVAL-"): value for key, value in stanza.items() if key.startswith("EVAL-")}


def header_fields() -> set[str]:
    """The headers that the sink makes indexed fields."""
    return set(properties("connect-sink.properties")["splunk.header.custom"].split(","))


def known_fields(search: str) -> set[str]:
    """What the events of a search have: of the sourcetypes that it names, and of all where it names none."""
    named = [name for name in SOURCETYPES if f'"{name}"' in expanded(search)]
    fields = SPLUNKS_OWN | header_fields()
    for name in named:
        fields |= set(schema_fields(SOURCETYPES[name])) | set(calculated(name))
    return fields


# ---- events


def extracted(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The fields that KV_MODE = json makes of an event: null is a text, a boolean too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from extracted(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        if value:
            yield f"{name}{{}}", [text(item) for item in value]
    else:
        yield name, json.dumps(value) if value is None or isinstance(value, bool) else value


def raw(event: dict[str, Any]) -> str:
    """The text of an event, which comes as a text or as an object."""
    given = event["event"]
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def at_index_time(event: dict[str, Any]) -> Row:
    """An event of the HTTP Event Collector after props.conf and transforms.conf have seen it."""
    row: Row = {name: event[name] for name in ("host", "source", "sourcetype", "index") if name in event}
    row |= {"_raw": raw(event), "_time": event["time"], **event.get("fields", {})}
    transform = conf("props")[event["sourcetype"]]["TRANSFORMS-time"]
    name, _, expression = conf("transforms")[transform]["INGEST_EVAL"].partition(":=")
    row[name] = _expression(expression).on(row)
    return row


def at_search_time(event: dict[str, Any]) -> Row:
    """An event as a search sees it."""
    row = at_index_time(event) | dict(extracted(json.loads(raw(event))))
    made = {name: _expression(expression).on(row) for name, expression in calculated(event["sourcetype"]).items()}
    return row | {name: value for name, value in made.items() if value is not None}


@cache
def _expression(content: str) -> expressions.Expression:
    return expressions.parse(content)


@cache
def event_types() -> dict[str, filters.Filter]:
    """The event types with their filters."""
    return {name: filters.parse(stanza["search"]) for name, stanza in conf("eventtypes").items()}


def tags(event: Row) -> set[str]:
    """The tags of an event: those of the event types that it is of."""
    types = {name for name, condition in event_types().items() if condition.accepts(event)}
    return {tag for name in types for tag in conf("tags").get(f"eventtype={name}", {})}
