"""The JSON of the pages as an OpenAPI document, from what `pages` declares of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector import __version__
from connector.web.pages import PAGES, Page
from connector.web.query import ROWS, ROWS_MAX
from connector.web.views.campaigns import DEVICES_MIN

VERSION: Final = "3.1.0"
ADDRESS: Final = "/openapi.json"

PARAMETERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "alert_type": ("a type of alert, in any case", {"type": "string"}),
    "after": ("`next` of the page before: the rows that follow it", {"type": "string"}),
    "all": ("1: intervals that have ended too", {"type": "string"}),
    "at": ("a time, a date or an age: the inventory as it was then", {"type": "string"}),
    "decided_by": ("status or date: the rule that decided", {"type": "string"}),
    "device": ("a device's id or name, with * and ?", {"type": "string"}),
    "end_of_support": ("1: only what is out of support", {"type": "string"}),
    "from": ("a time, a date or an age: the earlier day", {"type": "string"}),
    "group": ("the name or number of a device group, with * and ?", {"type": "string"}),
    "id": ("the id of a device, of an event or of an alert", {"type": "string"}),
    "inventory": ("CPE or NON_CPE", {"type": "string"}),
    "limit": ("rows at most", {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": ROWS}),
    "min_devices": ("on how many devices at least", {"type": "integer", "minimum": 1, "default": DEVICES_MIN}),
    "name": ("a product's name, exactly", {"type": "string"}),
    "older_than": ("an age: what has lasted as long", {"type": "string"}),
    "q": ("a part of a name or id, or a pattern with * and ?", {"type": "string"}),
    "reason": ("a reason of changes, in any case", {"type": "string"}),
    "severity": ("high, medium or low", {"type": "string"}),
    "since": ("a time, a date or an age", {"type": "string"}),
    "snapshot": ("the id of a snapshot", {"type": "string"}),
    "software": ("vendor/product, or product, with * and ?", {"type": "string"}),
    "standing": ("open, cleared, warning or summary", {"type": "string"}),
    "to": ("a time, a date or an age: the later day; now where it is left out", {"type": "string"}),
    "type": ("a type of change, in any case", {"type": "string"}),
    "until": ("a time, a date or an age", {"type": "string"}),
    "vendor": ("a product's vendor, exactly", {"type": "string"}),
}
"""What a parameter asks for, in words, and its schema."""

_ERRORS: Final = {
    "400": "A parameter has a wrong value",
    "401": "No token, or a wrong one",
    "404": "What was asked for is not known",
    "503": "A poll has the state file, or the page took too long; Retry-After says when to ask again",
}


def document(origin: str) -> dict[str, Any]:
    """The document for a console at an address."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "mde-inventory console",
            "version": __version__,
            "description": "What the pages of the console show. Objects in lists may gain properties.",
        },
        "servers": [{"url": origin}],
        "security": [{"token": []}],
        "paths": {f"{path}.json": {"get": _operation(path, page)} for path, page in PAGES.items()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The link's token."}},
            "schemas": {"Error": _object({"error": _TEXT, "hint": _TEXT, "busy": _FLAG}, ("error", "hint", "busy"))},
        },
    }


def _operation(path: str, page: Page) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "operationId": path.removeprefix("/"),
        "summary": page.title,
        "description": description(page),
        "parameters": [_parameter(name) for name in page.parameters],
        "responses": {
            "200": {"description": "What the page says", "content": {"application/json": {"schema": answer(page)}}},
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }


def description(page: Page) -> str:
    """What a page says, in a sentence or two."""
    return " ".join((page.view.__doc__ or "").split())


def answer(page: Page) -> dict[str, Any]:
    """The schema of a page's answer: what it declares, when it was read, and whether a poll has the file now."""
    facts = {name: _schema(kind) for name, kind in page.answers.items()}
    return _object(facts | {"as_of_time": _TIME, "busy": _FLAG}, (*facts, "as_of_time", "busy")) | {
        "additionalProperties": False
    }


def _parameter(name: str) -> dict[str, Any]:
    text, schema = PARAMETERS[name]
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _schema(kind: str | tuple[str, ...]) -> dict[str, Any]:
    """The schema of what a page declares: a word for a value, or the names that each object of a list has."""
    if isinstance(kind, tuple):
        return {"type": "array", "items": _object({name: {} for name in kind}, kind)}
    return dict(_KINDS[kind])


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_TIME: Final = {"type": "string", "format": "date-time"}
_KINDS: Final[dict[str, dict[str, Any]]] = {
    "text": _TEXT,
    "text or null": {"type": ["string", "null"]},
    "flag": _FLAG,
    "number": {"type": "integer"},
    "number or null": {"type": ["integer", "null"]},
    "time": _TIME,
    "time or null": {"type": ["string", "null"], "format": "date-time"},
    "texts": {"type": "array", "items": _TEXT},
    "numbers by name": {"type": "object", "additionalProperties": {"type": "integer"}},
    "times by name": {"type": "object", "additionalProperties": _TIME},
    "object or null": {"type": ["object", "null"]},
    "list or null": {"type": ["array", "null"], "items": {"type": "object"}},
    "list": {"type": "array", "items": {"type": "object"}},
}
