from __future__ import annotations

import logging
import re
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.config.tables import SourceConfig
from connector.errors import (
    ConnectorError,
    SourceDenied,
    SourceMalformed,
    SourceThrottled,
    SourceUnavailable,
    StateError,
    StateLocked,
    Stopped,
)
from connector.model import Inventory, Method
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, PageShape, Simulator
from connector.source.folder import StagingFolder
from connector.source.http.transport import SILENCE_SECONDS_MAX
from tests.support.fetching import START, QuickTimer, SourceBench, got, open_bench, records_of
from tests.support.plain_client import in_order

METHODS = ("files", "json")
LISTING = {"files": Endpoint.EXPORT, "json": Endpoint.PAGES}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator of a small fleet whose export has several parts."""
    with Simulator(Fleet(seed=3, devices=5, start=START), records_of_part_max=80) as simulator:
        yield simulator


def asked(simulator: Simulator, endpoint: Endpoint) -> int:
    """Requests to an endpoint so far."""
    return sum(request.endpoint is endpoint for request in simulator.requests)


def assert_nothing_left(bench: SourceBench) -> None:
    """A failed fetch leaves no draft, and what it leaves are verified files only."""
    assert not [name for name in bench.files() if name.endswith((".draft", ".new"))]


# ---- what a snapshot is


@pytest.mark.parametrize("inventory", Inventory)
@pytest.mark.parametrize("method", METHODS)
def test_a_snapshot_has_every_record_of_the_export(
    simulator: Simulator, tmp_path: Path, method: str, inventory: Inventory
) -> None:
    """Both flavours of both exports: the records are the simulator's, and the snapshot says what it is."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        snapshot = got(bench.source.fetch(inventory, newer_than=None))
        assert records_of(snapshot) == in_order(simulator.records(inventory))
        assert snapshot.inventory is inventory
        assert snapshot.method is Method(method)
        assert snapshot.fetched_bytes > 0
        assert re.fullmatch("[0-9a-f]{64}", snapshot.content_digest)
        assert snapshot.snapshot_id == f"{inventory.label}-{START:%Y%m%dT%H%M%SZ}"
        assert snapshot.generation_known
        assert len({part.path for part in snapshot.parts}) == len({part.name for part in snapshot.parts})


@pytest.mark.parametrize("page_shape", PageShape)
def test_both_flavours_of_a_generation_have_the_same_name_and_records(tmp_path: Path, page_shape: PageShape) -> None:
    """Short and empty pages in the middle included."""
    fleet = Fleet(seed=3, devices=5, start=START)
    with Simulator(fleet, records_of_part_max=80, page_shape=page_shape) as simulator:
        snapshots = []
        for method in METHODS:
            with open_bench(simulator, tmp_path / method, method=method) as bench:
                snapshots.append(got(bench.source.fetch(Inventory.CPE, newer_than=None)))
        files, pages = snapshots
        assert files.snapshot_id == pages.snapshot_id == f"cpe-{START:%Y%m%dT%H%M%SZ}"
        assert files.generated_at == pages.generated_at == START
        assert (files.generation_known, pages.generation_known) == (True, True)
        assert records_of(files) == records_of(pages) == in_order(simulator.records())


def test_pages_that_do_not_tell_their_generation_are_named_by_time_and_content(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The digest tells a repeat, whatever the size of the pages; other content has another."""
    timer = QuickTimer()
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_OPAQUE, times=None))
    digests = []
    for page_size in (100_000, 300, 7):
        with open_bench(simulator, tmp_path / str(page_size), timer=timer, method="json", page_size=page_size) as bench:
            snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=START + timedelta(days=1)))
            name = f"cpe-{snapshot.generated_at:%Y%m%dT%H%M%SZ}-{snapshot.content_digest[:8]}"
            assert (snapshot.snapshot_id, snapshot.generation_known) == (name, False)
            assert timedelta(0) <= timer.now() - snapshot.generated_at < timedelta(hours=1)
            digests.append(snapshot.content_digest)
    simulator.advance()
    with open_bench(simulator, tmp_path / "next", timer=timer, method="json") as bench:
        digests.append(got(bench.source.fetch(Inventory.CPE, newer_than=None)).content_digest)
    assert digests[0] == digests[1] == digests[2] != digests[3]


@pytest.mark.parametrize("method", METHODS)
def test_a_generation_that_has_not_advanced_is_not_fetched(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """Equal and older are None after one call; a newer one is fetched."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        assert bench.source.fetch(Inventory.CPE, newer_than=START) is None
        assert bench.source.fetch(Inventory.CPE, newer_than=START + timedelta(hours=6)) is None
        assert asked(simulator, LISTING[method]) == 2
        assert asked(simulator, Endpoint.BLOB) == 0
        newer = simulator.advance()
        assert got(bench.source.fetch(Inventory.CPE, newer_than=START)).generated_at == newer


@pytest.mark.parametrize("method", METHODS)
def test_an_older_generation_is_said_and_an_equal_one_is_not(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """An export that goes back is odd; one that stands still is usual."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        bench.source.fetch(Inventory.CPE, newer_than=START)
        assert "older than the inventory and" not in caplog.text
        bench.source.fetch(Inventory.CPE, newer_than=START + timedelta(milliseconds=1))
        assert "older than the inventory and" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_files_are_private_and_gone_once_they_are_discarded(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """Folders 0700, files 0600; nothing of a discarded snapshot stays."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        modes = {stat.S_IMODE(path.stat().st_mode) for path in bench.staging.rglob("*") if path.is_file()}
        folders = {stat.S_IMODE(path.stat().st_mode) for path in (bench.staging, snapshot.parts[0].path.parent)}
        assert (modes, folders) == ({0o600}, {0o700})
        bench.source.discard(snapshot)
        assert bench.files() == []
        bench.source.discard(snapshot)


@pytest.mark.parametrize("method", METHODS)
def test_progress_is_told_from_beginning_to_end(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """Parts, bytes and records add up; every beginning has an end, also when it fails."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        progress = bench.progress
        assert progress.parts_expected == (len(snapshot.parts) if method == "files" else None)
        assert (progress.parts, progress.records) == (len(snapshot.parts), snapshot.lines)
        assert 0 < progress.size_bytes <= snapshot.fetched_bytes
        assert progress.ended == progress.begun == 1
        simulator.advance()
        simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EMPTY_BODY, times=None))
        simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.NULL_VALUE, times=None, after=2))
        with pytest.raises(ConnectorError):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert progress.ended == progress.begun == 2


def test_the_two_inventories_do_not_touch_each_others_files(simulator: Simulator, tmp_path: Path) -> None:
    """One may be fetched while the other's files still wait."""
    with open_bench(simulator, tmp_path) as bench:
        first = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        second = got(bench.source.fetch(Inventory.NON_CPE, newer_than=None))
        assert records_of(first) == in_order(simulator.records(Inventory.CPE))
        assert records_of(second) == in_order(simulator.records(Inventory.NON_CPE))


def test_the_probe_makes_one_cheap_call(simulator: Simulator, tmp_path: Path) -> None:
    """It names the API and its newest generation, and costs none of the 20 listings an hour."""
    with open_bench(simulator, tmp_path) as bench:
        line = bench.source.probe()
        assert line.startswith(simulator.api_url)
        assert f"{START:%Y-%m-%d %H:%M}" in line
        assert (asked(simulator, Endpoint.PAGES), asked(simulator, Endpoint.EXPORT)) == (1, 0)


# ---- what passes by itself


PASSING = [
    pytest.param(FaultKind.STATUS, {"status": 429}, id="429"),
    pytest.param(FaultKind.STATUS, {"status": 429, "retry_after": "0"}, id="429-0"),
    pytest.param(FaultKind.STATUS, {"status": 429, "retry_after": "7"}, id="429-7"),
    pytest.param(FaultKind.STATUS, {"status": 429, "retry_after": "-5"}, id="429-negative"),
    pytest.param(FaultKind.STATUS, {"status": 429, "retry_after": "soon"}, id="429-rubbish"),
    pytest.param(FaultKind.STATUS, {"status": 404}, id="404"),
    pytest.param(FaultKind.STATUS, {"status": 500}, id="500"),
    pytest.param(FaultKind.STATUS, {"status": 502}, id="502"),
    pytest.param(FaultKind.STATUS, {"status": 503, "retry_after": "1"}, id="503"),
    pytest.param(FaultKind.STATUS, {"status": 504}, id="504"),
    pytest.param(FaultKind.CONNECTION_RESET, {}, id="reset"),
    pytest.param(FaultKind.RESET_IN_BODY, {}, id="reset in body"),
    pytest.param(FaultKind.TRUNCATED_BODY, {}, id="truncated"),
    pytest.param(FaultKind.EMPTY_BODY, {}, id="empty"),
    pytest.param(FaultKind.NO_CONTENT, {}, id="204"),
    pytest.param(FaultKind.HTML_PAGE, {}, id="html"),
]


@pytest.mark.parametrize(("kind", "options"), PASSING)
@pytest.mark.parametrize("method", METHODS)
def test_a_fault_of_a_call_that_passes_costs_no_record(
    simulator: Simulator, tmp_path: Path, method: str, kind: FaultKind, options: dict[str, Any]
) -> None:
    """Twice at the first call and once in the middle of a walk: the snapshot is whole all the same."""
    simulator.faults.add(Fault(LISTING[method], kind, times=2, **options))
    simulator.faults.add(Fault(Endpoint.PAGES, kind, times=1, after=3, **options))
    with open_bench(simulator, tmp_path, method=method) as bench:
        snapshot = bench.source.fetch(Inventory.CPE, newer_than=None)
        assert records_of(snapshot) == in_order(simulator.records())
        assert simulator.faults.pending == (() if method == "json" else simulator.faults.pending)
        assert_nothing_left(bench)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"retry_after": "date 90"}, 90.0), ({"retry_after": "-5"}, 60.0), ({}, 60.0)],
)
def test_a_throttled_call_waits_as_it_is_told_or_for_the_window(
    tmp_path: Path, options: dict[str, Any], seconds: float
) -> None:
    """`Retry-After` wins, as seconds or as a date; where it is missing or negative, a minute passes."""
    now = datetime.now(UTC)
    timer = QuickTimer(begin=now)
    fleet = Fleet(seed=1, devices=2, start=now.replace(minute=0, second=0, microsecond=0))
    with Simulator(fleet) as simulator, open_bench(simulator, tmp_path, timer=timer) as bench:
        simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=429, **options))
        got(bench.source.fetch(Inventory.CPE, newer_than=None))
    assert sum(timer.waits) == pytest.approx(seconds, abs=2)


def test_a_long_walk_keeps_the_published_limits(simulator: Simulator, tmp_path: Path) -> None:
    """More pages than a minute allows: the walk waits for the window, as often as it must."""
    timer = QuickTimer()
    begun = timer.monotonic()
    with open_bench(simulator, tmp_path, timer=timer, method="json", page_size=5) as bench:
        snapshot = bench.source.fetch(Inventory.CPE, newer_than=None)
        assert records_of(snapshot) == in_order(simulator.records())
    calls = asked(simulator, Endpoint.PAGES)
    assert calls > 60
    assert timer.monotonic() - begun >= 60 * ((calls - 1) // 30)


# ---- what does not pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        pytest.param(FaultKind.STATUS, {"status": 429, "retry_after": "1000000000"}, SourceThrottled, id="429-1e9"),
        pytest.param(FaultKind.STATUS, {"status": 429}, SourceThrottled, id="429"),
        pytest.param(FaultKind.STATUS, {"status": 500}, SourceUnavailable, id="500"),
        pytest.param(FaultKind.STATUS, {"status": 404}, SourceUnavailable, id="404"),
        pytest.param(FaultKind.STATUS, {"status": 401}, SourceDenied, id="401"),
        pytest.param(FaultKind.STATUS, {"status": 403}, SourceDenied, id="403"),
        pytest.param(FaultKind.STATUS, {"status": 400}, SourceMalformed, id="400"),
        pytest.param(FaultKind.CONNECTION_RESET, {}, SourceUnavailable, id="reset"),
        pytest.param(FaultKind.TRUNCATED_BODY, {}, SourceUnavailable, id="truncated"),
        pytest.param(FaultKind.EMPTY_BODY, {}, SourceMalformed, id="empty"),
        pytest.param(FaultKind.NO_CONTENT, {}, SourceUnavailable, id="204"),
        pytest.param(FaultKind.HTML_PAGE, {}, SourceMalformed, id="html"),
        pytest.param(FaultKind.REDIRECT, {}, SourceMalformed, id="redirect"),
        pytest.param(FaultKind.BODY, {"text": '{"value":null}'}, SourceMalformed, id="null"),
        pytest.param(FaultKind.BODY, {"text": "[]"}, SourceMalformed, id="list"),
    ],
)
def test_a_fault_of_a_call_that_stays_fails_the_fetch_whole_and_the_next_one_works(
    simulator: Simulator,
    tmp_path: Path,
    method: str,
    kind: FaultKind,
    options: dict[str, Any],
    error: type[ConnectorError],
) -> None:
    """A clear error with a hint after a bounded number of calls; only complete files remain."""
    simulator.faults.add(Fault(LISTING[method], kind, times=None, **options))
    timer = QuickTimer()
    with open_bench(simulator, tmp_path, timer=timer, method=method) as bench:
        with pytest.raises(error) as caught:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert caught.value.hint
        assert asked(simulator, LISTING[method]) <= 4
        assert sum(timer.waits) <= 600
        assert_nothing_left(bench)
        simulator.faults.clear()
        timer.wait(3600)
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


def test_a_throttled_poll_keeps_the_next_one_from_asking(simulator: Simulator, tmp_path: Path) -> None:
    """The rest that was asked for is remembered over a restart."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=429, retry_after="3000"))
    for _ in range(2):
        with open_bench(simulator, tmp_path) as bench, pytest.raises(SourceThrottled):
            bench.source.fetch(Inventory.CPE, newer_than=None)
    assert asked(simulator, Endpoint.EXPORT) == 1


def test_an_error_of_the_api_is_told_with_its_code_and_correlation_id(simulator: Simulator, tmp_path: Path) -> None:
    """What support will ask for is in the error."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=400))
    words = r"SoftwareInventoryExport responded with 400: \w+: .*correlation id [0-9a-f-]{36}"
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SourceMalformed, match=words):
        bench.source.fetch(Inventory.CPE, newer_than=None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"roles": ("Machine.Read.All",)}, ["Software.Read.All", "Machine.Read.All"]),
        ({"roles": ()}, ["Software.Read.All", "it has: none"]),
        ({"audience": "https://graph.microsoft.com"}, ["graph.microsoft.com", "source.scope"]),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_token_without_the_permission_is_explained(
    tmp_path: Path, method: str, changed: dict[str, Any], words: list[str]
) -> None:
    """Exit code 5, and the hint names the permission or the audience."""
    with Simulator(Fleet(seed=1, devices=1, start=START), **changed) as simulator:
        with open_bench(simulator, tmp_path, method=method) as bench, pytest.raises(SourceDenied) as caught:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert [word for word in words if word not in caught.value.hint] == []
        assert caught.value.exit_code == 5


@pytest.mark.parametrize("method", METHODS)
def test_a_token_that_expires_on_the_way_is_renewed_once(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """401 in the middle of a walk, or at the listing: a new token, and no page is skipped."""
    simulator.faults.add(Fault(LISTING[method], FaultKind.STATUS, status=401, after=2 if method == "json" else 0))
    with open_bench(simulator, tmp_path, method=method) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
    assert asked(simulator, Endpoint.TOKEN) == 2


# ---- auto


def test_auto_fetches_files_and_no_pages(simulator: Simulator, tmp_path: Path) -> None:
    """Where the file storage can be reached."""
    with open_bench(simulator, tmp_path, method="auto") as bench:
        assert got(bench.source.fetch(Inventory.CPE, newer_than=None)).method is Method.FILES
    assert asked(simulator, Endpoint.PAGES) == 0


def test_auto_fetches_pages_where_the_storage_cannot_be_reached_and_says_so_once(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A storage host without a connection: the same records by the other flavour, one warning in a process."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url="https://localhost:1", times=None))
    with open_bench(simulator, tmp_path, method="auto", allowed_hosts=["localhost"]) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.method is Method.JSON
        assert records_of(snapshot) == in_order(simulator.records())
        simulator.advance()
        assert got(bench.source.fetch(Inventory.CPE, newer_than=START)).method is Method.JSON
    assert caplog.text.count("fetching JSON pages instead") == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Endpoint.BLOB, FaultKind.STATUS, status=500, times=None),
        Fault(Endpoint.BLOB, FaultKind.EMPTY_BODY, times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=403, times=None),
        Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, times=None),
        Fault(Endpoint.EXPORT, FaultKind.CONNECTION_RESET, times=None),
    ],
)
def test_auto_does_not_hide_an_error_of_the_api_or_a_bad_file_behind_pages(
    simulator: Simulator, tmp_path: Path, fault: Fault
) -> None:
    """Only a storage without a connection is a reason for pages."""
    simulator.faults.add(fault)
    with open_bench(simulator, tmp_path, method="auto") as bench, pytest.raises(ConnectorError):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert asked(simulator, Endpoint.PAGES) == 0


def test_files_alone_do_not_turn_to_pages(simulator: Simulator, tmp_path: Path) -> None:
    """Who chose files gets the error."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url="https://localhost:1", times=None))
    settings: dict[str, Any] = {"method": "files", "allowed_hosts": ["localhost"]}
    with open_bench(simulator, tmp_path, **settings) as bench, pytest.raises(SourceUnavailable, match="localhost"):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert asked(simulator, Endpoint.PAGES) == 0


# ---- odd lines


def test_lines_that_are_no_objects_are_set_aside_and_counted(simulator: Simulator, tmp_path: Path) -> None:
    """The good lines of the part stay; the rejected file names part, line and reason."""
    lines = ("17", "null", "[1]", "  ")
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=lines, times=None))
    with open_bench(simulator, tmp_path) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.rejected == 3
        assert records_of(snapshot) == in_order(simulator.records())
        rejected = (bench.rejected / f"{snapshot.snapshot_id}.ndjson").read_text().splitlines()
        assert len(rejected) == 3
        assert stat.S_IMODE(bench.rejected.stat().st_mode) == 0o700


def test_a_part_with_two_spellings_of_a_name_is_read_whole(simulator: Simulator, tmp_path: Path) -> None:
    """Lines in camelCase among lines in PascalCase: no record and no value is lost, and nothing is rejected."""
    extra = ('{"deviceId":"zz","SOFTWARENAME":"odd","softwareFirstSeenTimestamp":"2026-01-01 00:00:00"}',)
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=1, lines=extra, times=None))
    with open_bench(simulator, tmp_path) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        records = records_of(snapshot)
        assert [record for record in records if record["deviceId"] != "zz"] == in_order(simulator.records())
        assert [record["softwareName"] for record in records if record["deviceId"] == "zz"] == ["odd"]
        assert snapshot.rejected == 0
        assert not any(len(spelled) > 1 for part in snapshot.parts for spelled in part.spellings.values())
        assert list(bench.rejected.glob("*")) == []


@pytest.mark.parametrize("method", METHODS)
def test_repair_sets_the_bad_lines_of_a_snapshot_aside(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """What the reader refuses is rejected line by line; counts are of all parts."""
    bad = ('{"DeviceId":"x","SoftwareName":NaN}', '{"deviceId":7}x')
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=bad, times=None))
    simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.EXTRA_LINES, lines=bad, after=1))
    with open_bench(simulator, tmp_path, method=method) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        repaired, rejected = bench.source.repair(snapshot)
        assert rejected == repaired.rejected == 2
        assert records_of(repaired) == in_order(simulator.records())
        assert repaired.snapshot_id == snapshot.snapshot_id
        bench.source.discard(snapshot)
        assert bench.files() == []


def test_fetching_a_generation_again_rejects_its_lines_anew(simulator: Simulator, tmp_path: Path) -> None:
    """After a restart the rejected file has each line once."""
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=("[]",), times=None))
    for _ in range(2):
        with open_bench(simulator, tmp_path) as bench:
            snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
            assert snapshot.rejected == 1
    assert len((bench.rejected / f"{snapshot.snapshot_id}.ndjson").read_text().splitlines()) == 1


# ---- stops, locks, links


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Endpoint.TOKEN, FaultKind.HANG, times=None),
        Fault(Endpoint.EXPORT, FaultKind.HANG, times=None),
        Fault(Endpoint.BLOB, FaultKind.HANG, times=None),
        Fault(Endpoint.BLOB, FaultKind.SLOW_BODY, seconds=0.2, times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=503, retry_after="500", times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=429, retry_after="500", times=None),
        Fault(Endpoint.BLOB, FaultKind.STATUS, status=503, retry_after="500", times=None),
        Fault(Endpoint.PAGES, FaultKind.SLOW_BODY, seconds=0.2, times=None),
    ],
)
def test_a_stop_ends_a_fetch_within_moments(simulator: Simulator, tmp_path: Path, fault: Fault) -> None:
    """Hanging, dripping, waiting to try again, waiting for the limits: none holds a stop back."""
    from connector.clock import Timer  # noqa: PLC0415 - the real one, here only

    stop = threading.Event()
    timer = Timer(stop, clock=lambda: START + timedelta(hours=1))
    simulator.faults.add(fault)
    method = "json" if fault.endpoint is Endpoint.PAGES else "files"
    with open_bench(simulator, tmp_path, timer=timer, method=method) as bench:
        threading.Timer(0.5, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(Stopped) as caught:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert time.monotonic() - begun < SILENCE_SECONDS_MAX
        assert caught.value.exit_code == 0
        assert_nothing_left(bench)


def test_a_second_process_does_not_fetch_into_the_same_folder(simulator: Simulator, tmp_path: Path) -> None:
    """It is refused at once, by name."""
    with (
        open_bench(simulator, tmp_path) as bench,
        StagingFolder(bench.staging).lock(),
        pytest.raises(StateLocked, match="staging"),
    ):
        bench.source.fetch(Inventory.CPE, newer_than=None)


@pytest.mark.parametrize("planted", ["staging", "lock"])
def test_a_planted_link_is_refused(simulator: Simulator, tmp_path: Path, planted: str) -> None:
    """Nothing is written through a symbolic link in the place of the folder or its lock."""
    (tmp_path / "elsewhere").mkdir()
    if planted == "staging":
        (tmp_path / "staging").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "staging").mkdir()
        (tmp_path / "staging" / "lock").symlink_to(tmp_path / "elsewhere" / "lock")
    with open_bench(simulator, tmp_path) as bench, pytest.raises(StateError, match="link"):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_planted_for_a_snapshot_is_cleared(simulator: Simulator, tmp_path: Path) -> None:
    """What somebody left under the inventory's name goes; a link there is unlinked and not followed."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (tmp_path / "staging" / "cpe-old").mkdir(parents=True)
    (tmp_path / "staging" / "cpe-old" / "part").write_text("old")
    (tmp_path / "staging" / "cpe-link").symlink_to(precious)
    with open_bench(simulator, tmp_path) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        assert sorted(path.name for path in bench.staging.glob("cpe-*")) == [f"cpe-{START:%Y%m%dT%H%M%S%fZ}"]
    assert (precious / "file").read_text() == "precious"


# ---- secrets


@pytest.mark.parametrize("method", METHODS)
def test_only_the_api_sees_the_token(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """Every call of the API has it; no file is asked for with it."""
    with open_bench(simulator, tmp_path, method=method) as bench:
        bench.source.fetch(Inventory.CPE, newer_than=None)
    shown = {(request.endpoint, request.has_authorization) for request in simulator.requests if request.endpoint}
    assert shown == {(Endpoint.TOKEN, False), (LISTING[method], True)} | (
        {(Endpoint.BLOB, False)} if method == "files" else set()
    )


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault(Endpoint.BLOB, FaultKind.CONNECTION_RESET, times=None),
        Fault(Endpoint.BLOB, FaultKind.TRUNCATED_BODY, times=None),
        Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, times=None),
        Fault(Endpoint.BLOB, FaultKind.REDIRECT, times=None),
        Fault(Endpoint.BLOB, FaultKind.CRC_ERROR, times=None),
        Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, times=None),
        Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url="https://localhost:1", times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=401, times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=500, times=None),
        Fault(Endpoint.TOKEN, FaultKind.CONNECTION_RESET, times=None),
    ],
)
def test_no_log_at_debug_level_and_no_error_shows_a_secret(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fault | None
) -> None:
    """Neither the client's secret, nor a token, nor a signature, through every kind of failure."""
    caplog.set_level(logging.DEBUG)
    if fault:
        simulator.faults.add(fault)
    said = ""
    with open_bench(simulator, tmp_path, allowed_hosts=["localhost", simulator.storage_host]) as bench:
        try:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        except ConnectorError as error:
            import traceback  # noqa: PLC0415 - only here

            said = f"{''.join(traceback.format_exception(error))} {error.hint}"
    written = "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.suffix in (".ndjson", ".json"))
    for text in (caplog.text, said, written, repr(bench.source)):
        assert str(simulator.client_secret) not in text
        assert "sig=" not in text
        assert "Bearer ey" not in text
        assert "eyJ" not in text


def test_a_configuration_is_all_a_source_needs(simulator: Simulator) -> None:
    """The simulator's settings are a source table."""
    assert SourceConfig(**simulator.settings()).api_url == simulator.api_url
