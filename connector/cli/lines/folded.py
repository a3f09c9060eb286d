"""Changes that are weakness counts alone, folded into one line for each product version.

A batch of CVEs changes the count of a version on every device that has it: for people that is one piece of news.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.text import Text

from connector.redaction import escape
from connector.wording import counted

WEAKNESSES: Final = "numberOfWeaknesses"
SUBJECT: Final = ("softwareVendor", "softwareName", "softwareVersion")

_Change = Mapping[str, Any]
_Key = tuple[str, str, str, int | None, int | None]


class Folded:
    """Counts on how many devices a product version went from one number of weaknesses to another."""

    def __init__(self) -> None:
        self._devices: Counter[_Key] = Counter()

    def __len__(self) -> int:
        return self._devices.total()

    def take(self, change: _Change) -> bool:
        """Count a change that is a weakness count alone. Returns whether it is one."""
        if not is_count_alone(change):
            return False
        vendor, name, version = (str(change[part] or "?") for part in SUBJECT)
        self._devices[vendor, name, version, change["before"][WEAKNESSES], change[WEAKNESSES]] += 1
        return True

    def groups(self) -> Iterator[tuple[str, str, str, int]]:
        """Vendor/product, version, the two counts in words, and the number of devices; the widest first."""
        for (vendor, name, version, before, after), devices in sorted(
            self._devices.items(), key=lambda item: (-item[1], item[0][:3], str(item[0][3:]))
        ):
            yield f"{vendor}/{name}", version, f"weaknesses {_number(before)} → {_number(after)}", devices

    def lines(self, limit: int | None = None) -> Iterator[Text]:
        """A line for each group, or for the widest; what is left out is counted in one more."""
        groups = list(self.groups())
        for product, version, step, devices in groups[:limit]:
            yield Text.assemble(
                ("~ ", "bold yellow"),
                (escape(product), "yellow"),
                " ",
                (escape(version), "bold"),
                (f"  {step} on {counted(devices, 'device')}", "dim"),
            )
        rest = groups[len(groups) if limit is None else limit :]
        if rest:
            changes = counted(sum(devices for *_, devices in rest), "more change")
            yield Text(f"  and {changes} of weakness counts alone", style="dim")


def is_count_alone(change: _Change) -> bool:
    """Whether nothing changed but the number of weaknesses."""
    return change.get("changeType") == "CHANGED" and list(change.get("changedFields") or ()) == [WEAKNESSES]


def fold(changes: Iterable[_Change]) -> Iterator[_Change | tuple[_Change, Folded]]:
    """Changes in their order; at the end of each snapshot those that are counts alone, with one change of it."""
    folded, last = Folded(), None
    for change in changes:
        if last is not None and change["snapshotId"] != last["snapshotId"]:
            if len(folded):
                yield last, folded
            folded = Folded()
        if not folded.take(change):
            yield change
        last = change
    if last is not None and len(folded):
        yield last, folded


def _number(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"
