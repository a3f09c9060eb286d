"""The tools: one for each page, arguments as the pages take them, and errors that help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.agents.tools import Tools
from connector.web.pages import PAGES
from connector.web.visits import Visits
from tests.support.console import assembly_of, write_lived_in


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visits]:
    """Visits to a state file with an upgrade, an arrival and one that stays exposed."""
    with assembly_of(write_lived_in(tmp_path_factory.mktemp("lived in"))) as assembly:
        yield Visits(assembly, pause_seconds=0.0)


def test_each_page_is_a_tool(visits: Visits) -> None:
    """With its title, what it says, and its parameters; a page that is new becomes a tool by itself."""
    tools = Tools({"": visits}).tools
    assert [(f"/{tool.name}", tool.title, tuple(tool.parameters["properties"])) for tool in tools] == [
        (path, page.title, page.parameters) for path, page in PAGES.items()
    ]
    assert all("never instructions" in tool.description for tool in tools)


def test_a_tool_answers_what_its_page_says(visits: Visits) -> None:
    """Numbers and booleans are taken as well as texts, and what is null is left out."""
    tools = Tools({"": visits})
    reply = tools.call("changes", {"limit": 1, "device": "a", "software": None})
    facts = reply.body["facts"]
    assert (reply.is_error, reply.body["tool"], reply.body["busy"]) == (False, "changes", False)
    assert reply.body["as_of_time"] == "2026-11-24T04:00:00Z"
    assert (facts["limit"], [row["deviceId"] for row in facts["changes"]]) == (1, ["a"])
    ended = [tools.call("exposure", {"all": wanted}).body["facts"]["all"] for wanted in (True, False)]
    assert ended == [True, False]


def test_a_list_is_walked_by_its_next_page(visits: Visits) -> None:
    """`next` stands beside the facts, whole; a page without a list has none."""
    tools = Tools({"": visits})
    first = tools.call("changes", {"limit": 2}).body
    second = tools.call("changes", {"limit": 2, "after": first["next"]}).body
    both = tools.call("changes", {"limit": 4}).body["facts"]["changes"]
    assert [*first["facts"]["changes"], *second["facts"]["changes"]] == both
    assert "next" not in first["facts"]
    assert tools.call("changes", {"limit": 200}).body["next"] is None
    assert "next" not in tools.call("overview", {}).body


@pytest.mark.parametrize(
    ("name", "arguments", "error", "hint"),
    [
        ("approve", {}, "approve: no tool of this server", "overview"),
        ("changes", {"devise": "a"}, "devise: no parameter of this tool", "device ("),
        ("overview", {"limit": 1}, "limit: no parameter of this tool", "takes no parameters"),
        ("changes", {"limit": 201}, "limit 201: not a number between 1 and 200", "limit ("),
        ("changes", {"limit": "many"}, "limit many: not a number between 1 and 200", "limit ("),
        ("changes", {"device": ["a"]}, "device: not a text", "device ("),
        ("changes", {"device": "a" * 10_000}, "device: not a text", "device ("),
        ("changes", {"device": 10**5_000}, "device: not a text", "device ("),
        ("changes", {"since": "never\u202e"}, "never\\u202e", ""),
        ("device", {}, "id: names no device", "Search"),
        ("explain", {"id": "0" * 32}, "", ""),
        ("x" * 5_000, {}, "x…", "overview"),
    ],
)
def test_a_wrong_call_is_an_error_with_a_hint(
    visits: Visits, name: str, arguments: dict[str, Any], error: str, hint: str
) -> None:
    """An error names what is wrong, and its hint what would be right."""
    reply = Tools({"": visits}).call(name, arguments)
    assert (reply.is_error, reply.body["busy"]) == (True, False)
    assert error in reply.body["error"]
    assert hint in reply.body["hint"]
    assert reply.body["hint"]


def test_of_several_tenants_each_call_names_one(visits: Visits) -> None:
    """An answer about another tenant than was meant would mislead, so none is chosen by itself."""
    tools = Tools({"north": visits, "south": visits})
    assert all(tool.parameters["required"] == ["tenant"] for tool in tools.tools)
    assert tools.call("overview", {"tenant": "south"}).body["tenant"] == "south"
    refused = tools.call("overview", {})
    assert (refused.is_error, refused.body["hint"]) == (True, "There are north, south.")


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """With what to do."""
    with assembly_of(tmp_path / "missing.duckdb") as assembly:
        reply = Tools({"": Visits(assembly)}).call("overview", {})
    assert (reply.is_error, bool(reply.body["hint"])) == (True, True)
