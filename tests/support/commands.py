"""Runs `mde-inventory` as a process that begins with its imports done, which are most of what a short verb takes.

A server, one for a test session, imports the command line and forks for every command: the process has its own
environment, working directory, streams and exit code, as one that a shell starts.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SETTINGS = {"COLUMNS": "100", "NO_COLOR": "1"}
"""Read when the command line is imported, so they are the same for all."""


def run_command(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mde-inventory` with no configuration but what is given."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        print(
            json.dumps([arguments, str(cwd or Path.cwd()), _clean() | environ, streams]), file=server.stdin, flush=True
        )
        code = int(server.stdout.readline())
        stdout, stderr = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(arguments, code, stdout, stderr)


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


def _serve() -> None:
    """Carry out a command for each line of standard input, and answer with its exit code."""
    from connector.cli import main  # noqa: PLC0415 - in the server alone

    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            arguments, folder, environ, streams = json.loads(line)
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(folder)
            for number, path in enumerate((os.devnull, *streams)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
            sys.argv = ["mde-inventory", *arguments]
            main()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
