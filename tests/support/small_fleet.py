"""What four generations of a small fleet publish on a real broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector import config
from connector.assembly import Assembly
from connector.cli.demo import START
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from tests.support.broker import Broker
from tests.support.messages import values_on
from tests.support.recorded import TOPICS


def publish(
    broker: Broker, registry_url: str, prefix: str, folder: Path, value_format: str
) -> dict[Topic, list[dict[str, Any]]]:
    """Poll four generations of a small fleet, and read back what that published."""
    fleet = Fleet(seed=7, devices=6, start=START, churn=2.0)
    with Simulator(fleet) as simulator:
        tables = {
            "source": simulator.settings(),
            "state": {"path": str(folder / "state.duckdb"), "memory_limit_mib": 512},
            "diff": {"baseline": "emit"},
            "guard": {"missing_device_snapshots": 1},
            "alerts": {"on_baseline": True},
            "campaigns": {"enabled": True, "min_devices": 2},
            "kafka": {
                "topic_prefix": prefix,
                "value_format": value_format,
                "client": {"bootstrap.servers": broker.bootstrap_servers},
            },
        }
        if value_format == "avro":
            tables["schema_registry"] = {"url": registry_url, "auto_register": True}
        checked = config.from_values(tables, {}, name="the configuration of a test")
        for generation in range(4):
            if generation:
                simulator.advance()
            with Assembly(checked, clock=lambda: simulator.generated_at) as assembly:
                list(assembly.pipeline.poll())
        with Assembly(checked, clock=lambda: simulator.generated_at) as assembly:
            return {topic: values_on(assembly, topic) for topic in TOPICS}
