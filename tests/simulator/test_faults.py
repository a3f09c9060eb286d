from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from connector.errors import ConfigError
from connector.model import Inventory
from connector.simulator import Endpoint, Fault, FaultKind, Faults, Fleet, Simulator
from connector.simulator.faults import FAULTS_MAX, dump_faults, read_faults
from connector.simulator.web.tokens import APPLICATION_ROLE, MACHINE_ROLE
from tests.support.plain_client import LISTINGS, PAGES, PlainClient, in_order, normal, records_of

START = datetime(2026, 1, 1, tzinfo=UTC)
LISTING = LISTINGS[Inventory.CPE]
PAGE = PAGES[Inventory.CPE]
NOTHING = re.compile(r"^$")


@pytest.fixture
def client() -> Iterator[PlainClient]:
    """A client that gives up soon, of a small fleet in several parts."""
    with (
        Simulator(
            Fleet(seed=5, devices=12, start=START), records_of_part_max=200, roles=(APPLICATION_ROLE, MACHINE_ROLE)
        ) as simulator,
        PlainClient(simulator, time_out_seconds=2) as client,
    ):
        client.token()
        yield client


def play(client: PlainClient, endpoint: Endpoint, kind: FaultKind, **values: Any) -> None:
    """Set one fault, without end unless `times` says otherwise."""
    client.simulator.faults.add(Fault(endpoint, kind, **({"times": None} | values)))


def ask(client: PlainClient, endpoint: Endpoint) -> requests.Response:
    """Ask an endpoint once."""
    if endpoint is Endpoint.TOKEN:
        return client.ask_token()
    if endpoint is Endpoint.BLOB:
        return client.blob()
    path = {Endpoint.EXPORT: LISTING, Endpoint.PAGES: f"{PAGE}?pageSize=100", Endpoint.MACHINES: "/api/machines"}
    return client.get(path[endpoint])


def lines_of(client: PlainClient) -> list[dict[str, Any]]:
    """Every record of every file, as far as it can be read."""
    return client.file_records()


# -- Instead of an answer


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_every_endpoint_can_answer_any_status(client: PlainClient, endpoint: Endpoint, status: int) -> None:
    """Once, in the endpoint's own form of error, and then it is well again."""
    play(client, endpoint, FaultKind.STATUS, status=status, times=1)
    answer = ask(client, endpoint)
    assert answer.status_code == status
    form = {
        Endpoint.TOKEN: '"error_description"',
        Endpoint.EXPORT: '"target"',
        Endpoint.PAGES: '"target"',
        Endpoint.MACHINES: '"target"',
        Endpoint.BLOB: "<Error>",
    }
    assert form[endpoint] in answer.text
    assert ask(client, endpoint).status_code == 200


@pytest.mark.parametrize("retry_after", ["7", "-5", "1000000000", "soon", None])
def test_retry_after_can_be_anything_or_missing(client: PlainClient, retry_after: str | None) -> None:
    """The header is given as it is in the fault."""
    play(client, Endpoint.EXPORT, FaultKind.STATUS, status=429, retry_after=retry_after)
    assert ask(client, Endpoint.EXPORT).headers.get("Retry-After") == retry_after


def test_retry_after_can_be_a_date(client: PlainClient) -> None:
    """`date30` is an HTTP date thirty seconds ahead."""
    play(client, Endpoint.EXPORT, FaultKind.STATUS, status=429, retry_after="date30")
    ahead = parsedate_to_datetime(ask(client, Endpoint.EXPORT).headers["Retry-After"]) - datetime.now(UTC)
    assert 25 < ahead.total_seconds() <= 30


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("kind", [FaultKind.CONNECTION_RESET, FaultKind.RESET_IN_BODY, FaultKind.TRUNCATED_BODY])
def test_a_connection_can_break_before_and_within_the_answer(
    client: PlainClient, endpoint: Endpoint, kind: FaultKind
) -> None:
    """The client sees a broken connection, once."""
    play(client, endpoint, kind, times=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(client, endpoint)
    assert ask(client, endpoint).status_code == 200


def test_a_truncated_body_is_shorter_than_its_length_says(client: PlainClient) -> None:
    """Content-Length is that of the whole; half of it comes."""
    url = client.urls()[0]
    whole = client.get(url).content
    play(client, Endpoint.BLOB, FaultKind.TRUNCATED_BODY)
    with client.session.get(url, stream=True, timeout=5) as answer:
        assert int(answer.headers["Content-Length"]) == len(whole)
        came: list[bytes] = []
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            came.extend(answer.iter_content(100))
    assert whole.startswith(b"".join(came))
    assert 0 < len(b"".join(came)) <= len(whole) // 2


@pytest.mark.parametrize("endpoint", [Endpoint.TOKEN, Endpoint.BLOB])
def test_a_server_can_hang(client: PlainClient, endpoint: Endpoint) -> None:
    """Nothing comes until the client gives up."""
    play(client, endpoint, FaultKind.HANG, times=1)
    client.time_out_seconds = 0.3
    with pytest.raises(requests.exceptions.ReadTimeout):
        ask(client, endpoint)


def test_a_body_can_come_slowly(client: PlainClient) -> None:
    """The headers are there at once, then one byte at a time."""
    url = client.urls()[0]
    play(client, Endpoint.BLOB, FaultKind.SLOW_BODY, seconds=0.05)
    began = time.monotonic()
    with client.session.get(url, stream=True, timeout=5) as answer:
        pieces = answer.raw.stream(1)
        came = b"".join(next(pieces) for _ in range(5))
    assert came == gzip_of(client, url)[:5]
    assert time.monotonic() - began >= 0.2


def gzip_of(client: PlainClient, url: str) -> bytes:
    """The good bytes of a file, after the faults are cleared."""
    client.simulator.faults.clear()
    return client.get(url).content


def test_a_body_can_be_endless(client: PlainClient) -> None:
    """Without a length, blanks follow the answer; a client must stop by itself."""
    play(client, Endpoint.PAGES, FaultKind.ENDLESS_BODY, size_bytes=8 << 20)
    answer = ask(client, Endpoint.PAGES)
    assert "Content-Length" not in answer.headers
    assert len(answer.content) > 8 << 20
    assert answer.content.endswith(b"}" + b" " * (8 << 20))


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        (FaultKind.EMPTY_BODY, 200, NOTHING),
        (FaultKind.NO_CONTENT, 204, NOTHING),
        (FaultKind.HTML_PAGE, 200, re.compile("^<!DOCTYPE html>")),
    ],
)
@pytest.mark.parametrize("endpoint", Endpoint)
def test_an_answer_can_be_empty_or_something_else(
    client: PlainClient, endpoint: Endpoint, kind: FaultKind, status: int, body: re.Pattern[str]
) -> None:
    """Empty with 200, 204, or a page for people."""
    play(client, endpoint, kind)
    answer = ask(client, endpoint)
    assert answer.status_code == status
    assert body.search(answer.text)


def test_a_body_can_be_any_text(client: PlainClient) -> None:
    """For hostile JSON; further headers too."""
    play(client, Endpoint.EXPORT, FaultKind.BODY, text="[" * 1000, headers={"X-Long": "x" * 5000})
    answer = ask(client, Endpoint.EXPORT)
    assert (answer.status_code, answer.text) == (200, "[" * 1000)
    assert answer.headers["X-Long"] == "x" * 5000


@pytest.mark.parametrize("endpoint", Endpoint)
def test_an_endpoint_can_redirect_elsewhere(client: PlainClient, endpoint: Endpoint) -> None:
    """302 to whatever the fault says."""
    play(client, endpoint, FaultKind.REDIRECT, url="http://169.254.169.254/")
    answer = ask(client, endpoint)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://169.254.169.254/")


def test_a_url_can_expire_early(client: PlainClient) -> None:
    """403 with the XML of an expired signature, for one part only."""
    urls = client.urls()
    play(client, Endpoint.BLOB, FaultKind.EXPIRED_URL, part=1)
    assert [client.get(url).status_code for url in urls] == [200, 403, *[200] * (len(urls) - 2)]
    assert "Signature not valid in the specified key time frame" in client.get(urls[1]).text


# -- The listing


@pytest.mark.parametrize(("kind", "files"), [(FaultKind.EMPTY_FILES, []), (FaultKind.NULL_FILES, None)])
def test_a_listing_can_have_no_files(client: PlainClient, kind: FaultKind, files: object) -> None:
    """An empty array, or null."""
    play(client, Endpoint.EXPORT, kind)
    assert client.listing()["exportFiles"] == files


@pytest.mark.parametrize("root", ["https://elsewhere.invalid", "http://127.0.0.1", "https://user:x@127.0.0.1:1"])
def test_files_can_be_said_to_be_elsewhere(client: PlainClient, root: str) -> None:
    """Every URL names another host, or another scheme."""
    play(client, Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url=root)
    assert all(url.startswith(f"{root}/temp-") for url in client.urls())


@pytest.mark.parametrize("text", ["2001-01-01T00:00:00Z", "2199-01-01T00:00:00Z", "yesterday", ""])
def test_the_time_of_a_generation_can_be_anything(client: PlainClient, text: str) -> None:
    """Older, in the future, or garbage."""
    play(client, Endpoint.EXPORT, FaultKind.GENERATED_TIME, text=text)
    assert client.listing()["generatedTime"] == text


def test_parts_can_come_in_another_order(client: PlainClient) -> None:
    """The same files, listed otherwise."""
    names = [url.partition("?")[0] for url in client.urls()]
    play(client, Endpoint.EXPORT, FaultKind.SHUFFLED_PARTS)
    shuffled = [url.partition("?")[0] for url in client.urls()]
    assert shuffled != names
    assert sorted(shuffled) == sorted(names)


def test_a_device_group_can_be_missing(client: PlainClient) -> None:
    """Its records are in neither flavour; all others are."""
    group_id = Counter(record["RbacGroupId"] for record in client.file_records()).most_common(1)[0][0]
    for endpoint in (Endpoint.EXPORT, Endpoint.PAGES):
        play(client, endpoint, FaultKind.GROUP_MISSING, group_id=group_id)
    others = [record for record in client.simulator.records() if record["rbacGroupId"] != group_id]
    assert in_order([normal(record) for record in client.file_records()]) == in_order(others)
    assert in_order([normal(record) for record in client.page_records(page_size=90)]) == in_order(others)
    assert others


# -- The pages


def test_a_page_can_have_a_null_value(client: PlainClient) -> None:
    """`value` is null, the rest is as it was."""
    play(client, Endpoint.PAGES, FaultKind.NULL_VALUE)
    page = ask(client, Endpoint.PAGES).json()
    assert page["value"] is None
    assert "@odata.nextLink" in page


def test_paging_can_stop_early(client: PlainClient) -> None:
    """The second page has no nextLink though there is more."""
    play(client, Endpoint.PAGES, FaultKind.NEXT_LINK_MISSING, after=1)
    assert sum(len(page["value"]) for page in client.walk(page_size=100)) == 200


def test_paging_can_go_round_in_circles(client: PlainClient) -> None:
    """A page's nextLink leads to the same page."""
    play(client, Endpoint.PAGES, FaultKind.NEXT_LINK_REPEATED, after=1)
    first = ask(client, Endpoint.PAGES).json()
    second = client.get(first["@odata.nextLink"]).json()
    assert second["@odata.nextLink"] == first["@odata.nextLink"]


def test_paging_can_repeat_its_records_under_ever_new_links(client: PlainClient) -> None:
    """The links grow, and the records are those of the first page."""
    play(client, Endpoint.PAGES, FaultKind.NEXT_LINK_ENDLESS)
    first = ask(client, Endpoint.PAGES).json()
    second = client.get(first["@odata.nextLink"]).json()
    assert second["value"] == first["value"]
    assert second["@odata.nextLink"].startswith(f"{first['@odata.nextLink']}&=")


@pytest.mark.parametrize("root", ["https://elsewhere.invalid", "http://localhost", "https://169.254.169.254"])
def test_paging_can_lead_elsewhere(client: PlainClient, root: str) -> None:
    """NextLink names another host or scheme."""
    play(client, Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, url=root)
    assert ask(client, Endpoint.PAGES).json()["@odata.nextLink"].startswith(f"{root}/api/machines/")


def test_page_tokens_can_be_of_an_unknown_form(client: PlainClient) -> None:
    """They cannot be decoded, and still lead on to the end."""
    play(client, Endpoint.PAGES, FaultKind.NEXT_LINK_OPAQUE)
    assert "$skiptoken=opaque." in ask(client, Endpoint.PAGES).json()["@odata.nextLink"]
    assert len(client.page_records(page_size=100)) == len(client.simulator.records())


def test_the_generation_can_change_in_the_middle_of_a_walk(client: PlainClient) -> None:
    """From the third page on, tokens and records are of the next generation."""
    play(client, Endpoint.PAGES, FaultKind.GENERATION_CHANGED, times=1, after=2)
    links = [page.get("@odata.nextLink") for page in client.walk(page_size=100)]
    assert client.simulator.generation == 1
    assert links[0] is not None
    assert client.simulator.generated_at == datetime(2026, 1, 1, 6, tzinfo=UTC)


def test_the_generation_can_change_between_two_listings(client: PlainClient) -> None:
    """The second listing is of another generation and has other files."""
    play(client, Endpoint.EXPORT, FaultKind.GENERATION_CHANGED, times=1, after=1)
    listings = [client.listing() for _ in range(3)]
    times = [listing["generatedTime"] for listing in listings]
    assert times == ["2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z", "2026-01-01T06:00:00Z"]


# -- Records


@pytest.fixture(params=[Endpoint.BLOB, Endpoint.PAGES])
def flavour(request: pytest.FixtureRequest) -> Endpoint:
    """Records go wrong in files and in pages."""
    return Endpoint(request.param)


def read(client: PlainClient, endpoint: Endpoint) -> list[dict[str, Any]]:
    """Every record of a flavour, as it is written."""
    return client.file_records() if endpoint is Endpoint.BLOB else client.page_records(page_size=300)


def expected(client: PlainClient) -> list[dict[str, Any]]:
    """The records that there are."""
    return in_order(client.simulator.records())


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SHUFFLED_ROWS,
        FaultKind.OTHER_CASE,
        FaultKind.OS_PLATFORM_CASE,
        FaultKind.ARRAYS_NULL,
        FaultKind.ARRAYS_EMPTY,
        FaultKind.ARRAYS_ABSENT,
        FaultKind.SHUFFLED_PATHS,
    ],
)
def test_the_same_records_can_be_written_otherwise(client: PlainClient, flavour: Endpoint, kind: FaultKind) -> None:
    """Order, case and the form of arrays change the text, and no record."""
    plain = read(client, flavour)
    play(client, flavour, kind)
    changed = read(client, flavour)
    assert in_order([normal(record) for record in changed]) == expected(client)
    in_files_only = kind is FaultKind.OS_PLATFORM_CASE
    assert (json.dumps(changed) == json.dumps(plain)) == (in_files_only and flavour is Endpoint.PAGES)


def test_the_case_of_names_can_be_the_other_flavours(client: PlainClient) -> None:
    """Files in camelCase, pages in PascalCase, and `OsPlatform`, which is in neither."""
    for endpoint in (Endpoint.BLOB, Endpoint.PAGES):
        play(client, endpoint, FaultKind.OTHER_CASE)
    assert "osPlatform" in {name for record in read(client, Endpoint.BLOB) for name in record}
    assert "OSPlatform" in {name for record in read(client, Endpoint.PAGES) for name in record}
    client.simulator.faults.clear()
    play(client, Endpoint.BLOB, FaultKind.OS_PLATFORM_CASE)
    names = {name for record in read(client, Endpoint.BLOB) for name in record}
    assert "OsPlatform" in names
    assert "OSPlatform" not in names


@pytest.mark.parametrize(
    ("kind", "value"),
    [(FaultKind.ARRAYS_NULL, None), (FaultKind.ARRAYS_EMPTY, []), (FaultKind.ARRAYS_ABSENT, "absent")],
)
def test_empty_arrays_have_three_forms(client: PlainClient, flavour: Endpoint, kind: FaultKind, value: object) -> None:
    """null, `[]`, or left out: one of them throughout."""
    play(client, flavour, kind)
    name = "RegistryPaths" if flavour is Endpoint.BLOB else "registryPaths"
    values = [record.get(name, "absent") for record in read(client, flavour)]
    assert {json.dumps(paths) for paths in values if not paths or paths == "absent"} == {json.dumps(value)}


def test_pages_mix_two_forms_of_empty_arrays_and_files_two_others(client: PlainClient) -> None:
    """Without a fault, empty arrays are null or `[]` in pages, and left out or `[]` in files."""
    forms = {
        endpoint: {json.dumps(record.get(name, "absent")) for record in read(client, endpoint) if not record.get(name)}
        for endpoint, name in ((Endpoint.BLOB, "RegistryPaths"), (Endpoint.PAGES, "registryPaths"))
    }
    assert forms == {Endpoint.BLOB: {"[]", '"absent"'}, Endpoint.PAGES: {"[]", "null"}}


def test_records_can_be_twice_there(client: PlainClient, flavour: Endpoint) -> None:
    """Half of the records come again, equal."""
    play(client, flavour, FaultKind.DUPLICATE_ROWS, share=0.5)
    counts = Counter(json.dumps(normal(record)) for record in read(client, flavour))
    assert set(counts) == {json.dumps(record) for record in expected(client)}
    assert set(counts.values()) == {1, 2}
    assert 0.4 < sum(count == 2 for count in counts.values()) / len(counts) < 0.6


def test_records_can_contradict_each_other(client: PlainClient, flavour: Endpoint) -> None:
    """Some records come again in another device group."""
    play(client, flavour, FaultKind.CONFLICTING_ROWS, share=0.1)
    groups = Counter(normal(record)["rbacGroupName"] for record in read(client, flavour))
    assert 0 < groups["Moved"] < len(expected(client)) / 5


@pytest.mark.parametrize(("kind", "left"), [(FaultKind.FEWER_RECORDS, 0.4), (FaultKind.ZERO_RECORDS, 0.0)])
def test_records_can_be_missing(client: PlainClient, flavour: Endpoint, kind: FaultKind, left: float) -> None:
    """A share of them, or all."""
    play(client, flavour, kind, share=0.6)
    assert abs(len(read(client, flavour)) / len(expected(client)) - left) < 0.02


def test_a_line_can_be_malformed(client: PlainClient) -> None:
    """One line of one part is no JSON; in a page it spoils the whole."""
    play(client, Endpoint.BLOB, FaultKind.MALFORMED_LINE, part=0)
    lines = gzip.decompress(client.blob().content).splitlines()
    bad = [line for line in lines if not is_json(line)]
    assert len(bad) == 1
    assert len(records_of(client.blob(1).content)) > 0
    play(client, Endpoint.PAGES, FaultKind.MALFORMED_LINE)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        ask(client, Endpoint.PAGES).json()


def is_json(line: bytes) -> bool:
    """Whether a line parses."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_lines_can_be_added_as_they_are(client: PlainClient) -> None:
    """Hostile records are given by the fault."""
    line = '{"DeviceId":"x","SoftwareName":"\\ud800 \\u0000 =cmd","NumberOfWeaknesses":1e400}'
    play(client, Endpoint.BLOB, FaultKind.EXTRA_LINES, lines=(line, "[1]"), part=0)
    assert gzip.decompress(client.blob().content).splitlines()[-2:] == [line.encode(), b"[1]"]


# -- Bytes of a file


def good_text(client: PlainClient) -> bytes:
    """What the first file decompresses to when nothing is wrong."""
    return gzip.decompress(client.blob().content)


def test_a_gzip_stream_can_be_short(client: PlainClient) -> None:
    """It ends in the middle, and Content-Length is right."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.SHORT_GZIP)
    answer = client.blob()
    stream = zlib.decompressobj(31)
    assert text.startswith(stream.decompress(answer.content))
    assert not stream.eof
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_checksum_can_be_wrong(client: PlainClient) -> None:
    """The text is whole, its CRC is not."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.CRC_ERROR)
    body = client.blob().content
    assert zlib.decompressobj(-15).decompress(body[10:]) == text
    with pytest.raises(gzip.BadGzipFile, match="CRC check failed"):
        gzip.decompress(body)


def test_rubbish_can_follow_the_stream(client: PlainClient) -> None:
    """The member is whole, and then comes something that is none."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.TRAILING_RUBBISH)
    stream = zlib.decompressobj(31)
    assert stream.decompress(client.blob().content) == text
    assert stream.unused_data


def test_a_file_can_have_several_members(client: PlainClient) -> None:
    """Together they are the same text."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.SEVERAL_MEMBERS)
    body = client.blob().content
    assert gzip.decompress(body) == text
    assert zlib.decompressobj(31).decompress(body) != text


def test_a_file_can_be_plain_text_under_its_gzip_name(client: PlainClient) -> None:
    """No magic number, just lines."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.PLAIN_TEXT)
    assert client.blob().content == text


def test_a_file_can_be_decompressed_on_the_way(client: PlainClient) -> None:
    """With Content-Encoding the HTTP client sees the text and not the gzip stream."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.CONTENT_ENCODING)
    answer = client.blob()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.content == text


def test_a_file_can_begin_with_a_byte_order_mark(client: PlainClient) -> None:
    """Three bytes more, within the gzip stream."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.BYTE_ORDER_MARK)
    assert gzip.decompress(client.blob().content) == b"\xef\xbb\xbf" + text


def test_the_last_newline_can_be_missing(client: PlainClient) -> None:
    """The last line is whole but not ended."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.MISSING_LAST_NEWLINE)
    assert gzip.decompress(client.blob().content) == text[:-1]


def test_the_last_line_can_be_cut(client: PlainClient) -> None:
    """The stream is whole, the last record in it is half."""
    text = good_text(client)
    play(client, Endpoint.BLOB, FaultKind.LAST_LINE_CUT)
    cut = gzip.decompress(client.blob().content)
    assert text.startswith(cut)
    assert not is_json(cut.splitlines()[-1])
    assert len(cut.splitlines()) == len(text.splitlines())


def test_a_file_can_be_a_gzip_bomb(client: PlainClient) -> None:
    """Some kilobytes become many megabytes."""
    play(client, Endpoint.BLOB, FaultKind.GZIP_BOMB, size_bytes=16 << 20)
    body = client.blob().content
    assert len(body) < 100_000
    assert len(gzip.decompress(body)) > 16 << 20


# -- Which request meets a fault


def test_faults_go_off_as_often_as_they_should() -> None:
    """`after` good answers, then `times`, each for its inventory and part."""
    faults = Faults()
    fault = Fault(Endpoint.BLOB, FaultKind.CRC_ERROR, inventory=Inventory.CPE, part=2, times=2, after=1)
    faults.add(fault)
    others = [
        (Endpoint.PAGES, Inventory.CPE, 2),
        (Endpoint.BLOB, Inventory.NON_CPE, 2),
        (Endpoint.BLOB, Inventory.CPE, 1),
    ]
    assert [faults.take(*other) for other in others] == [()] * 3
    assert [len(faults.take(Endpoint.BLOB, Inventory.CPE, 2)) for _ in range(5)] == [0, 1, 1, 0, 0]
    assert faults.pending == ()


def test_a_request_meets_one_fault_that_ends_it_and_all_that_distort() -> None:
    """Two refusals come one after the other; two distortions come together."""
    faults = Faults()
    first, second = (Fault(Endpoint.BLOB, FaultKind.STATUS, status=status) for status in (500, 503))
    shuffled, marked = (
        Fault(Endpoint.BLOB, kind, times=None) for kind in (FaultKind.SHUFFLED_ROWS, FaultKind.BYTE_ORDER_MARK)
    )
    faults.add(first, second, shuffled, marked)
    taken = [faults.take(Endpoint.BLOB, None, None) for _ in range(3)]
    assert taken == [(first, shuffled, marked), (second, shuffled, marked), (shuffled, marked)]
    faults.clear()
    assert faults.take(Endpoint.BLOB, None, None) == ()


def test_faults_read_back_as_they_are_written() -> None:
    """The JSON form that the file and the admin endpoint take says all of a fault."""
    faults = [
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=429, retry_after="-1", times=None, after=3),
        Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, inventory=Inventory.NON_CPE, part=1, lines=("x", "y")),
        Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, url="http://localhost", headers={"A": "b"}),
    ]
    assert read_faults(json.loads(json.dumps(dump_faults(faults)))) == faults


@pytest.mark.parametrize("values", [{}, [1], [{"endpoint": "blob"}], [{"endpoint": "x", "kind": "hang"}]])
def test_what_is_no_fault_is_refused(values: object) -> None:
    """With a hint that says what one looks like."""
    with pytest.raises(ConfigError) as caught:
        read_faults(values)
    assert caught.value.hint


def test_there_is_a_limit_to_faults() -> None:
    """A client of the admin endpoint cannot fill the memory."""
    faults = Faults()
    faults.add(*[Fault(Endpoint.BLOB, FaultKind.HANG)] * FAULTS_MAX)
    with pytest.raises(ConfigError, match="faults"):
        faults.add(Fault(Endpoint.BLOB, FaultKind.HANG))


def test_every_kind_of_fault_is_seen_by_a_test_here() -> None:
    """No kind is without a test that observes it through plain requests."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind.name for kind in FaultKind if f"FaultKind.{kind.name}" not in text] == []
