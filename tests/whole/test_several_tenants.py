"""Several tenants in one process, with real parts: what one waits for, or fails with, delays no other."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connector import config
from connector.assembly import Assembly
from connector.errors import StateLocked
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.operations import decisions
from connector.operations.run import take_locks
from connector.poll.result import PollResult
from connector.service.metrics import METRICS, Metrics
from connector.service.polls import Polled, ServiceTiming
from connector.service.service import Service
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.state.state import StateFile

START = datetime(2026, 1, 1, tzinfo=UTC)
WAIT_SECONDS_MAX = 120
INTERVAL_SECONDS = 0.3
PREFIX = "several"
IDS = {
    "healthy": "11111111-0000-0000-0000-000000000001",
    "hanging": "22222222-0000-0000-0000-000000000002",
    "without Kafka": "33333333-0000-0000-0000-000000000003",
    "locked": "44444444-0000-0000-0000-000000000004",
}


def tables(simulator: Simulator, bootstrap_servers: str, folder: Path) -> dict[str, dict[str, Any]]:
    """A configuration; the topics are the same for all tenants."""
    return {
        "source": simulator.settings(method="json"),
        "poll": {"interval_seconds": 1},
        "state": {"path": str(folder / f"{simulator.tenant_id}.duckdb"), "memory_limit_mib": 128},
        "guard": {"missing_device_snapshots": 1, "min_removed": 5},
        "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": bootstrap_servers}},
        "schema_registry": {"url": "mock://several", "auto_register": True},
    }


def tenant_of(name: str) -> Simulator:
    """One simulated tenant."""
    return Simulator(Fleet(seed=len(name), devices=5, start=START, churn=4), tenant_id=IDS[name])


class Together:
    """A service of several tenants, and what has become of their polls."""

    def __init__(
        self,
        stack: ExitStack,
        configured: dict[str, dict[str, dict[str, Any]]],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self.finished: dict[str, queue.Queue[list[PollResult]]] = {name: queue.Queue() for name in configured}
        self.began = {name: threading.Event() for name in configured}
        self.stop = threading.Event()
        self.assemblies = {
            name: stack.enter_context(
                Assembly(config.from_values(given, {}, name=name), stop=self.stop, kafka_seconds_max=5)
            )
            for name, given in configured.items()
        }
        self.metrics = Metrics()
        locks = dict(zip(self.assemblies, take_locks(self.assemblies.values(), stack), strict=True))
        tenants = [
            Polled(name, self._poll_of(name), interval_seconds, assembly.state_watcher(), locks[name].release)
            for name, assembly in self.assemblies.items()
        ]
        timing = ServiceTiming(tick_seconds=0.1)
        self.service = Service(tenants, listen=("127.0.0.1", 0), metrics=self.metrics, stop=self.stop, timing=timing)
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        stack.callback(self.end)
        assert self.service.listening.wait(WAIT_SECONDS_MAX)

    def _run(self) -> None:
        self.exit_code = self.service.run()

    def _poll_of(self, name: str) -> Callable[[], Iterator[PollResult]]:
        def poll() -> Iterator[PollResult]:
            self.began[name].set()
            results = []
            for result in self.assemblies[name].pipeline.poll():
                results.append(result)
                yield result
            self.finished[name].put(results)

        return poll

    def polled(self, name: str) -> PollResult:
        """What the next poll of a tenant came to, once it is over."""
        (result,) = self.finished[name].get(timeout=WAIT_SECONDS_MAX)
        return result

    def polled_until(self, name: str, wanted: Callable[[PollResult], bool]) -> PollResult:
        """The first of a tenant's polls whose result is the wanted one."""
        while not wanted(result := self.polled(name)):
            continue
        return result

    def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        host, port = self.service.address
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def ready_until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first answer of /readyz that is the wanted one: a poll's end is in it a moment after the poll itself."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not wanted(body := json.loads(self.ask("/readyz")[1])):
            assert time.monotonic() < deadline, body
        return dict(body)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of ours, as Prometheus's own parser reads it."""
        families = text_string_to_metric_families(self.ask("/metrics")[1].decode())
        return {
            (sample.name.removeprefix("mde_inventory_"), frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("mde_inventory_")
        }

    def end(self) -> int | None:
        """Stop it; the exit code."""
        self.stop.set()
        self._thread.join(WAIT_SECONDS_MAX)
        assert not self._thread.is_alive()
        return self.exit_code


def test_one_tenants_trouble_delays_no_other(tmp_path: Path) -> None:
    """An API that hangs, a Kafka that is away, a state file that is locked: the healthy tenant keeps its timing.

    All are polled by one process, which reports on each, and stops cleanly in the middle of it.
    """
    with ExitStack() as stack:
        kafka = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic])).bootstrap_servers
        simulators = {name: stack.enter_context(tenant_of(name)) for name in IDS}
        simulators["hanging"].faults.add(Fault(Endpoint.TOKEN, FaultKind.HANG, times=None))
        servers = dict.fromkeys(IDS, kafka) | {"without Kafka": "127.0.0.1:1"}
        configured = {
            name: tables(simulators[name], servers[name], tmp_path) | {"diff": {"baseline": "emit"}} for name in IDS
        }
        stack.enter_context(StateFile.open(tmp_path / f"{IDS['locked']}.duckdb", memory_limit_mib=128))
        together = Together(stack, configured)
        outcomes = [together.polled("healthy").outcome]
        assert together.began["hanging"].wait(WAIT_SECONDS_MAX)
        simulators["healthy"].advance()
        outcomes.append(together.polled_until("healthy", lambda result: result.outcome == "published").outcome)
        outcomes += [together.polled("healthy").outcome for _ in range(3)]
        body = together.ready_until(
            lambda body: all(body["tenants"][name]["last_error"] for name in ("without Kafka", "locked"))
        )
        tenants = body["tenants"]
        alive = json.loads(together.ask("/healthz")[1])["alive"]
        pending = {name: together.samples()["pending_changes", frozenset({("tenant", name)})] for name in IDS}
        exit_code = together.end()
    assert outcomes == ["published", "published", "unchanged", "unchanged", "unchanged"]
    assert {name: tenants[name]["ready"] for name in tenants} == {name: name == "healthy" for name in IDS}
    assert (tenants["hanging"]["polling"], together.finished["hanging"].qsize()) == (True, 0)
    assert [tenants[name]["last_error"]["type"] for name in ("without Kafka", "locked")] == [
        "SinkUnavailable", "StateLocked",
    ]  # fmt: skip
    records = len(simulators["without Kafka"].records())
    assert pending == {"healthy": 0, "hanging": 0, "without Kafka": records, "locked": 0}
    assert (body["ready"], alive, exit_code) == (False, True, 0)
    assert sorted({reason.partition(":")[0] for reason in body["reasons"]}) == ["hanging", "locked", "without Kafka"]


def test_every_metric_moves_with_real_polls(tmp_path: Path) -> None:
    """Baseline, changes, a mass removal that is held, unread lines, an outage, an approval: every metric has seen one.

    What is held is as it is now: it is gone once a person has approved it.
    """
    with ExitStack() as stack:
        kafka = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic])).bootstrap_servers
        simulator = stack.enter_context(tenant_of("healthy"))
        configured = tables(simulator, kafka, tmp_path)
        configured |= {"alerts": {"on_baseline": True}}
        together = Together(stack, {"healthy": configured})
        together.polled("healthy")
        odd = ('{"deviceId": "odd", "rbacGroupId": "", "diskPaths": "x"}',)
        unread = ('{"deviceName": "a record without its device"}', *odd)
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.DUPLICATE_ROWS, times=None))
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.EXTRA_LINES, lines=unread, times=None))
        simulator.advance()
        together.polled_until("healthy", lambda result: result.counts.rejected > 0 and result.counts.duplicates > 0)
        simulator.faults.clear()
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.FEWER_RECORDS, share=0.5, times=None))
        simulator.advance()
        held = together.polled_until("healthy", lambda result: result.outcome == "held" and not result.counts.rejected)
        during = together.samples()
        together.polled("healthy")
        approve(together)
        after = together.polled_until("healthy", lambda result: not result.holding)
        simulator.faults.clear()
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.STATUS, status=400, times=None))
        together.ready_until(lambda body: body["tenants"]["healthy"]["last_error"] is not None)
        samples = together.samples()
        together.end()
        simulator.faults.clear()
        # Turned on later, the topic of the inventory is filled with what there is.
        kafka_table = configured["kafka"] | {"inventory_topic": True}
        later = Together(stack, {"healthy": configured | {"kafka": kafka_table}})
        later.polled("healthy")
        later.ready_until(lambda body: body["ready"])
        filled = later.samples()
    labels = frozenset({("tenant", "healthy"), ("inventory", "CPE")})
    assert (during["held_records", labels], samples["held_records", labels], after.outcome) == (
        held.holding, 0, "unchanged",
    )  # fmt: skip
    assert held.holding > 0
    moved = {name.removesuffix("_count") for (name, _), value in (*samples.items(), *filled.items()) if value}
    expected = {metric.name.removeprefix("mde_inventory_") for metric in METRICS}
    # Of these the first moved before, the second above, the others in tests of their own.
    others = {"lookalike_keys_total", "ended_exit_code", "memory_wait_seconds"}
    assert expected - moved == {"held_records", "pending_changes"} | others
    assert {dict(label_set)["tenant"] for _, label_set in samples} == {"healthy"}


def test_a_decision_by_another_process_is_seen_before_the_next_poll(tmp_path: Path) -> None:
    """What is held is as it is now: gone from metrics and /readyz soon after, though the next poll is an hour off.

    What was discarded leaves nothing to publish, so no poll follows.
    """
    with ExitStack() as stack:
        kafka = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic])).bootstrap_servers
        simulator = stack.enter_context(tenant_of("healthy"))
        configured = {"healthy": tables(simulator, kafka, tmp_path)}
        with Assembly(config.from_values(configured["healthy"], {}, name="first")) as first:
            list(first.pipeline.poll())
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.FEWER_RECORDS, share=0.5, times=None))
        simulator.advance()
        together = Together(stack, configured, interval_seconds=3600)
        held = together.polled("healthy").holding
        before = together.ready_until(lambda body: not body["tenants"]["healthy"]["polling"])
        with Assembly(together.assemblies["healthy"].config) as other:
            discarded = decisions.discard_held(other)
        after = together.ready_until(lambda body: body["tenants"]["healthy"]["held_records"]["CPE"] == 0)
        gauge = together.samples()["held_records", frozenset({("tenant", "healthy"), ("inventory", "CPE")})]
        polls = together.finished["healthy"].qsize()
    assert (before["tenants"]["healthy"]["held_records"]["CPE"], discarded.records, held > 0) == (held, held, True)
    assert (after["tenants"]["healthy"]["pending_changes"], gauge, polls) == (0, 0, 0)


def approve(together: Together) -> None:
    """Approve what is held, as a person does: between two polls, which hold the state file.

    Whoever polls publishes it. That nobody is fenced is shown with a real broker, in test_decisions.py: the cluster
    here fences nobody.
    """
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with Assembly(together.assemblies["healthy"].config) as other:
        while time.monotonic() < deadline:
            try:
                decision = decisions.approve_held(other)
            except StateLocked:
                # One process has a file open only once, and does not wait for itself.
                continue
            assert decision.publisher is not None
            return


def toml(given: dict[str, dict[str, Any]]) -> str:
    """Tables as TOML."""
    lines = []
    for table, keys in given.items():
        inner = {key: value for key, value in keys.items() if isinstance(value, dict)}
        lines += [f"[{table}]"]
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in keys.items() if key not in inner]
        for name, more in inner.items():
            lines += [f"[{table}.{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in more.items())]
    return "\n".join(lines) + "\n"


def test_the_command_polls_every_configuration_of_a_folder(tmp_path: Path) -> None:
    """`--config FOLDER run` as a process: both tenants published, every line named, no secret, a clean end."""
    folder = tmp_path / "tenants"
    folder.mkdir()
    with ExitStack() as stack:
        kafka = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic])).bootstrap_servers
        simulators = [stack.enter_context(tenant_of(name)) for name in ("healthy", "hanging")]
        for simulator in simulators:
            given = tables(simulator, kafka, tmp_path) | {"diff": {"baseline": "emit"}}
            (folder / f"{simulator.tenant_id}.toml").write_text(toml(given), encoding="utf-8")
        with (folder / f"{simulators[0].tenant_id}.toml").open("a", encoding="utf-8") as file:
            file.write('[http]\nlisten = "127.0.0.1:0"\n')
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
        command = ["-m", "connector", "--config", str(folder), "--log-format", "json", "--log-level", "debug", "run"]
        process = stack.enter_context(
            subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean)
        )
        # Not left waiting for a program that does not end.
        watchdog = threading.Timer(WAIT_SECONDS_MAX, process.kill)
        watchdog.start()
        stack.callback(watchdog.cancel)
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        counted: dict[str, int] = {}
        waiting = {simulator.tenant_id for simulator in simulators}
        while waiting and (line := process.stderr.readline()):
            lines.append(json.loads(line))
            if lines[-1]["event"] == "poll finished":
                counted.setdefault(lines[-1]["tenant"], lines[-1]["published"])
                waiting.discard(lines[-1]["tenant"])
        process.send_signal(signal.SIGTERM)
        lines += [json.loads(line) for line in process.stderr]
        exit_code = process.wait()
    assert (exit_code, waiting) == (0, set())
    assert counted == {simulator.tenant_id: len(simulator.records()) for simulator in simulators}
    unnamed = {line["logger"] for line in lines if "tenant" not in line}
    assert unnamed <= {"connector.service.service", "asyncio"}
    text = json.dumps(lines)
    assert [simulator.tenant_id for simulator in simulators if str(simulator.client_secret) in text] == []


@pytest.mark.parametrize("verb", ["changes", "poll"])
def test_other_verbs_take_one_configuration(tmp_path: Path, verb: str) -> None:
    """Exit code 2, and the files that were meant."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text("", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "connector", "--config", str(tmp_path), verb],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert [str(tmp_path / f"{name}.toml") in ran.stderr for name in ("a", "b")] == [True, True]
