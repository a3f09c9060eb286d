"""Whole polls of a large estate, from HTTPS to Kafka, beside the plain decompression of the same files.

Every poll is the command that a user would type, in a process of its own, so that its CPU time and its peak of memory
are the kernel's figures. Before each of them the yardstick is taken. What the broker and the server of the files take
is not in the CPU seconds; of the clock it is, where all of them share a machine. Rivals (`rivals`) get the files of the
last two snapshots that are one in a hundred apart.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Simulator
from tests.benchmarks import rivals
from tests.benchmarks.measuring import (
    COLUMNS,
    YARDSTICK,
    CommandFailed,
    Row,
    measure_command,
    measure_yardstick,
    medians,
    print_table,
)
from tests.benchmarks.serving import files_of, serve
from tests.benchmarks.snapshots import Size, write_snapshot
from tests.support.broker import Missing, session_broker, session_registry

PREFIX: Final = "bench"
TOUCHED_MAX: Final = 100
"""Records of each device, after which there is nothing left to touch."""
RIVALS_PREFIX: Final = "rival: "


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured.

    Attributes:
        records: in a snapshot.
        rounds: how often each step is measured.
        churns: how many records in a hundred differ in a new generation; a tuple of rounds for each of them.
        flavours: `files`, `json`.
        rivals: the names of `rivals.RIVALS`.
        rival_rounds: how often each of them is measured.
        broker: `real`, or `mock` for librdkafka's in-process cluster.
        memory_limit_mib: `state.memory_limit_mib`; 0: its default.
    """

    records: int = 1_000_000
    rounds: int = 3
    churns: tuple[int, ...] = (1, 0, 30)
    flavours: tuple[str, ...] = ("files", "json")
    rivals: tuple[str, ...] = field(default_factory=lambda: tuple(rivals.RIVALS))
    rival_rounds: int = 3
    broker: str = "real"
    memory_limit_mib: int = 0

    @property
    def touched(self) -> list[int]:
        """How far the fleet has come in each generation; see `snapshots`."""
        steps = [0]
        for churn in self.churns:
            for _ in range(self.rounds):
                steps.append(steps[-1] + churn)
        if steps[-1] > TOUCHED_MAX:
            raise SystemExit(f"{self.rounds} rounds of {self.churns} % touch more records than there are")
        return steps


def run(options: Options) -> None:
    """Measure, and print the table; every ratio is to the `zcat` of the same files just before."""
    notes: list[str] = []
    with TemporaryDirectory(prefix="benchmark-") as name, open_kafka(Path(name), options.broker) as (kafka, origin):
        rows = list(Polls(options, Path(name), kafka, notes).measured())
    print_table(
        f"{options.records:,} records, polled over HTTPS and published to {origin};"
        f" state.memory_limit_mib {options.memory_limit_mib or 'at its default'}",
        COLUMNS,
        medians(rows),
    )
    print("\n".join(notes), flush=True)


class Polls:
    """The steps of one run.

    Args:
        options: what is measured.
        folder: for everything that is written.
        kafka: the tables of the configuration about Kafka and its registry.
        notes: takes what is to be said below the table.
        prefix: of the topics.

    Attributes:
        gzip_bytes: of the last snapshot.
        state_bytes: of the state file after the last poll.
    """

    def __init__(
        self, options: Options, folder: Path, kafka: dict[str, Any], notes: list[str], *, prefix: str = PREFIX
    ) -> None:
        self._options = options
        self._folder = folder
        self._kafka = kafka
        self._notes = notes
        self._prefix = prefix
        self.gzip_bytes = self.state_bytes = 0
        self._yardstick: Row | None = None
        self._json_bytes = 0

    def measured(self, *, short_verbs: bool = True) -> Iterator[Row]:
        """All rows, in the order in which they are taken; with the verbs that take no time where they are wanted."""
        options = self._options
        touched = options.touched
        with serve(Size.of(options.records), touched) as simulator:
            tables = {flavour: self._tables(simulator, flavour, options.rounds - 1) for flavour in options.flavours}
            for number in range(options.rounds):
                for flavour in options.flavours:
                    tables[flavour] = self._tables(simulator, flavour, number)
                    yield from self._poll(simulator, f"first poll, {flavour}", tables[flavour])
            generation = 0
            for churn in options.churns:
                for _ in range(options.rounds):
                    simulator.advance()
                    generation += 1
                    for flavour in options.flavours:
                        yield from self._poll(simulator, f"poll, {churn} % changed, {flavour}", tables[flavour])
                if churn == 1 and short_verbs:
                    yield from self._short_verbs(tables[options.flavours[0]])
                    yield from self._rivals(simulator, touched[generation - 1])

    def _poll(self, simulator: Simulator, name: str, config: Path) -> Iterator[Row]:
        """The yardstick, and one poll."""
        paths = files_of(simulator)
        self._yardstick = measure_yardstick(paths)
        yield self._yardstick
        row, printed = self._measure(name, config, "poll", "--json")
        result = json.loads(printed.splitlines()[-1])
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result["stages"].items() if seconds >= 0.05)
        changes = result["added"] + result["removed"] + result["changed"]
        self.gzip_bytes = sum(path.stat().st_size for path in paths)
        self.state_bytes = state = config.with_name("state.duckdb").stat().st_size
        self._json_bytes = self._json_bytes or _unpacked_bytes(paths)
        self._notes.append(
            f"{name}: {result['records']:,} records, {changes:,} changes, {result['alerts']:,} alerts,"
            f" {result['held']:,} held; {stages}; state file {state / 2**20:,.0f} MiB,"
            f" {100 * state / self._json_bytes:.1f} % of the JSON"
        )
        yield row

    def _short_verbs(self, config: Path) -> Iterator[Row]:
        """A poll that finds nothing new, and verbs that only answer."""
        for _ in range(self._options.rounds):
            yield self._measure("poll, nothing new", config, "poll", "--json")[0]
            yield self._measure("status", config, "status")[0]
            yield self._measure("--help", config, "--help")[0]

    def _rivals(self, simulator: Simulator, touched: int) -> Iterator[Row]:
        """What a user would otherwise write, on the same files."""
        if not self._options.rivals:
            return
        now = files_of(simulator)
        before_folder = self._folder / "before"
        before = [part.path for part in write_snapshot(before_folder, Size.of(self._options.records), touched).parts]
        for name in self._options.rivals:
            rival = rivals.RIVALS[name]
            if missing := rival.missing():
                self._notes.append(f"{RIVALS_PREFIX}{name}: MISSING: {missing}")
                continue
            for _ in range(self._options.rival_rounds):
                self._yardstick = measure_yardstick(now)
                yield self._yardstick
                try:
                    with TemporaryDirectory(dir=self._folder) as scratch:
                        commands = rival.commands(Path(scratch), before, now)
                        for command in commands[:-1]:
                            measure_command(name, command)
                        row, printed = measure_command(RIVALS_PREFIX + name, commands[-1], yardstick=self._yardstick)
                except CommandFailed as failure:
                    # Most often for want of memory.
                    self._notes.append(f"{RIVALS_PREFIX}{name}: FAILED: {failure}")
                    break
                yield row
                self._notes.append(f"{row.name}: {' '.join(printed.split())}")

    def _measure(self, name: str, config: Path, *arguments: str) -> tuple[Row, str]:
        command = [sys.executable, "-m", "connector", "--config", str(config), *arguments]
        return measure_command(name, command, yardstick=self._yardstick)

    def _tables(self, simulator: Simulator, flavour: str, number: int) -> Path:
        """A configuration with a state file and topics of its own, which are created."""
        folder = self._folder / f"{flavour}-{number}"
        path = folder / "connector.toml"
        if path.exists():
            return path
        folder.mkdir(mode=0o700)
        kafka = self._kafka["kafka"] | {"topic_prefix": f"{self._prefix}.{flavour}.{number}"}
        limit = self._options.memory_limit_mib
        tables = {
            "source": simulator.settings(method=flavour),
            "state": {"path": str(folder / "state.duckdb")} | ({"memory_limit_mib": limit} if limit else {}),
            **self._kafka,
            "kafka": kafka,
        }
        path.write_text(as_toml(tables), encoding="utf-8")
        path.chmod(0o600)
        if self._options.broker == "real":
            quiet = ("--log-level", "warning")
            measure_command("setup", [sys.executable, "-m", "connector", *quiet, "--config", str(path), "setup"])
        return path


def as_toml(tables: dict[str, dict[str, Any]]) -> str:
    """Tables of a configuration as TOML."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        for key, value in table.items():
            text = json.dumps(value)
            if isinstance(value, dict):
                items = (f"{json.dumps(inner)} = {json.dumps(inside)}" for inner, inside in value.items())
                text = f"{{ {', '.join(items)} }}"
            lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


@contextmanager
def open_kafka(folder: Path, broker: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Tables of a configuration that reach a broker and a registry, and what they are."""
    with ExitStack() as stack:
        if broker == "real":
            try:
                kafka = session_broker(folder / "kafka")
                stack.callback(kafka.close)
                registry = session_registry(folder / "registry")
                stack.callback(registry.close)
                url = registry.url
            except Missing as missing:
                raise SystemExit(f"no real Kafka (--broker mock does without one): {missing}") from missing
            tables = _tables_of(kafka.bootstrap_servers, url)
            yield tables, kafka.origin
            return
        names = [
            topic.name_under(f"{PREFIX}.{flavour}.{number}")
            for topic in Topic
            for flavour in ("files", "json")
            for number in range(10)
        ]
        cluster = stack.enter_context(MockCluster(names))
        yield _tables_of(cluster.bootstrap_servers, "mock://bench"), "librdkafka's in-process cluster, NO REAL BROKER"


def _tables_of(bootstrap_servers: str, registry: str) -> dict[str, Any]:
    return {
        "kafka": {"client": {"bootstrap.servers": bootstrap_servers}},
        "schema_registry": {"url": registry, "auto_register": True},
    }


def _unpacked_bytes(paths: Sequence[Path]) -> int:
    """The size of the JSON in some files."""
    _, printed = measure_command(YARDSTICK, ["sh", "-c", 'zcat "$@" | wc -c', "sh", *map(str, paths)])
    return int(printed)
