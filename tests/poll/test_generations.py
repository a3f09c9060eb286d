"""Which generation a poll believes: never one that is dated ahead of the clock, and never an older one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connector.clock import milliseconds_of
from connector.model import Inventory, Topic, snapshot_id_of
from connector.state.state import StateFile
from tests.support.polled import PolledTenant, open_tenant

AHEAD = timedelta(hours=30)


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[PolledTenant]:
    """Twelve devices."""
    with open_tenant(tmp_path) as tenant:
        yield tenant


def id_of(generated_at: datetime) -> str:
    """What the snapshot of a generation is called."""
    return snapshot_id_of(Inventory.CPE, generated_at)


def test_a_generation_dated_ahead_fails_its_poll_and_mutes_none_after_it(tenant: PolledTenant) -> None:
    """FAILED names it, with both times; the true generations are staged as if it had never come."""
    first = tenant.poll().snapshot_id
    second = tenant.advance()
    ahead = tenant.now + AHEAD
    tenant.date(ahead)
    error = tenant.fail()
    tenant.date(None)
    true_ones = [tenant.poll().snapshot_id]
    third = tenant.advance()
    true_ones.append(tenant.poll().snapshot_id)
    assert str(error) == (
        "the generation is dated 2026-01-02 13:00:00 UTC, and this machine's clock says 2026-01-01 07:00:00 UTC"
    )
    assert true_ones == [id_of(second), id_of(third)]
    assert [name for name, _ in tenant.snapshots()] == [first, *true_ones]
    assert ("FAILED", id_of(ahead)) in tenant.reported()


def test_a_generation_ahead_that_an_earlier_version_took_mutes_none_either(tenant: PolledTenant) -> None:
    """The state file's newest generation lies a day ahead: true ones are staged, before that day and after it."""
    first = tenant.poll().snapshot_id
    with StateFile.open(tenant.path, memory_limit_mib=256) as state, state.transaction():
        state.database.rows("UPDATE snapshots SET generated_at = $1", [milliseconds_of(tenant.now + AHEAD)])
    second = tenant.advance()
    outcomes = [tenant.poll().outcome, tenant.poll().outcome]
    tenant.now += AHEAD
    outcomes.append(tenant.poll().outcome)
    third = tenant.simulator.advance()
    outcomes.append(tenant.poll().outcome)
    assert outcomes == ["published", "unchanged", "unchanged", "published"]
    assert [name for name, _ in tenant.snapshots()] == [first, id_of(second), id_of(third)]


def test_an_older_generation_is_not_believed_after_pages_that_name_none(
    tenant: PolledTenant, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest generation that is known counts, whichever flavour it came through and whatever came since."""
    first = tenant.simulator.generated_at
    tenant.poll()
    second = tenant.advance()
    tenant.poll()
    tenant.advance()
    tenant.hide_tokens()
    walked = tenant.poll("json").snapshot_id
    tenant.date(first)
    result = tenant.poll()
    assert result.outcome == "unchanged"
    assert [name for name, _ in tenant.snapshots()] == [id_of(first), id_of(second), walked]
    assert "the export is older than the inventory and is ignored" in caplog.text


def test_two_generations_within_a_second_have_different_ids(tenant: PolledTenant) -> None:
    """The id of an event is made of its snapshot's: the second one has a digest of the content in it."""
    first = tenant.simulator.generated_at
    tenant.poll()
    tenant.advance()
    tenant.date(first + timedelta(milliseconds=500))
    tenant.poll()
    tenant.advance()
    tenant.date(first + timedelta(milliseconds=900))
    tenant.poll()
    names = [name for name, _ in tenant.snapshots()]
    events = [change["eventId"] for change in tenant.published(Topic.CHANGES)]
    assert names[0] == id_of(first)
    assert len(set(names)) == 3
    assert all(name.startswith(f"{id_of(first)}-") for name in names[1:])
    assert len(events) == len(set(events)) > 0
