"""The verbs of the first hour as a process, where they need no broker; with one: whole/test_first_hour.py."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.commands import run_command

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.mark.parametrize(
    ("option", "name"), [("--unit", "mde-inventory.service"), ("--example", "connector.example.toml")]
)
def test_the_files_for_an_installation_without_the_checkout_are_printed(option: str, name: str, tmp_path: Path) -> None:
    """Byte for byte, and nothing is written."""
    printed = run_command("init", option, cwd=tmp_path)
    assert (printed.returncode, printed.stdout) == (0, (DEPLOY / name).read_text(encoding="utf-8"))
    assert list(tmp_path.iterdir()) == []


def test_it_writes_over_nothing(tmp_path: Path) -> None:
    """Exit code 2, and the file is as it was."""
    (tmp_path / "connector.toml").write_text("mine", encoding="utf-8")
    refused = run_command("init", "--simulator", "--bootstrap-servers", "x:1", cwd=tmp_path)
    assert (refused.returncode, "connector.toml exists" in refused.stderr) == (2, True)
    assert (tmp_path / "connector.toml").read_text(encoding="utf-8") == "mine"


def test_it_asks_for_what_no_option_gives(tmp_path: Path) -> None:
    """The answers stand in the file; what cannot be reached yet fails with hints, and the file stays."""
    answered = subprocess.run(
        [sys.executable, "-m", "connector", "init", "--value-format", "json"],
        input="contoso.example\n11111111-1111-1111-1111-111111111111\n127.0.0.1:1\n",
        cwd=tmp_path,
        env=os.environ
        | {
            "MDE_INVENTORY_SOURCE__CLIENT_SECRET": "not written",
            "HTTPS_PROXY": "http://127.0.0.1:1",
            "PYTHONPATH": str(DEPLOY.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    written = tomllib.loads((tmp_path / "connector.toml").read_text(encoding="utf-8"))
    assert written["source"]["tenant_id"] == "contoso.example"
    assert written["kafka"]["client"] == {"bootstrap.servers": "127.0.0.1:1"}
    assert "client_secret" not in written["source"]
    assert answered.returncode != 0
    assert "Mend what failed in connector.toml" in " ".join(answered.stdout.split())


@pytest.mark.parametrize("text", ["0s", "soon", "5d", ""])
def test_an_interval_of_the_simulator_is_seconds_minutes_or_hours(text: str) -> None:
    """Anything else is exit code 2."""
    assert run_command("simulate", "--advance-every", text).returncode == 2
