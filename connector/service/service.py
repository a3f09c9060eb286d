"""The process of `run`: a thread for each tenant, signals, the exit code, and health and metrics of all over HTTP.

`polls` decides what an error of a poll means, for one tenant at a time: a tenant that waits, fails or ends takes
nothing from the others, which have their own threads, sessions, producers and state files. The process ends once all
tenants have ended, with the highest of their exit codes: 0 for a tenant that was asked to stop, 1 for a fault of the
program, 2 for a wrong configuration, 4 where another instance took over; no supervisor should restart it after a 4.

Polls have their own threads, so that a signal is noticed at once even while a poll waits inside a library. The first
SIGTERM, SIGINT or SIGHUP lets running polls end; after `GRACE_SECONDS`, or at a second signal, the process exits at
once, which a poll survives at any moment.
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

from connector.service.endpoint import Address, ProbeResponse, ProbeServer
from connector.service.metrics import METRICS_CONTENT_TYPE, Metrics
from connector.service.polls import Polled, Polls, ServiceTiming
from connector.service.schedule import JITTER_SHARE
from connector.service.signals import SIGNAL_EXIT_CODES, heeded_signals
from connector.service.systemd import notify
from connector.telemetry import logger, remove_secrets

log = logger(__name__)

SUPERVISE_SECONDS: Final = 1.0
FIRST_POLLS_SECONDS_MAX: Final = 30.0
"""The first polls of several tenants are spread over at most this long; later ones drift apart by their jitter."""


class Service:
    """Polls tenants until it is stopped. Once `run` has begun, `listening` is set and `address` says where.

    Args:
        tenants: each is polled in its own thread; their names differ.
        listen: host and port for health and metrics; port 0 takes a free one.
        metrics: of all tenants.
        stop: set by the service at the first signal, for everything that waits inside a poll; or by others, to end it.
        timing: clocks and limits.
        keep_answering: after all tenants have ended, answer over HTTP until stopped, instead of exiting.
    """

    def __init__(
        self,
        tenants: Sequence[Polled],
        *,
        listen: Address,
        metrics: Metrics,
        stop: threading.Event | None = None,
        timing: ServiceTiming | None = None,
        keep_answering: bool = False,
    ) -> None:
        self._keep_answering = keep_answering
        self.address = listen
        self.listening = threading.Event()
        self._metrics = metrics
        self._stop = stop or threading.Event()
        self._timing = timing or ServiceTiming()
        self._polls = [
            Polls(
                polled,
                metrics=metrics,
                stop=self._stop,
                timing=self._timing,
                first_after_seconds=number
                / len(tenants)
                * min(FIRST_POLLS_SECONDS_MAX, JITTER_SHARE * polled.interval_seconds),
            )
            for number, polled in enumerate(tenants)
        ]
        self._signal: int | None = None

    def run(self) -> int:
        """Poll at once and then at every interval, until stopped or all tenants have ended.

        Returns the exit code.

        Raises:
            ConfigError: it cannot listen on `http.listen`.
        """
        paths = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics_page}
        with ProbeServer(self.address, paths) as server, self._handle_signals():
            self.address = server.address
            log.info("answering /healthz, /readyz and /metrics", host=self.address[0], port=self.address[1])
            polling = [
                threading.Thread(target=polls.run, name=f"poll {polls.tenant}", daemon=True) for polls in self._polls
            ]
            for thread in polling:
                thread.start()
            self.listening.set()
            notify("READY=1")
            self._supervise(polling)
            if self._keep_answering and not self._stop.is_set():
                self._answer_until_stopped()
        return max(polls.exit_code for polls in self._polls)

    def _supervise(self, polling: Sequence[threading.Thread]) -> None:
        """Wait for all threads to end; report to systemd that all is well; exit when stopping takes too long."""
        stopping_since: float | None = None
        while alive := [thread for thread in polling if thread.is_alive()]:
            alive[0].join(SUPERVISE_SECONDS)
            now = self._timing.monotonic()
            if not any(polls.stuck() for polls in self._polls):
                notify("WATCHDOG=1")
            if not self._stop.is_set():
                continue
            if stopping_since is None:
                stopping_since = now
                notify("STOPPING=1")
                log.info("stopping", signal=signal.Signals(self._signal).name if self._signal else None)
            elif now - stopping_since > self._timing.grace_seconds and any(thread.is_alive() for thread in polling):
                log.warning("a poll did not end in time; leaving as it is, the next start takes it up again")
                self._timing.leave(_exit_code_of(self._signal))
                return

    def _answer_until_stopped(self) -> None:
        """Polling has ended for all: a restart would help none of them, and might only fence another instance."""
        log.error("no tenant is polled any more; answering until stopped, and a restart polls again")
        while not self._stop.wait(SUPERVISE_SECONDS):
            notify("WATCHDOG=1")

    @contextmanager
    def _handle_signals(self) -> Iterator[None]:
        """While the block runs, SIGTERM, SIGINT and SIGHUP stop the service; one that is ignored stays so.

        Outside the main thread this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self._stop_on_signal) for number in heeded_signals()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _stop_on_signal(self, number: int, _frame: FrameType | None) -> None:
        # No log line here: this may have interrupted the writing of one.
        if self._signal is not None:
            self._timing.leave(_exit_code_of(number))
        self._signal = number
        self._stop.set()

    # ---- responses

    def _healthz(self) -> ProbeResponse:
        """Whether the process is alive: for liveness probes, which restart it where one of its threads is stuck."""
        stuck = {polls.tenant: polls.stuck() for polls in self._polls}
        body = {
            "alive": not any(stuck.values()),
            "reasons": [f"{tenant}: {reason}" for tenant, reason in stuck.items() if reason],
            "tenants": {tenant: {"alive": reason is None} for tenant, reason in stuck.items()},
        }
        return _json(fine=not any(stuck.values()), body=body)

    def _readyz(self) -> ProbeResponse:
        """Whether the data of every tenant is fresh, and why not: for readiness probes and people."""
        tenants = {polls.tenant: polls.readiness() for polls in self._polls}
        reasons = ["stopping"] if self._stop.is_set() else []
        reasons += [f"{tenant}: {reason}" for tenant, readiness in tenants.items() for reason in readiness["reasons"]]
        return _json(fine=not reasons, body={"ready": not reasons, "reasons": reasons, "tenants": tenants})

    def _metrics_page(self) -> ProbeResponse:
        return ProbeResponse(HTTPStatus.OK, self._metrics.render(), METRICS_CONTENT_TYPE)


def _exit_code_of(number: int | None) -> int:
    """The exit code of a process that a signal ended, as shells give it; 1 where there was no signal."""
    return SIGNAL_EXIT_CODES + number if number else 1


def _json(*, fine: bool, body: dict[str, Any]) -> ProbeResponse:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return ProbeResponse(status, (json.dumps(remove_secrets(body), ensure_ascii=False) + "\n").encode())
