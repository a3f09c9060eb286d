"""Generate `deploy/sentinel/content.json`: `python -m tests.support.sentinel.deployable`.

The rules, hunting queries, the function and the workbook are files for people to read and to import one by one; this is
one ARM template that brings them all, with the watchlist that a rule asks for.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from tests.support.sentinel import content
from tests.support.sentinel.content import Json
from tests.support.sentinel.templates import FOLDER, SHARED_PARAMETERS, parameter, template, text

RULES_VERSION: Final = "2023-02-01"
SEARCHES_VERSION: Final = "2020-08-01"
WORKBOOKS_VERSION: Final = "2022-04-01"
FILE: Final = FOLDER / "content.json"

OPERATORS: Final = {"gt": "GreaterThan"}
WORKSPACE: Final = "resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspaceName'))"
NO_PRODUCT: Final = "no vendor/no product"
"""What keeps a fresh watchlist from being empty, which Sentinel does not take."""


def iso_duration(span: str) -> str:
    """`15m` as `PT15M`, `14d` as `P14D`."""
    number, unit = span[:-1], span[-1].upper()
    return f"P{number}D" if unit == "D" else f"PT{number}{unit}"


def child(resource: str, name: str, version: str, **more: Any) -> Json:
    """A resource of the workspace."""
    return {
        "type": resource,
        "apiVersion": version,
        "name": f"[concat(parameters('workspaceName'), '/{name}')]",
        **more,
    }


def rule(document: Json) -> Json:
    """A rule as a resource."""
    kept = ("customDetails", "entityMappings", "alertDetailsOverride", "eventGroupingSettings", "incidentConfiguration")
    return child(
        "Microsoft.OperationalInsights/workspaces/providers/alertRules",
        f"Microsoft.SecurityInsights/{document['id']}",
        RULES_VERSION,
        kind="Scheduled",
        properties={
            "displayName": document["name"],
            "description": document["description"],
            "enabled": "[parameters('enabled')]",
            "severity": document["severity"],
            "query": document["query"],
            "queryFrequency": iso_duration(document["queryFrequency"]),
            "queryPeriod": iso_duration(document["queryPeriod"]),
            "triggerOperator": OPERATORS[document["triggerOperator"]],
            "triggerThreshold": document["triggerThreshold"],
            "suppressionEnabled": document.get("suppressionEnabled", False),
            "suppressionDuration": document.get("suppressionDuration", "PT5H"),
            "tactics": document["tactics"],
            "techniques": document["relevantTechniques"],
            **{key: document[key] for key in kept if key in document},
        },
    )


def search(document: Json) -> Json:
    """A hunting query as a saved search."""
    tags = {
        "description": document["description"],
        "tactics": ",".join(document["tactics"]),
        "techniques": ",".join(document["relevantTechniques"]),
    }
    return child(
        "Microsoft.OperationalInsights/workspaces/savedSearches",
        document["id"],
        SEARCHES_VERSION,
        properties={
            "category": "Hunting Queries",
            "displayName": document["name"],
            "query": document["query"],
            "version": 2,
            "tags": [{"name": name, "value": value} for name, value in tags.items()],
        },
    )


def function(document: Json) -> Json:
    """A parser function as a saved search."""
    return child(
        "Microsoft.OperationalInsights/workspaces/savedSearches",
        document["id"],
        SEARCHES_VERSION,
        properties={
            "category": document["Category"],
            "displayName": document["Function"]["Title"],
            "functionAlias": document["FunctionAlias"],
            "query": document["FunctionQuery"],
            "version": 2,
        },
    )


def workbook() -> Json:
    """The workbook, which belongs to the workspace."""
    return {
        "type": "Microsoft.Insights/workbooks",
        "apiVersion": WORKBOOKS_VERSION,
        "name": f"[guid({WORKSPACE}, 'mde-software')]",
        "location": "[parameters('location')]",
        "kind": "shared",
        "properties": {
            "displayName": "Software inventory (mde-inventory-connector)",
            "serializedData": json.dumps(content.workbook(), ensure_ascii=False),
            "version": "1.0",
            "category": "sentinel",
            "sourceId": f"[{WORKSPACE}]",
        },
    }


def watchlist() -> Json:
    """The watchlist that the rule for new software asks for, with nothing in it yet."""
    return child(
        "Microsoft.OperationalInsights/workspaces/providers/Watchlists",
        f"Microsoft.SecurityInsights/{content.WATCHLIST}",
        RULES_VERSION,
        condition="[parameters('createWatchlist')]",
        properties={
            "displayName": "Software that is known",
            "description": "Filled by the hunting query Products that are known.",
            "provider": "mde-inventory-connector",
            "source": "known-products.csv",
            "itemsSearchKey": "Product",
            "contentType": "text/csv",
            "numberOfLinesToSkip": 0,
            "rawContent": f"Product\n{NO_PRODUCT}\n",
        },
    )


def everything() -> Json:
    """The template."""
    shared = {name: SHARED_PARAMETERS[name] for name in ("workspaceName", "location")}
    return template(
        {
            **shared,
            "enabled": parameter("Whether the rules run from the start.", default=True, kind="bool"),
            "createWatchlist": parameter(
                "Whether to create the watchlist of known products; false where there is one already.",
                default=True,
                kind="bool",
            ),
        },
        [
            watchlist(),
            *map(function, content.documents("functions").values()),
            *map(search, content.hunting().values()),
            *map(rule, content.rules().values()),
            workbook(),
        ],
        {},
    )


def main() -> int:
    """Write the file."""
    FILE.write_text(text(everything()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
