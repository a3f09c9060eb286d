"""Metrics: what Prometheus is told of the polls, a series for each tenant.

Owns prometheus_client and the table of metrics, which the README's is made from. Names follow Vector's: what was
received, published, refused, with the unit last. Must not decide what is worth a count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from connector.model import AlertType, ChangeType

Kind = Literal["counter", "gauge", "histogram"]
METRICS_PREFIX: Final = "mde_inventory_"
METRICS_CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
TENANT: Final = "tenant"
"""The label that every metric has, also where there is one tenant only: dashboards are the same then."""

# When a counter was made says nothing that the start of the process does not; it would double every series.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives this one function no types


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: full name, type, unit and help, and for each label but `tenant` the values known beforehand.

    Known values begin at 0, so that a rate can see the first one; a label without any has a series once it is met.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels, `tenant` first."""
        return (TENANT, *self.labels)


def _metric(name: str, kind: Kind, unit: str, text: str, /, **labels: Iterable[str]) -> Metric:
    return Metric(METRICS_PREFIX + name, kind, unit, text, {label: tuple(values) for label, values in labels.items()})


STAGES: Final = ("recover", "drain", "fetch", "stage", "publish", "backfill")
OUTCOMES: Final = ("published", "staged", "unchanged", "held", "dry_run")

METRICS: Final = (
    _metric("received_bytes_total", "counter", "bytes", "Fetched over the network for snapshots."),
    _metric("received_records_total", "counter", "records", "Records of the snapshots staged."),
    _metric("changes_total", "counter", "changes", "Changes staged; each is published once.", type=ChangeType),
    _metric("published_changes_total", "counter", "changes", "Changes that Kafka confirmed."),
    _metric("backfilled_records_total", "counter", "records", "Published to fill up the inventory topic."),
    _metric("alerts_total", "counter", "alerts", "End-of-support alerts staged.", type=AlertType),
    _metric("errors_total", "counter", "errors", "Polls that a step stopped.", stage=(*STAGES, "poll")),
    _metric("pending_changes", "gauge", "changes", "Staged and not yet confirmed by Kafka."),
    _metric("held_records", "gauge", "records", "Removals that the guard holds.", inventory=()),
    _metric("generation_age_seconds", "gauge", "seconds", "Age of the newest generation known.", inventory=()),
    _metric("poll_duration_seconds", "histogram", "seconds", "Time that a step of a poll took.", stage=STAGES),
    _metric("last_success_timestamp_seconds", "gauge", "seconds", "When a poll last ended well; 0 before the first."),
    _metric("duplicates_total", "counter", "lines", "Lines that repeated a key within their snapshot."),
    _metric("rejected_lines_total", "counter", "lines", "Lines that could not be read and were set aside."),
    _metric("snapshots_total", "counter", "snapshots", "Exports polled, by what came of it.", outcome=OUTCOMES),
)
"""Every metric of ours; beside them stand the usual `process_*` of CPU, memory and open files."""

DURATION_BUCKETS_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)
"""From a call that finds nothing new to the first fetch of a large tenant."""


class Metrics:
    """What a process counts and measures, in a registry of its own.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._registry = CollectorRegistry()
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            self._make(metric)
        ProcessCollector(registry=self._registry)

    def _make(self, metric: Metric) -> None:
        name, labels = metric.name.removeprefix(METRICS_PREFIX), metric.label_names
        if metric.kind == "counter":
            self.counters[name] = Counter(metric.name, metric.help, labels, registry=self._registry)
        elif metric.kind == "gauge":
            self.gauges[name] = Gauge(metric.name, metric.help, labels, registry=self._registry)
        else:
            self.histograms[name] = Histogram(
                metric.name, metric.help, labels, registry=self._registry, buckets=DURATION_BUCKETS_SECONDS
            )

    def of(self, tenant: str) -> TenantMetrics:
        """The metrics of a tenant; those whose labels are known beforehand begin at 0."""
        return TenantMetrics(self, tenant)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format; of type `METRICS_CONTENT_TYPE`."""
        return generate_latest(self._registry)


class TenantMetrics:
    """Counts and measures for one tenant. Made by `Metrics.of`; may be used from any thread."""

    def __init__(self, metrics: Metrics, tenant: str) -> None:
        self._metrics = metrics
        self._tenant = tenant
        made = metrics.counters | metrics.gauges | metrics.histograms
        for metric in METRICS:
            series = made[metric.name.removeprefix(METRICS_PREFIX)]
            if not metric.labels:
                series.labels(tenant=tenant)
            for label, values in metric.labels.items():
                for value in values:
                    series.labels(**{TENANT: tenant, label: value})

    def count_received(self, *, size_bytes: int, records: int) -> None:
        """A snapshot came: bytes over the network, and records in it."""
        self._count("received_bytes_total", size_bytes)
        self._count("received_records_total", records)

    def count_changes(self, change_type: str, changes: int) -> None:
        """So many changes of a type were staged."""
        self._count("changes_total", changes, type=change_type)

    def count_published(self, changes: int) -> None:
        """Kafka confirmed so many changes."""
        self._count("published_changes_total", changes)

    def count_backfilled(self, records: int) -> None:
        """So many records and tombstones filled up the inventory topic."""
        self._count("backfilled_records_total", records)

    def count_alerts(self, alert_type: str, alerts: int) -> None:
        """So many alerts of a type were staged."""
        self._count("alerts_total", alerts, type=alert_type)

    def count_error(self, stage: str) -> None:
        """A poll was stopped in this step; `poll` where the step is not known."""
        self._count("errors_total", 1, stage=stage)

    def count_lines(self, *, duplicates: int, rejected: int) -> None:
        """So many lines of a snapshot repeated a key, and so many could not be read."""
        self._count("duplicates_total", duplicates)
        self._count("rejected_lines_total", rejected)

    def count_snapshot(self, outcome: str) -> None:
        """An export was polled, with this outcome."""
        self._count("snapshots_total", 1, outcome=outcome)

    def set_pending(self, changes: int) -> None:
        """So many changes are staged and not confirmed."""
        self._gauge("pending_changes").set(changes)

    def set_held(self, inventory: str, records: int) -> None:
        """The guard holds so many removals of an inventory."""
        self._gauge("held_records", inventory=inventory).set(records)

    def set_generation(self, inventory: str, generated_at: datetime) -> None:
        """The newest generation known of an inventory; its age is worked out whenever it is asked for."""
        clock, seconds = self._metrics.clock, generated_at.timestamp()
        self._gauge("generation_age_seconds", inventory=inventory).set_function(lambda: clock() - seconds)

    def observe_step(self, stage: str, seconds: float) -> None:
        """A step of a poll took this long."""
        self._metrics.histograms["poll_duration_seconds"].labels(tenant=self._tenant, stage=stage).observe(seconds)

    def set_success(self) -> None:
        """A poll ended well, now."""
        self._gauge("last_success_timestamp_seconds").set(self._metrics.clock())

    def _count(self, name: str, number: int, **labels: str) -> None:
        self._metrics.counters[name].labels(tenant=self._tenant, **labels).inc(number)

    def _gauge(self, name: str, **labels: str) -> Gauge:
        return self._metrics.gauges[name].labels(tenant=self._tenant, **labels)
