"""Tells systemd how the process is, where systemd started it with `Type=notify`. Source: sd_notify(3).

Owns the datagram to `$NOTIFY_SOCKET`. Must not decide when a service is ready or alive.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell systemd `READY=1`, `STOPPING=1` or `WATCHDOG=1`. Returns whether it could be told; without systemd: no."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return False
    # A leading @ stands for the NUL of a socket that has no file.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)
            channel.sendto(state.encode(), address)
    except OSError:
        # Nobody listens any more: systemd draws its own conclusion from a missing message.
        return False
    return True
