"""Campaigns on lines of their own: what happened, and on how many devices; of one device, its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from connector.cli import output
from connector.cli.output import CHANGE_SIGNS, CHANGE_STYLES
from connector.redaction import escape
from connector.wording import counted, words

WEAKNESSES: Final = "numberOfWeaknesses"
FIELDS_SHOWN: Final = 2

Campaign = Mapping[str, Any]


def lines(campaigns: Sequence[Campaign]) -> Iterator[Text]:
    """A line for each campaign."""
    for campaign in campaigns:
        style = CHANGE_STYLES.get(campaign["changeType"], "")
        product, version = software(campaign)
        ended = "END OF SUPPORT  " if campaign["isEndOfSupport"] else ""
        yield Text.assemble(
            (sign(campaign) + " ", f"bold {style}"),
            (product, style),
            (f" {version}  " if version else "  ", "bold"),
            (ended, "bold magenta"),
            (f"{why(campaign)} on {devices(campaign)}", "dim"),
        )


def sign(campaign: Campaign) -> str:
    """The sign of its type of change."""
    return CHANGE_SIGNS.get(campaign["changeType"], "?")


def software(campaign: Campaign) -> tuple[str, str]:
    """Product and version, both versions, or how many of them there are; of whole devices, the number of records."""
    if campaign["softwareName"] is None:
        return counted(campaign["changes"], "record"), ""
    product = "/".join(escape(str(campaign[name] or "?")) for name in ("softwareVendor", "softwareName"))
    version, before = campaign["softwareVersion"], campaign["previousVersion"]
    several = f"{campaign['versionsBefore']:,} versions"
    if campaign["changeType"] == "CHANGED" and campaign["versionsBefore"]:
        return product, f"{several if before is None else escape(before)} → {escape(version or '')}"
    return product, several if version is None and campaign["versionsBefore"] else escape(version or "")


def why(campaign: Campaign) -> str:
    """The reason in lower case; of attributes, which they are, and of counts of weaknesses alone, both of them."""
    fields = campaign["changedFields"]
    if fields == [WEAKNESSES]:
        return f"weaknesses {_number(campaign['previousNumberOfWeaknesses'])} → {_number(campaign[WEAKNESSES])}"
    if fields:
        more = f" and {counted(len(fields) - FIELDS_SHOWN, 'more field')}" if len(fields) > FIELDS_SHOWN else ""
        return ", ".join(fields[:FIELDS_SHOWN]) + more
    return words(campaign["reason"])


def devices(campaign: Campaign) -> str:
    """How many devices, and their group where they are all in one; of one device, its name."""
    if campaign["devices"] == 1:
        (device,), (name,) = campaign["sampleDeviceIds"], campaign["sampleDeviceNames"]
        return output.device({"deviceId": device, "deviceName": name})
    group = campaign["rbacGroupName"] if campaign["deviceGroups"] == 1 else None
    return counted(campaign["devices"], "device") + (f" of group {escape(group)}" if group else "")


def _number(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"
