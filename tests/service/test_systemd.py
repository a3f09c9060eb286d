from __future__ import annotations

import socket
from pathlib import Path

import pytest

from connector.service.systemd import notify


def test_systemd_is_told_through_its_socket(tmp_path: Path) -> None:
    """The state arrives as one datagram on the socket that `NOTIFY_SOCKET` names."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(5)
        notified = notify("READY=1", {"NOTIFY_SOCKET": path})
        assert (notified, systemd.recv(100)) == (True, b"READY=1")


def test_an_abstract_socket_is_found(request: pytest.FixtureRequest) -> None:
    """A name that begins with @ is not a path."""
    name = f"mde-inventory-test-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name)
        systemd.settimeout(5)
        notified = notify("WATCHDOG=1", {"NOTIFY_SOCKET": "@" + name})
        assert (notified, systemd.recv(100)) == (True, b"WATCHDOG=1")


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    """No socket, or one that nobody listens on, is no error."""
    assert notify("READY=1", environ) is False
