"""`console` as a process, and the consoles of `run` and of the demo: the link, a page, and the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Topic
from tests.cli.test_cli import command
from tests.support.bench import Bench
from tests.support.commands import run_command
from tests.support.console import write_configuration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration and a state file without a snapshot."""
    with Bench(tmp_path) as bench:
        path = bench.path
    write_configuration(tmp_path, state_path=path)
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


def read(browser: urllib.request.OpenerDirector, address: str) -> str:
    """A page, once no poll has the file."""
    while True:
        try:
            with browser.open(address, timeout=60) as response:
                return str(response.read().decode())
        except HTTPError as error:
            error.close()
            if error.status != 503:
                raise
        time.sleep(0.1)


def test_the_demo_goes_on_in_the_console(tmp_path: Path) -> None:
    """After its summary the link; a page that is loaded again has news; Ctrl-C ends it with 0, and nothing is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "demo", "--devices", "5", "--generations", "2", "--console"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)},
    )
    with process:
        assert process.stdout is not None
        printed = []
        while "/?token=" not in (line := process.stdout.readline()):
            assert line, "it ended"
            printed.append(line)
        origin, _, _ = line.partition("/?token=")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        overview = read(browser, line.strip())

        def snapshots() -> list[dict[str, Any]]:
            return list(json.loads(read(browser, f"{origin}/polls.json"))["snapshots"])

        first = snapshots()
        while len(later := snapshots()) == len(first):
            time.sleep(0.3)
        devices = read(browser, f"{origin}/devices")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    assert "equal the simulated fleet" in "".join(printed)
    assert ("<h1>Overview" in overview, "<h1>Devices</h1>" in devices) == (True, True)
    assert (len(first) >= 2, first) == (True, later[-len(first) :])
    assert (process.returncode, rest, "Traceback" in errors, [*tmp_path.iterdir()]) == (0, "", False, [])


def test_without_its_extra_the_demo_does_not_begin(tmp_path: Path) -> None:
    """Exit code 2 with what to install, and nothing is shown before it."""
    (tmp_path / "jinja2.py").write_text("raise ModuleNotFoundError(name='jinja2')\n", encoding="ascii")
    finished = command("demo", "--console", PYTHONPATH=str(tmp_path))
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "the console needs the package jinja2" in finished.stderr
    assert "pip install 'mde-inventory-connector[console]'" in finished.stderr
