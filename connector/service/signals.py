"""The signals that stop a verb, and the exit code that such an end gives."""

from __future__ import annotations

import signal
from typing import Final

SIGNAL_EXIT_CODES: Final = 128
"""A process that a signal ends exits with this and the signal's number, as shells give it."""


def heeded_signals() -> list[signal.Signals]:
    """The signals that stop a verb, without those that are ignored: `nohup` ignores SIGHUP for whatever it starts."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
