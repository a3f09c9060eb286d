"""A first snapshot that is not whole makes no false news: refused where it shows, completed where it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import SnapshotIncomplete
from connector.model import Topic
from connector.simulator import Endpoint, Fault, FaultKind
from tests.support.polled import PolledTenant, open_tenant

RECORD = {"deviceId": "a" * 40, "softwareVendor": "v", "softwareName": "p", "softwareVersion": "1"}
BROKEN_LINE = "{" + json.dumps(RECORD)
"""As in a file that somebody saw: one brace too many."""


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[PolledTenant]:
    """Twelve devices."""
    with open_tenant(tmp_path) as tenant:
        yield tenant


def assert_nothing_is_false(tenant: PolledTenant, method: str, *, page_size: int = 70) -> None:
    """Sound polls from now on: all records are there, and none of them was ever added or raised an alert."""
    tenant.simulator.faults.clear()
    source = {"page_size": page_size}
    results = [tenant.poll(method, source=source), tenant.poll(method, source=source)]
    assert [result.exit_code for result in results] == [0, 0]
    assert results[0].counts.records == len(tenant.simulator.records())
    assert tenant.published(Topic.CHANGES) == tenant.published(Topic.ALERTS) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, lines=(BROKEN_LINE,), part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.MALFORMED_LINE, times=None),
    ],
    ids=["one line", "a line of each part"],
)
def test_a_baseline_with_lines_that_cannot_be_read_is_not_believed(tenant: PolledTenant, fault: Fault) -> None:
    """The poll fails with what to do, there is no baseline, and the next poll fetches the files again."""
    tenant.simulator.faults.add(fault)
    errors = [tenant.fail(), tenant.fail()]
    assert all(isinstance(error, SnapshotIncomplete) and error.exit_code == 1 for error in errors)
    assert "guard.max_baseline_rejected is 0" in str(errors[0])
    assert "guard.max_baseline_rejected" in errors[0].hint
    assert tenant.snapshots() == []
    assert [status for status, _ in tenant.reported()] == ["FAILED"]
    assert_nothing_is_false(tenant, "files")


def test_a_baseline_of_unreadable_lines_alone_is_not_believed_either(tenant: PolledTenant) -> None:
    """Every line is broken: there is no empty baseline."""
    broken = tuple([BROKEN_LINE] * 5)
    for kind, lines in ((FaultKind.ZERO_RECORDS, ()), (FaultKind.EXTRA_LINES, broken)):
        tenant.simulator.faults.add(Fault(Endpoint.BLOB, kind, lines=lines, times=None))
    tenant.fail()
    assert tenant.snapshots() == []
    assert_nothing_is_false(tenant, "files")


def test_as_many_lines_as_the_configuration_allows_may_be_unreadable(tenant: PolledTenant) -> None:
    """Somebody looked at the lines and knows that they will stay."""
    tenant.simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, lines=(BROKEN_LINE,), part=0, times=None))
    result = tenant.poll(guard={"max_baseline_rejected": 1})
    assert (result.exit_code, result.counts.rejected) == (0, 1)


@pytest.mark.parametrize("after", [0, 1, 3], ids=["at every page", "but for one", "but for three"])
def test_a_first_walk_that_ends_at_a_full_page_is_not_believed(tenant: PolledTenant, after: int) -> None:
    """Two requests say that the page is the last one; pages of another size say that it is not, or contradict it."""
    tenant.simulator.faults.add(
        Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_MISSING, after=after, times=2 if after else None)
    )
    error = tenant.fail("json")
    assert isinstance(error, SnapshotIncomplete)
    assert str(error).startswith("the pages end too early")
    assert tenant.snapshots() == []
    assert_nothing_is_false(tenant, "json")


def test_an_empty_page_in_the_middle_ends_no_first_walk(tenant: PolledTenant) -> None:
    """It has no nextLink, twice; the second walk finds more."""
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.BODY, text='{"value": []}', after=3, times=2))
    assert isinstance(tenant.fail("json"), SnapshotIncomplete)
    assert tenant.snapshots() == []
    assert_nothing_is_false(tenant, "json")


@pytest.mark.parametrize("pages", [1, 2], ids=["one page", "two pages"])
def test_a_first_walk_that_rightly_ends_at_a_full_page_is_believed(tenant: PolledTenant, pages: int) -> None:
    """The second walk comes to the same lines."""
    tenant.simulator.faults.clear()
    records = len(tenant.simulator.records())
    page_size = next(size for size in range(records // pages, 0, -1) if records % size == 0)
    assert_nothing_is_false(tenant, "json", page_size=page_size)


def test_what_a_fixed_answer_hides_completes_the_baseline(tenant: PolledTenant) -> None:
    """The same hundred records whatever is asked for: no request can tell, and no installation comes of it."""
    lines = json.dumps({"value": tenant.simulator.records()[:100]})
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.BODY, text=lines, times=None))
    first = tenant.poll("json")
    assert (first.outcome, first.counts.records) == ("published", 100)
    assert_nothing_is_false(tenant, "json")
