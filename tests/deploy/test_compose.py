"""compose.yaml: a valid Compose file whose commands show the pipeline, here run against the tests' broker and registry.

No container engine is needed: what Compose itself would do (networks, volumes, the start order) is not proven.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.config import loading
from tests.support.broker import Broker

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PIPELINE: str = COMPOSE["configs"]["pipeline"]["content"]
STATE = "/var/lib/mde-inventory"
WAIT_SECONDS_MAX = 300


def test_it_is_a_compose_file() -> None:
    """It validates against the schema of the Compose specification."""
    ran = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("service", "artifact"), [("kafka", "kafka_2.13"), ("registry", "apicurio-registry-app")])
def test_kafka_and_registry_are_the_versions_that_the_tests_use(service: str, artifact: str) -> None:
    """What was tested is what the pipeline starts."""
    pom = (ROOT / "tests" / "support" / service / "pom.xml").read_text(encoding="utf-8")
    tested = re.search(rf"<artifactId>{re.escape(artifact)}</artifactId>\s*<version>([^<]+)</version>", pom)
    assert tested
    assert SERVICES[service]["image"].rpartition(":")[2] == tested[1]


def test_our_services_have_the_rights_that_the_image_needs_and_no_more() -> None:
    """Read-only, without capabilities; what they write is in the volume or in memory."""
    for name in ("simulator", "connector", "tail"):
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"], service["tmpfs"], service["volumes"]) == (
            True,
            ["ALL"],
            ["/tmp"],
            [f"state:{STATE}"],
        )


def test_the_ports_are_open_on_this_machine_only() -> None:
    """Metrics have no password."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9464:9464"]


@contextmanager
def started(name: str, folder: Path, places: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A service's own command as a process of this machine, with its environment; places stand for others."""
    service = SERVICES[name]
    (command,) = service["command"]
    environ = dict(service.get("environment", {}))
    for place, stand_in in places.items():
        command = command.replace(place, stand_in)
        environ = {variable: value.replace(place, stand_in) for variable, value in environ.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*service["entrypoint"], command],
            env={**os.environ, "MDE_INVENTORY_HTTP__LISTEN": "127.0.0.1:0", "PATH": path, **environ},
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(wanted: Callable[[], bool], what: str, *logs: Path) -> None:
    """Wait until something has come."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not wanted():
        said = {log.name: log.read_text(encoding="utf-8")[-600:] for log in logs if log.exists()}
        assert time.monotonic() < deadline, f"{what} did not come: {said}"
        time.sleep(0.2)


@pytest.mark.timeout(900)
def test_its_commands_show_the_pipeline(broker: Broker, registry_url: str, tmp_path: Path) -> None:
    """Simulator, connector and tail as they are written, with a real broker and registry: a change is printed."""
    pipeline = tmp_path / "pipeline.toml"
    addresses = {"kafka:9092": broker.bootstrap_servers, "http://registry:8080/apis/ccompat/v7": registry_url}
    text = PIPELINE
    for address, stand_in in addresses.items():
        assert address in text
        text = text.replace(address, stand_in)
    pipeline.write_text(text, encoding="utf-8")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    places = {"/etc/mde-inventory/pipeline.toml": str(pipeline), STATE: str(state)}
    logs = {name: tmp_path / f"{name}.log" for name in ("simulator", "connector", "tail")}
    places["mde-inventory simulate"] = "mde-inventory simulate --port 0"
    healthy = state / "simulator.toml"
    word, asked = SERVICES["simulator"]["healthcheck"]["test"][3:]
    with ExitStack() as stack:
        stack.enter_context(started("simulator", state, places, logs["simulator"]))
        assert asked.replace(STATE, str(state)) == str(healthy)
        wait_for(lambda: healthy.exists() and word in healthy.read_text(encoding="utf-8"), "simulator", *logs.values())
        stack.enter_context(started("connector", state, places, logs["connector"]))
        configured = state / "connector.toml"
        wait_for(lambda: configured.exists() and "registry" in configured.read_text(encoding="utf-8"), "configuration")
        loaded = loading.load(configured, {})
        assert (loaded.schema_registry.url, loaded.source.ca_bundle is None) == (registry_url, False)
        stack.enter_context(started("tail", state, places, logs["tail"]))
        wait_for(lambda: b"first snapshot" in logs["tail"].read_bytes(), "a change", *logs.values())
