"""Azure's own models of resources, of its management libraries: a property that they do not know does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from azure.mgmt.applicationinsights import models as workbooks
from azure.mgmt.loganalytics import models as logs
from azure.mgmt.monitor import models as monitor
from azure.mgmt.securityinsight import models as sentinel

Json = dict[str, Any]

MODELS: Final[dict[str, tuple[ModuleType, str]]] = {
    "Microsoft.OperationalInsights/workspaces/tables": (logs, "Table"),
    "Microsoft.OperationalInsights/workspaces/savedSearches": (logs, "SavedSearch"),
    "Microsoft.Insights/dataCollectionRules": (monitor, "DataCollectionRuleResource"),
    "Microsoft.Insights/dataCollectionEndpoints": (monitor, "DataCollectionEndpointResource"),
    "Microsoft.Insights/dataCollectionRuleAssociations": (monitor, "DataCollectionRuleAssociationProxyOnlyResource"),
    "Microsoft.Insights/workbooks": (workbooks, "Workbook"),
    "Microsoft.OperationalInsights/workspaces/providers/alertRules": (sentinel, "ScheduledAlertRule"),
    "Microsoft.OperationalInsights/workspaces/providers/Watchlists": (sentinel, "Watchlist"),
}
"""The model of each kind of resource."""

OF_TEMPLATES: Final = {"apiVersion", "condition", "dependsOn", "scope"}
"""What a resource has in a template only."""

NEWER: Final = {"properties.techniques"}
"""What the resource's API has and the newest stable library does not know yet."""


def unknown_properties(resource: Json) -> list[str]:
    """The paths of a resource that its model does not know."""
    module, name = MODELS[resource["type"]]
    content = {key: value for key, value in resource.items() if key not in OF_TEMPLATES}
    return [path for path in _unknown(module, name, content, "") if path not in NEWER]


def _unknown(module: ModuleType, name: str, content: Any, path: str) -> Iterator[str]:
    wrapped = re.fullmatch(r"[\[{](\w+)[\]}]", name)
    if wrapped:
        entries = content.items() if isinstance(content, dict) else enumerate(content)
        for key, entry in entries:
            yield from _unknown(module, wrapped[1], entry, f"{path}{key}.")
        return
    model = getattr(module, name, None)
    known = dict(_fields(model)) if model is not None else {}
    if not known or not isinstance(content, dict):
        return
    for key, value in content.items():
        flattened = {inner.partition(".")[2]: kind for inner, kind in known.items() if inner.startswith(f"{key}.")}
        if flattened and isinstance(value, dict):
            for inner, entry in value.items():
                if inner not in flattened:
                    yield f"{path}{key}.{inner}"
                else:
                    yield from _unknown(module, flattened[inner], entry, f"{path}{key}.{inner}.")
        elif key not in known:
            yield f"{path}{key}"
        else:
            yield from _unknown(module, known[key], value, f"{path}{key}.")


def _fields(model: Any) -> Iterator[tuple[str, str]]:
    """The names of a model's properties, a flattened one with its path, and the names of their types."""
    if hasattr(model, "_attribute_map"):
        for field in model._attribute_map.values():
            yield field["key"], field["type"]
        return
    # The newer kind of model knows its fields once there is one of it; of an enumeration there is none.
    fields = model({})._attr_to_rest_field if hasattr(model, "_deserialize") else {}
    annotations = {
        name: kind for base in reversed(model.__mro__) for name, kind in getattr(base, "__annotations__", {}).items()
    }
    for attribute, field in fields.items():
        yield field._rest_name, _type_name(str(annotations[attribute]))


def _type_name(annotation: str) -> str:
    """`Optional[ForwardRef('_models.Schema')]` is `Schema`, a list of columns `[Column]`."""
    names = re.findall(r"_models\.(\w+)", annotation)
    name = names[-1] if names else "str"
    return f"[{name}]" if re.search(r"\b[Ll]ist\[", annotation) else name
