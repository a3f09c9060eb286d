from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from connector.errors import (
    ConfigError,
    ConnectorError,
    SinkFenced,
    SinkUnavailable,
    SourceDenied,
    SourceUnavailable,
    Stopped,
)
from connector.model import Counts, Inventory
from connector.poll.memory import MemoryBudget
from connector.poll.result import PollResult
from connector.service.metrics import METRICS_CONTENT_TYPE, Metrics
from connector.service.polls import Polled, ServiceTiming
from connector.service.service import Service
from connector.telemetry import configure
from tests.support.logs import restored

ROOT = Path(__file__).parents[2]
HOUR = 3600.0
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
WAIT_SECONDS_MAX = 60
TENANT = "contoso"

Step = ConnectorError | BaseException | list[PollResult]


def result(outcome: str = "published", **values: Any) -> PollResult:
    """A poll's result, counts among its values; what a test does not care about is that of a small snapshot."""
    counts = Counts(**{name: values.pop(name) for name in Counts.__dataclass_fields__ if name in values})
    small: dict[str, Any] = {
        "inventory": Inventory.CPE,
        "snapshot_id": "cpe-20261123T080000Z",
        "epoch": 1,
        "generated_at": NOW,
        "stages": {"recover": 0.1, "fetch": 2.0, "stage": 1.0, "publish": 0.2},
    }
    # The outcome is a literal there.
    return PollResult(outcome=outcome, counts=counts, **{**small, **values})  # type: ignore[arg-type]


ALIVE = {"alive": True, "reasons": [], "tenants": {TENANT: {"alive": True}}}
UNCHANGED = result("unchanged", records=900, stages={"recover": 0.1, "fetch": 0.2})


class Script:
    """A poll that comes to what is written: results, or an error after them. At its end it waits to be stopped."""

    def __init__(self, *steps: Step | tuple[list[PollResult], ConnectorError]) -> None:
        self.steps = list(steps)
        self.stop = threading.Event()
        self.began: list[float] = []
        self.finished = threading.Event()
        """Set when the last step is over and one more poll has begun, or is not to come."""

    def __call__(self) -> Iterator[PollResult]:
        """One poll."""
        self.began.append(time.monotonic())
        if not self.steps:
            self.finished.set()
            self.stop.wait(WAIT_SECONDS_MAX)
            raise Stopped("stopped")
        step = self.steps.pop(0)
        results, error = step if isinstance(step, tuple) else (step, None) if isinstance(step, list) else ([], step)
        yield from results
        if error is not None:
            raise error


class Running:
    """A service in a thread, with a client of its HTTP side."""

    def __init__(
        self,
        tenants: list[Polled],
        stop: threading.Event,
        *,
        timing: ServiceTiming | None = None,
        keep_answering: bool = False,
    ) -> None:
        self.metrics = Metrics(clock=lambda: NOW.timestamp() + 60)
        self.stop = stop
        self.service = Service(
            tenants,
            listen=("127.0.0.1", 0),
            metrics=self.metrics,
            stop=stop,
            timing=timing,
            keep_answering=keep_answering,
        )
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.exit_code = self.service.run()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.service.listening.wait(WAIT_SECONDS_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()

    def join(self) -> int | None:
        """The exit code, once the service has ended."""
        self._thread.join(WAIT_SECONDS_MAX)
        assert not self._thread.is_alive()
        return self.exit_code

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, type and body of a path."""
        connection = http.client.HTTPConnection(*self.service.address, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type", ""), response.read()
        finally:
            connection.close()

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON body of a path."""
        status, _, body = self.get(path)
        return status, json.loads(body)

    def ready(self, wanted: Callable[[dict[str, Any]], bool], tenant: str = TENANT) -> tuple[int, dict[str, Any]]:
        """The first answer of /readyz with the wanted state of a tenant: status, and that state."""
        status, body = self.ask_until("/readyz", lambda body: wanted(body["tenants"][tenant]))
        return status, body["tenants"][tenant]

    def ask_until(self, path: str, wanted: Callable[[dict[str, Any]], bool]) -> tuple[int, dict[str, Any]]:
        """The first answer that is the wanted one; what the polling thread does next is seen from outside only."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not wanted((answer := self.ask(path))[1]):
            assert time.monotonic() < deadline, f"never answered: {answer}"
        return answer

    def samples(self) -> dict[str, float]:
        """The samples of our metrics that are not 0, without buckets and the version."""
        lines = self.get("/metrics")[2].decode().splitlines()
        lines = [line.replace(f'{{tenant="{TENANT}"}}', "").replace(f',tenant="{TENANT}"', "") for line in lines]
        lines = [line.replace(f'tenant="{TENANT}",', "") for line in lines if line.startswith("mde_")]
        texts = dict(line.removeprefix("mde_inventory_").rsplit(" ", 1) for line in lines)
        shown = {name: float(value) for name, value in texts.items() if not name.startswith("build_info")}
        return {name: value for name, value in shown.items() if value and "_bucket" not in name}


class Clock:
    """A clock that goes on by itself and that a test may put forward."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead_seconds

    def timing(self) -> ServiceTiming:
        """A timing that notices at once when the clock was put forward."""
        return ServiceTiming(tick_seconds=0.01, monotonic=self)


def run_script(script: Script, *, interval_seconds: float = HOUR, timing: ServiceTiming | None = None) -> Running:
    """A service that polls one tenant by a script."""
    return Running([Polled(TENANT, script, interval_seconds)], script.stop, timing=timing)


def has_polled(body: dict[str, Any]) -> bool:
    """Whether a poll is over, well or not."""
    return not body["polling"] and (body["last_error"] is not None or body["last_success_age_seconds"] is not None)


# ---- polling


def test_it_polls_at_once_and_then_waits_for_the_interval() -> None:
    """The first poll does not wait; the next is due after the interval and at most a tenth of it, 300 s at most."""
    with run_script(Script([result()])) as running:
        status, body = running.ready(has_polled)
    assert (status, body["ready"], running.exit_code) == (200, True, 0)
    assert HOUR - WAIT_SECONDS_MAX < body["next_poll_seconds"] <= HOUR + 300


def test_it_polls_again_at_every_interval() -> None:
    """Polls follow each other until it is stopped."""
    script = Script([result()], [UNCHANGED], [UNCHANGED], [UNCHANGED])
    with run_script(script, interval_seconds=0.05):
        assert script.finished.wait(WAIT_SECONDS_MAX)
    assert len(script.began) == 5


def test_after_sleep_it_polls_once_and_not_for_every_missed_interval() -> None:
    """The clock jumps over eight intervals while the thread waits: one poll follows, the next an interval later."""
    clock = Clock()
    script = Script([result()], [UNCHANGED])
    with run_script(script, timing=clock.timing()) as running:
        running.ready(has_polled)
        clock.ahead_seconds = 8.5 * HOUR
        _, body = running.ready(lambda body: bool(body["next_poll_seconds"]))
    assert (len(script.began), body["next_poll_seconds"] > HOUR - WAIT_SECONDS_MAX) == (2, True)


def test_setting_the_wall_clock_moves_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day forwards or backwards, or daylight saving, is not seen by the schedule."""
    due = []
    for day in (-1, 1):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda day=day: 1_800_000_000.0 + day * 86_400)
            with run_script(Script([result()])) as running:
                due.append(running.ready(has_polled)[1]["next_poll_seconds"])
    assert all(HOUR - WAIT_SECONDS_MAX < seconds <= HOUR + 300 for seconds in due)


def test_who_waits_for_memory_is_shown_and_a_stop_ends_the_wait() -> None:
    """In readiness and metrics, while another tenant's poll has the memory; the process ends at once, with 0."""
    budget, stop = MemoryBudget(100), threading.Event()

    def poll() -> Iterator[PollResult]:
        with budget.share(TENANT, 100, seconds_max=HOUR, stop=stop) as memory:
            memory.take()
            yield result()

    polled = Polled(TENANT, poll, HOUR, waiting_seconds=partial(budget.waiting_seconds, TENANT))
    with budget.share("other", 100, seconds_max=HOUR, stop=stop) as held:
        held.take()
        with Running([polled], stop) as running:
            running.ready(lambda body: body["waiting_for_memory_seconds"] > 0)
            assert running.samples()["memory_wait_seconds"] > 0
            assert running.get("/healthz")[0] == 200
            stop.set()
            assert running.join() == 0


def test_what_a_poll_came_to_is_counted() -> None:
    """Each number of a result has its metric; a poll of two inventories counts both."""
    cpe = result(
        "held", records=1000, added=5, removed=3, changed=7, held=40, duplicates=2, rejected=1, published=15,
        holding=41, first_sequence=1, last_sequence=15, fetched_bytes=12_345, pending=0,
    )  # fmt: skip
    other = result(inventory=Inventory.NON_CPE, records=10, added=1, published=1, first_sequence=16, last_sequence=16)
    with run_script(Script([cpe, other])) as running:
        status, body = running.ready(has_polled)
        assert (status, body["held_records"]) == (200, {"CPE": 41, "NON_CPE": 0})
        assert running.get("/metrics")[:2] == (200, METRICS_CONTENT_TYPE)
        assert running.samples() == {
            "received_bytes_total": 12_345,
            "received_records_total": 1010,
            'changes_total{type="ADDED"}': 6,
            'changes_total{type="REMOVED"}': 3,
            'changes_total{type="CHANGED"}': 7,
            "published_changes_total": 16,
            'held_records{inventory="CPE"}': 41,
            'generation_age_seconds{inventory="CPE"}': 60,
            'generation_age_seconds{inventory="NON_CPE"}': 60,
            'poll_duration_seconds_count{stage="recover"}': 2,
            'poll_duration_seconds_sum{stage="recover"}': 0.2,
            'poll_duration_seconds_count{stage="fetch"}': 2,
            'poll_duration_seconds_sum{stage="fetch"}': 4,
            'poll_duration_seconds_count{stage="stage"}': 2,
            'poll_duration_seconds_sum{stage="stage"}': 2,
            'poll_duration_seconds_count{stage="publish"}': 2,
            'poll_duration_seconds_sum{stage="publish"}': 0.4,
            "last_success_timestamp_seconds": NOW.timestamp() + 60,
            "duplicates_total": 2,
            "rejected_lines_total": 1,
            'snapshots_total{outcome="published"}': 1,
            'snapshots_total{outcome="held"}': 1,
        }


def test_a_generation_that_did_not_advance_counts_no_records() -> None:
    """An unchanged result repeats the counts of the inventory, not received again; what is held is new."""
    script = Script([result(records=900, added=2, held=5, holding=5)], [UNCHANGED], [UNCHANGED])
    with run_script(script, interval_seconds=0.01) as running:
        assert script.finished.wait(WAIT_SECONDS_MAX)
        samples = running.samples()
    names = ("received_records_total", 'changes_total{type="ADDED"}', 'held_records{inventory="CPE"}')
    assert [samples.get(name) for name in names] == [900, 2, None]
    assert samples['snapshots_total{outcome="unchanged"}'] == 2


@pytest.mark.parametrize("baselined", [0, 900], ids=["silent", "emitted"])
def test_a_baseline_is_counted_where_it_is_published(baselined: int) -> None:
    """A silent baseline makes no changes; one that is emitted makes as many as it has records."""
    baseline = result(records=900, baseline=900, baselined=baselined)
    with run_script(Script([baseline])) as running:
        running.ready(has_polled)
        assert running.samples().get('changes_total{type="BASELINE"}', 0) == baselined


# ---- errors


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigError("wrong"), 2),
        (SinkFenced("another instance took over"), 4),
        (Stopped("stopped"), 0),
        (SystemExit(0), 1),
    ],
)
def test_some_errors_end_it_with_their_exit_code(error: BaseException, exit_code: int) -> None:
    """Where polling again is wrong or cannot help, the process ends and says so by its exit code."""
    script = Script(error, [result()])
    with run_script(script, interval_seconds=0.01) as running:
        assert (running.join(), len(script.began)) == (exit_code, 1)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(SinkFenced("another instance took over"), 4), (ConfigError("wrong"), 2), (SystemExit(0), 1)],
)
def test_where_it_keeps_answering_an_end_is_seen_and_never_restarted(error: BaseException, exit_code: int) -> None:
    """Alive, not ready, with the exit code as a metric, until it is stopped; and then it exits with that code."""
    script = Script(error, [result()])
    with Running([Polled(TENANT, script, 0.01)], script.stop, keep_answering=True) as running:
        status, body = running.ready(lambda body: "polling has ended" in "".join(body["reasons"]))
        samples, alive = running.samples(), running.ask("/healthz")
    assert (status, body["ready"], samples["ended_exit_code"], alive) == (503, False, exit_code, (200, ALIVE))
    assert (running.exit_code, len(script.began)) == (exit_code, 1)


def test_a_bug_fails_one_poll_and_the_tenant_polls_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The exception that nothing expected is in the log with its traceback, in the metrics and in readiness."""
    script = Script(KeyError("canary"), [UNCHANGED])
    with restored():
        configure("json")
        with run_script(script, interval_seconds=0.05) as running:
            assert script.finished.wait(WAIT_SECONDS_MAX)
            samples = running.samples()
            body = running.ask("/readyz")[1]
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    bugs = [line for line in logged if line["event"] == "a fault of the program, a bug, ends this poll"]
    failed = [line["error"].split(" in ")[0] for line in logged if line["event"] == "poll failed"]
    assert ([line["traceback"].splitlines()[-1] for line in bugs], failed) == (
        ["KeyError: 'canary'"],
        ["unexpected KeyError"],
    )
    assert (samples['errors_total{stage="poll"}'], body["ready"], len(script.began)) == (1, True, 3)


def test_after_a_bug_a_tenant_is_not_ready() -> None:
    """Until a poll succeeds; the next one is due at the interval and not in a hurry."""
    with run_script(Script(KeyError("canary"))) as running:
        status, body = running.ready(has_polled)
    assert (status, body["last_error"]["type"], body["last_error"]["retryable"]) == (503, "ProgramFault", False)
    assert body["next_poll_seconds"] > HOUR - WAIT_SECONDS_MAX


def test_an_outage_is_retried_long_before_the_interval() -> None:
    """The source away: the error is shown and counted, and the next poll is due within seconds, not in an hour."""
    with run_script(Script(SourceUnavailable("no route", hint="Look at the network."))) as running:
        status, body = running.ready(has_polled)
        samples = running.samples()
    assert (status, body["reasons"], body["last_error"]["stage"]) == (
        503,
        ["no poll has succeeded yet: no route"],
        "fetch",
    )
    assert (0 < body["next_poll_seconds"] <= 15, samples) == (True, {'errors_total{stage="fetch"}': 1})


def test_a_denied_access_keeps_it_running_and_not_ready() -> None:
    """A consent that is granted later counts without a restart: alive, not ready, polled again at the interval."""
    clock = Clock()
    script = Script([result()], SourceDenied("no roles"), [UNCHANGED])
    with run_script(script, timing=clock.timing()) as running:
        running.ready(has_polled)
        clock.ahead_seconds += 1.1 * HOUR
        status, body = running.ready(lambda body: bool(body["last_error"]))
        assert (status, running.ask("/healthz")) == (503, (200, ALIVE))
        assert body["reasons"] == ["the last poll failed, and waiting will not mend it: no roles"]
        assert body["next_poll_seconds"] > HOUR - WAIT_SECONDS_MAX
        clock.ahead_seconds += 1.1 * HOUR
        status, body = running.ready(lambda body: body["ready"])
    assert (status, body["last_error"], running.exit_code) == (200, None, 0)


def test_kafka_away_shows_the_backlog_and_is_tried_again_soon() -> None:
    """A staged snapshot is no good poll: it is retried within seconds; the backlog is in readiness and metrics."""
    clock = Clock()
    staged = result("staged", records=100, added=4, pending=4, outage=SinkUnavailable("brokers away", hint="Wait."))
    with run_script(Script([result()], [staged]), timing=clock.timing()) as running:
        running.ready(has_polled)
        clock.ahead_seconds += 1.1 * HOUR
        status, body = running.ready(lambda body: bool(body["last_error"]))
        samples = running.samples()
    assert (status, body["last_error"]["message"], body["pending_changes"]) == (200, "brokers away", 4)
    assert 0 < body["next_poll_seconds"] <= 15
    assert (samples["pending_changes"], samples['errors_total{stage="publish"}']) == (4, 1)
    assert (samples['changes_total{type="ADDED"}'], "published_changes_total" in samples) == (4, False)


def test_what_came_before_an_error_counts() -> None:
    """The first inventory is polled well, the second fails: the first is counted, the poll failed."""
    with run_script(Script(([result(records=7)], SourceUnavailable("no route")))) as running:
        _, body = running.ready(has_polled)
        assert (running.samples()["received_records_total"], body["last_error"]["message"]) == (7, "no route")


def test_readiness_shows_no_secret() -> None:
    """What is configured as secret does not leave through an error's message."""
    script = Script(SourceUnavailable("login of c4nary failed", hint="c4nary?"))
    with restored():
        configure("json", "error", ["c4nary"])
        with run_script(script) as running:
            body = running.ready(has_polled)[1]
    assert (body["last_error"]["message"], "c4nary" in json.dumps(body)) == ("login of [removed] failed", False)


# ---- health


def test_a_poll_that_hangs_is_not_alive() -> None:
    """A stuck poll turns liveness to 503, so that an orchestrator restarts it; when it ends, all is well again."""
    gate = threading.Event()

    def hang() -> list[PollResult]:
        gate.wait(WAIT_SECONDS_MAX)
        return [result()]

    with Running(
        [Polled(TENANT, hang, HOUR)], threading.Event(), timing=ServiceTiming(poll_seconds_max=0.05)
    ) as running:
        status, body = running.ask_until("/healthz", lambda body: not body["alive"])
        assert (status, body["reasons"][0].startswith(f"{TENANT}: a poll has been running for")) == (503, True)
        assert running.ask("/readyz")[0] == 503
        gate.set()
        assert running.ask_until("/healthz", lambda body: body["alive"])[0] == 200


def test_a_busy_port_is_found_before_the_first_poll() -> None:
    """A wrong `http.listen` ends with a configuration error; nothing is polled."""
    script = Script([result()])
    with socket.create_server(("127.0.0.1", 0)) as other:
        polled = [Polled(TENANT, script, 1)]
        service = Service(polled, listen=other.getsockname(), metrics=Metrics(), stop=script.stop)
        with pytest.raises(ConfigError, match=r"^http\.listen: cannot listen on"):
            service.run()
    assert script.began == []


def test_anything_else_is_not_found() -> None:
    """Three paths, and no other."""
    with run_script(Script()) as running:
        assert [running.get(path)[0] for path in ("/", "/metrics/", "/debug", "/healthz")] == [404, 404, 404, 200]


# ---- several tenants


def run_scripts(*scripts: Script, interval_seconds: float = HOUR, timing: ServiceTiming | None = None) -> Running:
    """A service that polls the tenants a, b, c … by a script each."""
    stop = threading.Event()
    for script in scripts:
        script.stop = stop
    tenants = [Polled(chr(ord("a") + number), script, interval_seconds) for number, script in enumerate(scripts)]
    return Running(tenants, stop, timing=timing)


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (SinkFenced("another instance took over"), 4, "another instance took over"),
        (ConfigError("wrong"), 2, "wrong"),
        (SystemExit(0), 1, "a fault of the program: SystemExit"),
    ],
)
def test_a_tenant_that_ends_takes_no_other_with_it(error: BaseException, exit_code: int, reason: str) -> None:
    """The others are polled on; readiness says who ended and why; liveness does not ask for a restart of all."""
    ending, going_on = Script(error), Script([result()], [UNCHANGED], [UNCHANGED])
    with run_scripts(ending, going_on, interval_seconds=0.05) as running:
        assert going_on.finished.wait(WAIT_SECONDS_MAX)
        status, body = running.ask_until("/readyz", lambda body: not body["tenants"]["a"]["ready"])
        assert (status, body["reasons"]) == (503, [f"a: polling has ended, until a restart: {reason}"])
        assert body["tenants"]["b"]["ready"] is True
        assert running.ask("/healthz")[0] == 200
    assert (len(ending.began), len(going_on.began), running.exit_code) == (1, 4, exit_code)


@pytest.mark.parametrize(
    ("errors", "exit_code"),
    [
        ([SinkFenced("x"), ConfigError("x"), SystemExit(0)], 4),
        ([SystemExit(0), ConfigError("x")], 2),
        ([Stopped("x"), SystemExit(0)], 1),
        ([Stopped("x"), Stopped("x")], 0),
    ],
)
def test_the_process_ends_with_the_last_tenant_and_the_highest_exit_code(
    errors: list[BaseException], exit_code: int
) -> None:
    """What must not be answered with a restart wins over what may."""
    with run_scripts(*map(Script, errors), interval_seconds=0.05) as running:
        assert running.join() == exit_code


def test_first_polls_of_several_tenants_are_spread() -> None:
    """The first is polled at once, the others follow within half a minute, in equal steps."""
    clock = Clock()
    with run_scripts(Script([result()]), Script([result()]), Script([result()]), timing=clock.timing()) as running:
        body = running.ask_until("/readyz", lambda body: has_polled(body["tenants"]["a"]))[1]
        due = [body["tenants"][name]["next_poll_seconds"] for name in "bc"]
        reasons = body["reasons"]
        clock.ahead_seconds = 20
        ready = running.ask_until("/readyz", lambda body: body["ready"])[0]
    assert (0 < due[0] <= 10 < due[1] <= 20, reasons, ready) == (
        True, ["b: no poll has ended yet", "c: no poll has ended yet"], 200,
    )  # fmt: skip


def test_one_stuck_tenant_makes_the_process_not_alive() -> None:
    """Only a restart frees a thread that hangs in a library; it costs the others a few seconds."""
    gate = threading.Event()

    def hang() -> list[PollResult]:
        gate.wait(WAIT_SECONDS_MAX)
        return [result()]

    tenants = [Polled("a", hang, HOUR), Polled("b", lambda: [result()], HOUR)]
    clock = Clock()
    with Running(tenants, threading.Event(), timing=clock.timing()) as running:
        running.ask_until("/readyz", lambda body: body["tenants"]["a"]["polling"])
        clock.ahead_seconds = 7 * HOUR
        expected = {"a": {"alive": False}, "b": {"alive": True}}
        status, body = running.ask_until("/healthz", lambda body: body["tenants"] == expected)
        gate.set()
    assert (status, body["alive"], body["reasons"][0].partition(" for ")[0]) == (
        503, False, "a: a poll has been running",
    )  # fmt: skip


# ---- stopping


def test_a_stop_ends_the_wait_at_once() -> None:
    """Nobody waits for the interval to end."""
    with run_script(Script([result()])) as running:
        running.ready(has_polled)
        running.stop.set()
        assert running.join() == 0


def test_while_it_stops_it_is_not_ready() -> None:
    """Until the running poll has ended, readiness says that the service goes, and liveness that it lives."""
    gate = threading.Event()

    def finish() -> list[PollResult]:
        gate.wait(WAIT_SECONDS_MAX)
        return [result()]

    with Running(
        [Polled(TENANT, finish, HOUR)], threading.Event(), timing=ServiceTiming(grace_seconds=WAIT_SECONDS_MAX)
    ) as running:
        running.stop.set()
        assert (running.ask("/readyz")[1]["reasons"][0], running.ask("/healthz")[0]) == ("stopping", 200)
        gate.set()
        assert running.join() == 0


def test_a_poll_that_does_not_end_is_left_after_the_grace() -> None:
    """The process leaves by itself before whoever asked kills it; 1 where no signal gives the exit code."""
    gate = threading.Event()
    left: list[int] = []

    def hang() -> list[PollResult]:
        gate.wait(WAIT_SECONDS_MAX)
        return []

    with Running(
        [Polled(TENANT, hang, HOUR)], threading.Event(), timing=ServiceTiming(grace_seconds=0.1, leave=left.append)
    ) as running:
        running.stop.set()
        running.join()
        gate.set()
    assert left == [1]


def test_systemd_is_told_when_it_is_ready_alive_and_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `Type=notify` and a watchdog, systemd knows as much as Kubernetes does by its probes."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(WAIT_SECONDS_MAX)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        with run_script(Script([result()])) as running:
            datagrams = [systemd.recv(100), systemd.recv(100)]
            running.stop.set()
            running.join()
    assert datagrams == [b"READY=1", b"WATCHDOG=1"]


PROGRAM = """
import signal, sys, threading, time
from connector.errors import Stopped
from connector.service.metrics import Metrics
from connector.service.polls import ServiceTiming, Polled
from connector.service.service import Service
from connector.telemetry import configure

kind, grace_seconds = sys.argv[1], float(sys.argv[2])
stop = threading.Event()
configure("json")

def poll():
    print("polling", flush=True)
    if kind == "noticing":
        stop.wait(600)
        raise Stopped("stopped between two calls")
    if kind == "finishing":
        stop.wait(600)
        time.sleep(0.5)
    if kind == "deaf":
        time.sleep(600)
    return []

before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
service = Service([Polled("contoso", poll, 3600)], listen=("127.0.0.1", 0), metrics=Metrics(), stop=stop,
                  timing=ServiceTiming(grace_seconds=grace_seconds))
code = service.run()
print("handlers restored:", before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])
sys.exit(code)
"""


def run_program(kind: str, *signals: int, grace_seconds: float = 600) -> tuple[int, float, str, list[str]]:
    """Start a service, wait for its first poll, raise the signals; exit code, seconds, stdout and events logged.

    One that does not end by itself long before its grace is killed, and its exit code is another.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind, str(grace_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        # Not left waiting for a program that does not end.
        watchdog = threading.Timer(WAIT_SECONDS_MAX, program.kill)
        watchdog.start()
        assert program.stdout.readline() == "polling\n"
        begun = time.monotonic()
        logged = []
        for number in signals:
            program.send_signal(number)
            # The interpreter takes two signals that come together for one: the next waits until this one is heard.
            for line in program.stderr:
                logged.append(json.loads(line)["event"])
                if logged[-1] == "stopping":
                    break
        logged += [json.loads(line)["event"] for line in program.stderr]
        out = program.stdout.read()
        code = program.wait()
        watchdog.cancel()
    return code, time.monotonic() - begun, out, logged


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *(
            (kind, number)
            for kind in ("waiting", "noticing", "finishing")
            for number in (signal.SIGTERM, signal.SIGINT)
        ),
        ("waiting", signal.SIGHUP),
    ],
)
def test_a_signal_ends_it_cleanly(kind: str, number: int) -> None:
    """Between polls, in a poll that notices the stop, in one that finishes: exit code 0, handlers as before."""
    code, _, out, logged = run_program(kind, number)
    assert (code, out) == (0, "handlers restored: True\n")
    assert ("stopping" in logged, "a fault of the program ends the polls" in logged) == (True, False)


def test_a_poll_deep_in_a_library_is_left_after_the_grace() -> None:
    """A poll that nothing can wake does not hold the process: it leaves after the grace, and says so."""
    code, seconds, out, logged = run_program("deaf", signal.SIGTERM, grace_seconds=1)
    assert (code, out, seconds >= 1) == (143, "", True)
    assert logged[-1] == "a poll did not end in time; leaving as it is, the next start takes it up again"


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((signal.SIGTERM, signal.SIGTERM), 143),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGINT), 130),
    ],
)
def test_a_second_signal_ends_it_at_once(signals: tuple[int, int], code: int) -> None:
    """Whoever insists is obeyed, whatever the poll is doing."""
    exit_code, _, out, _ = run_program("deaf", *signals)
    assert (exit_code, out) == (code, "")
