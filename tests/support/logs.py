"""Logging as a test found it: `configure` changes the whole interpreter."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored() -> Iterator[None]:
    """Put handlers, levels, hooks and warnings back at the end of the block."""
    root, ours = logging.getLogger(), logging.getLogger("connector")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    hooks = sys.excepthook, threading.excepthook
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        sys.excepthook, threading.excepthook = hooks
