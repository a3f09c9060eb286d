"""Standard streams that verbs can rely on, whatever the process was started with.

- A stream that was closed (`>&-`) is open again, so that no file of ours gets its number: stdout fails when something
  is printed, stderr loses what is written to it.
- What goes into a file or a pipe is UTF-8 whatever the locale. A terminal keeps its encoding, and characters that it
  does not have are escaped.
- stdout that cannot be written is an `OutputError`, whoever writes; stderr that cannot be written ends nothing.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from connector.errors import OutputError, ReaderLeft

STDIN, STDOUT, STDERR = 0, 1, 2
_REOPENED: Final = {STDIN: os.O_RDONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}
"""How `/dev/null` takes the place of a closed stream: what is printed must not be lost without a word."""

OUTPUT_HINT: Final = "Send stdout to where there is room, or to /dev/null."


def open_streams() -> None:
    """Replace `sys.stdin`, `sys.stdout` and `sys.stderr` by streams that keep the rules of this module."""
    for number, flags in _REOPENED.items():
        if not _is_open(number):
            os.open(os.devnull, flags)  # the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - a number, for the process's life
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    sys.stdout = _open(STDOUT)
    sys.stderr = _open(STDERR)


@contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """Take it as no failure when the reader of stdout has had enough, as `head` does."""
    try:
        yield
        sys.stdout.flush()
    except ReaderLeft:
        return


class _Raw(io.FileIO):
    """Writes bytes. After a failure, which is raised once and for stdout only, everything is dropped."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._failed = False

    def write(self, content: object) -> int:
        """Write what fits, and wait where a pipe is full and does not block."""
        if self._failed:
            return memoryview(content).nbytes  # type: ignore[arg-type]  # what the buffer above passes on
        try:
            while True:
                written = super().write(content)  # type: ignore[arg-type]  # the same
                if written is not None:
                    return written
                select.select((), (self,), ())
        except OSError as error:
            self._failed = True
            if self.fileno() == STDERR:
                return memoryview(content).nbytes  # type: ignore[arg-type]  # the same
            raise _output_error(error) from error


def _open(number: int) -> io.TextIOWrapper:
    former = sys.stdout if number == STDOUT else sys.stderr
    encoding = former.encoding if former is not None and os.isatty(number) else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(number)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=number == STDERR or os.isatty(number),
    )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _output_error(error: OSError) -> OutputError:
    if error.errno == errno.EPIPE:
        return ReaderLeft("stdout cannot be written: its reader has ended", hint=OUTPUT_HINT)
    reason = "it is closed" if error.errno == errno.EBADF else error.strerror
    return OutputError(f"stdout cannot be written: {reason}", hint=OUTPUT_HINT)
