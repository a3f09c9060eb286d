from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.clock import milliseconds_of
from connector.model import Inventory
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from tests.support.fetching import START, SourceBench, got, open_bench, records_of
from tests.support.plain_client import in_order

ROLES = ("Software.Read.All", "Machine.Read.All")
KNOWN = {"device_id": "ab", "last_seen": milliseconds_of(START), "health": "Active", "onboarding": "Onboarded"}
UNKNOWN = {"device_id": "ab", "last_seen": None, "health": None, "onboarding": None}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A fleet whose devices come and go often; the application has both permissions."""
    with Simulator(Fleet(seed=3, devices=40, start=START, churn=20), roles=ROLES) as simulator:
        yield simulator


def facts_of(bench: SourceBench) -> list[dict[str, Any]] | None:
    """Fetch a snapshot, which must be whole: the facts that it brings."""
    snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
    assert records_of(snapshot) == in_order(bench.simulator.records())
    if snapshot.device_facts is None:
        return None
    return [json.loads(line) for line in snapshot.device_facts.read_text(encoding="ascii").splitlines()]


def answer(simulator: Simulator, *pages: object) -> None:
    """What the list of devices says from now on, one page after the other."""
    for page in pages:
        text = page if isinstance(page, str) else json.dumps(page)
        simulator.faults.add(Fault(Endpoint.MACHINES, FaultKind.BODY, text=text))


def asked(simulator: Simulator) -> int:
    """Requests to the list of devices so far."""
    return sum(request.endpoint is Endpoint.MACHINES for request in simulator.requests)


def device(name: str, **properties: object) -> dict[str, object]:
    """A device of the list."""
    return {"id": name, "lastSeen": "2026-11-23T08:00:00.1234567Z", **properties}


@pytest.mark.parametrize("method", ["files", "json"])
def test_the_facts_come_with_the_snapshot_and_go_with_it(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """Every device of the export is listed, as are absent ones; with the key off nothing is asked."""
    with open_bench(simulator, tmp_path / "off", method=method) as bench:
        assert (facts_of(bench), asked(simulator)) == (None, 0)
    with open_bench(simulator, tmp_path / "on", method=method, device_facts=True) as bench:
        facts = facts_of(bench)
        assert facts is not None
        listed = {fact["device_id"]: fact for fact in facts}
        assert {record["deviceId"] for record in simulator.records()} < set(listed)
        seen = [fact["last_seen"] for fact in facts]
        assert max(seen) == milliseconds_of(START) > min(seen)
        assert {(fact["health"], fact["onboarding"]) for fact in facts} >= {("Active", "Onboarded")}
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=START - timedelta(days=1)))
        bench.source.discard(snapshot)
        assert bench.files() == []


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        pytest.param(
            device("AB", healthStatus="Active", onboardingStatus="Onboarded"),
            [KNOWN | {"last_seen": milliseconds_of(START) + 123}],
            id="as it is documented",
        ),
        pytest.param(
            {"ID": "ab", "LASTSEEN": "2026-11-23T09+01:00", "HealthStatus": "Active", "onboardingstatus": "Onboarded"},
            [KNOWN],
            id="in any case, and any time zone",
        ),
        pytest.param({"id": "ab"}, [UNKNOWN], id="nothing but an id"),
        pytest.param(device("ab", lastSeen="0001-01-01T00:00:00Z"), [UNKNOWN], id="a placeholder"),
        pytest.param(device("ab", lastSeen="yesterday", healthStatus=1, onboardingStatus=[]), [UNKNOWN], id="odd"),
        pytest.param(device("ab", lastSeen=None, healthStatus="", onboardingStatus=None), [UNKNOWN], id="nulls"),
        pytest.param(device(""), [], id="an empty id"),
        pytest.param(device("x" * 257), [], id="an endless id"),
        pytest.param({"lastSeen": "2026-11-23T08:00:00Z"}, [], id="no id"),
        pytest.param("text", [], id="no object"),
        pytest.param(7, [], id="a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_of_a_device_is_not_known(
    simulator: Simulator, tmp_path: Path, answered: object, expected: list[dict[str, Any]]
) -> None:
    """The devices beside it are read all the same."""
    answer(simulator, {"value": [answered, device("cd")]})
    with open_bench(simulator, tmp_path, device_facts=True) as bench:
        facts = facts_of(bench)
    assert facts == [*expected, UNKNOWN | {"device_id": "cd", "last_seen": milliseconds_of(START) + 123}]


@pytest.mark.parametrize("host", ["api", "other"])
def test_the_list_is_read_to_its_end(simulator: Simulator, tmp_path: Path, host: str) -> None:
    """A nextLink is followed on the API's own host; one elsewhere, which would get no token, is asked for by number."""
    root = simulator.api_url if host == "api" else "https://api-elsewhere.securitycenter.microsoft.com"
    link = f"{root}/api/machines?$skiptoken=1"
    answer(simulator, {"value": [device("a"), device("b")], "@odata.nextLink": link}, {"value": [device("c")]})
    with open_bench(simulator, tmp_path, device_facts=True) as bench:
        facts = facts_of(bench)
    assert facts is not None
    assert [fact["device_id"] for fact in facts] == ["a", "b", "c"]
    queries = [request.query_names for request in simulator.requests if request.endpoint is Endpoint.MACHINES]
    assert queries == [("$top",), ("$skiptoken",) if host == "api" else ("$top", "$skip")]


def test_a_full_page_without_a_link_is_not_the_last(simulator: Simulator, tmp_path: Path) -> None:
    """10,000 devices are the most that a page may have."""
    answer(simulator, {"value": [{"id": f"{number}"} for number in range(10_000)]}, {"value": [device("last")]})
    with open_bench(simulator, tmp_path, device_facts=True) as bench:
        facts = facts_of(bench)
    assert facts is not None
    assert (len(facts), facts[-1]["device_id"], asked(simulator)) == (10_001, "last", 2)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.STATUS, status=403, times=None), "403", id="denied"),
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.STATUS, status=404, times=None), "404", id="not there"),
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.STATUS, status=503, times=None), "503", id="down"),
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.STATUS, status=429, times=None), "429", id="throttled"),
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.CONNECTION_RESET, times=None), "machines", id="reset"),
        pytest.param(Fault(Endpoint.MACHINES, FaultKind.HTML_PAGE, times=None), "not what the API documents", id="odd"),
        pytest.param(
            Fault(
                Endpoint.MACHINES,
                FaultKind.BODY,
                text='{"value":[{"id":"a"}],"@odata.nextLink":"https://x.example/"}',
                times=None,
            ),
            "has not ended",
            id="endless",
        ),
    ],
)  # fmt: skip
def test_what_keeps_the_facts_away_is_a_warning(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fault, reason: str
) -> None:
    """The snapshot is fetched all the same, and no half of a list is left."""
    simulator.faults.add(fault)
    with open_bench(simulator, tmp_path, device_facts=True) as bench:
        assert facts_of(bench) is None
        assert not [name for name in bench.files() if name.endswith("devices.ndjson")]
    assert "facts about devices cannot be fetched" in caplog.text
    assert reason in caplog.text


def test_without_the_permission_the_warning_names_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Polls go on; `check` fails with the same name."""
    with (
        Simulator(Fleet(seed=3, devices=5, start=START), roles=("Software.Read.All",)) as simulator,
        open_bench(simulator, tmp_path, device_facts=True) as bench,
    ):
        assert facts_of(bench) is None
    assert "Machine.Read.All" in caplog.text
