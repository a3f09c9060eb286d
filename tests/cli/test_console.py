"""`console` as a process: the link that it prints, a page, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.test_cli import toml
from tests.support.bench import TENANT, Bench
from tests.support.commands import run_command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration and a state file without a snapshot."""
    with Bench(tmp_path) as bench:
        path = bench.path
    tables = {
        "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "canary-1"},
        "state": {"path": str(path)},
        "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
        "schema_registry": {"url": "mock://console"},
    }
    (tmp_path / "connector.toml").write_text(toml(tables), encoding="utf-8")
    return tmp_path


def test_the_link_opens_the_console_until_it_is_stopped(folder: Path) -> None:
    """The link is the only line on stdout; SIGTERM ends it well, and without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "console", "--listen", "127.0.0.1:0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        origin, _, token = link.partition("/?token=")
        request = urllib.request.Request(f"{origin}/overview", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - the address that it printed
        with urllib.request.urlopen(request) as response:  # noqa: S310 - the same
            page = response.read().decode()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate()
    assert "No snapshot yet" in page
    assert "canary" not in page
    assert (process.returncode, rest, "Traceback" in errors) == (0, "", False)


def test_an_address_that_others_can_reach_is_refused(folder: Path) -> None:
    """Exit code 2, with the way to reach it from elsewhere."""
    finished = run_command("console", "--listen", "0.0.0.0:8787", cwd=folder)
    assert finished.returncode == 2
    assert "loopback only" in finished.stderr
    assert "ssh -L" in finished.stderr
