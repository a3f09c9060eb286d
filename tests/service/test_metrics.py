"""Metrics: their table, their names, and that each is rendered for each tenant."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from connector import __version__
from connector.model import Counts, Inventory
from connector.poll.result import OUTCOMES, PollResult
from connector.service.metrics import METRICS, Metrics

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
TENANT = "contoso"


def sorted_labels(labels: str) -> str:
    """Labels in the order in which they are rendered."""
    return ",".join(sorted(labels.split(",")))


def samples(metrics: Metrics) -> dict[str, float]:
    """The samples of our metrics, by name and labels, without those that are 0."""
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("mde_inventory_")]
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    return {name.removeprefix("mde_inventory_"): value for name, value in values.items() if value}


def test_every_metric_of_the_table_is_rendered_with_its_type_and_help() -> None:
    """The table in the code, which the page of operations repeats, is what Prometheus gets: no more and no less."""
    lines = Metrics().render().decode().splitlines()
    ours = [line for line in lines if line.startswith(("# HELP mde_inventory_", "# TYPE mde_inventory_"))]
    assert ours == [
        line
        for metric in METRICS
        for line in (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
    ]


def test_the_page_of_operations_has_the_table_of_metrics() -> None:
    """The table of the page is made of the one in the code."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    written = re.search(r"<!-- metrics\b[^>]*-->\n(.*?)<!-- /metrics -->", page, re.DOTALL)
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.label_names)} |"
        f" {metric.unit} | {metric.help} |\n"
        for metric in METRICS
    ]
    head = "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n"
    assert written is not None
    assert written.group(1) == head + "".join(rows)


def test_metric_names_end_in_their_unit() -> None:
    """Seconds and bytes stand last in a name, and only a counter ends in `total`."""
    wrong = [
        metric.name
        for metric in METRICS
        if metric.name.endswith("_total") != (metric.kind == "counter")
        or (metric.unit in ("seconds", "bytes")) != metric.name.removesuffix("_total").endswith(("_seconds", "_bytes"))
    ]
    assert wrong == []


def test_known_label_values_begin_at_zero() -> None:
    """A rate can see the first failure only where there was a 0 before it: in every tenant's own series."""
    counted = Metrics()
    for tenant in ("contoso", "fabrikam"):
        counted.begin(tenant)
    text = counted.render().decode()
    missing = [
        series
        for metric in METRICS
        if metric.kind == "counter"
        for tenant in ("contoso", "fabrikam")
        for labels in [f',{label}="{value}"' for label, values in metric.labels.items() for value in values] or [""]
        if (series := f"{metric.name}{{{sorted_labels(f'tenant={chr(34)}{tenant}{chr(34)}' + labels)}}} 0.0")
        not in text
    ]
    assert missing == []


def test_a_tenant_says_from_the_beginning_which_version_polls_it() -> None:
    """A release that is rolled out can be watched."""
    counted = Metrics()
    counted.begin("contoso")
    assert samples(counted) == {f'build_info{{tenant="contoso",version="{__version__}"}}': 1.0}


def test_metrics_use_the_words_of_pipeline_and_schemas() -> None:
    """Outcomes are those of a poll, alert types those of the Avro schema."""
    alerts = json.loads((SCHEMAS / "end-of-support-alert.avsc").read_text(encoding="utf-8"))
    symbols = next(field["type"]["symbols"] for field in alerts["fields"] if field["name"] == "alertType")
    labels = {metric.name.removeprefix("mde_inventory_"): metric.labels for metric in METRICS}
    assert (labels["snapshots_total"], labels["alerts_total"]) == ({"outcome": OUTCOMES}, {"type": tuple(symbols[1:])})
    assert symbols[0] == "UNKNOWN"


def test_what_a_poll_came_to_reaches_its_metrics() -> None:
    """Each number of a result has its metric, and so have an error, a success and what waits between polls."""
    counted = Metrics(clock=lambda: 1_700_000_000.0)
    counted.observe(
        TENANT,
        PollResult(
            "held",
            Inventory.CPE,
            "cpe-20261123T080000Z",
            1,
            Counts(records=10, baselined=1, added=3, removed=2, changed=4, alerts=9, duplicates=5, rejected=6),
            published=12,
            backfilled=13,
            fetched_bytes=1000,
            generated_at=datetime.fromtimestamp(1_700_000_000 - 60, UTC),
            pending=14,
            holding=15,
            stages={"stage": 0.5, "publish": 2000.0},
            alert_types={"REACHED": 4, "CLEARED": 5},
        ),
    )
    counted.note_error(TENANT, "fetch")
    counted.put(TENANT, "pending_changes", 7)
    counted.put(TENANT, "held_records", {"CPE": 8})
    counted.note_success(TENANT)
    assert samples(counted) == {
        'received_bytes_total{tenant="contoso"}': 1000,
        'received_records_total{tenant="contoso"}': 10,
        'changes_total{tenant="contoso",type="BASELINE"}': 1,
        'changes_total{tenant="contoso",type="ADDED"}': 3,
        'changes_total{tenant="contoso",type="REMOVED"}': 2,
        'changes_total{tenant="contoso",type="CHANGED"}': 4,
        'published_changes_total{tenant="contoso"}': 12,
        'backfilled_records_total{tenant="contoso"}': 13,
        'alerts_total{tenant="contoso",type="REACHED"}': 4,
        'alerts_total{tenant="contoso",type="CLEARED"}': 5,
        'errors_total{stage="fetch",tenant="contoso"}': 1,
        'duplicates_total{tenant="contoso"}': 5,
        'rejected_lines_total{tenant="contoso"}': 6,
        'snapshots_total{outcome="held",tenant="contoso"}': 1,
        'pending_changes{tenant="contoso"}': 7,
        'held_records{inventory="CPE",tenant="contoso"}': 8,
        'generation_age_seconds{inventory="CPE",tenant="contoso"}': 60,
        **{
            f'poll_duration_seconds_bucket{{le="{bound}",stage="stage",tenant="contoso"}}': 1
            for bound in ("0.5", "1.0", "5.0", "15.0", "60.0", "300.0", "900.0", "3600.0", "+Inf")
        },
        'poll_duration_seconds_count{stage="stage",tenant="contoso"}': 1,
        'poll_duration_seconds_sum{stage="stage",tenant="contoso"}': 0.5,
        'poll_duration_seconds_bucket{le="3600.0",stage="publish",tenant="contoso"}': 1,
        'poll_duration_seconds_bucket{le="+Inf",stage="publish",tenant="contoso"}': 1,
        'poll_duration_seconds_count{stage="publish",tenant="contoso"}': 1,
        'poll_duration_seconds_sum{stage="publish",tenant="contoso"}': 2000,
        'last_success_timestamp_seconds{tenant="contoso"}': 1_700_000_000,
    }


def test_the_age_of_the_generation_is_worked_out_when_it_is_asked_for() -> None:
    """Between polls the age grows; a number set by the last poll would hide a poll that hangs."""
    now = 1_700_000_000.0
    metrics = Metrics(clock=lambda: now)
    metrics.put(TENANT, "generation_age_seconds", {"CPE": now - 60})
    before = samples(metrics)
    now += 3600
    assert (before, samples(metrics)) == (
        {'generation_age_seconds{inventory="CPE",tenant="contoso"}': 60},
        {'generation_age_seconds{inventory="CPE",tenant="contoso"}': 3660},
    )


def test_metrics_share_nothing() -> None:
    """Two services in one process count for themselves, and two tenants of one service too."""
    metrics, other = Metrics(), Metrics()
    metrics.put(TENANT, "published_changes_total", 1)
    metrics.put("fabrikam", "published_changes_total", 2)
    counted = {
        'published_changes_total{tenant="contoso"}': 1,
        'published_changes_total{tenant="fabrikam"}': 2,
    }
    assert (samples(metrics), samples(other)) == (counted, {})
