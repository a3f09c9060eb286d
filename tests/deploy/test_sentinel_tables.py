"""Sentinel's tables and both roads into them, generated from the schemas, judged by Microsoft's parser and models.

They are also played: the messages of a demo go through the shipped transforms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.loganalytics.models import ColumnTypeEnum
from azure.mgmt.monitor.models import KnownColumnDefinitionType

from connector.model import Topic
from tests.support.recorded import OPTIONAL, TOPICS, recorded
from tests.support.sentinel import azure_models, logstash, tables, templates, workspace
from tests.support.sentinel.checking import Question, as_kusto, judge
from tests.support.sentinel.tables import TABLES, Road

ROADS: tuple[Road, ...] = ("logstash", "event-hub")
FILES = {road: f"dcr-{road}.json" for road in ROADS}

ALLOWED_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
    binary_and binary_or binary_not binary_shift_left binary_shift_right binary_xor tobool todatetime todouble
    toreal toguid toint tolong tostring totimespan ago datetime_add datetime_diff datetime_part dayofmonth
    dayofweek dayofyear endofday endofmonth endofweek endofyear getmonth getyear hourofday make_datetime
    make_timespan now startofday startofmonth startofweek startofyear weekofyear array_concat array_length
    pack_array pack parse_json parse_xml zip abs bin floor ceiling exp exp10 exp2 isfinite isinf isnan log log10
    log2 pow round sign case iif max_of min_of base64_encodestring base64_decodestring countof extract
    extract_all indexof isempty isnotempty split strcat strcat_delim strlen substring tolower toupper
    hash_sha256 gettype isnotnull isnull
    """,
    )
)
"""Those of "Supported KQL features in Azure Monitor transformations" as of January 2026."""

ALLOWED_OPERATORS = {f"{name}Operator" for name in ("Extend", "Project", "Print", "Filter", "Parse")} | {
    "ProjectAwayOperator",
    "ProjectRenameOperator",
}
TRANSFORM_CHARACTERS_MAX = 15_360
COLUMN_CHARACTERS_MAX = 45
RESERVED = {"id", "Type", "Title", "TenantId", "UniqueId", "_ResourceId", "_SubscriptionId"}


def template(road: Road) -> dict[str, Any]:
    """The shipped template of a road."""
    content: dict[str, Any] = json.loads((templates.FOLDER / FILES[road]).read_text(encoding="utf-8"))
    return content


def resources(road: Road, kind: str) -> list[dict[str, Any]]:
    """The resources of a kind in a template."""
    return [one for one in template(road)["resources"] if one["type"].endswith(f"/{kind}")]


def transforms(road: Road) -> dict[str, tuple[dict[str, str], str]]:
    """The transform of each table, with the columns of its stream, as the template has them."""
    found = {}
    for rule in resources(road, "dataCollectionRules"):
        for flow in rule["properties"]["dataFlows"]:
            (stream,) = flow["streams"]
            declared = rule["properties"]["streamDeclarations"][stream]["columns"]
            found[flow["outputStream"].removeprefix("Custom-")] = (
                {column["name"]: column["type"] for column in declared},
                flow["transformKql"],
            )
    return found


# ---- the templates


@pytest.mark.parametrize("road", ROADS)
def test_azures_models_know_every_property(road: Road) -> None:
    """The models of Microsoft's management libraries, down to each column; role assignments aside."""
    known = [one for one in template(road)["resources"] if one["type"] in azure_models.MODELS]
    assert [path for resource in known for path in azure_models.unknown_properties(resource)] == []
    others = {one["type"] for one in template(road)["resources"]} - set(azure_models.MODELS)
    assert others == {"Microsoft.Authorization/roleAssignments"}


def test_a_property_that_does_not_exist_would_be_noticed() -> None:
    """At the bottom of a table, and of a rule."""
    (table, *_), (rule, *_) = resources("event-hub", "tables"), resources("event-hub", "dataCollectionRules")
    table["properties"]["schema"]["columns"][3]["tpye"] = "string"
    rule["properties"]["dataSources"]["dataImports"]["eventHub"]["group"] = "x"
    assert azure_models.unknown_properties(table) == ["properties.schema.columns.3.tpye"]
    assert azure_models.unknown_properties(rule) == ["properties.dataSources.dataImports.eventHub.group"]


@pytest.mark.parametrize("road", ROADS)
def test_every_expression_names_a_parameter_that_there_is(road: Road) -> None:
    """And every parameter is used, and described."""
    content = template(road)
    used = set(re.findall(r"parameters\('(\w+)'\)", json.dumps(content)))
    assert used == set(content["parameters"])
    assert [name for name, given in content["parameters"].items() if not given["metadata"]["description"]] == []
    expressions = re.findall(r'"(\[[^"]*)"', json.dumps(content["resources"]))
    assert [text for text in expressions if text.count("(") != text.count(")") or not text.endswith("]")] == []


@pytest.mark.parametrize("road", ROADS)
def test_both_roads_make_the_same_tables(road: Road) -> None:
    """An analyst does not see which road an event took."""
    assert resources(road, "tables") == resources("logstash", "tables")
    made = {
        one["properties"]["schema"]["name"]: {
            column["name"]: column["type"].lower() for column in one["properties"]["schema"]["columns"]
        }
        for one in resources(road, "tables")
    }
    assert made == {table: tables.table_schema(topic) for topic, table in TABLES.items()}


@pytest.mark.parametrize("topic", TOPICS)
def test_the_names_and_types_are_allowed(topic: Topic) -> None:
    """Azure's rules for columns, and the types that both APIs know."""
    names = tables.table_schema(topic)
    assert [name for name in names if not re.fullmatch(r"[A-Za-z]\w*", name) or len(name) > COLUMN_CHARACTERS_MAX] == []
    assert set(names) & RESERVED == set()
    known = {kind.value.lower() for kind in ColumnTypeEnum}
    assert set(names.values()) <= known & {kind.value for kind in KnownColumnDefinitionType}


def test_an_event_hub_has_a_rule_of_its_own_with_microsofts_stream() -> None:
    """A rule reads one event hub, by a stream whose name is given; it is joined to its hub, and may read it."""
    rules = resources("event-hub", "dataCollectionRules")
    assert [list(rule["properties"]["streamDeclarations"]) for rule in rules] == [[tables.EVENT_HUB_STREAM]] * 4
    joined = resources("event-hub", "dataCollectionRuleAssociations")
    for topic, rule, association, role in zip(
        TOPICS, rules, joined, resources("event-hub", "roleAssignments"), strict=True
    ):
        assert f"-{topic.value}'" in rule["name"]
        assert f"-{topic.value}'" in association["properties"]["dataCollectionRuleId"]
        assert f"'.{topic.value}'" in association["scope"]
        assert association["scope"] == role["scope"]
        assert templates.HUB_RECEIVER in role["properties"]["roleDefinitionId"]
        wanted = f"parameters('{topic.value}')"
        assert all((wanted in one.get("condition", "")) == (topic in OPTIONAL) for one in (rule, role, association))
        assert (f"if({wanted}" in role["properties"]["principalId"]) == (topic in OPTIONAL)


def test_the_event_hub_of_an_optional_topic_is_asked_for() -> None:
    """There is none unless the connector publishes it, and a rule for a hub that is missing fails the deployment."""
    parameters = template("event-hub")["parameters"]
    assert [parameters[topic.value]["defaultValue"] for topic in OPTIONAL] == [False] * len(OPTIONAL)


# ---- the transforms


@pytest.mark.parametrize("road", ROADS)
def test_a_transform_gives_its_table_exactly(road: Road, tool: Callable[[str], Path]) -> None:
    """Microsoft's parser finds nothing wrong, and the columns and types that come out are those of the table."""
    asked = [Question(table, text, {"source": stream}) for table, (stream, text) in transforms(road).items()]
    verdicts = judge(asked, tool("kusto"))
    assert {table: verdict.wrong for table, verdict in verdicts.items()} == {table: [] for table in TABLES.values()}
    assert {table: verdict.result for table, verdict in verdicts.items()} == {
        table: as_kusto(tables.table_schema(topic)) for topic, table in TABLES.items()
    }


@pytest.mark.parametrize("road", ROADS)
def test_a_transform_uses_only_what_transforms_may_use(road: Road, tool: Callable[[str], Path]) -> None:
    """Azure lists the functions and operators; the parser takes others too, the service does not."""
    asked = [Question(table, text, {"source": stream}) for table, (stream, text) in transforms(road).items()]
    for _, text in transforms(road).values():
        assert len(text) <= TRANSFORM_CHARACTERS_MAX
    for verdict in judge(asked, tool("kusto")).values():
        assert (verdict.functions - ALLOWED_FUNCTIONS, verdict.operators - ALLOWED_OPERATORS) == (set(), set())


def test_what_transforms_may_not_use_would_be_noticed(tool: Callable[[str], Path]) -> None:
    """A function that only queries have, an operator over rows, a column that there is not."""
    texts = {
        "function": "source | extend when = unixtime_milliseconds_todatetime(observedAt)",
        "operator": "source | summarize count() by alertType",
        "column": "source | project AlertId = alertid",
    }
    stream = tables.stream_schema(Topic.ALERTS, "logstash")
    verdicts = judge([Question(name, text, {"source": stream}) for name, text in texts.items()], tool("kusto"))
    assert verdicts["function"].functions - ALLOWED_FUNCTIONS == {"unixtime_milliseconds_todatetime"}
    assert verdicts["operator"].operators - ALLOWED_OPERATORS == {"SummarizeOperator"}
    assert verdicts["column"].wrong != []


def expected(topic: Topic, value: dict[str, Any]) -> dict[str, Any]:
    """A message as a row: names in Pascal case, times without their zone, no text that is null."""
    kinds = tables.table_schema(topic)
    row = {}
    for column in tables.columns(topic):
        field = value[column.field]
        moment = field.replace(tzinfo=None) if isinstance(field, datetime) else field
        row[column.name] = "" if moment is None and kinds[column.name] == "string" else moment
    return row


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("road", ROADS)
def test_every_message_of_the_demo_arrives_whole(road: Road, topic: Topic) -> None:
    """Through the transform of each road into the table: every field of every message, with its value."""
    rows = workspace.demo_workspace(road).query(TABLES[topic])
    kept = [{name: row[name] for name in row if name not in ("TimeGenerated", workspace.INGESTED)} for row in rows]
    published = [expected(topic, value) for value in recorded().values[topic]]
    assert sorted(map(repr, kept)) == sorted(map(repr, published))


# ---- Logstash


def test_logstash_reads_what_is_committed_of_named_topics() -> None:
    """By name, as a schema registry needs, the optional one on request; and the topic's name chooses the stream."""
    text = (templates.FOLDER / "logstash.conf").read_text(encoding="utf-8")
    plugins = logstash.Reader(text).plugins()
    (source,) = (plugin for plugin in plugins if plugin.section == "input")
    topics = {topic: topic.name_under("mde.software") for topic in TOPICS}
    always = [name for topic, name in topics.items() if topic not in OPTIONAL]
    assert (source.name, source.settings["topics"]) == ("kafka", always)
    (noted,) = re.findall(r"^ *# With \[campaigns\] enabled, .*$", text, re.MULTILINE)
    assert [topics[topic] for topic in OPTIONAL if f'"{topics[topic]}"' not in noted] == []
    assert (source.settings["isolation_level"], source.settings["decorate_events"]) == ("read_committed", "basic")
    assert source.settings["codec"][0] == "json"
    assert source.settings.keys() & {"topics_pattern", "value_deserializer_class"} == set()
    streams = {}
    for plugin in (plugin for plugin in plugins if plugin.section == "output"):
        assert plugin.condition
        field, pattern = plugin.condition
        (topic,) = (topic for topic, name in topics.items() if re.search(pattern, name))
        streams[topic] = plugin.settings["stream_name"]
        assert (plugin.name, field) == (
            "microsoft-sentinel-log-analytics-logstash-output-plugin",
            "[@metadata][kafka][topic]",
        )
        assert set(plugin.settings) == {
            "data_collection_endpoint", "dcr_id", "stream_name", "client_id", "client_secret", "tenant_id"
        }  # fmt: skip
    assert streams == {topic: tables.stream_name(topic) for topic in TOPICS}
    (rule,) = resources("logstash", "dataCollectionRules")
    assert set(streams.values()) == set(rule["properties"]["streamDeclarations"])


@pytest.mark.parametrize(
    "broken", ["input {", "input { kafka { topics => } }", "outputs { }", 'input { kafka { a => "b" a => "c" } }']
)
def test_a_pipeline_that_is_none_would_be_noticed(broken: str) -> None:
    """A bracket that is missing, a value that is missing, a section that there is not, a setting twice."""
    with pytest.raises((ValueError, IndexError)):
        logstash.Reader(broken).plugins()
