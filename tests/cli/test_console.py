"""`console` as a process: the link that it prints, a page, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Topic
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
    assert "can be reached from elsewhere" in finished.stderr
    assert "ssh -L" in finished.stderr


def test_a_run_serves_it_and_has_the_link_in_a_file(folder: Path) -> None:
    """Beside its polls, whatever comes of them; the link is in no log, and its file goes with the process."""
    with MockCluster([topic.name_under("mde.software") for topic in Topic]) as cluster:
        text = (folder / "connector.toml").read_text(encoding="utf-8")
        (folder / "connector.toml").write_text(text.replace("127.0.0.1:1", cluster.bootstrap_servers), encoding="utf-8")
        environ = {
            "MDE_INVENTORY_CONSOLE__LISTEN": "127.0.0.1:0",
            "MDE_INVENTORY_CONSOLE__ALLOW_DECISIONS": "true",
            "MDE_INVENTORY_HTTP__LISTEN": "127.0.0.1:0",
            "MDE_INVENTORY_SOURCE__AUTHORITY": "https://127.0.0.1:1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", "--log-format", "json", "run"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(__file__).parents[2]), **environ},
        )
        with process:
            assert process.stderr is not None
            logged = ""
            while "serving the console" not in logged:
                logged = process.stderr.readline()
                assert logged, "it ended"
            link_file = Path(json.loads(logged)["link_file"])
            link = link_file.read_text(encoding="ascii").strip()
            origin, _, token = link.partition("/?token=")
            request = urllib.request.Request(f"{origin}/overview", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - the address that it wrote
            try:
                response = urllib.request.urlopen(request, timeout=60)  # noqa: S310 - the same
            except HTTPError as busy:
                response = busy  # its poll has the file: a page too
            with response:
                page = response.read().decode()
            process.send_signal(signal.SIGTERM)
            printed, rest = process.communicate()
    assert "Decisions are allowed" in page
    assert (process.returncode, link_file.exists(), printed) == (0, False, "")
    assert (token in logged + rest, json.loads(logged)["url"]) == (False, origin)


def test_a_run_with_a_console_that_anybody_could_reach_is_refused(folder: Path) -> None:
    """A configuration error, before a poll."""
    environment = {"MDE_INVENTORY_CONSOLE__LISTEN": "0.0.0.0:8787"}
    finished = run_command("run", cwd=folder, **environment)
    assert finished.returncode == 2
    assert "tls_certificate_path" in finished.stderr
