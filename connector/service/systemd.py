"""Notifies systemd of the process's state, where systemd started it with `Type=notify`. Source: sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send systemd `READY=1`, `STOPPING=1` or `WATCHDOG=1`. Returns whether it was sent; without systemd it is not."""
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
        # Nobody listens any longer: systemd draws its own conclusion from a missing message.
        return False
    return True
