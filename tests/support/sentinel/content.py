"""What analysts get in `deploy/sentinel`: rules, hunting queries, parser functions and the workbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import yaml

from tests.support.sentinel.tables import TABLES, table_schema
from tests.support.sentinel.templates import FOLDER

INVENTORY: Final = "MdeSoftwareInventory"
"""The parser function whose columns are near those of DeviceTvmSoftwareInventory."""

WATCHLIST: Final = "MdeSoftwareProducts"
"""The watchlist of products that were known before a rule can look back."""

Json = dict[str, Any]


@cache
def documents(folder: str) -> dict[str, Json]:
    """The YAML files of a folder by their names."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / folder).glob("*.yaml"))
    }


def rules() -> dict[str, Json]:
    """The analytics rules."""
    return documents("rules")


def hunting() -> dict[str, Json]:
    """The hunting queries."""
    return documents("hunting")


def functions() -> dict[str, str]:
    """The parser functions by their aliases."""
    return {document["FunctionName"]: document["FunctionQuery"] for document in documents("functions").values()}


@cache
def workbook() -> Json:
    """The workbook."""
    read: Json = json.loads((FOLDER / "workbook.json").read_text(encoding="utf-8"))
    return read


def panels() -> dict[str, str]:
    """The queries of the workbook by the titles of their panels."""
    items = [item["content"] for item in workbook()["items"] if item["type"] == 3]
    return {item["title"]: item["query"] for item in items}


def queries() -> dict[str, str]:
    """Everything that is asked of the tables, by kind and name."""
    return {
        **{f"rule {name}": document["query"] for name, document in rules().items()},
        **{f"hunting {name}": document["query"] for name, document in hunting().items()},
        **{f"function {name}": text for name, text in functions().items()},
        **{f"panel {name}": text for name, text in panels().items()},
    }


def declared(query: str) -> str:
    """A query with what it uses of the workspace declared before it, for a parser that knows the tables only."""
    used = [
        f"let {name} = () {{ {text.strip()} }};\n"
        for name, text in functions().items()
        if re.search(rf"\b{name}\b", query)
    ]
    if "_GetWatchlist(" in query:
        used.append("let _GetWatchlist = (watchlist: string) { datatable(SearchKey: string)[] };\n")
    return "".join(used) + query


def result_columns(document: Json) -> list[str]:
    """The columns that the last projection of a query names."""
    last = re.sub(r"\([^()]*\)", "", document["query"].rpartition("| project ")[2])
    return [part.partition("=")[0].strip() for part in last.split(",")]


def known_tables() -> dict[str, dict[str, str]]:
    """The tables that a query may name."""
    return {name: table_schema(topic) for topic, name in TABLES.items()}


def columns_of(tables: Iterable[str]) -> set[str]:
    """The columns of some tables."""
    return {column for table in tables for column in known_tables()[table]}


def tables_without(column: str) -> dict[str, dict[str, str]]:
    """The tables as they are once a column has another name."""
    return {
        table: {name: kind for name, kind in columns.items() if name != column}
        for table, columns in known_tables().items()
    }
