"""The settings that apply, one by one, without secrets, and where each value comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, SecretStr

from connector.config import values
from connector.config.tables import PREFIX, Config

SECRET: Final = "(a secret)"  # noqa: S105 - stands where one is
ENVIRONMENT, FILE, DERIVED, DEFAULT = "environment", "file", "derived", "default"
"""Where a value comes from. Derived: from `source.cloud`, or from the value format."""


class Setting(NamedTuple):
    """A key of the configuration, with its value as JSON can carry it."""

    key: str
    value: Any
    source: str


def settings(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[Setting]:
    """Every key with the value that applies, table by table. No secret is among the values."""
    given = {key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
    for name in type(config).model_fields:
        table: BaseModel = getattr(config, name)
        extra = table.model_extra or {}
        for key in (*type(table).model_fields, *extra):
            value = extra[key] if key in extra else getattr(table, key)
            place = f"{name}__{key}"
            is_set = key in table.model_fields_set
            if isinstance(value, dict) and key == "client":
                for inner, setting in value.items():
                    source = _source(given, f"{place}__{inner}", is_set=True)
                    yield Setting(f"{name}.{key}.{inner}", _shown(inner, setting), source)
                continue
            source = _source(given, place, is_set=is_set)
            if source == FILE and _is_derived(config, name, key, value):
                source = DERIVED
            yield Setting(f"{name}.{key}", _shown(key, value), source)


def _source(given: Mapping[str, str], place: str, *, is_set: bool) -> str:
    """Where the value at a place comes from: a variable of its own, one of a table around it, the file, or neither."""
    place = place.replace(".", "_").lower()
    if place in given or f"{place}_file" in given or any(name.startswith(f"{place}__") for name in given):
        return ENVIRONMENT
    table, _, rest = place.partition("__")
    while rest:
        if table in given and _has(given[table], rest):
            return ENVIRONMENT
        key, _, rest = rest.partition("__")
        table = f"{table}__{key}"
    return FILE if is_set else DEFAULT


def _has(text: str, place: str) -> bool:
    """Whether a table that a variable gives as JSON has a key."""
    try:
        table = json.loads(text)
    except ValueError:
        return False
    for key in place.split("__"):
        names = {str(name).lower().replace(".", "_"): value for name, value in table.items()} if table else {}
        if key not in names and f"{key}_file" not in names:
            return False
        table = names.get(key) if isinstance(names.get(key), dict) else None
    return True


def _is_derived(config: Config, table: str, key: str, value: object) -> bool:
    if table == "source":
        return key != "cloud" and values.CLOUDS.get(config.source.cloud, {}).get(key) == value
    return (table, key, value) == ("schema_registry", "url", "")


def _shown(key: str, value: object) -> Any:  # noqa: ANN401 - as JSON has it
    if value is None or value == "":
        return value
    if isinstance(value, SecretStr) or values.is_secret(key):
        return SECRET
    if isinstance(value, tuple | list | set | frozenset):
        return [_shown("", item) for item in value]
    if isinstance(value, dict):
        return {str(name): _shown(str(name), item) for name, item in value.items()}
    return str(value) if isinstance(value, Path) else value
