from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from tests.support.polled import PREFIX, PolledTenant

SOFTWARE, MACHINES = "Software.Read.All", "Machine.Read.All"


@contextmanager
def tenant_with(folder: Path, *roles: str) -> Iterator[PolledTenant]:
    """A tenant whose devices come and go often, and what the application may read of it."""
    fleet = Fleet(seed=3, devices=40, start=datetime(2026, 1, 1, tzinfo=UTC), churn=20)
    with (
        MockCluster([topic.name_under(PREFIX) for topic in Topic]) as cluster,
        Simulator(fleet, roles=roles) as simulator,
    ):
        yield PolledTenant(simulator, cluster, folder)


@pytest.mark.parametrize(
    ("roles", "device_facts", "expected"),
    [
        pytest.param((SOFTWARE, MACHINES), True, {"AGED_OUT", "DEVICE_MISSING"}, id="known"),
        pytest.param((SOFTWARE, MACHINES), False, {"DEVICE_MISSING"}, id="not asked for"),
        pytest.param((SOFTWARE,), True, {"DEVICE_MISSING"}, id="not permitted"),
    ],
)
def test_a_poll_tells_devices_that_aged_out_from_those_that_are_missing(
    roles: tuple[str, ...], device_facts: bool, expected: set[str], tmp_path: Path
) -> None:
    """With `source.device_facts` and its permission; without either, the poll succeeds and knows that they left."""
    with tenant_with(tmp_path, *roles) as tenant:
        outcomes = []
        for _ in range(3):
            outcomes.append(
                tenant.poll(source={"device_facts": device_facts}, guard={"max_removed_share": 1.0}).outcome
            )
            tenant.advance()
        changes = tenant.published(Topic.CHANGES)
        absent = {device.device_id for device in tenant.simulator.fleet.devices_at(0)} - {
            device.device_id for device in tenant.simulator.fleet.devices_at(2)
        }
    assert outcomes == ["published"] * 3
    reasons = Counter(change["reason"] for change in changes if change["deviceId"] in absent)
    assert {reason for reason in reasons if reason in {"AGED_OUT", "DEVICE_MISSING"}} == expected
