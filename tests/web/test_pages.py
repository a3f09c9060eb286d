"""Every page and its JSON twin: the same facts, with data, without, and with names that are somebody else's text."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from connector.web import rendering
from connector.web.query import Query
from connector.web.views.exposure import exposure
from connector.web.visits import Visit
from tests.support.bench import EASY, Bench, record, staging_rules
from tests.support.configured import SECRET
from tests.support.console import ADDRESSES, HOSTILE, LONG, NOW, Client, assembly_of, line
from tests.support.oracle import Rules
from tests.web.conftest import Opens

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """The elements and the text of a page; `problems` are those of its markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.problems += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and what must not be in it."""
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style", "iframe", "object", "embed", "base", "img"}:
            self.problems.append(tag)
        self.problems += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note an element that ends which did not begin."""
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, with one blank between words."""
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute."""
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


def twin(address: str) -> str:
    """The address of a page's JSON twin."""
    path, mark, query = address.partition("?")
    return f"{path}.json{mark}{query}"


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_and_its_twin_answer_where_there_is_no_snapshot_yet(empty_client: Client, address: str) -> None:
    """A page says that nothing is known, and what to do."""
    answers = empty_client.ask(address), empty_client.ask(twin(address))
    page = Page(answers[0].text)
    assert ([answer.status for answer in answers], page.problems) == ([200, 200], [])
    assert any("empty" in value.split() for value in page.values("class")) or address == "/configuration"


@pytest.mark.parametrize("address", [*ADDRESSES, "/nowhere", "/changes?since=never"])
def test_a_page_has_no_script_no_style_and_nothing_from_elsewhere(client: Client, address: str) -> None:
    """Whole markup in one language, a heading, landmarks, headers with a scope, fields with labels."""
    page = Page(client.ask(address).text)
    tags = [tag for tag, _ in page.elements]
    links = [*page.values("href"), *page.values("src"), *page.values("action")]
    assert (page.problems, [link for link in links if not link.startswith(("/", "#"))]) == ([], [])
    assert {tag: tags.count(tag) for tag in ("h1", "main", "header", "footer", "nav")} == dict.fromkeys(
        ("h1", "main", "header", "footer", "nav"), 1
    )
    assert page.elements[0] == ("html", {"lang": "en"})
    assert [attributes for tag, attributes in page.elements if tag == "th" and "scope" not in attributes] == []
    fields = tags.count("input") + tags.count("select") - page.values("type").count("hidden")
    assert fields == tags.count("label")
    assert page.values("role").count("img") == tags.count("svg")


def strings(value: Any) -> Iterator[str]:
    """Every text in JSON."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


FACTS = {
    "/overview": ("lights", "snapshots", "alerts"),
    "/devices": ("devices",),
    "/device": ("software", "timeline", "alerts"),
    "/products": ("products",),
    "/product": ("versions", "holders"),
    "/inventory": ("records",),
    "/changes": ("changes",),
    "/campaigns": ("campaigns",),
    "/exposure": ("intervals", "byProduct", "byGroup"),
    "/new": ("newcomers",),
    "/compare": ("differences",),
    "/held": ("held",),
    "/polls": ("snapshots", "groups", "rejected"),
    "/alerts": ("alerts",),
    "/delivery": ("topics", "snapshots", "waiting"),
    "/configuration": ("settings",),
}
NAMES = ("key", "topic", "deviceName", "softwareName", "softwareVersion", "version", "text", "name")


@pytest.mark.parametrize("address", [address for address in ADDRESSES if address.partition("?")[0] in FACTS])
def test_a_page_says_what_its_twin_says(client: Client, address: str) -> None:
    """The names in the rows of the twin are on the page, in as many rows."""
    path = address.partition("?")[0]
    page, facts = Page(client.ask(address).text), client.ask(twin(address)).json
    rows = [row for name in FACTS[path] for row in facts[name]]
    shown = {
        row[name]
        for row in rows
        for name in NAMES
        if isinstance(row.get(name), str) and row[name].isascii() and len(row[name]) < 40
    }
    assert [text for text in shown if " ".join(text.split()) not in page.text] == []
    assert (facts["busy"], facts["as_of_time"]) == (False, "2026-11-24T04:00:00Z")
    assert rows or path == "/held"
    if path in {
        "/devices",
        "/products",
        "/inventory",
        "/changes",
        "/new",
        "/compare",
        "/polls",
        "/alerts",
        "/configuration",
        "/campaigns",
    }:
        assert [tag for tag, _ in page.elements].count("tr") == len(rows) + page.values("role").count("region")


def test_the_pages_tell_what_happened(client: Client) -> None:
    """An upgrade on a device: in the changes, explained, on the device then and now, in the comparison, as exposure."""
    (upgrade,) = client.ask("/changes.json?reason=upgraded").json["changes"]
    assert (upgrade["deviceId"], upgrade["previousVersion"], upgrade["softwareVersion"]) == ("a", "7", "8")
    explained = client.ask(f"/explain.json?id={upgrade['eventId'][:8]}").json["explained"]
    assert (explained["event_id"], explained["guard"]) == (upgrade["eventId"], "not held")
    assert "a later one appeared" in Page(client.ask(f"/explain?id={upgrade['eventId']}").text).text

    def software(query: str) -> list[tuple[str, str, bool]]:
        rows = client.ask(f"/device.json?{query}").json["software"]
        return [(row["softwareName"], row["softwareVersion"], row["isEndOfSupport"]) for row in rows]

    assert software("id=a") == [("jre", "8", False), ("new", "1", False)]
    assert software("id=a&at=2026-11-23T15:00") == [("jre", "7", True)]
    rows = client.ask("/compare.json?from=2026-11-23T15:00&device=a").json["differences"]
    assert [(row["changeType"], row["softwareName"], row["reason"]) for row in rows] == [
        ("CHANGED", "jre", "UPGRADED"),
        ("ADDED", "new", "INSTALLED"),
    ]
    intervals = client.ask("/exposure.json?all=1&software=jre").json["intervals"]
    assert [(row["deviceId"], row["ended"]) for row in intervals] == [("b", None), ("a", "UPGRADED")]
    product = client.ask("/product.json?vendor=v&name=jre").json
    assert product["prevalence"] == [
        {"day": "2026-11-23", "version": "7", "devices": 1},
        {"day": "2026-11-23", "version": "8", "devices": 1},
        {"day": "2026-11-24", "version": "7", "devices": 1},
        {"day": "2026-11-24", "version": "8", "devices": 1},
    ]
    assert [(row["deviceId"], row["softwareVersion"]) for row in product["holders"]] == [("b", "7"), ("a", "8")]
    (listed,) = client.ask("/products.json?q=jre").json["products"]
    assert listed == {"softwareVendor": "v", "softwareName": "jre", "versions": 2, "devices": 2, "outOfSupport": 1}
    (found,) = client.ask("/devices.json?q=b.x").json["devices"]
    assert (found["deviceId"], found["records"], found["outOfSupport"]) == ("b", 1, 1)


def test_the_whole_inventory_is_shown_as_it_was_at_a_time(client: Client) -> None:
    """By device and product, with the filters of `inventory --at`; as CSV too."""

    def records(query: str) -> list[tuple[str, str, str, bool]]:
        rows = client.ask(f"/inventory.json?{query}").json["records"]
        names = ("deviceId", "softwareName", "softwareVersion", "isEndOfSupport")
        return [tuple(row[name] for name in names) for row in rows]

    now = [("a", "jre", "8", False), ("a", "new", "1", False), ("b", "jre", "7", True)]
    assert records("device=a") + records("device=b") == now
    assert records("at=2026-11-23T15:00") == [("a", "jre", "7", True), ("b", "jre", "7", True)]
    assert records("end_of_support=1&software=jre") == now[2:]
    assert records("group=clinic&inventory=cpe") == [now[0], now[2]]
    assert client.ask("/inventory.json?inventory=NON_CPE").status == 404
    facts = client.ask("/inventory.json?at=2026-11-23T15:00").json
    assert (facts["as_of"], facts["at"]) == (["cpe-20261123T140000Z"], "2026-11-23T15:00:00Z")
    response = client.ask("/inventory.csv?at=2026-11-23T15:00")
    rows = csv.DictReader(io.StringIO(response.text))
    assert [(row["deviceId"], row["softwareVersion"], row["isEndOfSupport"]) for row in rows] == [
        ("a", "7", "true"),
        ("b", "7", "true"),
    ]
    assert response.headers["Content-Disposition"] == 'attachment; filename="inventory-20261124T0400Z.csv"'


def test_a_stacked_chart_has_a_layer_for_each_version(client: Client) -> None:
    """Drawn on the server, with the numbers in the table beside it."""
    page = Page(client.ask("/product?vendor=v&name=jre").text)
    paths = [attributes for tag, attributes in page.elements if tag == "path"]
    assert [path["class"] for path in paths] == ["s0", "s1"]
    assert "7: 1 now" in page.text


@pytest.mark.parametrize("address", ADDRESSES)
def test_hostile_names_are_text_and_nothing_else(client: Client, address: str) -> None:
    """No markup comes of them, no direction changes, and a long one is cut."""
    text = client.ask(address).text
    page = Page(text)
    assert page.problems == []
    assert ("<script" in text, "\u202e" in text, "\u2066" in text, LONG[:600] in page.text) == (False,) * 4


def test_hostile_names_can_be_looked_up(client: Client) -> None:
    """Their pages are there, with a link that leads to them, and the twin has the names as they came."""
    devices = client.ask("/devices.json").json["devices"]
    assert {row["deviceName"] for row in devices} >= {*HOSTILE.values()}
    links = {*Page(client.ask("/devices").text).values("href")}
    for name in HOSTILE.values():
        address = f"/device?id={quote(f'id {name}', safe='')}"
        assert address in links
        assert client.ask(twin(address)).json["deviceName"] == name
        assert Page(client.ask(address).text).problems == []
        product = f"/product?vendor={quote(name, safe='')}&name={quote(name, safe='')}"
        assert client.ask(twin(product)).json["devices"] == 1
        assert Page(client.ask(product).text).problems == []
    assert "abc\\u202egpj.exe\\u2066" in Page(client.ask("/devices").text).text
    assert client.ask("/devices.json").body.isascii()


def test_a_spreadsheet_takes_no_name_for_a_formula(client: Client) -> None:
    """A text that begins like one has an apostrophe in front of it; the file has a name."""
    response = client.ask("/exposure.csv?device==cmd*")
    (row,) = csv.DictReader(io.StringIO(response.text))
    assert row["deviceName"] == row["softwareName"] == row["rbacGroupName"] == f"'{HOSTILE['formula']}"
    assert response.headers["Content-Disposition"] == 'attachment; filename="exposure-20261124T0400Z.csv"'


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/changes?since=never", 400, "not a valid time"),
        ("/changes?type=odd", 400, "no such change type"),
        ("/changes?limit=1001", 400, "between 1 and 1,000"),
        ("/changes?limit=-1", 400, "between 1 and 1,000"),
        ("/changes?snapshot=cpe-x", 404, "no snapshot cpe-x"),
        ("/campaigns?snapshot=cpe-x", 404, "no snapshot cpe-x"),
        ("/campaigns?min_devices=0", 400, "between 1 and"),
        ("/device", 400, "names no device"),
        ("/product", 400, "names no product"),
        ("/device?id=a&at=2020-01-01", 404, "is not known"),
        ("/compare?from=7d&to=8d", 404, "is not known"),
        ("/explain?id=xyz", 400, "is not an event id"),
        ("/explain?id=00000000", 404, "no change and no alert"),
        ("/nowhere", 404, "no such page"),
        ("/static/../pages.py", 404, "no such page"),
        ("/static/%2e%2e/pages.py", 404, "no such page"),
    ],
)
def test_what_cannot_be_answered_is_said(client: Client, address: str, status: int, text: str) -> None:
    """A page with the reason, and JSON where JSON was asked for; never a traceback."""
    response, as_json = client.ask(address), client.ask(twin(address))
    assert (response.status, as_json.status) == (status, status)
    assert text in Page(response.text).text.replace(" .", ".")
    assert text in as_json.json["error"]
    assert "Traceback" not in response.text


def test_rows_are_limited_and_the_rest_is_said(client: Client) -> None:
    """A page of two changes names the command that has all of them."""
    facts = client.ask("/changes.json?limit=2").json
    assert (len(facts["changes"]), facts["more"]) == (2, True)
    assert "has all of them" in Page(client.ask("/changes?limit=2").text).text


def test_what_is_held_is_shown_with_the_commands_that_decide(serve: Opens, tmp_path: Path) -> None:
    """What, where, why; and in the overview as the line that needs attention."""
    lines = [line(f"d{number}", "7") for number in range(20)]
    strict = staging_rules(Rules(missing_device_snapshots=1, min_removed=3))
    with Bench(tmp_path, rules=EASY) as bench:
        for some in (lines, lines, lines[:2]):
            bench.take(bench.snapshot(some), rules=None if len(some) > 2 else strict)
            bench.confirm_baseline()
        path = bench.path
    held = serve(path)
    (part,) = held.ask("/held.json").json["held"]
    assert (part["reason"], part["records"], part["largest_groups"]) == (
        "MASS_REMOVAL",
        18,
        [{"name": "Clinic", "records": 18}],
    )
    text = Page(held.ask("/held").text).text
    assert "mde-inventory held approve --reason MASS_REMOVAL --inventory CPE" in text
    lights = {light["name"]: light["state"] for light in held.ask("/overview.json").json["lights"]}
    assert lights["Held"] == "warn"
    assert "within 24 hours" in Page(held.ask("/polls").text).text


def test_alerts_are_found_by_how_they_stand(client: Client) -> None:
    """Each filter narrows them; a word that is none of its values is an error."""
    facts = client.ask("/alerts.json").json
    assert facts["standings"]["open"] == len(HOSTILE)
    for query, standings in (
        ("standing=open", {"open"}),
        ("alert_type=cleared", {"cleared"}),
        ("severity=high", set()),
    ):
        rows = client.ask(f"/alerts.json?{query}").json["alerts"]
        assert {row["standing"] for row in rows} == standings
    (cleared,) = client.ask("/alerts.json?standing=cleared").json["alerts"]
    assert (cleared["deviceId"], cleared["alertType"], cleared["previousVersion"]) == ("a", "CLEARED", "7")
    assert client.ask("/alerts?severity=odd").status == 400


def test_delivery_says_what_waits_for_kafka(client: Client) -> None:
    """Snapshots that no checkpoint has sealed, and the topics by their names."""
    facts = client.ask("/delivery.json").json
    assert (facts["pending"], facts["published_at"]) == (facts["last_sequence"], None)
    assert [row["snapshot_id"] for row in facts["waiting"]] == [row["snapshot_id"] for row in facts["snapshots"]][::-1]
    assert {row["topic"] for row in facts["topics"] if not row["published"]} == {
        "mde.software.inventory",
        "mde.software.campaigns",
    }


def test_the_configuration_has_no_secret(client: Client) -> None:
    """On the page and in its twin; the key is there, and says that a secret is set."""
    rows = {row["key"]: row for row in client.ask("/configuration.json").json["settings"]}
    assert (rows["source.client_secret"]["value"], rows["poll.interval_seconds"]["source"]) == ("(a secret)", "default")
    for address in ("/configuration", "/configuration.json"):
        assert SECRET not in client.ask(address).text


def test_too_much_to_fold_is_shown_as_it_is_now(lived_in: Path) -> None:
    """As many are open, on the same devices; how long is not known, and is said so. A product is folded."""
    with assembly_of(lived_in) as assembly, assembly.read_state() as state:
        visit = Visit(assembly, state, NOW)
        folded, now = exposure(visit, Query({})), exposure(visit, Query({}), fold_max=0)
        narrow = exposure(visit, Query({"software": "jre"}), fold_max=0)
    assert (folded["folded"], now["folded"], narrow["folded"]) == (True, False, True)
    for name in ("open", "openDevices", "ending"):
        assert now[name] == folded[name]
    assert {row["deviceId"] for row in now["intervals"]} == {row["deviceId"] for row in folded["intervals"]}
    text = rendering.Pages().html("exposure", frame(now))
    assert "too many to say in three seconds" in Page(text).text


def test_the_next_ends_of_support_are_a_calendar(serve: Opens, tmp_path: Path) -> None:
    """Days in columns of weeks, the darker the more records end; a table beside it names the versions."""
    lines = [line(f"d{number}", "7", endOfSupportDate=f"2026-12-{10 + number // 3}") for number in range(6)]
    with Bench(tmp_path, rules=EASY) as bench:
        bench.take(bench.snapshot([*lines, line("e", "7", endOfSupportDate="2026-12-25")]))
        path = bench.path
    client = serve(path)
    page = Page(client.ask("/exposure").text)
    days = [attributes["class"] for tag, attributes in page.elements if tag == "rect"]
    assert Counter(days) == {"l0": 87, "l4": 2, "l2": 1}
    assert "2026-12-25: 1 records" in page.text
    assert [(row["day"], row["devices"]) for row in client.ask("/exposure.json").json["ending"]] == [
        ("2026-12-10", 3),
        ("2026-12-11", 3),
        ("2026-12-25", 1),
    ]


def test_polls_say_why_lines_could_not_be_read(serve: Opens, tmp_path: Path) -> None:
    """By reason, the most frequent first; what is no line of ours does not count. Devices are counted by group."""
    with Bench(tmp_path, rules=EASY) as bench:
        bench.take(bench.snapshot([line("a", "7"), line("b", "7"), record("c", "p")]))
        staged = bench.take(bench.snapshot([line("a", "7"), line("b", "7"), record("c", "p")]), rejected=3)
        path = bench.path
    with assembly_of(path) as assembly:
        folder = assembly.config.state.rejected_path
    folder.mkdir()
    lines = [{"reason": "no <DeviceId>"}, {"reason": "nested"}, {"reason": "no <DeviceId>"}]
    text = "".join(f"{json.dumps(row)}\n" for row in lines)
    (folder / f"{staged.snapshot_id}.ndjson").write_text(f"{text}odd\n[]\n", encoding="utf-8")
    client = serve(path)
    facts = client.ask("/polls.json").json
    assert [(row["snapshot_id"], row["reason"], row["lines"]) for row in facts["rejected"]] == [
        (staged.snapshot_id, "no <DeviceId>", 2),
        (staged.snapshot_id, "nested", 1),
    ]
    assert [(row["rbacGroupName"], row["devices"], row["records"]) for row in facts["groups"]] == [
        ("Clinic", 2, 2),
        (None, 1, 1),
    ]
    assert "no <DeviceId>" in Page(client.ask("/polls").text).text


def test_a_device_is_shown_as_of_a_time_that_is_picked(client: Client) -> None:
    """The picker has the time that is shown, and reaches back to what is known; nothing picked is now."""
    times = {"": "", "&at=2026-11-23T15:00": "2026-11-23T15:00", "&at=2026-11-23": "2026-11-24T00:00"}
    for query, value in times.items():
        page = Page(client.ask(f"/device?id=a{query}").text)
        (picker,) = [attributes for _, attributes in page.elements if attributes.get("type") == "datetime-local"]
        assert (picker["value"], picker["min"], picker["max"]) == (value, "2026-11-23T14:00", "2026-11-24T04:00")


def test_what_happened_to_many_devices_is_one_row(serve: Opens, tmp_path: Path) -> None:
    """An upgrade of five devices, and what happened to one alone is counted; one snapshot alone can be asked for."""
    with Bench(tmp_path, rules=EASY) as bench:
        for version in ("7", "8"):
            staged = bench.take(
                bench.snapshot([*(line(f"d{number}", version) for number in range(5)), record("x", version)])
            )
            bench.confirm_baseline()
        path = bench.path
    client = serve(path)
    facts = client.ask(f"/campaigns.json?snapshot={staged.snapshot_id}").json
    (campaign,) = facts["campaigns"]
    names = ("snapshot_id", "reason", "softwareName", "previousVersion", "softwareVersion", "devices", "changes")
    assert [campaign[name] for name in names] == [staged.snapshot_id, "UPGRADED", "jre", "7", "8", 5, 5]
    assert (facts["in_none"], facts["snapshots"]) == (2, [staged.snapshot_id])
    assert "d0.x" in Page(client.ask("/campaigns").text).text


def frame(facts: dict[str, Any]) -> dict[str, Any]:
    """The values of a page around its facts."""
    around: dict[str, Any] = {
        "title": "",
        "menu": [],
        "twin": "",
        "turns": {"first": "", "next": ""},
        "tenant": "",
        "tenants": [],
        "allow_decisions": False,
        "form_token": "",
        "home": "/",
        "query": {},
        "answer": None,
    }
    return around | facts
