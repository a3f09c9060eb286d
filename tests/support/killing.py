"""A process that polls, runs or approves, and dies or waits at a named point of a poll.

It polls as often as its `Order` says, with the watched parts of tests/support/watching.py. At the point of a kill the
process gets SIGKILL, which nothing in it can see; at a point to wait it says so, and goes on at a word. The
processes are forked from one that has read all modules, and does nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, cast

from connector.errors import ConnectorError
from connector.operations import decisions
from connector.operations.run import take_locks
from connector.poll.result import PollResult
from connector.service.metrics import Metrics
from connector.service.polls import Polled, ServiceTiming
from connector.service.service import Service
from connector.staging.holds import Choice
from tests.support.commands import modules_of_verbs
from tests.support.watching import Order, Verb, WatchedAssembly

SECONDS_MAX: Final = 600
"""How long a process is waited for: one that starts Spark takes minutes on a busy machine."""

TICK_SECONDS: Final = 0.05
"""The longest wait of a `run` between two looks at its state file."""


def carry_out(order: Order, parent: Connection) -> None:
    """Carry out an order, report the outcome to the parent, and exit with the code that the command would have."""
    with WatchedAssembly(order, parent) as assembly:
        try:
            exit_code = VERBS[order.verb](assembly, parent)
        except ConnectorError as error:
            parent.send({"error": type(error).__name__, "text": str(error), "hint": error.hint})
            exit_code = error.exit_code
    sys.exit(exit_code)


def _poll(assembly: WatchedAssembly, parent: Connection) -> int:
    """Poll as often as ordered."""
    return max(
        result.exit_code for _ in range(assembly.order.polls) for result in _telling(assembly.pipeline.poll(), parent)
    )


def _run(assembly: WatchedAssembly, parent: Connection) -> int:
    """Poll until stopped, as `run` does."""
    with ExitStack() as stack:
        (lock,) = take_locks([assembly], stack)

        def poll() -> Iterator[PollResult]:
            lock.renew()
            yield from _telling(assembly.pipeline.poll(), parent)

        polled = Polled("tenant", poll, assembly.order.interval_seconds, assembly.state_watcher(), lock.release)
        timing = ServiceTiming(tick_seconds=TICK_SECONDS)
        service = Service([polled], listen=("127.0.0.1", 0), metrics=Metrics(), stop=assembly.stop, timing=timing)
        return service.run()


def _approve_held(assembly: WatchedAssembly, parent: Connection) -> int:
    """Approve what is held, as a person does, or the part of it that is on one device."""
    device = assembly.order.device
    decision = decisions.approve_held(assembly, Choice(devices=(device,)) if device else Choice())
    parent.send({"removed": decision.records, "left": decision.publisher is not None})
    return decision.outage.exit_code if decision.outage else 0


def _telling(results: Iterable[PollResult], parent: Connection) -> Iterator[PollResult]:
    for result in results:
        parent.send({**result.as_json(), "pending": result.pending, "holding": result.holding})
        yield result


VERBS: Final[dict[Verb, Callable[[WatchedAssembly, Connection], int]]] = {
    "poll": _poll,
    "run": _run,
    "held approve": _approve_held,
}


class Child:
    """A process that carries out an order, begun."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *modules_of_verbs()])
        self._connection, end = context.Pipe()
        self._process = context.Process(target=carry_out, args=(order, end), daemon=True)
        self._process.start()
        end.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        self._process.join(seconds)

    def until_said(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that says this."""
        while not wanted(message := self.next_message()):
            assert "error" not in message, message
        return message

    def until_reached(self) -> None:
        """Wait until it waits."""
        said = self.next_message()
        assert "reached" in said, said

    def next_message(self) -> dict[str, Any]:
        """The next message that it sends."""
        assert self._connection.poll(SECONDS_MAX), "the process sends nothing"
        return cast("dict[str, Any]", self._connection.recv())

    def go_on(self) -> None:
        """Let it go on from where it waits."""
        self._connection.send("go on")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Any other signal."""
        os.kill(self.pid, number)

    def ended(self) -> Ended:
        """Wait for its end."""
        lines = []
        with suppress(EOFError, ConnectionResetError):
            while True:
                lines.append(self.next_message())
        self._process.join(SECONDS_MAX)
        code = self._process.exitcode
        assert code is not None, "the process does not end"
        self._connection.close()
        self._process.close()
        return Ended(code, tuple(lines))


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (-9: killed), and what it sent."""

    code: int
    lines: tuple[dict[str, Any], ...]

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL

    @property
    def error(self) -> str:
        """The kind of error that ended it, if one did."""
        return str(self.lines[-1].get("error", "")) if self.lines else ""
