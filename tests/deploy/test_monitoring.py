"""Prometheus rules and the Grafana dashboard: their metrics exist, their expressions are valid, and alerts fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.service.metrics import METRICS, Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
LABELS_OF_PROMETHEUS = {"instance", "job"}

Tool = Callable[[str], Path]


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard, with the title of its panel; a variable is a value that it may take."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$tenant", ".*")


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression reads; of a histogram, the histogram."""
    names = set(re.findall(r"\b(?:mde_inventory|process)_[a-z_]+", expression))
    return {re.sub(r"_seconds_(?:sum|count|bucket)$", "_seconds", name) for name in names}


def labels_of(expression: str) -> set[str]:
    """The labels that an expression selects or groups by."""
    grouped = re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", expression)
    selected = re.findall(r"[{,](\w+)\s*[=!]", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)


EXPRESSIONS = [*((rule["alert"], rule["expr"]) for rule in rules()), *queries()]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_an_expression_reads_metrics_and_labels_that_exist(name: str, expression: str) -> None:
    """A metric or label that the connector renames breaks this."""
    known = {metric.name: set(metric.label_names) for metric in METRICS} | {name: set() for name in PROCESS}
    read = metrics_of(expression)
    assert (name, bool(read), read - set(known)) == (name, True, set())
    allowed = set().union(*(known[metric] for metric in read)) | (LABELS_OF_PROMETHEUS if read & PROCESS else set())
    assert labels_of(expression) <= allowed


def test_every_metric_is_on_the_dashboard() -> None:
    """What the connector measures can be seen."""
    shown = set().union(*(metrics_of(expression) for _, expression in queries()))
    assert {metric.name for metric in METRICS} - shown == set()


def test_the_dashboard_asks_for_its_data_source_and_says_what_it_shows() -> None:
    """It can be imported anywhere: no data source is written down; every panel has a title and a sentence."""
    panels = DASHBOARD["panels"]
    sources = {panel["datasource"]["uid"] for panel in panels} | {
        target["datasource"]["uid"] for panel in panels for target in panel["targets"]
    }
    assert (sources, len({panel["id"] for panel in panels})) == ({"${datasource}"}, len(panels))
    assert [panel["title"] for panel in panels if not panel["title"] or not panel["description"].endswith(".")] == []


def test_no_two_panels_overlap() -> None:
    """Each square of the grid, which is 24 wide, has one panel at most."""
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert (len(squares), max(x for x, _ in squares)) == (len(set(squares)), 23)


def test_the_rules_are_ones_that_prometheus_takes(tool: Tool) -> None:
    """`promtool check rules` finds all of them and nothing wrong."""
    ran = subprocess.run(
        [tool("promtool"), "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, f"{len(rules())} rules found" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_the_expressions_of_the_dashboard_are_ones_that_prometheus_takes(tool: Tool, tmp_path: Path) -> None:
    """Each, as a recording rule, passes `promtool check rules`."""
    recorded = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(queries())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    ran = subprocess.run(
        [tool("promtool"), "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, f"{len(recorded)} rules found" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_each_alert_fires_when_it_should_and_only_then(tool: Tool, tmp_path: Path) -> None:
    """`promtool test rules` plays series for each: before, while and after something is wrong."""
    shutil.copy(RULES, tmp_path)
    text = (Path(__file__).parent / "rules_test.yaml").read_text(encoding="utf-8")
    played = yaml.safe_load(text)
    fired = {
        case["alertname"] for test in played["tests"] for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    # What an alert says is for people; the file would repeat every sentence.
    said = {rule["alert"]: rule["annotations"] for rule in rules()}
    for test in played["tests"]:
        for case in test["alert_rule_test"]:
            for alert in case.get("exp_alerts", []):
                alert["exp_annotations"] = {
                    name: expanded(sentence, alert["exp_labels"], case)
                    for name, sentence in said[case["alertname"]].items()
                }
    file = tmp_path / "rules_test.yaml"
    file.write_text(yaml.safe_dump(played), encoding="utf-8")
    ran = subprocess.run(
        [tool("promtool"), "test", "rules", file], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ran.returncode, fired) == (0, set(said)), ran.stdout + ran.stderr


VALUES = {
    "MdeInventoryPollingEnded": "2",
    "MdeInventoryTwoInstances": "2",
    "MdeInventoryNoSuccessfulPoll": "4h 6m 0s",
    "MdeInventoryExportStale": "1d 0h 33m 20s",
    "MdeInventoryBacklog": "4000",
    "MdeInventoryRecordsHeld": "700",
}
"""What the series of rules_test.yaml come to."""


def expanded(sentence: str, labels: dict[str, str], case: dict[str, Any]) -> str:
    """A sentence as an alert has it."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], sentence)
    return re.sub(r"\{\{ \$value( \| \w+)? \}\}", lambda _: VALUES[case["alertname"]], text)


def test_what_the_connector_serves_is_what_promtool_expects(tool: Tool) -> None:
    """`promtool check metrics` reads the page of metrics and finds nothing to say about names and help."""
    metrics = Metrics()
    metrics.begin("contoso")
    ran = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=metrics.render(), capture_output=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")
