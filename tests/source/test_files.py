from __future__ import annotations

import gzip
import json
import random
import re
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import (
    ConnectorError,
    SnapshotIncomplete,
    SourceError,
    SourceMalformed,
    SourceUnavailable,
    StateFull,
    Stopped,
)
from connector.model import Inventory, Method
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.source.downloads import read_early_seconds
from connector.source.files import GENERATION_MIN, LISTINGS_MAX, read_generated_time, read_listing
from connector.source.folder import LIST_NAME
from tests.support.fetching import QUICK, START, QuickTimer, got, open_bench, records_of
from tests.support.plain_client import in_order
from tests.support.raw_server import RawServer

ATTEMPTS = QUICK.backoff.attempts_max


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator of a small fleet whose export has several files."""
    with Simulator(Fleet(seed=3, devices=5, start=START), records_of_part_max=80) as simulator:
        yield simulator


def asked(simulator: Simulator, endpoint: Endpoint) -> int:
    """Requests to an endpoint so far."""
    return sum(request.endpoint is endpoint for request in simulator.requests)


def blobs(simulator: Simulator) -> list[str]:
    """Paths of the files that were asked for, in order."""
    return [request.path for request in simulator.requests if request.endpoint is Endpoint.BLOB]


WHOLE = [
    FaultKind.PLAIN_TEXT,
    FaultKind.CONTENT_ENCODING,
    FaultKind.BYTE_ORDER_MARK,
    FaultKind.SEVERAL_MEMBERS,
    FaultKind.MISSING_LAST_NEWLINE,
]


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_in_another_wrapping_is_as_good_as_the_usual_one(
    simulator: Simulator, tmp_path: Path, kind: FaultKind
) -> None:
    """Plain text under a .gz name, an HTTP encoding, a byte order mark, several members, no last line break."""
    simulator.faults.add(Fault(Endpoint.BLOB, kind, times=None))
    with open_bench(simulator, tmp_path) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        assert asked(simulator, Endpoint.EXPORT) == 1


BROKEN = [
    pytest.param(FaultKind.EMPTY_BODY, {}, SnapshotIncomplete, id="not ready: 200 with an empty body"),
    pytest.param(FaultKind.SHORT_GZIP, {}, SnapshotIncomplete, id="cut in a member"),
    pytest.param(FaultKind.TRUNCATED_BODY, {}, SourceUnavailable, id="shorter than its length"),
    pytest.param(FaultKind.RESET_IN_BODY, {}, SourceUnavailable, id="reset"),
    pytest.param(FaultKind.CONNECTION_RESET, {}, SourceUnavailable, id="no answer"),
    pytest.param(FaultKind.CRC_ERROR, {}, SnapshotIncomplete, id="wrong checksum"),
    pytest.param(FaultKind.TRAILING_RUBBISH, {}, SnapshotIncomplete, id="rubbish behind"),
    pytest.param(FaultKind.HTML_PAGE, {}, SnapshotIncomplete, id="a web page with 200"),
    pytest.param(FaultKind.LAST_LINE_CUT, {}, SnapshotIncomplete, id="last line cut"),
    pytest.param(FaultKind.GZIP_BOMB, {"size_bytes": 3 * 2**23}, SnapshotIncomplete, id="bomb"),
    pytest.param(FaultKind.ZERO_RECORDS, {}, SnapshotIncomplete, id="no records in a file"),
    pytest.param(FaultKind.EXPIRED_URL, {}, SnapshotIncomplete, id="expired"),
    pytest.param(FaultKind.NO_CONTENT, {}, SourceUnavailable, id="204"),
    pytest.param(FaultKind.STATUS, {"status": 404}, SourceUnavailable, id="404"),
    pytest.param(FaultKind.STATUS, {"status": 500}, SourceUnavailable, id="500"),
    pytest.param(FaultKind.STATUS, {"status": 503, "retry_after": "0"}, SourceUnavailable, id="503"),
    pytest.param(FaultKind.STATUS, {"status": 503, "text": "x" * 300_000}, SourceUnavailable, id="503, 300 KB long"),
    pytest.param(FaultKind.STATUS, {"status": 403, "text": "x" * 300_000}, SnapshotIncomplete, id="403, 300 KB long"),
]


@pytest.mark.parametrize(("kind", "options", "error"), BROKEN)
def test_a_broken_file_is_fetched_again_until_it_is_whole(
    simulator: Simulator, tmp_path: Path, kind: FaultKind, options: dict[str, Any], error: type[ConnectorError]
) -> None:
    """Twice bad, then good: every record is there."""
    del error
    simulator.faults.add(Fault(Endpoint.BLOB, kind, part=1, times=2, **options))
    with open_bench(simulator, tmp_path) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
    assert simulator.faults.pending == ()


@pytest.mark.parametrize(("kind", "options", "error"), BROKEN)
def test_a_file_that_stays_broken_fails_the_fetch_whole_and_the_next_one_works(
    simulator: Simulator, tmp_path: Path, kind: FaultKind, options: dict[str, Any], error: type[ConnectorError]
) -> None:
    """Listed again a few times, then a clear error; whole files are kept, and the next fetch asks for the rest only."""
    simulator.faults.add(Fault(Endpoint.BLOB, kind, part=1, times=None, **options))
    with open_bench(simulator, tmp_path) as bench:
        with pytest.raises(error) as caught:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert caught.value.retryable
        assert asked(simulator, Endpoint.EXPORT) == LISTINGS_MAX
        assert not [name for name in bench.files() if name.endswith(".draft")]
        kept = sum(name.endswith((".gz", ".json")) for name in bench.files())
        simulator.faults.clear()
        before = len(blobs(simulator))
        snapshot = bench.source.fetch(Inventory.CPE, newer_than=None)
        assert records_of(snapshot) == in_order(simulator.records())
        assert len(blobs(simulator)) - before == len(got(snapshot).parts) - kept


@pytest.mark.parametrize("kind", [FaultKind.EMPTY_FILES, FaultKind.NULL_FILES])
def test_a_listing_without_files_is_asked_again_and_never_a_snapshot(
    simulator: Simulator, tmp_path: Path, kind: FaultKind
) -> None:
    """Not ready yet: asked again; if never ready: incomplete, never everything removed."""
    simulator.faults.add(Fault(Endpoint.EXPORT, kind, times=1))
    with open_bench(simulator, tmp_path) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        simulator.faults.add(Fault(Endpoint.EXPORT, kind, times=None))
        simulator.advance()
        with pytest.raises(SnapshotIncomplete, match="no files"):
            bench.source.fetch(Inventory.CPE, newer_than=START)


def test_an_expired_signature_is_renewed_and_the_fetch_goes_on(simulator: Simulator, tmp_path: Path) -> None:
    """The same generation: files that came are not asked for again."""
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=2, times=1))
    with open_bench(simulator, tmp_path, download_parallelism=1) as bench:
        snapshot = bench.source.fetch(Inventory.CPE, newer_than=None)
        assert records_of(snapshot) == in_order(simulator.records())
        assert asked(simulator, Endpoint.EXPORT) == 2
        assert len(blobs(simulator)) == len(got(snapshot).parts) + 1
        assert sorted(set(blobs(simulator))) == sorted({*blobs(simulator)[:2], *blobs(simulator)[2:]})


def test_signatures_that_really_expire_are_renewed(tmp_path: Path) -> None:
    """The storage's clock is past the first listing's signatures: Azure's XML, a new listing, a whole snapshot."""
    late = [timedelta(0)]

    def let_time_pass() -> None:
        late[0] = timedelta(hours=7)

    fleet = Fleet(seed=3, devices=6, start=START)
    with (
        Simulator(fleet, clock=lambda: datetime.now(UTC) + late[0], token_seconds=86_400) as simulator,
        open_bench(simulator, tmp_path) as bench,
    ):
        bench.progress.on_begin = let_time_pass
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        assert {request.status for request in simulator.requests if request.endpoint is Endpoint.BLOB} == {403, 200}


def test_a_signature_that_is_not_valid_yet_is_waited_for(tmp_path: Path) -> None:
    """The storage's clock is a little behind: the same URLs are asked for again, and no listing is spent on them."""
    behind = [timedelta(0)]

    def set_back() -> None:
        behind[0] = timedelta(seconds=-2)

    fleet = Fleet(seed=3, devices=6, start=START)
    with (
        Simulator(fleet, clock=lambda: datetime.now(UTC) + behind[0]) as simulator,
        open_bench(simulator, tmp_path, download_parallelism=16) as bench,
    ):
        bench.progress.on_begin = set_back
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        assert asked(simulator, Endpoint.EXPORT) == 1
        assert {request.status for request in simulator.requests if request.endpoint is Endpoint.BLOB} == {403, 200}


PERIOD = b"<AuthenticationErrorDetail>Not valid in the specified time frame: Start [%b] - Expiry [%b] - Current [%b]"
LATE = b"Fri, 27 Nov 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (PERIOD % (b"Fri, 27 Nov 2026 03:00:02 GMT", LATE, b"Fri, 27 Nov 2026 03:00:00 GMT"), 2.0),
        (PERIOD % (b"2026-11-27T03:00:02Z", LATE, b"2026-11-27T03:00:00.5000000Z"), 1.5),
        (PERIOD % (b"2026-11-27T03:00:00Z", LATE, b"2026-11-27T03:00:00Z"), None),
        (PERIOD % (b"Fri, 27 Nov 2026 03:00:00 GMT", LATE, b"Fri, 27 Nov 2026 09:00:01 GMT"), None),
        (PERIOD % (b"soon", LATE, b"Fri, 27 Nov 2026 09:00:01 GMT"), None),
        (PERIOD % (b"0001-01-01T00:00:00+05:00", LATE, b"9999-12-31T23:59:59-05:00"), None),
        (b"<AuthenticationErrorDetail>Signature did not match.", None),
        (b"", None),
    ],
)
def test_a_refusal_says_how_long_a_signature_is_not_valid_yet(body: bytes, seconds: float | None) -> None:
    """Both times are of the storage's clock, so this machine's does not matter."""
    assert read_early_seconds(body) == seconds


def test_a_generation_that_changes_between_listings_is_begun_anew(simulator: Simulator, tmp_path: Path) -> None:
    """Expired in the middle, and the new listing is of another generation: the snapshot is of that one alone."""
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=1, times=1))
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATION_CHANGED, after=1, times=1))
    with open_bench(simulator, tmp_path, download_parallelism=1) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.generated_at == simulator.generated_at > START
        assert records_of(snapshot) == in_order(simulator.records())
        assert sorted(path.name for path in bench.staging.glob("cpe-*")) == [
            f"cpe-{simulator.generated_at:%Y%m%dT%H%M%S%fZ}"
        ]


def test_a_generation_that_changes_between_listings_of_the_same_names_is_begun_anew(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Equal names are no proof of equal files: none that came before the second listing is kept."""
    earlier = f"{START - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=earlier, times=1))
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=1, times=1))
    with open_bench(simulator, tmp_path, download_parallelism=1) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert snapshot.generated_at == simulator.generated_at == START
        assert records_of(snapshot) == in_order(simulator.records())
        assert [path.name for path in bench.staging.glob("cpe-*")] == [f"cpe-{START:%Y%m%dT%H%M%S%fZ}"]
        assert len(blobs(simulator)) > len(snapshot.parts) + 1


def test_a_generation_that_is_stored_already_is_not_downloaded_again(simulator: Simulator, tmp_path: Path) -> None:
    """The files say in one call that nothing is new."""
    with open_bench(simulator, tmp_path) as bench:
        assert bench.source.fetch(Inventory.CPE, newer_than=simulator.generated_at) is None
    assert (asked(simulator, Endpoint.EXPORT), blobs(simulator)) == (1, [])


def test_a_list_of_files_that_changes_within_a_generation_is_begun_anew(simulator: Simulator, tmp_path: Path) -> None:
    """A file that was not in the first listing: what is staged is one listing, whole."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GROUP_MISSING, times=1))
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=1, times=1))
    with open_bench(simulator, tmp_path, download_parallelism=1) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


def test_a_generation_that_keeps_changing_is_no_snapshot(simulator: Simulator, tmp_path: Path) -> None:
    """A few starts, then incomplete."""
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, times=None))
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATION_CHANGED, times=None))
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SnapshotIncomplete, match="changed"):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert asked(simulator, Endpoint.EXPORT) <= 8


def test_the_order_of_a_listing_does_not_matter(simulator: Simulator, tmp_path: Path) -> None:
    """Shuffled parts of the same generation: the same digest, and nothing is fetched twice after a restart."""
    with open_bench(simulator, tmp_path) as bench:
        first = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        fetched = len(blobs(simulator))
        simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.SHUFFLED_PARTS, times=None))
        second = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert len(blobs(simulator)) == fetched
        assert first.content_digest == second.content_digest
        assert sorted(part.path.name for part in first.parts) == sorted(part.path.name for part in second.parts)


# ---- the listing


URLS = ("https://account.blob.core.windows.net/tvm/part-00000.c000.json.gz?sig=x",)


@pytest.mark.parametrize(
    "names",
    [
        ("exportFiles", "generatedTime"),
        ("ExportFiles", "GeneratedTime"),
        ("exportfiles", "generatedtime"),
        ("EXPORTFILES", "GENERATEDTIME"),
    ],
)
def test_a_listing_is_read_without_regard_to_case(names: tuple[str, str]) -> None:
    """Microsoft's own table spells the properties in PascalCase."""
    body = json.dumps({names[0]: URLS, names[1]: "2026-01-01T00:00:00.1234567Z", "extra": [{}]}).encode()
    assert read_listing(body) == (URLS, datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC))


@pytest.mark.parametrize(
    "listing",
    [
        [],
        None,
        {"exportFiles": URLS},
        {"exportFiles": URLS[0], "generatedTime": "2026-01-01T00:00:00Z"},
        {"exportFiles": [None], "generatedTime": "2026-01-01T00:00:00Z"},
        {"exportFiles": 0, "generatedTime": "2026-01-01T00:00:00Z"},
        {"exportFiles": URLS, "ExportFiles": [], "generatedTime": "2026-01-01T00:00:00Z"},
        {"exportFiles": URLS, "generatedTime": "2026-01-01T00:00:00Z", "GeneratedTime": "2026-01-02T00:00:00Z"},
    ],
)
def test_a_listing_of_another_form_or_one_that_contradicts_itself_is_refused(listing: object) -> None:
    """Two spellings that disagree tell nobody which files are all files."""
    with pytest.raises((ValueError, TypeError)):
        read_listing(json.dumps(listing).encode())


def test_a_null_beside_another_spelling_does_not_count() -> None:
    """Only values can disagree."""
    body = json.dumps({"exportFiles": None, "ExportFiles": URLS, "GeneratedTime": "2026-01-01T00:00:00Z"}).encode()
    assert read_listing(body) == (URLS, datetime(2026, 1, 1, tzinfo=UTC))


# ---- generatedTime


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-05:00",
        "9999-12-31T23:59:59.9999999-23:59",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+05:00",
        "1601-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ],
)
def test_a_generation_time_that_is_none_is_refused(simulator: Simulator, tmp_path: Path, text: str) -> None:
    """Garbage, a placeholder, outside of the calendar: without a generation, files are no snapshot."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=text, times=None))
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SourceMalformed, match="undocumented response"):
        bench.source.fetch(Inventory.CPE, newer_than=None)


@pytest.mark.parametrize(
    ("text", "dated"),
    [
        ("2026-11-25T08:16:00Z", "2026-11-25 08:16:00 UTC"),
        ("2026-11-26T08:00:00+01:00", "2026-11-26 07:00:00 UTC"),
        ("9999-12-31T23:59:59Z", "9999-12-31 23:59:59 UTC"),
    ],
)
def test_a_generation_dated_ahead_of_the_clock_is_refused(
    simulator: Simulator, tmp_path: Path, text: str, dated: str
) -> None:
    """Both times are named; one listing is spent, nothing is downloaded, and the error names the generation."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=text, times=None))
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SnapshotIncomplete) as caught:
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert str(caught.value).startswith(
        f"the generation is dated {dated}, and this machine's clock says 2026-11-25 08:00"
    )
    assert caught.value.generated_at == datetime.fromisoformat(text)
    assert (asked(simulator, Endpoint.EXPORT), blobs(simulator)) == (1, [])


def test_a_generation_that_is_ahead_by_what_clocks_differ_is_taken(simulator: Simulator, tmp_path: Path) -> None:
    """A clock that is some minutes slow does not stop polls."""
    ahead = START + timedelta(days=2, minutes=14)
    fault = Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=ahead.isoformat(), times=None)
    simulator.faults.add(fault)
    with open_bench(simulator, tmp_path) as bench:
        assert got(bench.source.fetch(Inventory.CPE, newer_than=START)).generated_at == ahead


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T08:00:00Z", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        (" 2026-11-23T08:00:00Z ", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T10:00:00+02:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00:00.1234567Z", datetime(2026, 11, 23, 8, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-11-23T08:00:00.1239999Z", datetime(2026, 11, 23, 8, 0, 0, 123_000, tzinfo=UTC)),
    ],
)
def test_a_generation_time_is_read_in_utc_to_the_millisecond(text: str, moment: datetime) -> None:
    """What the state file keeps compares equal to what is read again."""
    assert read_generated_time(text) == moment


ZONES = st.sampled_from(["", "Z", "+00:01", "-00:01", "+14:00", "-12:00", "+23:59", "-23:59"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=40)
    | st.none()
    | st.integers()
    | st.datetimes().map(str)
    | st.builds("{}{}{}".format, st.datetimes().map(datetime.isoformat), st.sampled_from("+-"), st.times().map(str))
    | st.builds("{}{}".format, st.sampled_from(["0001-01-01T00:00", "9999-12-31T23:59"]), ZONES)
)
def test_any_value_as_a_generation_time_is_a_time_or_refused(value: object) -> None:
    """Nothing else is raised, and no placeholder is taken."""
    try:
        moment = read_generated_time(value)
    except (ValueError, TypeError):
        return
    assert moment.tzinfo is UTC
    assert moment >= GENERATION_MIN


# ---- where files may be


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.invalid",
        "http://127.0.0.1",
        "https://169.254.169.254",
        "https://[::1]",
        "https://user:word@127.0.0.1",
        "https://127.0.0.1@elsewhere.invalid",
        "file:///etc",
    ],
)
def test_a_file_on_another_host_is_not_fetched(simulator: Simulator, tmp_path: Path, url: str) -> None:
    """No connection is made, and nothing is fetched at all, not even the files that are where they should be."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url=url, times=None))
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SourceMalformed, match=r"host|URL"):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert blobs(simulator) == []


def test_a_redirect_of_the_storage_is_not_followed(simulator: Simulator, tmp_path: Path) -> None:
    """Wherever it points."""
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.REDIRECT, url=f"{simulator.api_url}/simulator/x", times=None))
    with open_bench(simulator, tmp_path) as bench, pytest.raises(SourceMalformed, match="redirect"):
        bench.source.fetch(Inventory.CPE, newer_than=None)
    assert not any(request.path == "/simulator/x" for request in simulator.requests)


@pytest.mark.parametrize("length", ["\xb2", "-1", "1e3", "9" * 5_000, ""])
def test_a_length_that_is_no_number_is_no_length(simulator: Simulator, tmp_path: Path, length: str) -> None:
    """The file is judged by its content alone, as one without a length is."""
    line = b'{"DeviceId":"a","SoftwareVendor":"v","SoftwareName":"n","SoftwareVersion":"1"}\n'

    def serve(connection: socket.socket, _: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("latin-1") + gzip.compress(line))
        connection.shutdown(socket.SHUT_WR)

    with RawServer(serve, tmp_path) as storage:
        bundle = tmp_path / "both.pem"
        bundle.write_bytes(simulator.ca_bundle.read_bytes() + storage.ca_bundle.read_bytes())
        simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url=storage.url, times=None))
        with open_bench(simulator, tmp_path, allowed_hosts=["localhost"], ca_bundle=str(bundle)) as bench:
            snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
    assert {part.lines for part in snapshot.parts} == {1}


# ---- resuming


def test_what_is_whole_is_not_fetched_again_after_a_restart(simulator: Simulator, tmp_path: Path) -> None:
    """A process that was stopped in the middle leaves whole files; the next one fetches the rest."""
    stop = threading.Event()
    timer = QuickTimer(stop=stop)
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.HANG, after=2, times=None))
    with open_bench(simulator, tmp_path, timer=timer, download_parallelism=1) as bench:
        threading.Timer(1.0, stop.set).start()
        with pytest.raises(Stopped):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        kept = [name for name in bench.files() if name.endswith(".gz")]
    assert len(kept) == 2
    simulator.faults.clear()
    before = len(blobs(simulator))
    with open_bench(simulator, tmp_path) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert records_of(snapshot) == in_order(simulator.records())
        assert len(blobs(simulator)) - before == len(snapshot.parts) - 2
        assert (bench.progress.parts, bench.progress.records) == (len(snapshot.parts), snapshot.lines)


def test_a_complete_snapshot_on_disk_is_taken_as_it_is(simulator: Simulator, tmp_path: Path) -> None:
    """After a dry run, or a crash before staging, only the listing is asked for."""
    with open_bench(simulator, tmp_path) as bench:
        first = got(bench.source.fetch(Inventory.CPE, newer_than=None))
    before = len(blobs(simulator))
    with open_bench(simulator, tmp_path) as bench:
        second = got(bench.source.fetch(Inventory.CPE, newer_than=None))
    assert len(blobs(simulator)) == before
    assert replace(second, fetched_bytes=first.fetched_bytes) == first


def test_files_of_another_generation_are_not_taken(simulator: Simulator, tmp_path: Path) -> None:
    """They go, and every file of the new one is fetched."""
    with open_bench(simulator, tmp_path) as bench:
        bench.source.fetch(Inventory.CPE, newer_than=None)
        simulator.advance()
        before = len(blobs(simulator))
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert len(blobs(simulator)) - before == len(snapshot.parts)
        assert records_of(snapshot) == in_order(simulator.records())


def damage_file(path: Path, how: str, elsewhere: Path) -> None:
    """Damage a stored file."""
    if how == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    if how == "missing":
        path.unlink()
    if how == "link":
        path.rename(elsewhere)
        path.symlink_to(elsewhere)


def damage_list(path: Path, how: str) -> None:
    """Damage the list of verified files."""
    rows = path.read_bytes().splitlines(keepends=True)
    outside = json.dumps(json.loads(rows[0]) | {"file": "../../../etc/passwd"}).encode() + b"\n"
    contents = {
        "list cut": b"".join(rows)[:-20],
        "list rubbish": b"\xff{\n[]\n17\n" + rows[0].replace(b'"lines"', b'"lanes"') + b"".join(rows[1:]),
        "list gone": b"",
        "other version": b"".join(rows).replace(b'"version": 1', b'"version": 2'),
        "path in the list": outside,
    }
    if how in contents:
        path.write_bytes(contents[how])


DAMAGES = ["shorter", "missing", "link", "list cut", "list rubbish", "list gone", "other version", "path in the list"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_as_it_was_noted_is_fetched_again(simulator: Simulator, tmp_path: Path, damage: str) -> None:
    """Whatever became of the folder between two runs, the snapshot is whole, and nothing outside is read."""
    with open_bench(simulator, tmp_path) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        folder = snapshot.parts[0].path.parent
        damage_file(snapshot.parts[0].path, damage, tmp_path / "moved.gz")
        damage_list(folder / LIST_NAME, damage)
        before = len(blobs(simulator))
        again = got(bench.source.fetch(Inventory.CPE, newer_than=None))
        assert len(blobs(simulator)) > before
        assert records_of(again) == in_order(simulator.records())
        assert {part.path.parent for part in again.parts} == {folder}


def test_remote_names_never_become_paths(simulator: Simulator, tmp_path: Path) -> None:
    """Local names are digests; the remote name is kept for people."""
    with open_bench(simulator, tmp_path) as bench:
        snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
    assert all(re.fullmatch(r"part-[0-9a-f]{24}\.json\.gz", part.path.name) for part in snapshot.parts)
    assert all(part.name.endswith(".json.gz") and part.name != part.path.name for part in snapshot.parts)


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 4 KiB: to a writer it looks like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("method", ["files", "json"])
def test_a_full_disk_is_said_and_leaves_no_draft(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """The error is the one of a full disk; once there is space, the next fetch works."""
    simulator.prepare(Inventory.CPE, Method(method))
    with open_bench(simulator, tmp_path, method=method) as bench:
        with small_files(), pytest.raises(StateFull):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert not [name for name in bench.files() if name.endswith(".draft")]
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


@pytest.mark.parametrize("parallelism", [1, 3, 16])
def test_downloads_in_parallel_bring_the_same(simulator: Simulator, tmp_path: Path, parallelism: int) -> None:
    """However many threads."""
    with open_bench(simulator, tmp_path, download_parallelism=parallelism) as bench:
        assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())


KINDS = [
    FaultKind.EMPTY_BODY, FaultKind.SHORT_GZIP, FaultKind.TRUNCATED_BODY, FaultKind.CRC_ERROR, FaultKind.EXPIRED_URL,
    FaultKind.TRAILING_RUBBISH, FaultKind.HTML_PAGE, FaultKind.LAST_LINE_CUT, FaultKind.CONNECTION_RESET,
    FaultKind.SEVERAL_MEMBERS, FaultKind.PLAIN_TEXT, FaultKind.BYTE_ORDER_MARK, FaultKind.CONTENT_ENCODING,
    FaultKind.RESET_IN_BODY, FaultKind.STATUS,
]  # fmt: skip
LISTING_KINDS = [
    FaultKind.EMPTY_FILES, FaultKind.NULL_FILES, FaultKind.STATUS, FaultKind.CONNECTION_RESET, FaultKind.EMPTY_BODY,
    FaultKind.GENERATION_CHANGED, FaultKind.SHUFFLED_PARTS, FaultKind.HTML_PAGE, FaultKind.TRUNCATED_BODY,
]  # fmt: skip


def test_random_faults_never_give_a_snapshot_that_is_not_whole(tmp_path: Path) -> None:
    """Thirty fetches with faults by chance: each gives every record of its generation, or one of our errors."""
    draw = random.Random(11)
    whole = failed = 0
    with Simulator(Fleet(seed=3, devices=4, start=START), records_of_part_max=75) as simulator:
        records = {simulator.generated_at: in_order(simulator.records())}
        for number in range(30):
            for _ in range(draw.randrange(6)):
                simulator.faults.add(
                    Fault(Endpoint.BLOB, draw.choice(KINDS), part=draw.choice([None, 0, 1]), times=draw.choice([1, 9]))
                )
            if draw.random() < 0.5:
                simulator.faults.add(Fault(Endpoint.EXPORT, draw.choice(LISTING_KINDS), times=draw.choice([1, 2, 5])))
            if draw.random() < 0.3:
                simulator.advance()
            with open_bench(
                simulator, tmp_path / str(number // 3), timer=QuickTimer(START + timedelta(days=2))
            ) as bench:
                try:
                    snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=None))
                except (SourceError, SnapshotIncomplete):
                    failed += 1
                else:
                    whole += 1
                    records[simulator.generated_at] = in_order(simulator.records())
                    assert records_of(snapshot) == records[snapshot.generated_at]
                bench.limits.unlink(missing_ok=True)
            simulator.faults.clear()
    assert whole > 7
    assert failed > 2
