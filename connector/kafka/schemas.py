"""The schemas of what is published, one record type per topic: in Avro, and the same as JSON Schema.

Their files are in the folder `schemas/`: beside the package in a checkout, inside it in a wheel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from connector.errors import ConfigError
from connector.exports.software import SOFTWARE
from connector.model import Topic

NAMES: Final = {
    **SOFTWARE.record_types,
    Topic.SNAPSHOTS: "SnapshotReport",
    Topic.CHECKPOINTS: "Checkpoint",
}
"""The record type of each topic: only one, so that every consumer finds the schema by the topic's name."""

_FILES: Final = {
    "SoftwareChange": "software-change.avsc",
    "EndOfSupportAlert": "end-of-support-alert.avsc",
    "SnapshotReport": "snapshot-report.avsc",
    "Checkpoint": "checkpoint.avsc",
    "SoftwareRecord": "software-record.avsc",
    "SoftwareCampaign": "software-campaign.avsc",
}


def schema_of(topic: Topic) -> str:
    """The schema of a topic's values as compact JSON: always the same text, because the registry looks it up by it.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    return json.dumps(_read(NAMES[topic]), ensure_ascii=False, separators=(",", ":"))


def all_schemas() -> list[dict[str, Any]]:
    """Every schema, as it is in its file.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    return [_read(name) for name in _FILES]


def released_schemas() -> list[dict[str, Any]]:
    """Every schema of this version, then every schema of earlier releases.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    history = _folder() / "history"
    releases = sorted((release.name for release in history.iterdir()), reverse=True) if history.is_dir() else []
    files = [history / release / file for release in releases for file in _FILES.values()]
    return all_schemas() + [_read_file(file) for file in files if file.is_file()]


def json_schemas() -> list[dict[str, Any]]:
    """The JSON Schema of every record type.

    Raises:
        ConfigError: the installation lacks its schemas.
    """
    return [_read_file(_folder() / json_schema_file(name)) for name in _FILES]


def json_schema_file(name: str) -> str:
    """The name of the file beside a record type's Avro schema that has its JSON Schema."""
    return _FILES[name].replace(".avsc", ".schema.json")


def find(name: str, known: Sequence[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The schema of a record type, such as `SoftwareChange` in any case, alone in a list.

    Args:
        name: of the record type.
        known: Avro or JSON schemas, in the order of `all_schemas`, which they are by default.

    Raises:
        ConfigError: there is no such record type, or the installation lacks its schemas.
    """
    pairs = zip(_FILES, known or all_schemas(), strict=True)
    matching = [schema for record_type, schema in pairs if record_type.lower() == name.lower()]
    if not matching:
        raise ConfigError(f"no schema is named {name}", hint=f"There are {', '.join(_FILES)}.")
    return matching


@cache
def _read(name: str) -> dict[str, Any]:
    return _read_file(_folder() / _FILES[name])


def _read_file(file: Traversable) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the schema {file.name} cannot be read: {error}", hint="The installation is damaged: install it again."
        ) from error
    return schema


def _folder() -> Traversable:
    """Inside the package if it was installed from a wheel, beside it in a checkout."""
    inside = files("connector") / "schemas"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "schemas"
