"""The verb `demo`: the connector at work, without accounts, Docker or Java.

The connector in the demo is the real one: a real login to the simulator over HTTPS, a real state file, real Kafka
messages to librdkafka's in-process cluster. What is shown is what a consumer decodes from the topics. The summary
compares that consumer with the simulator: the published changes, applied in order, must give the simulated fleet.
With `--console`, the state file is then shown in a browser while the fleet goes on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connector import config, telemetry
from connector.assembly import Assembly
from connector.cli import output
from connector.cli.lines import campaigns
from connector.cli.options import stopped_by_signals
from connector.cli.trial.simulate import command_name, import_simulator
from connector.errors import Stopped
from connector.exports.software import SOFTWARE
from connector.kafka.client import Deadline
from connector.kafka.mock import MockCluster
from connector.model import AlertType, ChangeType, Inventory, Method, Topic
from connector.poll.result import PollResult
from connector.wording import counted

if TYPE_CHECKING:
    # Extras: the demo imports them when it runs, and says how to install one that is missing.
    from connector.simulator import Simulator
    from connector.web import Console

START: Final = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PREFIX: Final = "mde.software"
CHURN: Final = 2.0
ALERTS_SHOWN: Final = 2
CAMPAIGNS_SHOWN: Final = 2
READ_SECONDS_MAX: Final = 30.0
CONSOLE_LISTEN: Final = "127.0.0.1:0"
CONSOLE_INTERVAL_SECONDS: Final = 5.0
"""Between two generations while the console is shown."""

Key = tuple[str, ...]
Connect = Callable[[Method], Assembly]


def demo(
    devices: Annotated[int, typer.Option(min=5, max=5_000, help="Number of simulated devices.")] = 40,
    generations: Annotated[int, typer.Option(min=2, max=100, help="Number of snapshots to poll.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 7,
    with_console: Annotated[
        bool, typer.Option("--console", help="Then show it in a browser while the fleet goes on, until Ctrl-C.")
    ] = False,
) -> None:
    """See it work: a simulated fleet, an in-process Kafka; no accounts, no Docker, no Java."""
    telemetry.configure("console", "warning")
    stop = threading.Event()
    with stopped_by_signals(stop):
        try:
            exit_code = play(devices=devices, generations=generations, seed=seed, with_console=with_console, stop=stop)
        except Stopped as error:
            raise Stopped("stopped before the end of the demo; nothing is left behind") from error
    raise typer.Exit(exit_code)


class Consumer:
    """A reader of the topics that knows nothing else: decodes, counts, and folds the changes into an inventory."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reader = assembly.reader()
        self._changes_read = 0
        self.alerts: dict[str, dict[str, Any]] = {}
        self.change_counts: Counter[str] = Counter()
        self.inventory: dict[Key, dict[str, Any]] = {}

    def read_changes(self, number: int) -> list[dict[str, Any]]:
        """The next `number` changes, by sequence; fewer where they do not come."""
        if not number:
            return []
        published = self._read(Topic.CHANGES, self._changes_read + number)
        fresh = sorted((change for change in published if change["sequence"] > self._changes_read), key=_sequence)
        for change in fresh:
            self.apply(change)
        self._changes_read += len(fresh)
        return fresh

    def read_alerts(self, number: int) -> list[dict[str, Any]]:
        """The next `number` alerts, the most severe first; fewer where they do not come."""
        if not number:
            return []
        published = self._read(Topic.ALERTS, len(self.alerts) + number)
        fresh = [alert for alert in published if alert["alertId"] not in self.alerts]
        self.alerts |= {alert["alertId"]: alert for alert in fresh}
        return sorted(fresh, key=lambda alert: ("high", "medium", "low").index(alert["severity"]))

    def apply(self, change: dict[str, Any]) -> None:
        """Fold one change into the inventory."""
        self.change_counts[change["changeType"]] += 1
        gone = change["before"] or (change if change["changeType"] == ChangeType.REMOVED else None)
        if gone is not None:
            self.inventory.pop(_key(gone))
        if change["changeType"] != ChangeType.REMOVED:
            self.inventory[_key(change)] = _record(change)

    def _read(self, topic: Topic, limit: int) -> list[dict[str, Any]]:
        deadline = Deadline(READ_SECONDS_MAX)
        incoming = self._reader.follow(self._assembly.topic(topic), from_beginning=True, limit=limit, deadline=deadline)
        return [self._assembly.messages.decode(message.value) for message in incoming if message.value is not None]


def play(
    *,
    devices: int,
    generations: int,
    seed: int,
    consume: Callable[[Assembly], Consumer] = Consumer,
    with_console: bool = False,
    stop: threading.Event | None = None,
) -> int:
    """Play the demo. Returns the exit code: 0 where the consumer's inventory equals the simulated fleet.

    With the console, that is then served until `stop` is set.

    Raises:
        ConfigError: the extra `simulator` is not installed, or `console`, where that is asked for.
        Stopped: `stop` was set before the end of the demo.
    """
    simulators = import_simulator()
    console = _import_console() if with_console else None
    stop = stop or threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="mde-inventory-demo-")))
        cluster = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic]))
        fleet = simulators.Fleet(seed=seed, devices=devices, start=START, churn=CHURN)
        simulator = stack.enter_context(simulators.Simulator(fleet))
        connect = partial(_assembly, simulator, cluster, folder, stop)
        consumer = consume(stack.enter_context(connect(Method.FILES)))
        output.print_rule("mde-inventory-connector: what changed on which device?")
        output.print_line(
            f"A simulated tenant with {devices} devices on {simulator.api_url}, and a Kafka cluster in this process."
            f" {counted(generations, 'generation')} of the export are polled, alternately as files and as JSON pages,"
            f" each by a new instance of the connector. Below is what a consumer decodes from {PREFIX}.{Topic.ALERTS}"
            f" and {PREFIX}.{Topic.CHANGES}.",
            style="dim",
        )
        results: list[PollResult] = []
        for generation in range(generations):
            if generation:
                simulator.advance()
            results += _poll(simulator, connect)
            last = results[-1]
            _show(last, consumer.read_changes(last.published), consumer.read_alerts(last.counts.alerts))
        exit_code = _summarize(simulator.records(Inventory.CPE), consumer, results)
        if console:
            _serve(console, simulator, connect, stop)
        return exit_code


def _import_console() -> type[Console]:
    """The console, which the demo runs without unless it is asked for.

    Raises:
        ConfigError: the extra `console` is not installed.
    """
    from connector.web import Console

    return Console


def _serve(console: type[Console], simulator: Simulator, connect: Connect, stop: threading.Event) -> None:
    """Serve the console, and poll a new generation every few seconds, until `stop` is set."""
    settings = config.ConsoleConfig(listen=CONSOLE_LISTEN)
    with connect(Method.FILES) as assembly, console(assembly, settings) as served:
        output.print_rule("Console")
        output.print_link(served.access.link)
        output.print_notice(
            f"The fleet goes on: a new generation is polled every {CONSOLE_INTERVAL_SECONDS:g} s. Load a page again to"
            " see what is new; Ctrl-C ends it."
        )
        # The poll that it interrupts is not missed: the state file goes with the demo.
        with suppress(Stopped):
            while not stop.wait(CONSOLE_INTERVAL_SECONDS):
                simulator.advance()
                _poll(simulator, connect)


def _poll(simulator: Simulator, connect: Connect) -> list[PollResult]:
    """Poll the current generation, alternately as files and as JSON pages."""
    with connect(tuple(Method)[simulator.generation % 2]) as assembly:
        return list(assembly.pipeline.poll(folds=True))


def _assembly(
    simulator: Simulator, cluster: MockCluster, folder: Path, stop: threading.Event, method: Method
) -> Assembly:
    """The connector as a new process would begin it, at the time of the generation: six hours after the last."""
    tables = {
        "source": simulator.settings() | {"method": method.value},
        "state": {"path": str(folder / "state.duckdb"), "memory_limit_mib": 512},
        "diff": {"baseline": "emit"},
        "guard": {"missing_device_snapshots": 1},
        "campaigns": {"enabled": True, "min_devices": 2},
        "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": cluster.bootstrap_servers}},
        "schema_registry": {"url": "mock://demo", "auto_register": True},
    }
    checked = config.from_values(tables, {}, name="the demo's configuration")
    return Assembly(checked, stop=stop, clock=lambda: simulator.generated_at)


def _show(result: PollResult, changes: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> None:
    """One generation: a heading, its counts, and the alerts and changes that people would want to see first."""
    # The id gives the time; beside it there is room for the counts in a narrow terminal.
    output.print_heading(str(result.snapshot_id), output.counts(result))
    if result.baseline:
        records = counted(result.counts.records, "record")
        output.print_line(f"  the first snapshot: {records}, published as BASELINE", style="dim")
        return
    for alert in alerts[:ALERTS_SHOWN]:
        output.print_event(alert)
    widest = [campaign for campaign in result.campaigns if campaign["devices"] > 1][:CAMPAIGNS_SHOWN]
    output.print_cut_texts(campaigns.lines(widest))
    shown = list(_one_of_each(changes, widest))
    for change in shown:
        output.print_change(change)
    in_campaigns = sum(campaign["changes"] for campaign in widest)
    more = [
        (len(alerts) - ALERTS_SHOWN, "more alert"),
        (len(changes) - len(shown) - in_campaigns, "more change"),
    ]
    left = [counted(number, noun) for number, noun in more if number > 0]
    if left:
        output.print_line(f"  and {' and '.join(left)}", style="dim")


def _one_of_each(
    changes: Sequence[dict[str, Any]], campaigns_shown: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What people would want to see first, of each type of change that no campaign shows."""
    shown = {(campaign["changeType"], campaign["reason"]) for campaign in campaigns_shown}
    for kind in (ChangeType.ADDED, ChangeType.REMOVED, ChangeType.CHANGED):
        of_kind = (
            change
            for change in changes
            if change["changeType"] == kind and (change["changeType"], change["reason"]) not in shown
        )
        yield from sorted(of_kind, key=lambda change: (_rank(change), change["sequence"]))[:1]


def _rank(change: dict[str, Any]) -> int:
    """Software that is out of support first, then single pieces of software, whole devices last."""
    if change["isEndOfSupport"]:
        return 0
    order = ("INSTALLED", "UNINSTALLED", "UPGRADED", "DOWNGRADED", "NEW_DEVICE", "DEVICE_MISSING")
    return 1 + order.index(change["reason"]) if change["reason"] in order else len(order) + 1


def _summarize(fleet: Iterable[dict[str, Any]], consumer: Consumer, results: list[PollResult]) -> int:
    """What was published, and whether it gives the fleet's current records. Returns the exit code."""
    equal = {_key(record): _record(record) for record in fleet} == consumer.inventory
    output.print_rule("Summary")
    alert_counts = Counter(alert["alertType"] for alert in consumer.alerts.values())
    output.print_line(f"Changes decoded: {_numbers(consumer.change_counts, ChangeType)}.")
    output.print_line(f"Alerts decoded: {_numbers(alert_counts, AlertType)}.")
    last, seconds = results[-1].counts, sum(result.duration_seconds for result in results)
    output.print_line(
        f"{counted(len(results), 'snapshot')}, {counted(last.records, 'record')} on {counted(last.devices, 'device')},"
        f" {seconds:.1f} s."
    )
    verdict, style = ("equal", "bold green") if equal else ("DO NOT EQUAL", "bold red")
    output.print_line(
        f"All changes, applied in order, {verdict} the simulated fleet: {counted(len(consumer.inventory), 'record')}.",
        style=style,
    )
    command = command_name()
    output.print_line(f"Next: `{command} simulate`, and in another terminal `{command} init --simulator`", "dim")
    return 0 if equal else 1


def _numbers(counts: Counter[str], kinds: Iterable[str]) -> str:
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in kinds)


def _sequence(change: dict[str, Any]) -> int:
    return int(change["sequence"])


def _key(record: dict[str, Any]) -> Key:
    return tuple(record[field.name] or "" for field in SOFTWARE.keys)


def _record(event: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record, without those of the event around it."""
    return {field.name: event[field.name] for field in SOFTWARE.fields}
