"""Single keys of a terminal, for a verb that otherwise only waits."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from types import TracebackType
from typing import Any, Final, Self

TICK_SECONDS: Final = 0.2
KEYS_AT_ONCE_MAX: Final = 1024


class Keys:
    """Waits for a key while it is entered; without a terminal, only for time to pass. A signal still ends the verb."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if self.are_there:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    @property
    def are_there(self) -> bool:
        """Whether somebody can press one: stdin is a terminal, and this process is in its foreground."""
        try:
            return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except (AttributeError, OSError, ValueError):
            return False

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until a key is pressed or `stop` is set. Returns whether a key was pressed."""
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            if self._before is None or not self.are_there:
                self._stop.wait(min(remaining, TICK_SECONDS))
            elif select.select([sys.stdin], [], [], min(remaining, TICK_SECONDS))[0]:
                return bool(os.read(sys.stdin.fileno(), KEYS_AT_ONCE_MAX))
        return False
