"""The software that a simulated fleet runs: products, their version branches, end-of-support dates and paths.

Reads the product tables in the folder `products`, where each line is a product. A line has five columns, separated by
` | `:

    vendor name | shares | options | branches | paths

shares:   how many of 100 devices of a kind have it, by the kind's letter: `w97 s60` (see `KINDS`).
options:  `c28` a new version every 28 days; `sbs` every branch is installed separately, side by side; `keep` the old
          version remains beside the new one for a while. The vendor `-` is null.
branches: separated by `;`, each `*weight versions @date` with the versions oldest first, separated by spaces; `@date`
          is the end of support of the branch, `!date` that of the whole product. After the listed versions the last
          number of the last one keeps growing, or the one in square brackets (`1:3.0.7-[27].el9`).
paths:    separated by `;`. Those that begin with `HK` are registry paths. Shorthands are in `SHORTHANDS`; `{v}` is the
          version, `{user}` the name of the device's user.

Sources: vendors' life-cycle pages for the dates, the API's published examples for the spelling of vendors and names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Final

KINDS: Final = "wsml"
"""Kinds of device: Windows client (w), Windows server (s), macOS (m), Linux (l)."""

SHORTHANDS: Final = {
    "PF86\\": "C:\\Program Files (x86)\\",
    "PF\\": "C:\\Program Files\\",
    "PD\\": "C:\\ProgramData\\",
    "SYS\\": "C:\\Windows\\System32\\",
    "WIN\\": "C:\\Windows\\",
    "LOCAL\\": "C:\\Users\\{user}\\AppData\\Local\\",
    "ROAMING\\": "C:\\Users\\{user}\\AppData\\Roaming\\",
    "HKUN\\": "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\",
    "HKUN32\\": "HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\",
    "HKUSER\\": "HKEY_USERS\\S-1-5-21-1085031214-1563985344-725345543-1001\\SOFTWARE\\Microsoft\\Windows"
    "\\CurrentVersion\\Uninstall\\",
    "APP/": "/Applications/",
    "LIB/": "/Library/Application Support/",
    "HOME/": "/Users/{user}/",
}

_LAST_NUMBER: Final = re.compile(r"(\d+)(?=\D*$)")
_MARKED_NUMBER: Final = re.compile(r"\[(\d+)\]")
_RELEASES_MAX: Final = 10**9


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of versions whose support ends together.

    Attributes:
        versions: real versions, oldest first; `version` continues them without end.
        end_of_support: the last day of support.
        whole_product: the date is that of the product, not of these versions only.
        weight: how often it is chosen among the product's branches.
    """

    versions: tuple[str, ...]
    end_of_support: date | None = None
    whole_product: bool = False
    weight: int = 1

    def version(self, release: int) -> str:
        """The version of a release, counted from 0; below 0 is the oldest."""
        listed = len(self.versions)
        if release < listed:
            return _strip_brackets(self.versions[max(0, release)])
        last = self.versions[-1]
        further = min(release - listed + 1, _RELEASES_MAX) * self._stride
        pattern = _MARKED_NUMBER if _MARKED_NUMBER.search(last) else _LAST_NUMBER
        return pattern.sub(lambda match: str(int(match.group(1)) + further), last, count=1)

    @property
    def _stride(self) -> int:
        """The step of the growing number: as between the last two versions, if only that number differs."""
        if len(self.versions) < 2:  # noqa: PLR2004 - two versions make a difference
            return 1
        before, last = self.versions[-2:]
        pattern = _MARKED_NUMBER if _MARKED_NUMBER.search(last) else _LAST_NUMBER
        numbers = pattern.search(before), pattern.search(last)
        if None in numbers or pattern.sub("", before, count=1) != pattern.sub("", last, count=1):
            return 1
        earlier, later = (int(match.group(1)) for match in numbers if match)
        return max(1, later - earlier)

    def support(self, today: date) -> tuple[str, date | None]:
        """End-of-support status and date as the API reports them on a day; no date while the end is far off."""
        if self.end_of_support is None or (self.end_of_support - today).days > UPCOMING_DAYS:
            return "None", None
        upcoming = "Upcoming " if today < self.end_of_support else ""
        return f"{upcoming}EOS {'Software' if self.whole_product else 'Version'}", self.end_of_support


UPCOMING_DAYS: Final = 180
"""An end of support this close is announced by an `Upcoming …` status."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product, with the columns that the module's docstring describes."""

    vendor: str | None
    name: str
    shares: Mapping[str, int]
    cadence_days: int
    side_by_side: bool
    keeps_old: bool
    branches: tuple[Branch, ...]
    disk_paths: tuple[str, ...]
    registry_paths: tuple[str, ...]

    @property
    def key(self) -> str:
        """Vendor and name, used in seeds."""
        return f"{self.vendor}/{self.name}"


@cache
def read_products(table: str) -> tuple[Product, ...]:
    """Read a table of the folder `products`, in its order.

    Raises:
        ValueError: a line does not have the form that the module's docstring describes.
    """
    text = resources.files(__package__).joinpath("products", f"{table}.txt").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return tuple(read_product(line) for line in lines if line and not line.startswith("#"))


def read_product(line: str) -> Product:
    """Read one line of a table.

    Raises:
        ValueError: it does not have the form that the module's docstring describes.
    """
    columns = [column.strip() for column in f"{line} ".split(" | ")]
    if len(columns) != 5:  # noqa: PLR2004 - the module's docstring names the five columns
        raise ValueError(f"not five columns: {line}")
    vendor_and_name, shares, options, branches, paths = columns
    vendor, _, name = vendor_and_name.partition(" ")
    words = options.split()
    expanded = [_expand(path.strip()) for path in paths.split(";") if path.strip()]
    return Product(
        vendor=None if vendor == "-" else vendor,
        name=name,
        shares={word[0]: int(word[1:]) for word in shares.split()},
        cadence_days=next((int(word[1:]) for word in words if re.fullmatch(r"c\d+", word)), 60),
        side_by_side="sbs" in words,
        keeps_old="keep" in words,
        branches=tuple(_read_branch(text) for text in branches.split(";")),
        disk_paths=tuple(path for path in expanded if not path.startswith("HK")),
        registry_paths=tuple(path for path in expanded if path.startswith("HK")),
    )


def _read_branch(text: str) -> Branch:
    words = text.split()
    marked = [word for word in words if word[0] in "@!"]
    return Branch(
        versions=tuple(word for word in words if word[0] not in "@!*"),
        end_of_support=date.fromisoformat(marked[0][1:]) if marked else None,
        whole_product=bool(marked) and marked[0][0] == "!",
        weight=next((int(word[1:]) for word in words if word[0] == "*"), 1),
    )


def _expand(path: str) -> str:
    for shorthand, full in SHORTHANDS.items():
        if path.startswith(shorthand):
            return full + path.removeprefix(shorthand)
    return path


def _strip_brackets(version: str) -> str:
    return version.replace("[", "").replace("]", "")
