"""A generation that was held is fetched again while it is the newest, and compared again once its content differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.model import Inventory, snapshot_id_of
from connector.poll.doubt import is_doubted
from connector.simulator import Endpoint, Fault, FaultKind
from connector.state.state import StateFile
from tests.support.bench import Bench, record, staging_rules
from tests.support.oracle import Rules, by_key, key_of
from tests.support.polled import PolledTenant, open_tenant
from tests.support.stored import stored_records

EMPTY_PAGE = Fault(Endpoint.PAGES, FaultKind.BODY, text='{"value": []}', after=3, times=2)
"""Instead of the third page of a walk, also when it is asked for again."""

GROUP_MISSING = Fault(Endpoint.EXPORT, FaultKind.GROUP_MISSING, times=None)
BROKEN_LINE = Fault(Endpoint.BLOB, FaultKind.MALFORMED_LINE, times=None)


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[PolledTenant]:
    """Twelve devices."""
    with open_tenant(tmp_path) as tenant:
        yield tenant


def stored(tenant: PolledTenant) -> dict[Any, Any]:
    """The inventory of the state file, by key."""
    with StateFile.open(tenant.path, memory_limit_mib=256, read_only=True) as state:
        return {key_of(record): record for record in stored_records(state, Inventory.CPE)}


def listings(tenant: PolledTenant) -> int:
    """Listings asked for so far."""
    return sum(request.endpoint is Endpoint.EXPORT for request in tenant.simulator.requests)


@pytest.mark.parametrize(
    ("method", "fault"),
    [("files", GROUP_MISSING), ("files", BROKEN_LINE), ("json", EMPTY_PAGE)],
    ids=["a part that is not listed", "a broken line", "an empty page"],
)
def test_a_generation_that_was_not_whole_is_compared_again_once_it_is(
    tenant: PolledTenant, method: str, fault: Fault
) -> None:
    """Its additions do not wait for the next generation, and nothing is removed that it has."""
    tenant.poll(method)
    generation = snapshot_id_of(Inventory.CPE, tenant.advance())
    tenant.simulator.faults.add(fault)
    cut = tenant.poll(method)
    tenant.simulator.faults.clear()
    whole = tenant.poll(method)
    after = tenant.poll(method)
    assert cut.exit_code == 3
    assert (whole.outcome, whole.exit_code, whole.holding) == ("published", 0, 0)
    assert (after.outcome, after.exit_code) == ("unchanged", 0)
    assert stored(tenant) == by_key(tenant.simulator.records())
    assert (cut.snapshot_id, str(whole.snapshot_id)[: len(generation) + 1]) == (generation, f"{generation}-")


def test_the_same_content_again_is_no_snapshot_and_costs_one_listing(tenant: PolledTenant) -> None:
    """As long as it is held, each poll exits with 3; names and signatures of files are no content."""
    tenant.poll()
    tenant.advance()
    tenant.simulator.faults.add(GROUP_MISSING)
    held = tenant.poll()
    before = listings(tenant)
    again = [tenant.poll() for _ in range(3)]
    assert (held.outcome, held.exit_code) == ("held", 3)
    assert [(result.outcome, result.exit_code, result.holding) for result in again] == [
        ("unchanged", 3, held.counts.held)
    ] * 3
    assert len(tenant.snapshots()) == 2
    assert listings(tenant) - before == 3


def test_a_generation_that_was_whole_is_not_fetched_again(tenant: PolledTenant) -> None:
    """A listing is enough to see that nothing is new."""
    tenant.poll()
    tenant.advance()
    tenant.poll()
    assert tenant.poll().fetched_bytes == 0


def test_what_fails_when_fetched_again_is_not_reported_under_the_staged_name(tenant: PolledTenant) -> None:
    """COMPLETE or HELD stays the last message of a snapshot; the failure is there nevertheless."""
    tenant.poll()
    tenant.advance()
    tenant.simulator.faults.add(GROUP_MISSING)
    tenant.poll()
    tenant.simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, times=None))
    tenant.fail()
    tenant.simulator.faults.clear()
    tenant.poll()
    assert ("FAILED", "cpe-unknown") in tenant.reported()


@pytest.mark.parametrize(
    ("devices", "rejected", "doubted"),
    [(10, 0, False), (9, 0, False), (8, 0, True), (4, 0, True), (10, 1, True)],
)
def test_what_is_absent_and_not_held_yet_makes_a_generation_doubtful_too(
    tmp_path: Path, devices: int, rejected: int, doubted: bool
) -> None:
    """Devices wait for a second generation without them; a walk that ended early lacks many at once."""
    rules = Rules(max_removed_share=0.15, min_removed=2, missing_device_snapshots=2)
    fleet = [record(f"d{number}", "p", rbacGroupName="g") for number in range(10)]
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage(fleet)
        staged = bench.stage(fleet[:devices], rejected=rejected)
        guard = staging_rules(rules).guard
        assert staged.counts.held == 0
        assert is_doubted(bench.state, staged, guard) is doubted


def test_a_generation_that_is_staged_twice_counts_once_for_a_device_that_is_missing(tmp_path: Path) -> None:
    """Only another generation without it confirms that it is gone."""
    rules = Rules(max_removed_share=1.0, missing_device_snapshots=2)
    fleet = [record(f"d{number}", "p") for number in range(4)]
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage(fleet)
        first = bench.snapshot(fleet[:3])
        again = replace(
            bench.snapshot([*fleet[:3], record("d0", "q")]), snapshot_id="again", generated_at=first.generated_at
        )
        removed = [bench.take(snapshot).counts.removed for snapshot in (first, again, bench.snapshot(fleet[:3]))]
    assert removed == [0, 0, 2]
