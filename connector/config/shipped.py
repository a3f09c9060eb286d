"""Files that come with the connector: the example of a configuration, and the systemd unit.

They are in the folder `deploy/`: beside the package in a checkout, inside it in a wheel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from connector.errors import ConfigError

EXAMPLE: Final = "connector.example.toml"
UNIT: Final = "mde-inventory.service"

_TABLE: Final = re.compile(r"\[([\w.]+)\]")
_KEY: Final = re.compile(r'(?:# )?(\w+|"[\w.]+") = ')
_FIRST_LINE: Final = (
    "# mde-inventory-connector, written by `mde-inventory init`: every key, with its default or what was chosen."
)


def read(name: str) -> str:
    """One of the files.

    Raises:
        ConfigError: the installation lacks it.
    """
    inside = files("connector") / "deploy"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "deploy"
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read: {error}", hint="The installation is damaged: install it again."
        ) from error


def fill_in(example: str, tables: Mapping[str, Mapping[str, object]]) -> str:
    """The example with these values in place of its own, by table and key; what it says of them to CHANGE is gone."""
    lines: list[str] = []
    missing = {(table, key) for table, keys in tables.items() for key in keys}
    table = ""
    for line in example.splitlines():
        if named := _TABLE.fullmatch(line):
            table = named[1]
        key = _KEY.match(line)
        name = key[1].strip('"') if key else ""
        if key and (table, name) in missing:
            missing.remove((table, name))
            _take_back_change(lines)
            lines.append(f"{key[1]} = {json.dumps(tables[table][name], ensure_ascii=False)}")
        else:
            lines.append(line)
    if missing:
        raise ConfigError(f"the example has no {', '.join('.'.join(each) for each in sorted(missing))}")
    return "\n".join([_FIRST_LINE, *lines[1:]]) + "\n"


def _take_back_change(lines: list[str]) -> None:
    """Remove CHANGE from the comment at the end of the lines."""
    for number in range(len(lines) - 1, -1, -1):
        if not lines[number].startswith("# "):
            return
        if lines[number].endswith(" CHANGE"):
            lines[number] = lines[number].removesuffix("CHANGE").rstrip()
            if lines[number] == "#":
                del lines[number]
            return
