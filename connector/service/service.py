"""Polls for ever: a thread for each tenant, signals, and health and metrics of all over HTTP.

Owns the process of `run`: its threads, how it ends, and its exit code. What a poll's error means is `polls`' to say,
for one tenant at a time: one that waits, fails or ends takes nothing from the others, whose threads, sessions,
producers and state files are their own. The process ends once all tenants have ended, with the highest of their exit
codes: 0 for one that was asked to stop, 1 for a fault of the program, 2 for a wrong configuration, 4 where another
instance took over, which whoever supervises the process must not answer with a restart.

Polls run in threads of their own, so that a signal is noticed at once even while a poll waits inside a library. The
first SIGTERM or SIGINT lets running polls end; after `GRACE_SECONDS`, or at a second signal, the process leaves as it
is, which a poll survives at any moment. Must not know what a poll does.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any, Final

from connector.service.endpoint import Address, Answer, Endpoint
from connector.service.metrics import METRICS_CONTENT_TYPE, Metrics
from connector.service.polls import Pace, Polled, Polls
from connector.service.schedule import JITTER_SHARE
from connector.service.systemd import notify
from connector.telemetry import logger, remove_secrets

log = logger(__name__)

SUPERVISE_SECONDS: Final = 1.0
SIGNAL_EXIT_CODES: Final = 128
FIRST_POLLS_SECONDS_MAX: Final = 30.0
"""The first polls of several tenants are spread over so long at most; later ones drift apart by their jitter."""


class Service:
    """Polls tenants for ever. `address` and the event `listening` say where and that it answers, once `run` has begun.

    Args:
        tenants: each polled in a thread of its own; their names differ.
        listen: host and port of health and metrics; port 0 takes a free one.
        metrics: what is counted.
        stop: set by the service at the first signal, for whatever waits inside a poll; or by somebody else, to end it.
        pace: clocks and limits.
    """

    def __init__(
        self,
        tenants: Sequence[Polled],
        *,
        listen: Address,
        metrics: Metrics,
        stop: threading.Event | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.address = listen
        self.listening = threading.Event()
        self._metrics = metrics
        self._stop = stop or threading.Event()
        self._pace = pace or Pace()
        self._polls = [
            Polls(
                polled,
                metrics=metrics,
                stop=self._stop,
                pace=self._pace,
                first_after_seconds=number
                / len(tenants)
                * min(FIRST_POLLS_SECONDS_MAX, JITTER_SHARE * polled.interval_seconds),
            )
            for number, polled in enumerate(tenants)
        ]
        self._signal: int | None = None

    def run(self) -> int:
        """Poll at once and then at every interval, until told to stop or all tenants have ended.

        Returns the exit code.

        Raises:
            ConfigError: `http.listen` cannot be listened on.
        """
        paths = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics_page}
        with Endpoint(self.address, paths) as endpoint, self._signals():
            self.address = endpoint.address
            log.info("answering /healthz, /readyz and /metrics", host=self.address[0], port=self.address[1])
            polling = [
                threading.Thread(target=polls.run, name=f"poll {polls.tenant}", daemon=True) for polls in self._polls
            ]
            for thread in polling:
                thread.start()
            self.listening.set()
            notify("READY=1")
            self._supervise(polling)
        return max(polls.exit_code for polls in self._polls)

    def _supervise(self, polling: Sequence[threading.Thread]) -> None:
        """Wait for all threads to end; tell systemd that all is well; leave when a stop takes too long."""
        stopping_since: float | None = None
        while alive := [thread for thread in polling if thread.is_alive()]:
            alive[0].join(SUPERVISE_SECONDS)
            now = self._pace.monotonic()
            if not any(polls.stuck() for polls in self._polls):
                notify("WATCHDOG=1")
            if not self._stop.is_set():
                continue
            if stopping_since is None:
                stopping_since = now
                notify("STOPPING=1")
                log.info("stopping", signal=signal.Signals(self._signal).name if self._signal else None)
            elif now - stopping_since > self._pace.grace_seconds and any(thread.is_alive() for thread in polling):
                log.warning("a poll did not end in time; leaving as it is, the next start takes it up again")
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
        """Whether the process lives: for liveness probes, which restart it where one of its threads does not."""
        stuck = {polls.tenant: polls.stuck() for polls in self._polls}
        body = {
            "alive": not any(stuck.values()),
            "reasons": [f"{tenant}: {reason}" for tenant, reason in stuck.items() if reason],
            "tenants": {tenant: {"alive": reason is None} for tenant, reason in stuck.items()},
        }
        return _json(fine=not any(stuck.values()), body=body)

    def _readyz(self) -> Answer:
        """Whether the data of every tenant is fresh, and what stands in the way: for readiness probes and people."""
        tenants = {polls.tenant: polls.readiness() for polls in self._polls}
        reasons = ["stopping"] if self._stop.is_set() else []
        reasons += [f"{tenant}: {reason}" for tenant, told in tenants.items() for reason in told["reasons"]]
        return _json(fine=not reasons, body={"ready": not reasons, "reasons": reasons, "tenants": tenants})

    def _metrics_page(self) -> Answer:
        return Answer(HTTPStatus.OK, self._metrics.render(), METRICS_CONTENT_TYPE)


def _exit_code_of(number: int | None) -> int:
    """What a shell calls the exit code of a process ended by a signal; 1 where there was none."""
    return SIGNAL_EXIT_CODES + number if number else 1


def _json(*, fine: bool, body: dict[str, Any]) -> Answer:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, (json.dumps(remove_secrets(body), ensure_ascii=False) + "\n").encode())
