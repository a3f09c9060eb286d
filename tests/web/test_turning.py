"""Long lists are walked page by page: nothing is left out, nothing comes twice, whatever happens in between."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from connector.web.pages import PAGES
from tests.support.bench import EASY, Bench, record
from tests.support.console import ADDRESSES, NOW, Client, line
from tests.web.conftest import Opens
from tests.web.test_pages import Page, twin

LISTED = [address for address in ADDRESSES if PAGES[address.partition("?")[0]].listed]


def more(address: str, **parameters: object) -> str:
    """An address with further parameters."""
    added = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parameters.items())
    return f"{address}{'&' if '?' in address else '?'}{added}"


def walk(client: Client, address: str, limit: int) -> list[Any]:
    """Every row of a list, page by page of its JSON."""
    name = PAGES[address.partition("?")[0]].listed
    rows, after = [], ""
    while True:
        facts = client.ask(more(twin(address), limit=limit, after=after)).json
        assert (len(facts[name]) <= limit, facts["more"]) == (True, facts["next"] is not None)
        rows += facts[name]
        if facts["next"] is None:
            return rows
        assert facts["next"] != after
        after = facts["next"]


@pytest.mark.parametrize("address", LISTED)
def test_every_list_is_walked_to_its_end(client: Client, address: str) -> None:
    """One row at a time, or two: the same rows in the same order as on one page, which is the last."""
    name = PAGES[address.partition("?")[0]].listed
    whole = client.ask(more(twin(address), limit=1_000)).json
    assert (len(whole[name]) > 1, whole["more"], whole["next"]) == (True, False, None)
    for limit in (1, 2):
        assert walk(client, address, limit) == whole[name]


@pytest.mark.parametrize("address", LISTED)
def test_a_page_leads_to_the_next_one_without_scripts(client: Client, address: str) -> None:
    """By a link; the next page has one back to the first, and both keep what was asked for."""
    page = Page(client.ask(more(address, limit=1)).text)
    following = {attributes.get("rel"): attributes.get("href") for tag, attributes in page.elements if tag == "a"}
    after = client.ask(more(twin(address), limit=1)).json["next"]
    assert unquote(str(following["next"])) == unquote(more(address, limit=1, after=after))
    second = Page(client.ask(str(following["next"])).text)
    leads = {attributes.get("rel"): attributes.get("href") for tag, attributes in second.elements if tag == "a"}
    assert unquote(str(leads["first"])) == unquote(more(address, limit=1))
    assert "first" not in following


def place(*values: object) -> str:
    """A place as somebody may make it up."""
    return urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize("address", LISTED)
@pytest.mark.parametrize(
    "after",
    ["x", "\u00e9", place(), place("a"), place(*[{}] * 8), place(2**70), place("1", 2), place(*[2**70] * 2),
     "W10" * 999, urlsafe_b64encode(b"[" * 5_000).decode(), place(NOW.timestamp() * 10**6, *["x"] * 5)]
)  # fmt: skip
def test_what_is_no_end_of_a_page_is_said(client: Client, address: str, after: str) -> None:
    """400, and to begin again; never an error of the engine."""
    response = client.ask(more(twin(address), after=after))
    assert (response.status, "no page of this list ends there" in response.json["error"]) == (400, True)


def test_a_poll_between_two_pages_moves_no_row(serve: Opens, tmp_path: Path) -> None:
    """What is new since may come in between; a comparison and a past inventory stay those of the first page."""
    old = [line(f"d{number}", "7", "EOS Version") for number in range(6)]
    late = [record(device, "p", endOfSupportStatus="EOS Version") for device in ("x", "y", "z")]
    addresses = ("/changes", "/exposure", "/compare?from=2026-11-23T14:00", "/inventory", "/devices", "/alerts")
    exact = addresses[2:4]
    with Bench(tmp_path, rules=EASY) as bench:
        for lines in (old, [*old, *late]):
            bench.take(bench.snapshot(lines))
            bench.confirm_baseline()
        kept, path = bench.saved(), bench.path
    client = serve(path)
    whole = {address: client.ask(twin(address)).json for address in addresses}
    first = {address: client.ask(more(twin(address), limit=2)).json for address in addresses}
    with Bench(tmp_path / "later", rules=EASY, like=kept) as later:
        later.take(later.snapshot([*old, *late, line("a-new", "7", "EOS Version"), line("e-new", "7", "EOS Version")]))
        grown = later.path.read_bytes()
    path.write_bytes(grown)
    for address in addresses:
        name = PAGES[address.partition("?")[0]].listed
        walked, after = first[address][name], first[address]["next"]
        while after:
            facts = client.ask(more(twin(address), limit=2, after=after)).json
            walked += facts[name]
            after = facts["next"]
        devices = [row["deviceId"] for row in walked if address in exact or "new" not in row["deviceId"]]
        assert devices == [row["deviceId"] for row in whole[address][name]]
