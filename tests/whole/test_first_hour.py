"""The README's own path, from nothing to a change and an alert on real topics."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.model import Inventory
from connector.simulator import Simulator, run_simulator
from tests.support.broker import Broker
from tests.support.commands import run_command

pytestmark = pytest.mark.broker


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """What `mde-inventory simulate` serves, on a free port."""
    stop, listening = threading.Event(), threading.Event()
    served: list[Simulator] = []

    def announce(simulator: Simulator) -> None:
        served.append(simulator)
        listening.set()

    options = {"devices": 30, "seed": 1, "port": 0, "interval_seconds": 3600, "faults_file": None}
    serving = threading.Thread(target=run_simulator, kwargs=options | {"announce": announce, "stop": stop})
    serving.start()
    try:
        assert listening.wait(60)
        yield served[0]
    finally:
        stop.set()
        serving.join()


def test_init_leads_to_a_change_and_an_alert(
    broker: Broker, registry_url: str, topic_prefix: str, simulator: Simulator, tmp_path: Path
) -> None:
    """`init --simulator` writes, sets up and checks; then the baseline, another generation, its changes and alerts."""
    port = simulator.api_url.rpartition(":")[2]
    written = run_command(
        "init", "--simulator", "--port", port, "--bootstrap-servers", broker.bootstrap_servers,
        "--schema-registry", registry_url, "--topic-prefix", topic_prefix, cwd=tmp_path,
    )  # fmt: skip
    assert written.returncode == 0, written.stdout + written.stderr
    assert "FAIL" not in written.stdout
    assert "poll` takes the baseline" in " ".join(written.stdout.split())
    baseline = json.loads(run_command("poll", "--json", cwd=tmp_path).stdout)
    assert baseline["baseline"] == len(simulator.records(Inventory.CPE))
    alerts = 0
    while not alerts:
        simulator.advance()
        polled = json.loads(run_command("poll", "--json", cwd=tmp_path).stdout)
        alerts = polled["alerts"]
    for topic in ("changes", "alerts"):
        tailed = run_command("tail", "--topic", topic, "--from", "beginning", "--max", "1", "--json", cwd=tmp_path)
        assert len(tailed.stdout.splitlines()) == 1
        assert f"reading {topic_prefix}.{topic} from its beginning; waiting for" in tailed.stderr
