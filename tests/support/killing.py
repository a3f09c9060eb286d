"""A process that polls, and dies or waits at a named point of a poll.

It polls as often as its `Order` says, with the watched parts of tests/support/watching.py. At the point of a kill the
process gets SIGKILL, which nothing in it can see; at a point to wait it says so, and goes on at a word. The
processes are forked from one that has read all modules, and does nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, cast

from connector.errors import ConnectorError
from tests.support.watching import Order, WatchedAssembly

SECONDS_MAX: Final = 150
"""How long a process is waited for."""


def carry_out(order: Order, parent: Connection) -> None:
    """Poll as ordered, tell the parent what comes of it, and exit with the code that the command would have."""
    exit_code = 0
    with WatchedAssembly(order, parent) as assembly:
        try:
            for _ in range(order.polls):
                for result in assembly.pipeline.poll():
                    exit_code = max(exit_code, result.exit_code)
                    parent.send({**result.as_json(), "pending": result.pending})
        except ConnectorError as error:
            parent.send({"error": type(error).__name__, "text": str(error), "hint": error.hint})
            exit_code = error.exit_code
    sys.exit(exit_code)


class Child:
    """A process that carries out an order, begun."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._connection, end = context.Pipe()
        self._process = context.Process(target=carry_out, args=(order, end), daemon=True)
        self._process.start()
        end.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

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
