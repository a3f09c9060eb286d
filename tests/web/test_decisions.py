"""Approving and discarding in a browser: what a form must have, what it does, and what it does not do twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from connector.model import Hold
from connector.operations import held
from connector.operations.decisions import operator
from connector.staging import derived
from connector.staging.holds import Choice
from connector.state import decisions
from connector.state.publisher_lock import RUN
from connector.state.state import StateFile
from connector.web.pages import PAGES
from connector.web.query import Query
from connector.web.visits import Visits
from tests.support.bench import EASY, Bench, staging_rules
from tests.support.console import NOW, Client, assembly_of, line
from tests.support.oracle import Rules
from tests.web.conftest import Opens
from tests.web.test_visits import held_by_another_process

STRICT = Rules(missing_device_snapshots=1, min_removed=3)
INPUT = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file in which 18 of 20 removals are held, twice: since the second snapshot, and in two groups."""
    lines = [line(f"d{number:02}", "7", rbacGroupId=number % 2, rbacGroupName=None) for number in range(20)]
    with Bench(tmp_path, rules=EASY) as bench:
        for some in (lines, lines, lines[:2]):
            bench.take(bench.snapshot(some), rules=None if len(some) > 2 else staging_rules(STRICT))
            bench.confirm_baseline()
        return bench.path


@pytest.fixture
def client(serve: Opens, path: Path) -> Iterator[Client]:
    """A console that takes decisions, beside a `run` between two polls: nobody asks Kafka."""
    with assembly_of(path) as assembly, assembly.publisher_lock(RUN):
        yield serve(path, allow_decisions=True, decision_wait_seconds=0.2)


def form(client: Client, headers: Mapping[str, str | None] | None = None, **values: str) -> dict[str, str]:
    """The form of the only hold as the page has it, filled in."""
    hidden = dict(INPUT.findall(client.ask("/held", "GET", **headers or {}).text))
    typed = {"typed": hidden["records"], "why": "the role was gone", "action": "approve"}
    return {name: unescape(value) for name, value in (hidden | typed | values).items()}


def holds(path: Path) -> list[Hold]:
    """What is held."""
    with StateFile.open(path, memory_limit_mib=256, read_only=True) as state:
        return state.journal.holds()


def decided(path: Path) -> list[tuple[Any, ...]]:
    """The audit lines."""
    with StateFile.open(path, memory_limit_mib=256, read_only=True) as state:
        return [
            (row["action"], row["who"], row["why"], row["road"], row["records"])
            for row in decisions.newest(state.database)
        ]


def test_the_page_shows_what_follows_as_held_list_does(client: Client, path: Path) -> None:
    """The counts, what an approval publishes and what follows if it returns; the JSON twin has no token."""
    with assembly_of(path) as assembly:
        (listed,) = held.examine(assembly).parts
    response = client.ask("/held")
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", response.text)).split())
    for said in ("18 records", "18 REMOVED and 0 alerts", "18 ADDED and 0 alerts after an approval", "Approve Discard"):
        assert said in text, said
    twin = client.ask("/held.json")
    assert form(client)["token"] not in twin.text
    (part,) = twin.json["held"]
    assert {name: part[name] for name in listed if "largest" not in name} == {
        name: value for name, value in listed.items() if "largest" not in name
    }


@pytest.mark.parametrize(("action", "rest"), [("approve", 2), ("discard", 20)])
def test_a_decision_is_made_as_on_the_command_line(client: Client, path: Path, action: str, rest: int) -> None:
    """Staged, with an audit line; the `run` is left to publish it; the page then shows who decided."""
    response = client.post("/held", form(client, action=action, typed=" 18 ", why="  retired  <b>4711</b> "))
    assert response.status == 200
    assert ("publishes them soon" if action == "approve" else "18 records kept in the inventory") in response.text
    assert holds(path) == []
    assert decided(path) == [(action, operator(), "retired <b>4711</b>", "console", 18)]
    with StateFile.open(path, memory_limit_mib=256, read_only=True) as state:
        assert state.database.number("SELECT count(*) FROM inventory") == rest
    page = client.ask("/held").text
    assert "retired &lt;b&gt;4711&lt;/b&gt;" in page
    assert "Nothing is held" in page


def test_a_decision_twice_changes_nothing(client: Client, path: Path) -> None:
    """The second is refused with what is held now."""
    filled = form(client)
    assert client.post("/held", filled).status == 200
    before = decided(path)
    again = client.post("/held", filled)
    assert (again.status, "not held any more" in again.text, decided(path)) == (409, True, before)


def test_a_hold_that_changed_meanwhile_is_not_decided_about(client: Client, path: Path) -> None:
    """Somebody was faster about a part of it: the current counts are shown, and everything stays."""
    filled = form(client)
    with StateFile.open(path, memory_limit_mib=256) as state:
        derived.discard_held(state, now=NOW, choice=Choice(devices=("d02", "d03")))
    before = holds(path)
    response = client.post("/held", filled)
    assert (response.status, "16 records on 16 devices are held" in response.text) == (409, True)
    assert holds(path) == before
    assert len(decided(path)) == 1


def test_a_poll_that_has_the_file_leaves_a_decision_undone(client: Client, path: Path) -> None:
    """It says so, and when to try again."""
    filled = form(client)
    with held_by_another_process(path):
        response = client.post("/held", filled)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert "nothing was decided" in response.text
    assert len(holds(path)) == 1


def refusals() -> list[tuple[dict[str, str], dict[str, str | None], int]]:
    """What a form lacks, what its request lacks, and the status."""
    return [
        ({"typed": "17"}, {}, 400),
        ({"typed": ""}, {}, 400),
        ({"typed": "yes"}, {}, 400),
        ({"why": "   "}, {}, 400),
        ({"why": "x" * 1_001}, {}, 400),
        ({"action": "publish"}, {}, 400),
        ({"records": "many", "typed": "many"}, {}, 400),
        ({"token": "0" * 64}, {}, 403),
        ({"token": ""}, {}, 403),
        ({}, {"Cookie": None}, 401),
        ({}, {"Cookie": "mde_inventory_console_1=x"}, 401),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({}, {"Sec-Fetch-Site": "none", "Origin": None}, 403),
        ({}, {"Origin": "https://evil.example"}, 403),
        ({}, {"Origin": "null"}, 403),
        ({}, {"Sec-Fetch-Site": None, "Origin": None}, 403),
        ({}, {"Host": "evil.example"}, 421),
        ({}, {"Content-Type": "text/plain"}, 415),
        ({}, {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"more": "x" * 20_000}, {}, 415),
        ({"records": "17", "typed": "17"}, {}, 409),
        ({"devices": "17"}, {}, 409),
        ({"reason": "SCOPE_LOST"}, {}, 409),
        ({"inventory": "NON_CPE"}, {}, 409),
        ({"since": "cpe-1"}, {}, 409),
    ]


def test_whatever_is_wrong_with_a_form_changes_nothing(client: Client, path: Path) -> None:
    """The number, the reason, the token, the cookie, where it comes from, what it is about; each with a sentence."""
    filled, before = form(client), holds(path)
    for values, headers, status in refusals():
        response = client.post("/held", filled | values, **headers)
        assert response.status == status, (values, headers, response.text)
        assert "Traceback" not in response.text
    assert (holds(path), decided(path)) == (before, [])


def test_a_script_with_the_token_decides_on_the_command_line(client: Client, path: Path) -> None:
    """The token of the link alone posts no form."""
    token = f"Bearer {client.console.access.token}"
    response = client.post("/held", form(client), Cookie=None, Authorization=token)
    assert (response.status, "held approve" in response.text, decided(path)) == (403, True, [])


def test_only_the_page_of_what_is_held_takes_a_form(client: Client) -> None:
    """Other addresses and methods say which ones are allowed."""
    for address, method, allowed in (
        ("/held.json", "POST", "GET, HEAD"),
        ("/overview", "POST", "GET, HEAD"),
        ("/held", "PUT", "GET, HEAD, POST"),
    ):
        response = client.ask(address, method)
        assert (response.status, response.headers["Allow"]) == (405, allowed)


def test_without_the_option_it_only_shows(serve: Opens, path: Path) -> None:
    """No form, the commands instead; a form that is posted all the same is refused with how to allow it."""
    read_only = serve(path)
    text = read_only.ask("/held").text
    assert ("<form" in text, "held approve --reason MASS_REMOVAL" in text) == (False, True)
    response = read_only.post("/held", {})
    assert (response.status, "--allow-decisions" in response.text) == (405, True)


def test_a_field_is_decided_about_alone(serve: Opens, tmp_path: Path) -> None:
    """Of two held fields with one reason, the form of one leaves the other held."""
    fields = ("osPlatform", "rbacGroupName")
    lines = [line(f"d{number}", "7", osPlatform="W") for number in range(40)]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        bench.stage([some | dict.fromkeys(fields) for some in lines])
        first, second = bench.state.journal.holds()
    deciding = serve(bench.path, allow_decisions=True)
    forms = deciding.ask("/held").text.split("<form")[1:]
    (filled,) = (dict(INPUT.findall(text)) for text in forms if f'value="{first.field}"' in text)
    response = deciding.post("/held", filled | {"typed": "40", "why": "known", "action": "discard"})
    assert response.status == 200
    assert holds(bench.path) == [second]


def test_where_a_trial_takes_too_long_the_page_comes_without_it(path: Path) -> None:
    """What follows is not known then; what is held is."""
    with assembly_of(path) as assembly:
        facts = Visits(assembly).answer("/held", lambda visit: PAGES["/held"].view(visit, Query({}))).facts
    (part,) = facts["held"]
    assert (part["records"], part["if_approved"], part["if_it_returns"]) == (18, None, None)
