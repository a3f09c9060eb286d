"""Campaigns the slow, obvious way: every change is put into a pile, and each pile is counted by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

WHOLE_DEVICES: Final = {"NEW_DEVICE", "DEVICE_MISSING", "AGED_OUT", "APPROVED"}
FACTS_OF_DEVICES: Final = {"deviceName", "osPlatform", "rbacGroupId", "rbacGroupName"}
SAMPLED: Final = 10

Change = Mapping[str, Any]


def campaigns_of(
    changes: Iterable[Change], devices_min: int = 1, kinds: Collection[str] = ("ADDED", "REMOVED", "CHANGED")
) -> list[dict[str, Any]]:
    """The campaigns of the changes of one snapshot, or of some types of them, in no order that means anything."""
    piles: dict[str, list[Change]] = {}
    names: dict[str, set[str]] = {}
    for change in changes:
        names.setdefault(change["deviceId"], set()).update([change["deviceName"]] if change["deviceName"] else [])
        if change["changeType"] in kinds:
            piles.setdefault(repr(_about(change)), []).append(change)
    counted = [_count(pile, names) for pile in piles.values()]
    return [campaign for campaign in counted if campaign["devices"] >= devices_min]


def _about(change: Change) -> tuple[Any, ...]:
    kind, reason, fields = change["changeType"], change["reason"], tuple(change["changedFields"])
    product, version = (change["softwareVendor"], change["softwareName"]), change["softwareVersion"]
    if reason in WHOLE_DEVICES:
        return kind, reason
    if reason == "ATTRIBUTES_CHANGED":
        if FACTS_OF_DEVICES.issuperset(fields):
            return kind, reason, fields
        if fields == ("numberOfWeaknesses",):
            counts = (change["before"]["numberOfWeaknesses"], change["numberOfWeaknesses"])
            return kind, reason, product, version, fields, counts
        return kind, reason, product, version, fields
    if kind == "REMOVED":
        return kind, reason, product
    return kind, reason, product, version


def _count(pile: list[Change], names: Mapping[str, set[str]]) -> dict[str, Any]:
    first = pile[0]
    devices = {change["deviceId"] for change in pile}
    earlier = [change["before"] or {} for change in pile]
    moved = [
        before.get("softwareVersion") if before.get("softwareVersion") != change["softwareVersion"] else None
        for before, change in zip(earlier, pile, strict=True)
    ]
    of_devices = first["reason"] in WHOLE_DEVICES or (
        first["reason"] == "ATTRIBUTES_CHANGED" and FACTS_OF_DEVICES.issuperset(first["changedFields"])
    )
    left = [
        change["softwareVersion"] if change["changeType"] == "REMOVED" else old
        for change, old in zip(pile, moved, strict=True)
    ]
    sample = sorted(devices)[:SAMPLED]
    return {
        "changeType": first["changeType"],
        "reason": first["reason"],
        "devices": len(devices),
        "changes": len(pile),
        **{name: _same([change[name] for change in pile]) for name in (
            "softwareVendor", "softwareName", "softwareVersion", "numberOfWeaknesses", "endOfSupportStatus",
            "endOfSupportDate", "rbacGroupId", "rbacGroupName",
        )},
        "previousVersion": _same(moved),
        "versionsBefore": len({version for version in left if version is not None}) if not of_devices else 0,
        "changedFields": list(first["changedFields"]) if first["reason"] == "ATTRIBUTES_CHANGED" else [],
        "previousNumberOfWeaknesses": _same([before.get("numberOfWeaknesses") for before in earlier]),
        "isEndOfSupport": all(change["isEndOfSupport"] for change in pile),
        "deviceGroups": len({(change["rbacGroupId"], change["rbacGroupName"]) for change in pile}),
        "firstSequence": min(change["sequence"] for change in pile),
        "lastSequence": max(change["sequence"] for change in pile),
        "sampleEventId": min(pile, key=lambda change: change["sequence"])["eventId"],
        "sampleDeviceIds": sample,
        "sampleDeviceNames": [min(names[device], default="") for device in sample],
    }  # fmt: skip


def _same(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None
