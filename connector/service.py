"""Polls for ever: schedule, back-off, signals, health and metrics over HTTP.

Owns the threads of `run` and is the one place that catches errors. What an error means for the process:

    ConfigError              ends it, exit code 2: only an edit helps
    SinkFenced               ends it, exit code 4: another instance took over, and would be fenced in turn
    Stopped                  ends it, exit code 0: it was asked to
    other, retryable         polls again after a back-off
    SourceDenied and others  polls again at the interval, and is not ready: a consent that is granted, a topic that is
                             made or a file that is put back counts without a restart, and metrics go on meanwhile
    what is none of ours     ends it, exit code 1: a fault of the program; whoever supervises it starts it anew

Polls run in a thread of their own, so that a signal is noticed at once even while a poll waits inside a library. The
first SIGTERM or SIGINT lets a running poll end; after `GRACE_SECONDS`, or at a second signal, the process leaves as it
is, which a poll survives at any moment. Must not know what a poll does.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from connector.endpoint import Address, Answer, Endpoint
from connector.errors import ConfigError, ConnectorError, SinkFenced, Stopped
from connector.health import POLL_SECONDS_MAX, READY_INTERVALS, TICK_SECONDS, Health, stage_of
from connector.model import ChangeType
from connector.schedule import Schedule, elapsed_seconds
from connector.systemd import notify
from connector.telemetry import METRICS_CONTENT_TYPE, logger, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from connector.pipeline import PollResult
    from connector.telemetry import Metrics

log = logger(__name__)

GRACE_SECONDS: Final = 8.0
"""For a running poll to end after a signal. Container runtimes kill ten seconds after theirs."""

SUPERVISE_SECONDS: Final = 1.0
SIGNAL_EXIT_CODES: Final = 128
ENDING: Final = (ConfigError, SinkFenced, Stopped)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the service measures time and takes its leave.

    Attributes:
        grace_seconds: for a running poll to end after a stop was asked for.
        poll_seconds_max: a poll that takes longer is stuck.
        tick_seconds: the longest single wait between polls.
        monotonic: seconds of a clock that nobody can set.
        leave: ends the process at once, with an exit code. Not `sys.exit`: a library that waits would keep it.
    """

    grace_seconds: float = GRACE_SECONDS
    poll_seconds_max: float = POLL_SECONDS_MAX
    tick_seconds: float = TICK_SECONDS
    monotonic: Callable[[], float] = elapsed_seconds
    leave: Callable[[int], object] = os._exit


class Service:
    """Polls for ever. `address` and the event `listening` say where and that it answers, once `run` has begun.

    Args:
        poll: one poll of everything: a result for each inventory, as soon as it is there.
        interval_seconds: from the begin of a poll to the begin of the next.
        listen: host and port of health and metrics; port 0 takes a free one.
        metrics: what is counted.
        stop: set by the service at the first signal, for whatever waits inside a poll; or by somebody else, to end it.
        pace: clocks and limits.
    """

    def __init__(
        self,
        poll: Callable[[], Iterable[PollResult]],
        *,
        interval_seconds: float,
        listen: Address,
        metrics: Metrics,
        stop: threading.Event | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.address = listen
        self.listening = threading.Event()
        self._poll = poll
        self._metrics = metrics
        self._stop = stop or threading.Event()
        self._pace = pace or Pace()
        self._schedule = Schedule(interval_seconds)
        self._health = Health(
            ready_seconds_max=READY_INTERVALS * (interval_seconds + self._schedule.jitter_seconds),
            poll_seconds_max=self._pace.poll_seconds_max,
            ticked_at=self._pace.monotonic(),
        )
        self._signal: int | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Poll at once and then at every interval, until told to stop. Returns the exit code.

        Raises:
            ConfigError: `http.listen` cannot be listened on.
        """
        paths = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics_page}
        with Endpoint(self.address, paths) as endpoint, self._signals():
            self.address = endpoint.address
            log.info("answering /healthz, /readyz and /metrics", host=self.address[0], port=self.address[1])
            polling = threading.Thread(target=self._poll_for_ever, name="poll", daemon=True)
            polling.start()
            self.listening.set()
            notify("READY=1")
            self._supervise(polling)
        return self._exit_code

    # ---- the polling thread

    def _poll_for_ever(self) -> None:
        try:
            while not self._stop.is_set() and (due := self._poll_once()) is not None:
                self._wait_until(due)
        except BaseException as error:
            log.exception("a fault of the program ends it", exc_info=error)
            self._metrics.count_error("poll")
            self._exit_code = 1

    def _poll_once(self) -> float | None:
        """One poll. Returns when the next is due, or None where there is to be none."""
        began = self._pace.monotonic()
        self._health = replace(self._health, poll_began_at=began, due_at=None)
        failure: ConnectorError | None = None
        try:
            for result in self._poll():
                self._count(result)
                failure = failure or result.outage
        except ENDING as error:
            self._end(error)
            return None
        except ConnectorError as error:
            failure = error
        ended = self._pace.monotonic()
        if failure is not None:
            due = self._schedule.after_failure(began=began, ended=ended, retryable=failure.retryable)
            self._note_failure(failure, due - ended)
            succeeded_at = self._health.succeeded_at
        else:
            due = self._schedule.after_success(began=began, ended=ended)
            self._metrics.set_success()
            succeeded_at = ended
        self._health = replace(
            self._health, ticked_at=ended, poll_began_at=None, due_at=due, succeeded_at=succeeded_at, error=failure
        )
        return due

    def _wait_until(self, due: float) -> None:
        """Wait in short steps: each shows that the thread lives, and notices at once that the machine has slept."""
        while not self._stop.is_set() and (now := self._pace.monotonic()) < due:
            self._health = replace(self._health, ticked_at=now)
            self._stop.wait(min(due - now, self._pace.tick_seconds))

    def _end(self, error: ConnectorError) -> None:
        """The poll said that there is to be no other."""
        self._exit_code = error.exit_code
        if isinstance(error, Stopped):
            log.info("the poll was stopped", error=error)
            return
        self._metrics.count_error(stage_of(error))
        log.error("polling ends", error=error, exit_code=error.exit_code)

    def _note_failure(self, error: ConnectorError, delay_seconds: float) -> None:
        stage = stage_of(error)
        self._metrics.count_error(stage)
        write = log.warning if error.retryable else log.error
        write("poll failed", stage=stage, error=error, next_poll_seconds=round(delay_seconds))

    def _count(self, result: PollResult) -> None:
        """Put what a poll came to into metrics and log."""
        metrics, inventory = self._metrics, str(result.inventory)
        metrics.count_snapshot(result.outcome)
        metrics.count_published(result.published)
        metrics.set_pending(result.pending)
        if result.generated_at is not None:
            metrics.set_generation(inventory, result.generated_at)
        for step, seconds in result.stages.items():
            metrics.observe_step(step, seconds)
        for alert_type, alerts in result.alert_types.items():
            metrics.count_alerts(alert_type, alerts)
        self._health = replace(self._health, pending=result.pending)
        if "stage" in result.stages:
            self._count_staged(result, inventory)
        log.info(
            "poll finished",
            outcome=result.outcome,
            inventory=inventory,
            snapshot_id=result.snapshot_id,
            added=result.added,
            removed=result.removed,
            changed=result.changed,
            alerts=result.alerts,
            held=result.held,
            rejected=result.rejected,
            published=result.published,
            pending=result.pending,
            duration_seconds=round(result.duration_seconds, 3),
        )

    def _count_staged(self, result: PollResult, inventory: str) -> None:
        """The counts of a snapshot that this poll staged; a result without one repeats those of an earlier."""
        metrics = self._metrics
        metrics.count_received(size_bytes=result.fetched_bytes, records=result.records)
        metrics.count_lines(duplicates=result.duplicates, rejected=result.rejected)
        metrics.set_held(inventory, result.held)
        self._health = replace(self._health, held={**self._health.held, inventory: result.held})
        # A silent baseline is no change: it has no sequence numbers.
        baseline = result.baseline if result.first_sequence is not None else 0
        metrics.count_changes(ChangeType.BASELINE, baseline)
        metrics.count_changes(ChangeType.ADDED, result.added)
        metrics.count_changes(ChangeType.REMOVED, result.removed)
        metrics.count_changes(ChangeType.CHANGED, result.changed)

    # ---- the main thread

    def _supervise(self, polling: threading.Thread) -> None:
        """Wait for the polling thread to end; tell systemd that all is well; leave when a stop takes too long."""
        stopping_since: float | None = None
        while polling.is_alive():
            polling.join(SUPERVISE_SECONDS)
            now = self._pace.monotonic()
            if not self._health.stuck(now):
                notify("WATCHDOG=1")
            if not self._stop.is_set():
                continue
            if stopping_since is None:
                stopping_since = now
                notify("STOPPING=1")
                log.info("stopping", signal=signal.Signals(self._signal).name if self._signal else None)
            elif polling.is_alive() and now - stopping_since > self._pace.grace_seconds:
                log.warning("the poll did not end in time; leaving as it is, the next start takes it up again")
                self._pace.leave(_exit_code_of(self._signal))
                return

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the service, while the block runs. In another than the main thread: nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self._asked_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _asked_to_stop(self, number: int, _frame: FrameType | None) -> None:
        # Not a word to the log: this may have interrupted one.
        if self._signal is not None:
            self._pace.leave(_exit_code_of(number))
        self._signal = number
        self._stop.set()

    # ---- the answers

    def _healthz(self) -> Answer:
        """Whether the process lives: for liveness probes, which restart it where it does not."""
        body = self._health.liveness(self._pace.monotonic())
        return _json(fine=body["alive"], body=body)

    def _readyz(self) -> Answer:
        """Whether the data is fresh, and what stands in the way: for readiness probes and people."""
        body = self._health.readiness(self._pace.monotonic(), stopping=self._stop.is_set())
        return _json(fine=body["ready"], body=body)

    def _metrics_page(self) -> Answer:
        return Answer(HTTPStatus.OK, self._metrics.render(), METRICS_CONTENT_TYPE)


def _exit_code_of(number: int | None) -> int:
    """What a shell calls the exit code of a process ended by a signal; 1 where there was none."""
    return SIGNAL_EXIT_CODES + number if number else 1


def _json(*, fine: bool, body: dict[str, Any]) -> Answer:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, (json.dumps(without_secrets(body), ensure_ascii=False) + "\n").encode())
