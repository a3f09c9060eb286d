"""Runs `mde-inventory` as a process that begins with its imports done, which are most of what a short verb takes.

A server, one for a test session, imports the command line and forks for every command: the process has its own
environment, working directory, streams and exit code, as one that a shell starts.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import connector

SETTINGS = {"COLUMNS": "100", "NO_COLOR": "1"}
"""Read when the command line is imported, so they are the same for all."""
RUN_SECONDS_MAX: Final = 300.0
POLL_SECONDS: Final = 0.02
_ASKING: Final = threading.Lock()


class Command:
    """A running `mde-inventory`, which `start_command` began. Its two streams are files, or FIFOs that others made."""

    def __init__(self, pid: int, stdout: Path, stderr: Path) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it lives."""
        if self.exit_code is None:
            self.exit_code = _ask({"wait": self.pid})
        return self.exit_code

    def wait(self, seconds_max: float) -> int:
        """Its exit code, once it has ended; it is killed, and the test fails, where that takes too long."""
        deadline = time.monotonic() + seconds_max
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"mde-inventory did not end within {seconds_max} s")
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended. Only the server reaps it, so the process id is still its own."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self.send_signal(signal.SIGKILL)
        while self.poll() is None:
            time.sleep(POLL_SECONDS)


@cache
def modules_of_verbs() -> list[str]:
    """All modules but the simulator's. A verb imports what it needs when it runs: every forked process would again."""
    names = [module.name for module in pkgutil.walk_packages(connector.__path__, "connector.")]
    return [name for name in names if not name.startswith(("connector.simulator", "connector.__main__"))]


def start_command(
    *arguments: str, stdout: Path, stderr: Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> Command:
    """Start `mde-inventory` with no configuration but what is given."""
    folder = str(cwd or Path.cwd())
    pid = _ask({"start": [arguments, folder, {**_clean(), **(environ or {})}, [str(stdout), str(stderr)]]})
    assert pid is not None
    return Command(pid, stdout, stderr)


def run_command(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mde-inventory` with no configuration but what is given."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = (Path(folder) / name for name in ("stdout", "stderr"))
        code = start_command(*arguments, stdout=stdout, stderr=stderr, cwd=cwd, environ=environ).wait(RUN_SECONDS_MAX)
        texts = (stream.read_text(encoding="utf-8") for stream in (stdout, stderr))
        return subprocess.CompletedProcess(arguments, code, *texts)


def read_terminal(descriptor: int) -> bytes:
    """Everything that is written to a pseudo-terminal until it has no more writers. Closes our end of it."""
    written = b""
    while True:
        try:
            written += os.read(descriptor, 65536)
        except OSError:
            break
    os.close(descriptor)
    return written


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")} | SETTINGS


@cache
def _server() -> subprocess.Popen[str]:
    """The server, which ends with this process."""
    server = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_clean()
    )
    atexit.register(server.communicate)
    return server


def _ask(request: dict[str, Any]) -> int | None:
    with _ASKING:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(request), file=server.stdin, flush=True)
        answer: int | None = json.loads(server.stdout.readline())
    return answer


def _serve() -> None:
    """Start a command, or say whether one has ended, for each line of standard input."""
    from connector.cli import main  # noqa: PLC0415 - in the server alone

    for name in modules_of_verbs():
        import_module(name)
    # A process must not look through what it has from here whenever it collects garbage.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if not pid:
            arguments, folder, environ, streams = request["start"]
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(folder)
            for number, path in enumerate((os.devnull, *streams)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
            sys.argv = ["mde-inventory", *arguments]
            try:
                main()
            except SystemExit as end:
                _end(end.code)
        print(pid, flush=True)


def _end(code: Any) -> NoReturn:
    """End as the interpreter does, but leave the objects of all imported modules to the kernel.

    To take them apart takes longer than what most verbs do: more than half a second.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
