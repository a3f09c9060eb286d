"""The Avro schemas of what is published: where their files lie, and which topic carries which.

Owns the folder `schemas/`, which stands beside this package in a checkout and inside it in a wheel. Must not know how
anything is encoded (`codec`) or registered (`registry`).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from connector.errors import ConfigError
from connector.model import Topic

NAMES: Final = {
    Topic.CHANGES: "SoftwareChange",
    Topic.ALERTS: "EndOfSupportAlert",
    Topic.SNAPSHOTS: "SnapshotReport",
    Topic.CHECKPOINTS: "Checkpoint",
    Topic.INVENTORY: "SoftwareRecord",
}
"""The record type of each topic: one only, so that every consumer finds the schema by the topic's name."""

_FILES: Final = {
    "SoftwareChange": "software-change.avsc",
    "EndOfSupportAlert": "end-of-support-alert.avsc",
    "SnapshotReport": "snapshot-report.avsc",
    "Checkpoint": "checkpoint.avsc",
    "SoftwareRecord": "software-record.avsc",
}


def schema_of(topic: Topic) -> str:
    """The schema of a topic's values as compact JSON: always the same text, for it is looked up by its text.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    return json.dumps(_read(NAMES[topic]), ensure_ascii=False, separators=(",", ":"))


def all_schemas() -> list[dict[str, Any]]:
    """Every schema, as its file has it.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    return [_read(name) for name in _FILES]


def named(name: str) -> list[dict[str, Any]]:
    """The schema of this record type, such as `SoftwareChange`, whatever its case, alone in a list.

    Raises:
        ConfigError: there is no such record type, or the installation lacks its schemas.
    """
    found = [_read(known) for known in _FILES if known.lower() == name.lower()]
    if not found:
        raise ConfigError(f"no schema is named {name}", hint=f"There are {', '.join(_FILES)}.")
    return found


@cache
def _read(name: str) -> dict[str, Any]:
    file = _folder() / _FILES[name]
    try:
        schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the schema of {name} cannot be read: {error}", hint="The installation is damaged: install it anew."
        ) from error
    return schema


def _folder() -> Traversable:
    """Inside the package where it was installed from a wheel, beside it in a checkout."""
    inside = files("connector") / "schemas"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "schemas"
