"""A simulated tenant whose polls go through the whole product, at a time of the test's choosing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connector import config
from connector.assembly import Assembly
from connector.errors import ConnectorError
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.poll.result import PollResult
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.state.state import StateFile
from tests.support.broker import Broker
from tests.support.messages import values_on

PREFIX = "polled"
HOUR = timedelta(hours=1)


class PolledTenant:
    """A simulated tenant, Kafka inside the process, and a clock; each poll is one of a new process.

    Attributes:
        now: what the connector's clock says; an hour after the newest generation, unless a test moves it.
        path: the state file.
    """

    def __init__(self, simulator: Simulator, cluster: MockCluster | Broker, folder: Path) -> None:
        self.simulator = simulator
        self.now = simulator.generated_at + HOUR
        self.path = folder / "state.duckdb"
        self._bootstrap_servers = cluster.bootstrap_servers

    def assembly(self, **tables: dict[str, Any]) -> Assembly:
        """A new process, with some keys changed."""
        usual: dict[str, dict[str, Any]] = {
            "source": self.simulator.settings(method="files", page_size=70),
            "state": {"path": str(self.path)},
            "guard": {"missing_device_snapshots": 1},
            "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": self._bootstrap_servers}},
            "schema_registry": {"url": "mock://polled", "auto_register": True},
        }
        merged = {name: usual.get(name, {}) | tables.get(name, {}) for name in usual | tables}
        return Assembly(config.from_values(merged, {}, name="test"), clock=lambda: self.now)

    def poll(self, method: str = "files", **tables: dict[str, Any]) -> PollResult:
        """One poll."""
        source = {"method": method} | tables.pop("source", {})
        with self.assembly(**tables, source=source) as assembly:
            (result,) = assembly.pipeline.poll()
        return result

    def fail(self, method: str = "files", **tables: dict[str, Any]) -> ConnectorError:
        """One poll that fails: what with."""
        try:
            result = self.poll(method, **tables)
        except ConnectorError as error:
            return error
        raise AssertionError(f"the poll did not fail: {result}")

    def advance(self) -> datetime:
        """The next generation, and an hour more. Returns its time."""
        generated_at = self.simulator.advance()
        self.now = generated_at + HOUR
        return generated_at

    def date(self, *times: datetime | None) -> None:
        """What the listings say of their generation from now on, one poll after the other; None: the truth."""
        self.simulator.faults.clear()
        for time in times:
            if time is not None:
                text = time.isoformat()
                self.simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=text, times=None))

    def hide_tokens(self) -> None:
        """No page token names its generation from now on."""
        self.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_OPAQUE, times=None))

    def snapshots(self) -> list[tuple[str, int]]:
        """Id and number of changes of every staged snapshot, in order."""
        with StateFile.open(self.path, memory_limit_mib=256, read_only=True) as state:
            return [
                (row.snapshot_id, row.counts.changes) for row in state.journal.snapshots("true ORDER BY snapshot_no")
            ]

    def published(self, topic: Topic) -> list[dict[str, Any]]:
        """Everything on a topic, decoded; by sequence where there is one."""
        with self.assembly() as assembly:
            return values_on(assembly, topic)

    def reported(self) -> list[tuple[str, str]]:
        """Status and snapshot of every report, in order."""
        return [(report["status"], report["snapshotId"]) for report in self.published(Topic.SNAPSHOTS)]


@contextmanager
def open_tenant(folder: Path) -> Iterator[PolledTenant]:
    """A tenant of twelve devices, whose files and pages are a simulator's."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with (
        MockCluster([topic.name_under(PREFIX) for topic in Topic]) as cluster,
        Simulator(Fleet(seed=11, devices=12, start=start, churn=4)) as simulator,
    ):
        yield PolledTenant(simulator, cluster, folder)
