"""Verbs around a poll, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from tests.cli.test_cli import toml

WAIT_SECONDS_MAX = 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_poll_that_a_signal_interrupts_exits_as_shells_say(tmp_path: Path, number: signal.Signals) -> None:
    """130 or 143 and a sentence, and not 0 as if it were done; without a result on stdout, and without a traceback."""
    with Simulator(Fleet(seed=5, devices=5, start=datetime(2026, 1, 1, tzinfo=UTC))) as simulator:
        simulator.faults.add(Fault(Endpoint.TOKEN, FaultKind.HANG, times=None))
        tables = {
            "source": simulator.settings(),
            "state": {"path": str(tmp_path / "state.duckdb")},
            "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
            "schema_registry": {"url": "mock://interrupted"},
        }
        (tmp_path / "connector.toml").write_text(toml(tables), encoding="utf-8")
        command = [sys.executable, "-m", "connector", "poll", "--json"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=clean
        ) as process:
            deadline = time.monotonic() + WAIT_SECONDS_MAX
            while not (tmp_path / "state.duckdb").exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            out, said = process.communicate(timeout=WAIT_SECONDS_MAX)
    assert (process.returncode, out) == (128 + number, ""), said
    assert "stopped while" in said
    assert "Traceback" not in said
    assert "error:" not in said
