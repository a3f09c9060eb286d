"""The document of the pages' JSON, held against what the pages really answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from connector.web.openapi import answer
from connector.web.pages import PAGES
from tests.support.console import ADDRESSES, Client

FIELD = re.compile(r'<(?:input|select)\b[^>]*\bname="([a-z_]+)"')


def document(client: Client) -> Any:
    """What the console serves."""
    return client.ask("/openapi.json").json


def test_every_page_is_in_the_document(client: Client) -> None:
    """With what it is about, and its answer; whoever may not see the pages may not see the document."""
    paths = document(client)["paths"]
    assert [*paths] == [f"{path}.json" for path in PAGES]
    for path, page in PAGES.items():
        operation = paths[f"{path}.json"]["get"]
        assert (operation["summary"], bool(operation["description"])) == (page.title, True)
        assert operation["responses"]["200"]["content"]["application/json"]["schema"] == answer(page)
    assert client.ask("/openapi.json", Authorization=None).status == 401


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_answers_as_the_document_says(client: Client, empty_client: Client, address: str) -> None:
    """All that is declared and nothing else, with rows and without."""
    path, mark, query = address.partition("?")
    response = document(client)["paths"][f"{path}.json"]["get"]["responses"]["200"]
    schema = response["content"]["application/json"]["schema"]
    for console in (client, empty_client):
        facts = console.ask(f"{path}.json{mark}{query}").json
        problems = [error.message[:300] for error in Draft202012Validator(schema).iter_errors(facts)]
        assert problems == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_takes_the_parameters_that_the_document_says(client: Client, address: str) -> None:
    """Every field of its form is one of them."""
    path = address.partition("?")[0]
    named = {parameter["name"] for parameter in document(client)["paths"][f"{path}.json"]["get"]["parameters"]}
    main = client.ask(address).text.partition("<main")[2]
    fields = {*FIELD.findall(main)} if path != "/overview" else set()
    assert fields - named == set()


def test_an_error_is_as_the_document_says(client: Client) -> None:
    """Where a parameter is wrong, and where something is not known."""
    schema = document(client)["components"]["schemas"]["Error"]
    for address in ("/changes.json?since=never", "/explain.json?id=00000000"):
        problems = [error.message for error in Draft202012Validator(schema).iter_errors(client.ask(address).json)]
        assert problems == []
