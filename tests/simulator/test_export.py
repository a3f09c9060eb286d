from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Inventory
from connector.simulator import Fleet, PageShape, Simulator
from connector.simulator.export import PagePosition
from tests.support.plain_client import LISTINGS, PAGES, PlainClient, in_order, normal, records_of

START = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def client() -> Iterator[PlainClient]:
    """A client of a fleet of 30 devices whose parts have at most 400 records."""
    fleet = Fleet(seed=7, devices=30, start=START, churn=5)
    with Simulator(fleet, records_of_part_max=400) as simulator, PlainClient(simulator) as client:
        yield client


@pytest.mark.parametrize("inventory", Inventory)
def test_files_pages_and_oracle_are_the_same_records(client: PlainClient, inventory: Inventory) -> None:
    """In three generations, what is parsed from either flavour equals `records`, which is made without them."""
    for _ in range(3):
        expected = in_order(client.simulator.records(inventory))
        assert in_order([normal(record) for record in client.file_records(inventory)]) == expected
        assert in_order([normal(record) for record in client.page_records(inventory, page_size=170)]) == expected
        assert len(expected) > 50
        client.simulator.advance()


def test_files_leave_nulls_out_and_have_columns_that_no_page_documents(client: PlainClient) -> None:
    """PascalCase, no null, DeviceId and RbacGroupId last; absent and empty arrays both occur."""
    records = client.file_records()
    assert {None} & {value for record in records for value in record.values() if not isinstance(value, list)} == set()
    assert {tuple(record)[-2:] for record in records} == {("DeviceId", "RbacGroupId")}
    names = {name for record in records for name in record}
    assert {name for name in names if not name[0].isupper()} == set()
    assert {"OSPlatform", "OSArchitecture", "ProductCodeCpe"} <= names
    assert {record.get("RegistryPaths") == [] for record in records} == {True, False}
    assert {"RegistryPaths" in record for record in records} == {True, False}
    assert {"DeviceName" in record for record in records} == {True, False}


def test_pages_say_null(client: PlainClient) -> None:
    """camelCase, the same properties in every record, nulls written."""
    records = client.page_records()
    assert len({tuple(record) for record in records}) == 1
    assert {record["deviceName"] is None for record in records} == {True, False}
    assert {record["endOfSupportDate"] is None for record in records} == {True, False}
    assert list(records[0])[:5] == ["deviceId", "rbacGroupId", "rbacGroupName", "deviceName", "osPlatform"]


def test_software_without_product_code_has_one_registry_path(client: PlainClient) -> None:
    """The non-CPE pair has `RegistryPath`, a string, and a last-seen time that moves with every generation."""
    seen = []
    for _ in range(2):
        records = client.file_records(Inventory.NON_CPE)
        assert {type(record.get("RegistryPath", "")) for record in records} == {str}
        assert not any("RegistryPaths" in record or "NumberOfWeaknesses" in record for record in records)
        seen.append({record["SoftwareLastSeenTimestamp"] for record in records})
        client.simulator.advance()
    assert seen == [{"2026-01-01 07:13:00"}, {"2026-01-01 13:13:00"}]


def test_parts_are_split_by_device_group(client: PlainClient) -> None:
    """A part has records of one group, its URL says which, and a large group has several parts."""
    groups = []
    for url in client.urls():
        [in_url] = [piece for piece in urlsplit(url).path.split("/") if piece.startswith("_RbacGroupId=")]
        records = records_of(client.get(url).content)
        assert {f"_RbacGroupId={record['RbacGroupId']}" for record in records} == {in_url}
        assert 0 < len(records) <= 400
        groups.append(in_url)
    assert len(groups) > len(set(groups)) > 3


def test_names_of_parts_change_with_every_generation_and_only_then(client: PlainClient) -> None:
    """Listing again gives the same parts under new signatures; the next generation has others."""
    paths = []
    for _ in range(2):
        paths.append({urlsplit(url).path for url in client.urls()})
        assert {urlsplit(url).path for url in client.urls()} == paths[-1]
        client.simulator.advance()
    names = [{path.rsplit("/", 1)[1] for path in generation} for generation in paths]
    assert names[0].isdisjoint(names[1])


def test_a_listing_tells_the_generation_to_the_minute(client: PlainClient) -> None:
    """`generatedTime` moves by six hours a generation, and page tokens name the same time."""
    for expected, in_token in (
        ("2026-01-01T08:00:00Z", "2026-01-01/0800/"),
        ("2026-01-01T14:00:00Z", "2026-01-01/1400/"),
    ):
        assert client.listing()["generatedTime"] == expected
        link = client.get(f"{PAGES[Inventory.CPE]}?pageSize=5").json()["@odata.nextLink"]
        assert token_of(link)["ExportDefinition"]["TimePath"] == in_token
        client.simulator.advance()


def test_page_tokens_have_the_documented_form(client: PlainClient) -> None:
    """Base64 of JSON: the export's time, the index of the file, the line stopped at."""
    link = client.get(f"{PAGES[Inventory.CPE]}?pageSize=7").json()["@odata.nextLink"]
    assert urlsplit(link).query.startswith("pageSize=7&$skiptoken=ey")
    assert token_of(link) == {
        "ExportDefinition": {"TimePath": "2026-01-01/0800/"},
        "ExportFileIndex": 0,
        "LineStoppedAt": 7,
    }


def test_a_walk_stays_in_its_generation(client: PlainClient) -> None:
    """Pages after an advance still come from the generation that the walk began in."""
    before = in_order(client.simulator.records())
    page = client.get(f"{PAGES[Inventory.CPE]}?pageSize=900").json()
    records = page["value"]
    client.simulator.advance()
    while "@odata.nextLink" in page:
        page = client.get(page["@odata.nextLink"]).json()
        records += page["value"]
    assert in_order([normal(record) for record in records]) == before
    assert in_order(client.simulator.records()) != before


def test_older_generations_are_no_longer_there(client: PlainClient) -> None:
    """After two advances an old page token is refused and an old file is not found."""
    link = client.get(f"{PAGES[Inventory.CPE]}?pageSize=900").json()["@odata.nextLink"]
    url = client.urls()[0]
    assert client.get(url).status_code == 200
    client.simulator.advance(2)
    client.simulator.advance()
    assert client.get(link).json()["error"]["code"] == "BadRequest"
    answer = client.get(url)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "BlobNotFound")


@pytest.mark.parametrize(
    ("shape", "short", "empty"),
    [(PageShape.FULL, False, False), (PageShape.SHORT, True, False), (PageShape.EMPTY, True, True)],
)
def test_pages_in_the_middle_can_be_short_or_empty(shape: PageShape, *, short: bool, empty: bool) -> None:
    """Where it is switched on, a page that is not the last has fewer records than asked for, or none."""
    fleet = Fleet(seed=7, devices=20, start=START)
    with Simulator(fleet, records_of_part_max=300, page_shape=shape) as simulator, PlainClient(simulator) as client:
        pages = client.walk(page_size=250)
        sizes = [len(page["value"]) for page in pages]
        assert sum(sizes) == len(simulator.records())
        assert any(0 < size < 250 for size in sizes[:-1]) == short
        assert (0 in sizes) == empty
        links = [page["@odata.nextLink"] for page in pages[:-1]]
        assert len(set(links)) == len(links)


def test_top_gives_some_records_and_no_next_page(client: PlainClient) -> None:
    """`$top` is no way to read everything."""
    page = client.get(f"{PAGES[Inventory.CPE]}?$top=3").json()
    assert len(page["value"]) == 3
    assert "@odata.nextLink" not in page


@pytest.mark.parametrize(
    "query",
    ["pageSize=0", "pageSize=200001", "pageSize=many", "$skiptoken=nonsense", "$skiptoken=eyJhIjoxfQ==", "$top=-1"],
)
def test_wrong_parameters_of_pages_are_refused(client: PlainClient, query: str) -> None:
    """400 with the API's error body."""
    answer = client.get(f"{PAGES[Inventory.CPE]}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"code", "message", "target"}


@pytest.mark.parametrize("hours", ["0", "7", "x"])
def test_urls_are_valid_for_one_to_six_hours(client: PlainClient, hours: str) -> None:
    """Other values of `sasValidHours` are refused."""
    assert client.get(f"{LISTINGS[Inventory.CPE]}?sasValidHours={hours}").status_code == 400
    assert client.get(f"{LISTINGS[Inventory.CPE]}?sasValidHours=6").status_code == 200


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001 - only its digits count
def test_a_page_token_reads_back(part: int, line: int, time: datetime) -> None:
    """Every position survives being written as a token."""
    position = PagePosition(time.strftime("%Y-%m-%d/%H%M/"), part, line)
    assert PagePosition.read(position.token()) == position


def token_of(link: str) -> dict[str, Any]:
    """The decoded page token of a nextLink."""
    return dict(json.loads(base64.b64decode(parse_qs(urlsplit(link).query)["$skiptoken"][0])))
