"""Reads a mapping of `deploy/mappings` and applies it to a decoded message: the definition of what the files mean."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

Event = dict[str, Any]


def look_up(event: Event, field: str) -> Any:
    """The value of a field, of a field within one (`before.softwareVersion`) too; None where it is absent."""
    value: Any = event
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def value_of(event: Event, rule: Any) -> Any:
    """What a rule comes to; None where it comes to nothing."""
    if not isinstance(rule, dict):
        return rule
    if "text" in rule:
        text = re.sub(r"\$\{(\w+)\}", lambda name: str(look_up(event, name[1]) or ""), rule["text"])
        return " ".join(text.split())
    value = look_up(event, rule["from"])
    if "first" in rule:
        value = next(iter(value or []), None)
    elif isinstance(value, datetime):
        iso = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        value = int(value.timestamp() * 1000) if rule["as"] == "milliseconds" else iso
    elif "map" in rule:
        value = rule["map"].get(value)
    elif "prefixes" in rule:
        value = next((to for begin, to in rule["prefixes"].items() if str(value or "").startswith(begin)), None)
    return value_of(event, rule.get("otherwise")) if value in (None, "") else value


def rule_for(mapping: dict[str, Any], topic: str, event: Event) -> dict[str, Any]:
    """The first entry of `events` that fits."""
    fitting = (
        entry
        for entry in mapping["events"]
        if entry["topic"] == topic and all(event[name] in values for name, values in entry.get("when", {}).items())
    )
    found: dict[str, Any] = next(fitting)
    return found


def apply(mapping: dict[str, Any], topic: str, event: Event) -> Event:
    """The event in the mapping's shape, nested."""
    entry = rule_for(mapping, topic, event)
    rules: dict[str, Any] = {}
    for part in entry["parts"]:
        rules |= mapping["parts"][part]
    rules |= entry.get("set", {})
    mapped: Event = {}
    for path, rule in rules.items():
        value = value_of(event, rule)
        if value in (None, "", []):
            continue
        *folders, name = path.split(".")
        place = mapped
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return mapped
