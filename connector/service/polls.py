"""One tenant's polls, one after the other, until stopped: their schedule, health and metrics.

This is the one place that catches errors. What an error means:

    ConfigError              ends this tenant's polls, exit code 2: only an edit helps
    SinkFenced               ends them, exit code 4: another instance took over, and would be fenced in turn
    Stopped                  ends them, exit code 0: they were asked to end
    other, retryable         polls again after a back-off
    SourceDenied and others  polls again at the interval, and is not ready: a consent that is granted, a topic that is
                             made or a file that is put back counts without a restart, and metrics go on meanwhile
    any other exception      a bug: fails that poll, loudly, and polls again at the interval

An error concerns this tenant only: tenants share nothing but the stop, the log and the registry of metrics.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from connector.errors import ConfigError, ConnectorError, ProgramFault, SinkFenced, Stopped, fault_of
from connector.poll.result import PollResult
from connector.service.health import POLL_SECONDS_MAX, READY_INTERVALS, TICK_SECONDS, Health, stage_of
from connector.service.metrics import Metrics
from connector.service.schedule import Schedule, elapsed_seconds
from connector.service.state_watch import StateWatcher
from connector.telemetry import bind_tenant, logger

log = logger(__name__)

GRACE_SECONDS: Final = 8.0
"""For running polls to end after a signal. Container runtimes kill ten seconds after theirs."""

ENDING: Final = (ConfigError, SinkFenced, Stopped)


@dataclass(frozen=True, slots=True)
class ServiceTiming:
    """How time is measured, and how the process exits.

    Attributes:
        grace_seconds: for running polls to end after a stop was asked for.
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


@dataclass(frozen=True, slots=True)
class Polled:
    """A tenant as `run` takes it.

    Attributes:
        tenant: its name in logs, metrics and answers.
        poll: polls all inventories, and yields the result of each as soon as it is there.
        interval_seconds: from the begin of a poll to the begin of the next.
        state_watcher: notices between polls what another process did to the state file.
        end: called once no further poll will come.
        waiting_seconds: how long its poll has been waiting for memory that other tenants use; 0 where it does not.
    """

    tenant: str
    poll: Callable[[], Iterable[PollResult]]
    interval_seconds: float
    state_watcher: StateWatcher | None = None
    end: Callable[[], None] | None = None
    waiting_seconds: Callable[[], float] | None = None


class Polls:
    """A tenant's polls. `run` occupies its own thread; everything else may be called from any thread.

    Args:
        polled: the tenant.
        metrics: where its polls are counted.
        stop: ends the polls, set by whoever supervises them.
        timing: clocks and limits.
        first_after_seconds: how long the first poll waits, so that tenants do not begin all at once.
    """

    def __init__(
        self,
        polled: Polled,
        *,
        metrics: Metrics,
        stop: threading.Event,
        timing: ServiceTiming,
        first_after_seconds: float = 0.0,
    ) -> None:
        self.tenant = polled.tenant
        self.exit_code = 0
        self._poll = polled.poll
        self._state_watcher = polled.state_watcher
        self._end_polls = polled.end
        self._metrics = metrics
        metrics.begin(self.tenant)
        self._waiting_seconds = polled.waiting_seconds or (lambda: 0.0)
        metrics.follow(self.tenant, "memory_wait_seconds", self._waiting_seconds)
        self._stop = stop
        self._timing = timing
        self._schedule = Schedule(polled.interval_seconds)
        now = timing.monotonic()
        self._first_due = now + first_after_seconds
        self._health = Health(
            ready_seconds_max=READY_INTERVALS * (polled.interval_seconds + self._schedule.jitter_seconds),
            poll_seconds_max=timing.poll_seconds_max,
            ticked_at=now,
            due_at=self._first_due,
        )

    def run(self) -> None:
        """Poll until stopped, or until an error ends the polls."""
        with bind_tenant(self.tenant):
            try:
                self._wait_until(self._first_due, wakes=False)
                while not self._stop.is_set() and (due := self._poll_once()) is not None:
                    self._wait_until(due, wakes=True)
            except BaseException as error:
                log.exception("a fault of the program ends the polls", exc_info=error)
                self._metrics.note_error(self.tenant, "poll")
                self.exit_code = 1
                self._metrics.put(self.tenant, "ended_exit_code", self.exit_code)
                self._health = replace(self._health, ended=f"a fault of the program: {type(error).__name__}")
            finally:
                if self._end_polls:
                    self._end_polls()

    def stuck(self) -> str | None:
        """What is wrong with the polling thread; None where nothing is."""
        return self._health.stuck(self._timing.monotonic())

    def readiness(self) -> dict[str, Any]:
        """Whether this tenant's data is fresh, and what stands in the way."""
        waiting = round(self._waiting_seconds(), 1)
        return self._health.readiness(self._timing.monotonic()) | {"waiting_for_memory_seconds": waiting}

    def _poll_once(self) -> float | None:
        """Poll once. Returns when the next poll is due, or None where there is to be none."""
        began = self._timing.monotonic()
        self._health = replace(self._health, poll_began_at=began, due_at=None)
        failure: ConnectorError | None = None
        try:
            for result in self._poll():
                self._note_result(result)
                failure = failure or result.outage
        except ENDING as error:
            self._end(error)
            return None
        except ConnectorError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - one poll fails, and `_note_failure` says so with the traceback
            failure = fault_of(error)
        ended = self._timing.monotonic()
        if self._state_watcher:
            self._state_watcher.note()
        if failure is not None:
            due = self._schedule.after_failure(began=began, ended=ended, retryable=failure.retryable)
            self._note_failure(failure, due - ended)
            succeeded_at = self._health.succeeded_at
        else:
            due = self._schedule.after_success(began=began, ended=ended)
            self._metrics.note_success(self.tenant)
            succeeded_at = ended
        self._health = replace(
            self._health, ticked_at=ended, poll_began_at=None, due_at=due, succeeded_at=succeeded_at, error=failure
        )
        return due

    def _wait_until(self, due: float, *, wakes: bool) -> None:
        """Wait in short steps, which show that the thread lives and notice at once that the machine has slept.

        With `wakes`, the wait ends early where another process has staged something: a poll publishes it.
        """
        while not self._stop.is_set() and (now := self._timing.monotonic()) < due:
            self._health = replace(self._health, ticked_at=now)
            if self._look() and wakes:
                log.info("another process has staged changes; polling now to publish them")
                return
            self._stop.wait(min(due - now, self._timing.tick_seconds))

    def _look(self) -> bool:
        """Update what is pending and held, where a person approved or discarded in the meantime.

        Returns whether another process has staged something that waits for Kafka.
        """
        try:
            backlog = self._state_watcher.look() if self._state_watcher else None
        except Exception as error:
            log.exception("a fault of the program hides what others did to the state file", exc_info=error)
            return False
        if backlog is None:
            return False
        self._metrics.put(self.tenant, "pending_changes", backlog.pending)
        self._metrics.put(self.tenant, "held_records", backlog.held)
        self._health = replace(self._health, pending=backlog.pending, held=backlog.held)
        return backlog.waits

    def _end(self, error: ConnectorError) -> None:
        """Note an error that ends the polls."""
        self.exit_code = error.exit_code
        if isinstance(error, Stopped):
            log.info("the poll was stopped", error=error)
            self._health = replace(self._health, poll_began_at=None, ended="stopped")
            return
        self._metrics.note_error(self.tenant, stage_of(error))
        self._metrics.put(self.tenant, "ended_exit_code", self.exit_code)
        log.error("polling ends", error=error, exit_code=error.exit_code)
        self._health = replace(self._health, poll_began_at=None, error=error, ended=str(error))

    def _note_failure(self, error: ConnectorError, delay_seconds: float) -> None:
        stage = stage_of(error)
        self._metrics.note_error(self.tenant, stage)
        if isinstance(error, ProgramFault):
            log.error("a fault of the program, a bug, ends this poll", hint=error.hint, exc_info=error.__cause__)
        write = log.warning if error.retryable else log.error
        write("poll failed", stage=stage, error=error, next_poll_seconds=round(delay_seconds))

    def _note_result(self, result: PollResult) -> None:
        """Put what the poll of an inventory came to into metrics, health and log."""
        self._metrics.observe(self.tenant, result)
        inventory, counts = str(result.inventory), result.counts
        self._health = replace(
            self._health,
            pending=result.pending,
            held={**self._health.held, inventory: result.holding},
            stale={**self._health.stale, inventory: result.stale},
        )
        log.info(
            "poll finished",
            outcome=result.outcome,
            inventory=inventory,
            snapshot_id=result.snapshot_id,
            added=counts.added,
            removed=counts.removed,
            changed=counts.changed,
            alerts=counts.alerts,
            held=counts.held,
            rejected=counts.rejected,
            published=result.published,
            drained=result.drained,
            pending=result.pending,
            duration_seconds=round(result.duration_seconds, 3),
        )
