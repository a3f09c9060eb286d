"""Metrics: what Prometheus reads about the polls, a series for each tenant.

`METRICS` is the whole of it: what a metric is called, what it means, and how it is read from a poll's result. The
table in docs/operations.md is made from it. Names follow Vector's: what was received, published, refused, with the
unit last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
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

from connector import __version__
from connector.exports.software import SOFTWARE
from connector.model import AlertType, ChangeType, Counts
from connector.poll.result import OUTCOMES, PollResult

Kind = Literal["counter", "gauge", "histogram"]
Readings = float | Mapping[str, float]
"""What a metric reads: one number, or a number for each value of its label."""

METRICS_PREFIX: Final = "mde_inventory_"
METRICS_CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
TENANT: Final = "tenant"
"""The label that every metric has, also where there is only one tenant: dashboards are the same then."""

# When a counter was made says nothing that the start of the process does not; it would double every series.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives this one function no types


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: the full name, with the unit last.
        kind: Prometheus's type.
        unit: what is counted or measured.
        help: one sentence for people.
        labels: the values known beforehand of the one label beside `tenant`, if there is one. They begin at 0, so that
            a rate can see the first increment; a label without known values has a series once a value is met.
        read: takes its values from the result of a poll; None for what no result says.
        shows_age: the value is a moment, in seconds since 1970; what is shown is its age whenever it is asked for.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: Mapping[str, tuple[str, ...]]
    read: Callable[[PollResult], Readings] | None
    shows_age: bool = False

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels, `tenant` first."""
        return (TENANT, *self.labels)


def _metric(
    name: str,
    kind: Kind,
    unit: str,
    text: str,
    read: Callable[[PollResult], Readings] | None = None,
    /,
    *,
    shows_age: bool = False,
    **labels: Iterable[str],
) -> Metric:
    known = {label: tuple(values) for label, values in labels.items()}
    return Metric(METRICS_PREFIX + name, kind, unit, text, known, read, shows_age)


def _staged(result: PollResult) -> Counts:
    """The counts of a snapshot that this poll staged; a result without one repeats those of an earlier snapshot."""
    return result.counts if "stage" in result.stages else Counts()


def _changes(result: PollResult) -> Mapping[str, float]:
    """Changes by type. A silent baseline makes none."""
    return {kind: count for kind, count in _staged(result).by_type.items()}  # noqa: C416 - keys of a wider type


def _generation(result: PollResult) -> Mapping[str, float]:
    """The moment of the newest generation known of the inventory."""
    return {} if result.generated_at is None else {result.inventory: result.generated_at.timestamp()}


STAGES: Final = ("recover", "drain", "fetch", "wait", "stage", "publish", "backfill")

METRICS: Final = (
    _metric("received_bytes_total", "counter", "bytes", "Fetched over the network for snapshots.",
            lambda result: result.fetched_bytes),
    _metric("received_records_total", "counter", "records", "Records of the snapshots staged.",
            lambda result: _staged(result).records),
    _metric("changes_total", "counter", "changes", "Changes staged; each is published once.",
            _changes, type=ChangeType),
    _metric("published_changes_total", "counter", "changes", "Changes that Kafka confirmed.",
            lambda result: result.published),
    _metric("backfilled_records_total", "counter", "records", "Published to fill up the inventory topic.",
            lambda result: result.backfilled),
    _metric("alerts_total", "counter", "alerts", "End-of-support alerts staged.",
            lambda result: result.alert_types, type=AlertType),
    _metric("errors_total", "counter", "errors", "Polls that a step stopped.", stage=(*STAGES, "poll")),
    _metric("pending_changes", "gauge", "changes", "Staged and not yet confirmed by Kafka.",
            lambda result: result.pending),
    _metric("held_records", "gauge", "records", "Records that the guard holds.",
            lambda result: {result.inventory: result.holding}, inventory=()),
    _metric("generation_age_seconds", "gauge", "seconds", "Age of the newest generation known.",
            _generation, shows_age=True, inventory=()),
    _metric("poll_duration_seconds", "histogram", "seconds", "Time that a step of a poll took.",
            lambda result: result.stages, stage=STAGES),
    _metric("last_success_timestamp_seconds", "gauge", "seconds", "When a poll last succeeded; 0 before the first."),
    _metric("ended_exit_code", "gauge", "exit code", "With which polling has ended; 0 while it goes on."),
    _metric("build_info", "gauge", "constant", "Always 1; says which version of the connector runs.",
            version=(__version__,)),
    _metric("memory_wait_seconds", "gauge", "seconds",
            "Time that a poll has been waiting for memory that other tenants use; 0 while none does."),
    _metric("duplicates_total", "counter", "lines", "Lines that repeated a key within their snapshot.",
            lambda result: _staged(result).duplicates),
    _metric("lookalike_keys_total", "counter", "keys", "Keys that came back in another case, blanks or Unicode form.",
            lambda result: result.lookalikes),
    _metric("rejected_lines_total", "counter", "lines", "Lines that could not be read and were set aside.",
            lambda result: _staged(result).rejected),
    _metric("unreadable_values_total", "counter", "values", "Values of attributes that could not be read.",
            lambda result: result.unreadable, field=(field.name for field in SOFTWARE.attributes)),
    _metric("snapshots_total", "counter", "snapshots", "Exports polled, by what came of it.",
            lambda result: {result.outcome: 1}, outcome=OUTCOMES),
)  # fmt: skip
"""Every metric of ours; beside them stand the usual `process_*` of CPU, memory and open files."""

DURATION_BUCKETS_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)
"""From a call that finds nothing new to the first fetch of a large tenant."""


class Metrics:
    """What a process counts and measures, in its own registry. May be used from any thread.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._collectors = {metric.name: _collector(metric, self._registry) for metric in METRICS}
        ProcessCollector(registry=self._registry)

    def begin(self, tenant: str) -> None:
        """Begin a tenant's series at 0, where their labels are known beforehand, and say which version runs."""
        for metric in METRICS:
            collector = self._collectors[metric.name]
            if not metric.labels:
                collector.labels(tenant)
            for values in metric.labels.values():
                for value in values:
                    collector.labels(tenant, value)
        self.put(tenant, "build_info", {__version__: 1})

    def observe(self, tenant: str, result: PollResult) -> None:
        """Count and measure what the poll of an inventory came to."""
        for metric in METRICS:
            if metric.read is not None:
                self._put(tenant, metric, metric.read(result))

    def put(self, tenant: str, name: str, values: Readings) -> None:
        """Add to a counter, set a gauge or observe in a histogram, by its name without the prefix."""
        self._put(tenant, _NAMED[METRICS_PREFIX + name], values)

    def follow(self, tenant: str, name: str, read: Callable[[], float]) -> None:
        """Let a gauge show whatever is read when it is asked for."""
        gauge = self._collectors[METRICS_PREFIX + name].labels(tenant)
        assert isinstance(gauge, Gauge)  # noqa: S101 - a counter cannot follow anything
        gauge.set_function(read)

    def note_error(self, tenant: str, stage: str) -> None:
        """A poll was stopped in this step; `poll` where the step is not known."""
        self.put(tenant, "errors_total", {stage: 1})

    def note_success(self, tenant: str) -> None:
        """A poll succeeded, now."""
        self.put(tenant, "last_success_timestamp_seconds", self._clock())

    def render(self) -> bytes:
        """All metrics in Prometheus's text format; of type `METRICS_CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _put(self, tenant: str, metric: Metric, values: Readings) -> None:
        labelled = values.items() if isinstance(values, Mapping) else [(None, values)]
        for label, value in labelled:
            labels = (tenant,) if label is None else (tenant, label)
            series = self._collectors[metric.name].labels(*labels)
            if isinstance(series, Counter):
                series.inc(value)
            elif isinstance(series, Histogram):
                series.observe(value)
            elif metric.shows_age:
                series.set_function(partial(self._age, value))
            else:
                series.set(value)

    def _age(self, moment: float) -> float:
        return self._clock() - moment


_NAMED: Final = {metric.name: metric for metric in METRICS}


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, text, labels = metric.name, metric.help, metric.label_names
    if metric.kind == "counter":
        return Counter(name, text, labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(name, text, labels, registry=registry)
    return Histogram(name, text, labels, registry=registry, buckets=DURATION_BUCKETS_SECONDS)
