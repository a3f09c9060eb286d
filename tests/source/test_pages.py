from __future__ import annotations

import base64
import json
import random
import socket
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import ConnectorError, SnapshotIncomplete, SourceError, SourceMalformed
from connector.model import Inventory
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, PageShape, Simulator
from connector.source.pages import WALKS_MAX, generation_of
from tests.support.fetching import START, QuickTimer, got, open_bench, records_of
from tests.support.plain_client import in_order
from tests.support.raw_server import RawServer


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator of a small fleet."""
    with Simulator(Fleet(seed=3, devices=12, start=START), records_of_part_max=200) as simulator:
        yield simulator


def pages(simulator: Simulator) -> int:
    """Pages asked for so far."""
    return sum(request.endpoint is Endpoint.PAGES for request in simulator.requests)


def test_a_nextlink_that_is_missing_by_mistake_is_not_taken_for_the_end(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end is asked for twice: what follows a page that lacked its link is not lost, and a warning says so."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_MISSING, after=3))
    with open_bench(simulator, tmp_path, method="json") as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
    assert "a page without nextLink had one when asked again" in caplog.text


def test_an_end_that_changes_when_asked_again_begins_the_walk_anew(simulator: Simulator, tmp_path: Path) -> None:
    """Other lines on the last page the second time: whatever was walked belongs to nothing."""
    with open_bench(simulator, tmp_path / "count", method="json") as bench:
        bench.source.fetch(Inventory.CPE, newer_than=None)
    calls = pages(simulator)
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.FEWER_RECORDS, after=calls - 1))
    with open_bench(simulator, tmp_path, method="json") as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
    assert pages(simulator) == 3 * calls


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_generation_that_changes_on_the_way_begins_the_walk_anew(
    simulator: Simulator, tmp_path: Path, after: int
) -> None:
    """The snapshot is of one generation, whole, and bears its time."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.GENERATION_CHANGED, after=after))
    with open_bench(simulator, tmp_path, method="json") as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.generated_at == simulator.generated_at > START
        assert records_of(snapshot) == in_order(simulator.records())


def test_a_generation_that_changes_under_a_single_page_is_noticed(simulator: Simulator, tmp_path: Path) -> None:
    """A walk of one page has no page token: the generation is asked for before and after."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.GENERATION_CHANGED, after=1))
    with open_bench(simulator, tmp_path, method="json", page_size=100_000) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.generated_at == simulator.generated_at > START
        assert records_of(snapshot) == in_order(simulator.records())


def test_a_generation_that_keeps_changing_is_no_snapshot(simulator: Simulator, tmp_path: Path) -> None:
    """A few walks, then incomplete."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.GENERATION_CHANGED, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench:
        with pytest.raises(SnapshotIncomplete, match=f"{WALKS_MAX} walks"):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert bench.files() == [] or not any(name.endswith(".draft") for name in bench.files())


def test_a_link_back_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    """A page that links to one that came before would be walked forever."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_REPEATED, after=2, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench:
        with pytest.raises(SnapshotIncomplete, match="links back to an earlier page"):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert pages(simulator) < 10


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_page_whose_content_the_walk_has_seen_ends_it(simulator: Simulator, tmp_path: Path, after: int) -> None:
    """Links that differ each time lead to the same records: no snapshot, and the next walk works."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ENDLESS, after=after, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench:
        with pytest.raises(SnapshotIncomplete, match="repeats an earlier page"):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert pages(simulator) <= after + 3
        simulator.faults.clear()
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


@pytest.mark.parametrize(
    "url",
    ["https://elsewhere.invalid", "http://localhost", "https://169.254.169.254", "https://localhost@elsewhere.invalid"],
)
def test_a_link_to_another_host_is_refused(simulator: Simulator, tmp_path: Path, url: str) -> None:
    """No connection is made there, and no token is shown."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, url=url, after=2, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench, pytest.raises(SourceMalformed) as caught:
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert "skiptoken" not in str(caught.value)


def test_a_link_to_an_allowed_host_is_followed_without_a_token(simulator: Simulator, tmp_path: Path) -> None:
    """A listed host may be named, but a token is shown to the API's own host only."""
    heads: list[bytes] = []

    def serve(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    with RawServer(serve, tmp_path) as other:
        bundle = tmp_path / "both.pem"
        bundle.write_bytes(simulator.ca_bundle.read_bytes() + other.ca_bundle.read_bytes())
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, url=other.url, after=1, times=None))
        settings: dict[str, Any] = {"method": "json", "allowed_hosts": ["localhost"], "ca_bundle": str(bundle)}
        with open_bench(simulator, tmp_path, **settings) as bench, pytest.raises(SourceError):
            bench.source.fetch(Inventory.CPE, newer_than=None)
    assert heads
    assert not any(b"authorization" in head.lower() for head in heads)


@pytest.mark.parametrize("kind", [FaultKind.ZERO_RECORDS])
def test_a_walk_without_records_is_no_snapshot(simulator: Simulator, tmp_path: Path, kind: FaultKind) -> None:
    """An export without a record is not a fleet without software."""
    simulator.faults.add(Fault(Endpoint.PAGES, kind, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench, pytest.raises(SnapshotIncomplete, match="no records"):
        bench.source.fetch(Inventory.CPE, newer_than=None)


@pytest.mark.parametrize(
    "kind", [FaultKind.MALFORMED_LINE, FaultKind.NULL_VALUE, FaultKind.TRUNCATED_BODY, FaultKind.RESET_IN_BODY]
)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_page_that_cannot_be_read_is_asked_for_again(
    simulator: Simulator, tmp_path: Path, kind: FaultKind, after: int
) -> None:
    """Wherever it is in the walk, no page is skipped and none is taken twice."""
    simulator.faults.add(Fault(Endpoint.PAGES, kind, after=after, times=2))
    with open_bench(simulator, tmp_path, method="json") as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


@pytest.mark.parametrize("page_size", [1, 7, 1074, 1075, 200_000])
def test_pages_of_any_size_give_the_same(tmp_path: Path, page_size: int) -> None:
    """One record a page, all in one page, an exact multiple."""
    fleet = Fleet(seed=3, devices=1, start=START)
    with (
        Simulator(fleet, page_shape=PageShape.SHORT) as simulator,
        open_bench(simulator, tmp_path, method="json", page_size=page_size) as bench,
    ):
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


def test_an_unknown_page_token_breaks_no_walk(simulator: Simulator, tmp_path: Path) -> None:
    """The form is documented nowhere: any other is followed just as well."""
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_OPAQUE, times=None))
    with open_bench(simulator, tmp_path, method="json") as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert records_of(snapshot) == in_order(simulator.records())
        assert not snapshot.generation_known


def test_a_second_fetch_leaves_nothing_of_the_first(simulator: Simulator, tmp_path: Path) -> None:
    """Each walk fetches all pages: no page of an older walk remains among those of the new one."""
    with open_bench(simulator, tmp_path, method="json", page_size=10) as bench:
        bench.source.fetch(Inventory.CPE, newer_than=None)
    with open_bench(simulator, tmp_path, method="json", page_size=1000) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert [name for name in bench.files() if name.endswith(".lines")] == [
            f"cpe-pages/{part.path.stem}.lines" for part in snapshot.parts
        ]
        assert len(bench.files()) == 2 * len(snapshot.parts)


def test_one_page_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """Twelve pages of a megabyte each pass; the memory holds about two copies of one."""
    with Simulator(Fleet(seed=3, devices=250, start=START)) as simulator:
        count = simulator.prepare(Inventory.CPE)
        with open_bench(simulator, tmp_path, method="json", page_size=2_000) as bench:
            bench.source.probe()
            tracemalloc.start()
            try:
                snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert snapshot.lines == count > 20_000
    page_bytes = snapshot.size_bytes / len(snapshot.parts)
    # The simulator makes its pages in this very process: what it holds of one is counted too.
    assert peak < 12 * page_bytes < snapshot.size_bytes


KINDS = [
    FaultKind.NEXT_LINK_MISSING, FaultKind.NEXT_LINK_REPEATED, FaultKind.NULL_VALUE, FaultKind.GENERATION_CHANGED,
    FaultKind.STATUS, FaultKind.CONNECTION_RESET, FaultKind.RESET_IN_BODY, FaultKind.TRUNCATED_BODY,
    FaultKind.EMPTY_BODY, FaultKind.HTML_PAGE, FaultKind.NEXT_LINK_OPAQUE, FaultKind.NO_CONTENT,
    FaultKind.NEXT_LINK_ENDLESS,
]  # fmt: skip


def test_random_faults_never_give_a_walk_that_is_not_whole(tmp_path: Path) -> None:
    """Thirty walks with faults by chance: each gives every record of one generation, or one of our errors."""
    draw = random.Random(12)
    whole = failed = 0
    with Simulator(Fleet(seed=3, devices=2, start=START), page_shape=PageShape.EMPTY) as simulator:
        known = {simulator.generated_at: in_order(simulator.records())}
        for number in range(30):
            for _ in range(draw.randrange(4)):
                kind, times, after = draw.choice(KINDS), draw.choice([1, 1, 2, 9]), draw.randrange(12)
                if kind is FaultKind.NEXT_LINK_MISSING:
                    # One that is missing twice in a row is an end for all that can be known: the guard's affair.
                    simulator.faults.clear()
                    times = 1
                simulator.faults.add(Fault(Endpoint.PAGES, kind, times=times, after=after))
            timer = QuickTimer(START + timedelta(days=20))
            with open_bench(simulator, tmp_path / str(number), timer=timer, method="json", page_size=17) as bench:
                try:
                    snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
                except ConnectorError:
                    failed += 1
                else:
                    whole += 1
                    known[simulator.generated_at] = in_order(simulator.records())
                    assert records_of(snapshot) in known.values()
                    assert not snapshot.generation_known or records_of(snapshot) == known[snapshot.generated_at]
            simulator.faults.clear()
            known[simulator.generated_at] = in_order(simulator.records())
    assert whole > 7
    assert failed > 2


# ---- the page token


def link_with(token: str, name: str = "$skiptoken") -> str:
    """A nextLink with a page token."""
    return f"https://api.security.microsoft.com/api/machines/SoftwareInventoryByMachine?pageSize=5&{name}={token}"


def token_of(content: object) -> str:
    """A page token as the documentation's example has it."""
    return base64.b64encode(json.dumps(content).encode()).decode()


SEED = {"ExportDefinition": {"TimePath": "2021-01-25/0200/"}, "ExportFileIndex": 0, "LineStoppedAt": 5}


@pytest.mark.parametrize(
    "url",
    [
        link_with(token_of(SEED)),
        link_with(quote(token_of(SEED))),
        link_with(token_of(SEED).rstrip("=")),
        link_with(token_of(SEED), "%24skiptoken"),
        link_with(token_of(SEED), "$SkipToken") + "&x=1",
        link_with(token_of(SEED | {"ExportDefinition": {"TimePath": "2021-01-25/0200"}})),
        link_with(base64.urlsafe_b64encode(json.dumps(SEED | {"x": "???>>>"}).encode()).decode()),
    ],
)
def test_the_generation_is_read_from_a_page_token(url: str) -> None:
    """Quoted or not, padded or not, in either alphabet."""
    assert generation_of(url) == datetime(2021, 1, 25, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        "https://x/?pageSize=5",
        link_with(""),
        link_with("!!!"),
        link_with("abc"),
        link_with(token_of([])),
        link_with(token_of({})),
        link_with(token_of({"ExportDefinition": None})),
        link_with(token_of({"ExportDefinition": {"TimePath": 5}})),
        link_with(token_of({"ExportDefinition": {"TimePath": "2021-13-25/0200/"}})),
        link_with(token_of({"ExportDefinition": {"TimePath": "2021-01-25/9900/"}})),
        link_with(token_of({"ExportDefinition": {"TimePath": "0001-01-01/0000/"}})),
        link_with(token_of({"ExportDefinition": {"TimePath": "1970-01-01/0000/"}})),
        link_with(token_of({"ExportDefinition": {"TimePath": "../../etc"}})),
        link_with("A" * 100_000),
        link_with(base64.b64encode(b"[" * 5_000).decode()),
    ],
)
def test_a_page_token_of_another_form_tells_nothing(url: str) -> None:
    """None, and never an error: paging goes on without it."""
    assert generation_of(url) is None


def test_pages_dated_ahead_of_the_clock_are_refused(simulator: Simulator, tmp_path: Path) -> None:
    """The first page is enough to know: both times are named, and so is the generation."""
    timer = QuickTimer(START - timedelta(minutes=16))
    with (
        open_bench(simulator, tmp_path, method="json", timer=timer) as bench,
        pytest.raises(SnapshotIncomplete) as caught,
    ):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert str(caught.value).startswith(
        "the generation is dated 2026-11-23 08:00:00 UTC, and this machine's clock says 2026-11-23 07:44"
    )
    assert caught.value.generated_at == START
    assert pages(simulator) == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda junk: link_with(base64.b64encode(junk).decode())))
def test_any_text_as_a_nextlink_tells_a_time_or_nothing(url: str) -> None:
    """Foreign text never raises."""
    generation = generation_of(url)
    assert generation is None or generation.tzinfo is UTC


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.datetimes(datetime(2000, 1, 1), datetime(2026, 1, 1)), st.text(max_size=20))  # noqa: DTZ001 - strategies want naive bounds
def test_every_generation_that_is_written_as_documented_is_read_back(moment: datetime, other: str) -> None:
    """To the minute, whatever else the token holds."""
    content = {"x": other, "ExportDefinition": {"TimePath": f"{moment:%Y-%m-%d/%H%M/}", "y": other}}
    expected = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    assert generation_of(link_with(quote(token_of(content)))) == expected
