"""Writes records: PascalCase lines of the files, camelCase records of the JSON pages, and their normal form.

Defines the spelling and form of every value on the wire. A line is assembled from the encoded values of its device, its
version and its arrival, each encoded once: writing a million records costs a million concatenations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connector.exports.fields import Field, Kind
from connector.exports.software import SOFTWARE
from connector.model import Inventory
from connector.simulator.fleet.fleet import Device, Fleet
from connector.simulator.fleet.tracks import RELEASES_APART, Track

_PASCAL: Final = {"osPlatform": "OSPlatform", "osVersion": "OSVersion", "osArchitecture": "OSArchitecture"}
_STAMPS_MAX: Final = 100_000
_USER: Final = "{user}"
_OFFSETS: Final = 64


def pascal(name: str) -> str:
    """A property's name as the files spell it."""
    return _PASCAL.get(name, name[0].upper() + name[1:])


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a product, encoded: the text before and after the record's first-seen timestamp."""

    before: bytes
    after: bytes
    per_user: bool


class RecordWriter:
    """Writes the records of one generation.

    Args:
        camel_case: use the form of the JSON pages (camelCase, nulls written) instead of that of the files (PascalCase,
            nulls omitted, undocumented columns, DeviceId and RbacGroupId last).
    """

    def __init__(self, fleet: Fleet, generation: int, inventory: Inventory, *, camel_case: bool) -> None:
        self._fleet = fleet
        self._generation = generation
        self._inventory = inventory
        self._camel_case = camel_case
        self._stamps = _Stamps(fleet)
        self._versions: dict[int, _Version] = {}

    def lines(self, device: Device) -> list[bytes]:
        """The device's records, one line each, without newlines."""
        head, tail = self._encode_device(device)
        user = device.user.encode()
        stamp = self._stamps.stamp
        versions = self._versions
        lines = []
        for track, release, arrived, offset in self._fleet.installs(device, self._generation, self._inventory):
            key = track.number * RELEASES_APART + release
            version = versions.get(key)
            if version is None:
                version = versions[key] = self._encode_version(track, release)
            before, after = version.before, version.after
            if version.per_user:
                before, after = before.replace(b"{user}", user), after.replace(b"{user}", user)
            lines.append(b"%b%b%b%b%b" % (head, before, stamp(arrived, offset), after, tail))
        return lines

    def _encode_device(self, device: Device) -> tuple[bytes, bytes]:
        if self._camel_case:
            names = {
                "deviceId": device.device_id,
                "rbacGroupId": device.group_id,
                "rbacGroupName": device.group_name,
                "deviceName": device.name,
                "osPlatform": device.platform,
            }
            return b"{" + _encode_items(names, camel_case=True) + b",", b"}"
        first = {"deviceName": device.name, "osPlatform": device.platform, "osArchitecture": "x64"}
        last = {"rbacGroupName": device.group_name, "deviceId": device.device_id, "rbacGroupId": device.group_id}
        head = b"{" + _encode_items(first, camel_case=False) + b","
        return head, b"," + _encode_items(last, camel_case=False) + b"}"

    def _encode_version(self, track: Track, release: int) -> _Version:
        values = version_values(track, release, self._generation, self._fleet, self._inventory)
        values = (_vary_for_pages if self._camel_case else _vary_for_files)(values, track.number)
        names = list(values)
        position = names.index(_FIRST_SEEN)
        before = {name: values[name] for name in names[:position]}
        after = {name: values[name] for name in names[position + 1 :]}
        camel_case = self._camel_case
        first_seen = _FIRST_SEEN if camel_case else pascal(_FIRST_SEEN)
        encoded = (
            _encode_items(before, camel_case=camel_case) + f',"{first_seen}":"'.encode(),
            b'",' + _encode_items(after, camel_case=camel_case),
        )
        return _Version(*encoded, per_user=any(_USER.encode() in text for text in encoded))


_FIRST_SEEN: Final = "softwareFirstSeenTimestamp"


def version_values(track: Track, release: int, generation: int, fleet: Fleet, inventory: Inventory) -> dict[str, Any]:
    """The values that are the same on every device with a version, by camelCase name, as in the JSON pages."""
    product = track.product
    version = track.branch.version(release)
    disk_paths = [path.replace("{v}", version) for path in product.disk_paths]
    registry_paths = [path.replace("{v}", version) for path in product.registry_paths]
    values: dict[str, Any] = {
        "softwareVendor": product.vendor,
        "softwareName": product.name,
        "softwareVersion": version,
    }
    generated_at = fleet.generated_at(generation)
    if inventory is Inventory.NON_CPE:
        return values | {
            "diskPaths": disk_paths,
            "registryPath": registry_paths[0] if registry_paths else None,
            _FIRST_SEEN: None,
            "softwareLastSeenTimestamp": _format_time(generated_at - timedelta(minutes=47)),
        }
    status, ends = track.branch.support(generated_at.date())
    return values | {
        "numberOfWeaknesses": track.weaknesses(release, generation),
        "diskPaths": disk_paths,
        "registryPaths": registry_paths,
        _FIRST_SEEN: None,
        "endOfSupportStatus": status,
        "endOfSupportDate": ends.isoformat() if ends else None,
    }


def normal_records(fleet: Fleet, generation: int, inventory: Inventory) -> Iterator[dict[str, Any]]:
    """Every record of a generation with the documented names, in the connector's normal form.

    Dates are `YYYY-MM-DD`, timestamps ISO 8601 with `Z`, arrays sorted and unique; absent values are null, and null key
    parts "". Independent of what is written and served.
    """
    stamps = _Stamps(fleet)
    for device in fleet.devices_at(generation):
        for track, release, arrived, offset in fleet.installs(device, generation, inventory):
            values = version_values(track, release, generation, fleet, inventory)
            paths = [values.pop("registryPath")] if "registryPath" in values else values.get("registryPaths")
            first_seen = stamps.stamp(arrived, offset).decode().replace(" ", "T") + "Z"
            record = values | {
                "deviceId": device.device_id,
                "deviceName": device.name,
                "osPlatform": device.platform,
                "rbacGroupId": device.group_id,
                "rbacGroupName": device.group_name,
                "diskPaths": _expand_paths(values["diskPaths"], device.user),
                "registryPaths": _expand_paths(paths, device.user),
                _FIRST_SEEN: first_seen,
            }
            yield {field.name: _normalise(record.get(field.name), field) for field in SOFTWARE.fields}


def _normalise(value: object, field: Field) -> object:
    if value is not None:
        return value
    if field.key:
        return ""
    return [] if field.kind is Kind.TEXT_SET else None


def _expand_paths(paths: list[str | None] | None, user: str) -> list[str]:
    return sorted({path.replace(_USER, user) for path in paths or () if path})


def _vary_for_pages(values: dict[str, Any], number: int) -> dict[str, Any]:
    """As in the pages: empty arrays are `[]` or null."""
    return {name: None if value == [] and number % 2 else value for name, value in values.items()}


def _vary_for_files(values: dict[str, Any], number: int) -> dict[str, Any]:
    """As in the files: empty arrays are `[]` or omitted, dates have a time, and there are undocumented columns."""
    written = dict(values)
    for name in ("diskPaths", "registryPaths"):
        if not values.get(name, True) and number % 2:
            written[name] = None
    if values.get("endOfSupportDate"):
        written["endOfSupportDate"] = f"{values['endOfSupportDate']}T00:00:00+00:00"
    vendor, name, version = values["softwareVendor"], values["softwareName"], values["softwareVersion"]
    return written | {"productCodeCpe": f"cpe:2.3:a:{vendor}:{name}:{version}:*:*:*:*:*:*:*", "isManaged": None}


def _encode_items(values: dict[str, Any], *, camel_case: bool) -> bytes:
    written = {
        name if camel_case else pascal(name): value
        for name, value in values.items()
        if camel_case or value is not None or name == _FIRST_SEEN
    }
    return json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]


def _format_time(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


class _Stamps:
    """First-seen timestamps as the API writes them, in a bounded cache: formatting one costs more than a record."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._cache: dict[int, bytes] = {}

    def stamp(self, arrived: int, offset: int) -> bytes:
        """The time of an arrival, within the interval that ends with its generation, at `offset` 0..63."""
        key = arrived * _OFFSETS + offset
        stamp = self._cache.get(key)
        if stamp is None:
            if len(self._cache) >= _STAMPS_MAX:
                self._cache.clear()
            seconds = int(self._fleet.interval.total_seconds())
            earlier = timedelta(seconds=1 + offset * 2503 % (seconds - 1))
            stamp = self._cache[key] = _format_time(self._fleet.generated_at(arrived) - earlier).encode()
        return stamp
