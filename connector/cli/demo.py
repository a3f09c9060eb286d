"""`demo` and `simulate`: the connector seen at work, without accounts, Docker or Java.

Owns the story that is told. The connector in it is the real one: a real login to the simulator over HTTPS, a real state
file, real Kafka messages to librdkafka's in-process cluster. What is shown is what a consumer decodes from the topics,
and the summary checks it: the changes, applied in order, must give the simulated fleet, and the alerts must be those of
a list made from the fleet's records alone, by `due_alerts`, which shares no line with the connector's own rules.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from connector import config
from connector.assembly import Assembly
from connector.cli import output
from connector.config.tables import AlertsConfig
from connector.exports.software import SOFTWARE
from connector.kafka.client import Deadline
from connector.kafka.mock import MockCluster
from connector.model import AlertType, ChangeType, Inventory, Method, Topic
from connector.poll.result import PollResult

if TYPE_CHECKING:
    # An extra: the demo imports it when it runs, and says how to install it where it is missing.
    from connector.simulator import Simulator

START: Final = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PREFIX: Final = "mde.software"
CHURN: Final = 2.0
CHANGES_SHOWN: Final = 6
ALERTS_SHOWN: Final = 4
READ_SECONDS_MAX: Final = 30.0

Key = tuple[str, ...]


class Consumer:
    """Somebody who reads the topics and knows nothing else: decodes, counts, applies the changes in order."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reader = assembly.reader()
        self._changes: list[dict[str, Any]] = []
        self.alerts: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.records: dict[Key, dict[str, Any]] = {}

    def read(self, number: int) -> list[dict[str, Any]]:
        """The next so many changes, by sequence; fewer where they do not come."""
        if not number:
            return []
        found = self._read(Topic.CHANGES, len(self._changes) + number)
        fresh = sorted((change for change in found if change["sequence"] > len(self._changes)), key=_sequence)
        for change in fresh:
            self._apply(change)
        return fresh

    def read_alerts(self, number: int) -> list[dict[str, Any]]:
        """The next so many alerts, the most severe first; fewer where they do not come."""
        if not number:
            return []
        found = self._read(Topic.ALERTS, len(self.alerts) + number)
        fresh = [alert for alert in found if alert["alertId"] not in self.alerts]
        self.alerts |= {alert["alertId"]: alert for alert in fresh}
        return sorted(fresh, key=lambda alert: ("high", "medium", "low").index(alert["severity"]))

    def _read(self, topic: Topic, limit: int) -> list[dict[str, Any]]:
        deadline = Deadline(READ_SECONDS_MAX)
        incoming = self._reader.follow(self._assembly.topic(topic), from_beginning=True, limit=limit, deadline=deadline)
        return [self._assembly.messages.decode(message.value) for message in incoming if message.value is not None]

    def _apply(self, change: dict[str, Any]) -> None:
        self._changes.append(change)
        self.counts[change["changeType"]] += 1
        gone = change["before"] or (change if change["changeType"] == ChangeType.REMOVED else None)
        if gone is not None:
            self.records.pop(_key(gone))
        if change["changeType"] != ChangeType.REMOVED:
            self.records[_key(change)] = change


def run(*, devices: int, generations: int, seed: int) -> int:
    """Play the demo. Returns the exit code: 0 where the consumer's view equals the fleet.

    Raises:
        ConfigError: the extra `simulator` is not installed.
    """
    simulators = _simulators()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="mde-inventory-demo-")))
        cluster = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic]))
        fleet = simulators.Fleet(seed=seed, devices=devices, start=START, churn=CHURN)
        simulator = stack.enter_context(simulators.Simulator(fleet))
        consumer = Consumer(stack.enter_context(_assembly(simulator, cluster, folder, Method.FILES)))
        output.print_rule("mde-inventory-connector: what changed on which device?")
        output.print_line(
            f"A simulated tenant with {devices} devices on {simulator.api_url}, and a Kafka cluster in this process."
            f" {generations} generations of the export are polled, as files and as JSON pages in turn, each by a new"
            f" instance of the connector. Below is what a consumer decodes from {PREFIX}.{Topic.ALERTS} and"
            f" {PREFIX}.{Topic.CHANGES}.",
            style="dim",
        )
        results: list[PollResult] = []
        due: Counter[tuple[Any, ...]] = Counter()
        records, looked = _keyed(simulator.records(Inventory.CPE)), START.date()
        for generation in range(generations):
            if generation:
                simulator.advance()
            with _assembly(simulator, cluster, folder, tuple(Method)[generation % 2]) as assembly:
                results += list(assembly.pipeline.poll())
            before, records = records, _keyed(simulator.records(Inventory.CPE))
            due += Counter(due_alerts(before, records, simulator.generated_at.date(), looked))
            looked = simulator.generated_at.date()
            last = results[-1]
            _show(last, consumer.read(last.published), consumer.read_alerts(last.counts.alerts))
        return _summarize(simulator, consumer, results, due)


def simulate(
    *, devices: int, seed: int, port: int, interval_seconds: int, faults_file: Path | None, stop: threading.Event
) -> None:
    """Serve the simulated export API until `stop` is set; a new generation every interval.

    Raises:
        ConfigError: the extra `simulator` is not installed, the port is taken, or the file of faults is wrong.
    """
    _simulators().run_simulator(
        devices=devices,
        seed=seed,
        port=port,
        interval_seconds=interval_seconds,
        faults_file=faults_file,
        announce=_announce,
        stop=stop,
    )


def _simulators() -> Any:  # noqa: ANN401 - a package behind an extra, which says so itself where it is missing
    from connector import simulator  # noqa: PLC0415 - the connector itself runs without it

    return simulator


def _assembly(simulator: Simulator, cluster: MockCluster, folder: Path, method: Method) -> Assembly:
    """The connector, as a new process would begin it: at the time of the generation, six hours after the last."""
    tables = {
        "source": simulator.settings() | {"method": method.value},
        "state": {"path": str(folder / "state.duckdb"), "memory_limit_mib": 512},
        "diff": {"baseline": "emit"},
        "guard": {"missing_device_snapshots": 1},
        "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": cluster.bootstrap_servers}},
        "schema_registry": {"url": "mock://demo", "auto_register": True},
    }
    checked = config.from_values(tables, {}, name="the demo's configuration")
    return Assembly(checked, clock=lambda: simulator.generated_at)


def _show(result: PollResult, changes: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> None:
    """One generation: a heading, its counts, and the alerts and changes that people would want to see first."""
    # The id tells the time; beside it there is room for the counts in a narrow terminal.
    output.print_heading(str(result.snapshot_id), output.counts(result))
    if result.baseline:
        output.print_line(
            f"  the first snapshot: {result.counts.records:,} records, published as BASELINE", style="dim"
        )
        return
    for alert in alerts[:ALERTS_SHOWN]:
        output.print_event(alert)
    if len(alerts) > ALERTS_SHOWN:
        output.print_line(f"  and {len(alerts) - ALERTS_SHOWN} more alerts", style="dim")
    ranked = sorted(changes, key=lambda change: (_rank(change), change["sequence"]))
    for change in ranked[:CHANGES_SHOWN]:
        output.print_change(change)
    if len(ranked) > CHANGES_SHOWN:
        output.print_line(f"  and {len(ranked) - CHANGES_SHOWN} more changes", style="dim")


def _rank(change: dict[str, Any]) -> int:
    """Newly installed software that is out of support first, then what came and went, attributes last."""
    if change["isEndOfSupport"] and change["changeType"] == ChangeType.ADDED:
        return 0
    order = ("INSTALLED", "UNINSTALLED", "UPGRADED", "DOWNGRADED", "NEW_DEVICE", "DEVICE_MISSING")
    return 1 + order.index(change["reason"]) if change["reason"] in order else len(order) + 1


def due_alerts(
    before: dict[Key, dict[str, Any]], after: dict[Key, dict[str, Any]], today: date, looked: date
) -> Iterator[tuple[Any, ...]]:
    """Alert type and record of every alert that two successive snapshots must raise, by the rules in the README."""
    gone, come = before.keys() - after.keys(), after.keys() - before.keys()
    products = Counter(key[:-1] for key in gone), Counter(key[:-1] for key in come)
    earlier = {
        new: old for old in gone for new in come if old[:-1] == new[:-1] and all(of[old[:-1]] == 1 for of in products)
    }
    for key in gone - set(earlier.values()):
        if _ended(before[key], today):
            yield AlertType.CLEARED, key
    for key, record in after.items():
        previous = before.get(earlier.get(key, key))
        if told := _told(record, previous, today, same=key in before):
            yield told, key
        elif previous and _came_near(record, previous, today, looked):
            yield AlertType.DATE_THRESHOLD, key


def _told(record: dict[str, Any], previous: dict[str, Any] | None, today: date, *, same: bool) -> AlertType | None:
    """What a record says beside the one it follows: of the same version, of another, or none."""
    ended, status = _ended(record, today), str(record["endOfSupportStatus"])
    if ended and not same:
        return AlertType.INSTALLED
    if ended and previous:
        # A status that says so after the date did is news all the same.
        by_status = status.startswith("EOS")
        known = str(previous["endOfSupportStatus"]).startswith("EOS") if by_status else _ended(previous, today)
        return None if known else AlertType.REACHED
    if previous and _ended(previous, today):
        return AlertType.CLEARED
    known = previous is not None and str(previous["endOfSupportStatus"]).startswith("Upcoming")
    return AlertType.UPCOMING if status.startswith("Upcoming") and not known else None


def _ended(record: dict[str, Any], today: date) -> bool:
    ends = record["endOfSupportDate"]
    is_past = ends is not None and date.fromisoformat(ends) < today
    return is_past or str(record["endOfSupportStatus"]).startswith("EOS")


def _came_near(record: dict[str, Any], previous: dict[str, Any], today: date, looked: date) -> bool:
    """Whether the end came within a threshold that it was beyond at the last look."""
    if record["endOfSupportDate"] is None:
        return False
    days = (date.fromisoformat(record["endOfSupportDate"]) - today).days
    ends = previous["endOfSupportDate"]
    past = None if ends is None else (date.fromisoformat(ends) - looked).days
    return any(days <= limit and (past is None or past > limit) for limit in AlertsConfig().date_thresholds_days)


def _summarize(
    simulator: Simulator, consumer: Consumer, results: list[PollResult], due: Counter[tuple[Any, ...]]
) -> int:
    fleet = {_key(record) for record in simulator.records(Inventory.CPE)}
    equal = fleet == set(consumer.records)
    alerts = Counter((alert["alertType"], _key(alert)) for alert in consumer.alerts.values())
    seconds = sum(result.duration_seconds for result in results)
    output.print_rule("Summary")
    rows = [(kind.value, consumer.counts[kind.value]) for kind in ChangeType]
    output.print_table("Changes decoded", [("change type", False), ("messages", True)], rows)
    kinds = Counter(alert["alertType"] for alert in consumer.alerts.values())
    rows = [(kind.value, kinds[kind.value]) for kind in AlertType]
    output.print_table("Alerts decoded", [("alert type", False), ("messages", True)], rows)
    counts = results[-1].counts
    output.print_line(
        f"{len(results)} snapshots, {counts.records:,} records on {counts.devices:,} devices, {seconds:.1f} s."
    )
    _print_verdict(equal, "All changes, applied in order,", f"the simulated fleet: {len(consumer.records):,} records.")
    _print_verdict(alerts == due, "The alerts", f"a list made from the fleet's records: {due.total():,} alerts.")
    output.print_line("Next: copy deploy/connector.example.toml to connector.toml, then `mde-inventory check`.", "dim")
    return 0 if equal and alerts == due else 1


def _print_verdict(equal: bool, left: str, right: str) -> None:
    verdict, style = ("equal", "bold green") if equal else ("DO NOT EQUAL", "bold red")
    output.print_line(f"{left} {verdict} {right}", style=style)


def _announce(simulator: Simulator) -> None:
    output.print_line("# The simulated export API is served. A connector reaches it with:", style="dim")
    output.print_toml({"source": simulator.settings()})
    output.print_notice(
        f"Faults on request: {simulator.admin_url}/faults, header X-Simulator-Token: {simulator.admin_token}"
    )
    output.print_notice("Ctrl-C ends it.")


def _sequence(change: dict[str, Any]) -> int:
    return int(change["sequence"])


def _keyed(records: list[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    return {_key(record): record for record in records}


def _key(record: dict[str, Any]) -> Key:
    return tuple(record[field.name] or "" for field in SOFTWARE.keys)
