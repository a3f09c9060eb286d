"""Listening, and stopping."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from connector.config import ConsoleConfig
from connector.errors import ConfigError
from connector.web import Console
from tests.support.bench import Bench
from tests.support.console import Client, assembly_of

LOOPBACK = ConsoleConfig(listen="127.0.0.1:0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file without a snapshot."""
    with Bench(tmp_path) as bench:
        return bench.path


def test_a_port_that_is_taken_is_said(path: Path) -> None:
    """With what to do, and exit code 2."""
    with assembly_of(path) as assembly, socket.create_server(("127.0.0.1", 0)) as other:
        with (
            pytest.raises(ConfigError, match="cannot listen on") as raised,
            Console(assembly, ConsoleConfig(listen=f"127.0.0.1:{other.getsockname()[1]}")),
        ):
            pass
        assert "another port" in raised.value.hint


def test_consoles_side_by_side_have_cookies_of_their_own(path: Path) -> None:
    """Browsers keep cookies by host and not by port, so the port is in the name."""
    with (
        assembly_of(path) as assembly,
        Console(assembly, LOOPBACK) as one,
        Console(assembly, LOOPBACK) as other,
    ):
        first, second = Client(one), Client(other)
        cookies = f"{first.log_in()}; {second.log_in()}"
        for client in (first, second):
            assert client.ask("/overview", Authorization=None, Cookie=cookies).status == 200
        assert second.ask("/overview", Authorization=None, Cookie=first.log_in()).status == 401


def test_it_stops_listening(path: Path) -> None:
    """When its block ends."""
    with assembly_of(path) as assembly, Console(assembly, LOOPBACK) as console:
        client = Client(console)
        assert client.ask("/overview").status == 200
    with pytest.raises(ConnectionError):
        client.ask("/overview")
