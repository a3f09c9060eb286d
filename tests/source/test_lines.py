from __future__ import annotations

import itertools
import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.errors import SourceMalformed
from connector.exports.software import SOFTWARE
from connector.model import LINE_BYTES_MAX, SAMPLE_WHOLE_BYTES
from connector.source.lines import SAMPLE_EVERY_BYTES, LineCounter, Page, is_object


def census_of(text: bytes, cuts: list[int] | None = None) -> tuple[LineCounter, bool]:
    """The counter of a text that arrives cut at these places, and whether its end is complete."""
    census = LineCounter(SOFTWARE.wire_names)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    for begin, end in itertools.pairwise(places):
        census.feed(text[begin:end])
    return census, census.finish()


def slow_lines(text: bytes) -> list[bytes]:
    """The lines that are not blank, as anybody would find them."""
    return [line for line in text.split(b"\n") if line.strip()]


def lines_of(page: Page) -> list[bytes]:
    """All lines of a page."""
    text = b"".join(page.blocks())
    assert text.endswith(b"\n") or not text
    return text.split(b"\n")[:-1]


PIECES = st.sampled_from(
    [b'{"DeviceId":"a"}', b'{"deviceId":"b","x":[1,{}]}', b" ", b"\r", b"\t", b"null", b"17", b"[]", b'{"cut', b"\xff"]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES | st.just(b"\n"), max_size=40).map(b"".join), st.lists(st.integers(0, 500), max_size=8))
@example(b"\n\n", [1])
@example(b'{"DeviceId":"a"}\r\n\r\n{"DeviceId":"b"}', [17, 18])
def test_however_a_text_is_cut_its_lines_are_counted_as_when_split_slowly(text: bytes, cuts: list[int]) -> None:
    """Count, size, end and oddness do not depend on the pieces a text arrives in."""
    census, whole = census_of(text, cuts)
    expected = slow_lines(text)
    last = text.split(b"\n")[-1]
    assert census.lines == len(expected)
    assert census.size_bytes == len(text)
    assert whole == (not last.strip() or is_object(last))
    if last.strip():
        assert census.odd == any(not line.lstrip().startswith(b"{") for line in slow_lines(text[: -len(last)]))
    else:
        assert census.odd == any(not line.lstrip().startswith(b"{") for line in expected)


def test_the_documented_names_of_a_text_are_noted_in_the_spelling_they_have() -> None:
    """Undocumented names are not, nor are look-alikes outside ASCII."""
    text = b'{"DeviceId":"a","OSPlatform":1,"Extra":2}\n{"deviceid":"b","Dis\xe2\x84\xaaPaths":[]}\n'
    assert census_of(text)[0].spellings == {"deviceid": ("DeviceId", "deviceid"), "osplatform": ("OSPlatform",)}


def test_a_spelling_is_found_in_every_line_of_the_first_mebibyte() -> None:
    """One odd line among thousands at the beginning is noticed, however the text is cut."""
    lines = [b'{"DeviceId":"%06d","SoftwareName":"x"}' % number for number in range(20_000)]
    lines[9_999] = b'{"deviceId":"009999"}'
    text = b"\n".join(lines)
    assert text.index(lines[9_999]) < SAMPLE_WHOLE_BYTES
    for step in (1_000, 16_384, len(text)):
        census, _ = census_of(text, list(range(0, len(text), step)))
        assert census.spellings["deviceid"] == ("DeviceId", "deviceId")


def test_a_run_of_lines_in_another_spelling_is_found_wherever_it_is() -> None:
    """Beyond the first mebibyte a line of each 64 KiB is looked at: twice that much in another spelling is noticed."""
    line, other = b'{"DeviceId":"0123456789","SoftwareName":"abcdefgh"}\n', b'{"deviceId":"0123456789"}\n'
    before = line * (4 * SAMPLE_WHOLE_BYTES // len(line))
    run = other * (2 * SAMPLE_EVERY_BYTES // len(other))
    for step in (5_000, 16_384, 200_000):
        text = before + run + before
        census, _ = census_of(text, list(range(0, len(text), step)))
        assert census.spellings["deviceid"] == ("DeviceId", "deviceId")


def test_a_text_of_few_huge_lines_has_its_spellings_noted() -> None:
    """Lines longer than any block are looked at too."""
    line = b'{"DeviceId":"a","DiskPaths":["%b"]}\n' % (b"x" * 3_000_000)
    census, whole = census_of(line * 3, list(range(0, 9_000_000, 65_536)))
    assert whole
    assert (census.lines, census.spellings) == (3, {"deviceid": ("DeviceId",), "diskpaths": ("DiskPaths",)})


def test_a_line_longer_than_any_that_is_read_makes_a_part_odd_and_is_not_kept() -> None:
    """A gigabyte without a line break is counted as one line, in bounded memory."""
    census = LineCounter(SOFTWARE.wire_names)
    piece = b"x" * 2**20
    census.feed(b'{"DeviceId":"')
    for _ in range(LINE_BYTES_MAX // 2**20 + 4):
        census.feed(piece)
        assert sum(map(len, census._rest)) <= LINE_BYTES_MAX
    census.feed(b'"}\n{"DeviceId":"b"}\n')
    assert census.finish()
    assert (census.lines, census.odd) == (2, True)


def test_a_last_line_too_long_and_without_its_end_is_not_whole() -> None:
    """It may have been cut off: nobody can know."""
    census = LineCounter(SOFTWARE.wire_names)
    for _ in range(LINE_BYTES_MAX // 2**20 + 1):
        census.feed(b"{" * 2**20)
    assert not census.finish()


def test_a_million_names_in_a_line_do_not_fill_the_memory() -> None:
    """Undocumented names are remembered only up to a bound."""
    line = json.dumps({f"name{number}": number for number in range(100_000)}).encode()
    census, _ = census_of(line + b"\n")
    assert census.spellings == {}
    assert len(census._documented) < 2_000


LINK = "https://localhost/api/machines/SoftwareInventoryByMachine?pagesize=1&$skiptoken=e30"


@pytest.mark.parametrize("link", ["@odata.nextLink", "@odata.nextlink", "@ODATA.NEXTLINK", "nextLink", "NextLink"])
@pytest.mark.parametrize("value", ["value", "Value", "VALUE"])
@pytest.mark.parametrize("record", [b'{"deviceId":"a"}', b'{"deviceId":NaN}'])
def test_the_envelope_of_a_page_is_read_without_regard_to_case(link: str, value: str, record: bytes) -> None:
    """A nextLink that is not recognized would look like the end of the walk, and what follows it like removed."""
    text = b'{"@odata.context":"x","%b":[%b],"%b":"%b"}' % (value.encode(), record, link.encode(), LINK.encode())
    page = Page.read(text)
    assert (lines_of(page), page.next_link) == ([record], LINK)


@pytest.mark.parametrize(
    "text",
    [
        b'{"value":[{}],"@odata.nextLink":"https://a/","nextLink":"https://b/"}',
        b'{"value":[{}],"Value":[]}',
        b'{"value":[{}],"nextLink":7}',
        b'{"values":[{}]}',
        b'{"@odata.nextLink":"https://a/"}',
    ],
)
def test_an_envelope_that_contradicts_itself_or_has_no_records_is_refused(text: bytes) -> None:
    """Which of two links is right cannot be known, and a page without a list is none."""
    with pytest.raises(SourceMalformed):
        Page.read(text)


def test_the_same_link_under_two_names_is_one_link() -> None:
    """Only values that differ contradict each other; null is no value."""
    for other in (b'"https://a/"', b"null"):
        page = Page.read(b'{"NextLink":%b,"value":[],"Value":null,"@odata.nextLink":"https://a/"}' % other)
        assert (lines_of(page), page.next_link) == ([], "https://a/")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dictionaries(st.text(), VALUES, max_size=5), max_size=20),
    st.none() | st.text(),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.booleans(),
)
def test_a_page_is_cut_into_one_line_for_each_record(
    records: list[dict[str, Any]], next_link: str | None, indent: int | None, ascii_only: bool, link_first: bool
) -> None:
    """Whatever the records are and however they are laid out, the lines read as the records, and the link as it was."""
    pairs = [("@odata.context", "x"), ("value", records), ("@odata.nextLink", next_link), ("extra", {"value": [1]})]
    ordered = [pairs[0], pairs[2], pairs[1], pairs[3]] if link_first else pairs
    body = json.dumps(dict(ordered), indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(body.decode())["value"]
    except UnicodeDecodeError:
        return
    try:
        page = Page.read(bytearray(body))
    except SourceMalformed:
        assert "\\ud" in body.decode() or "\\uD" in body.decode()  # half a surrogate pair in a name around the records
        return
    assert [json.loads(line) for line in lines_of(page)] == expected
    assert (page.records, page.next_link) == (len(expected), next_link)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"value":null}',
        b'{"value":{}}',
        b'{"value":[{"a":1}',
        b'{"value":[{"a":1}]',
        b'{"value":[{"a":1},]}',
        b'{"value":[{"a":1}]}{}',
        b'{"value":[{"a":1}],"@odata.nextLink":5}',
        b'{"value":[{"a":"\\ud800"}],"@odata.nextLink":5}',
        b'{"value":[{"a":NaN}',
        b'{"value":[{"a":NaN},]}',
        b'{"value":[{"a":NaN}]}}',
        b'{"error":{"code":"x"}}',
        b"<!DOCTYPE html><html></html>",
        b'\xff\xfe{"value":[]}',
        b'{"value":[' + b"[" * 100_000,
    ],
)
def test_what_is_no_whole_page_is_refused(body: bytes) -> None:
    """Cut, empty, of another shape, no JSON."""
    with pytest.raises(SourceMalformed):
        Page.read(bytearray(body))


@pytest.mark.parametrize(
    "bad",
    [b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":01}', b'{"a":"tab\there"}', b'{"a":1,}', b"nonsense",
     b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
)  # fmt: skip
@pytest.mark.parametrize("around", [b'{"value":[%b],"@odata.nextLink":"https://x/?a=1"}',
                                    b'{"@odata.nextLink":"https://x/?a=1", "value" : [ %b ] }'])  # fmt: skip
def test_one_bad_record_spoils_its_own_line_and_no_other(bad: bytes, around: bytes) -> None:
    """The page is cut all the same; which lines are bad is found when they are read."""
    page = Page.read(bytearray(around % b",".join([b'{"d":1}', bad, b'{"d":"],[{"}'])))
    assert lines_of(page) == [b'{"d":1}', bad, b'{"d":"],[{"}']
    assert page.next_link == "https://x/?a=1"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300) | st.from_regex(rb'\{"value":\[[\[\]{}",:a1 \\]{0,40}\]?\}?', fullmatch=True))
def test_any_bytes_as_a_page_are_cut_or_refused(body: bytes) -> None:
    """No input raises anything else, and what is cut has as many lines as records."""
    try:
        page = Page.read(body)
    except SourceMalformed:
        return
    assert len(lines_of(page)) == page.records


LARGE = 4 * 2**20


@pytest.mark.parametrize(
    "text", [b"a" * LARGE, b"\\n" * (LARGE // 2), b'\\"],[{' * (LARGE // 6)], ids=["plain", "escaped", "quoted"]
)
@pytest.mark.parametrize("place", ["record", "envelope"])
def test_a_string_of_any_length_takes_no_more_memory_than_its_copies(text: bytes, place: str) -> None:
    """A page that must be split loosely, since one record is not JSON, with a string of megabytes in it."""
    around = b'{"value":[{"d":"%b"},{"a":NaN}]}' if place == "record" else b'{"x":"%b","value":[{"d":1},{"a":NaN}]}'
    body = bytearray(around % text)
    tracemalloc.start()
    try:
        page = Page.read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (page.records, lines_of(page)[1]) == (2, b'{"a":NaN}')
    assert peak < 6 * len(body)


def test_a_string_that_does_not_end_is_looked_at_once() -> None:
    """Every quote in it might begin another one: were each tried, this would not end within a day."""
    with pytest.raises(SourceMalformed):
        Page.read(bytearray(b'{"value":[{"a":NaN},{"d":"' + b'\\"' * LARGE))


def test_a_page_cut_short_anywhere_is_refused() -> None:
    """Every beginning of a page, a record with NaN in it or not, is no page."""
    for middle in (b'{"a":"x"}', b'{"a":NaN}'):
        body = b'{"@odata.context":"c","value":[{"a":1},' + middle + b'],"@odata.nextLink":"https://x"}'
        assert Page.read(body).records == 2
        for length in range(len(body)):
            with pytest.raises(SourceMalformed):
                Page.read(body[:length])


def test_lines_come_in_blocks_that_join_to_all_of_them() -> None:
    """More records than one block holds."""
    draw = random.Random(1)
    records = [{"n": number, "x": "y" * draw.randrange(50)} for number in range(10_000)]
    page = Page.read(bytearray(json.dumps({"value": records}).encode()))
    assert [json.loads(line) for line in lines_of(page)] == records
