"""A made-up estate that evolves at random, and snapshots of it as part files in either flavour.

Every attribute is drawn from few values, each written in several ways that mean the same, so that most differences
between two snapshots are none.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from connector.exports.software import SOFTWARE
from connector.model import Inventory, Method, Part, Snapshot

Record = dict[str, Any]

START = datetime(2026, 11, 23, 8, tzinfo=UTC)

DEVICES = ("d-1", "d-2", "quote\"'\\", "new\nline\u2028", "nul\x00byte", "\u05d0 rtl \u202e", "😀", "a,b", "%s{x}", " ")
PRODUCTS = (
    ("a", "bc"),
    ("ab", "c"),
    ("", "abc"),
    (None, "abc"),
    ("abc", None),
    (None, None),
    ("a\x00", "b'c"),
    ("V", "😀"),
)
VERSIONS = ("1.0", "1.10", "1.9", "1.0~rc1", "2:0.1", "", None, "x" * 300, "1.0 ")
VALUES: dict[str, tuple[tuple[Any, ...], ...]] = {
    "deviceName": ((None, ""), ("pc-1.example.com",), ("PC-1.example.com",), ("ü\u0301 'x'\t",)),
    "osPlatform": ((None, ""), ("Windows11",), ("Linux",)),
    "numberOfWeaknesses": ((None,), (0,), (7,), (2**63 - 1,)),
    "diskPaths": (
        (None, [], [None]),
        (["C:\\a"], ["C:\\a", "C:\\a"]),
        (["C:\\a", "C:\\b"], ["C:\\b", "C:\\a"], ["C:\\b", None, "C:\\a", "C:\\b"]),
        (["C:\\b", "C:\\c"], ["C:\\c", "C:\\b"]),
        ([""],),
    ),
    "registryPaths": ((None, []), (["C:\\b"],), (["C:\\a"],), (["C:\\b", "C:\\c"], ["C:\\c", "C:\\b"])),
    "softwareFirstSeenTimestamp": (
        (None, ""),
        ("2020-12-30 11:07:15", "2020-12-30T11:07:15Z", "2020-12-30T12:07:15+01:00", "2020-12-30 11:07:15.000"),
        ("2020-12-30 11:07:15.1200000", "2020-12-30T11:07:15.12Z"),
        ("2020-12-31 24:00:00",),
        ("yesterday",),
    ),
    "endOfSupportStatus": (
        (None, ""),
        ("None",),
        ("EOS Version",),
        ("EOS Software",),
        ("Upcoming EOS Version",),
        ("Upcoming EOS Software",),
        (" eos  VERSION ",),
        ("EOS Someday",),
    ),
    "endOfSupportDate": (
        (None, ""),
        ("2020-12-30", "2020-12-30T00:00:00+00:00", "2020-12-30 00:00"),
        ("2021-05-11", "2021-05-11T02:00:00+02:00"),
        ("30/12/2020",),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("2026-11-25",),
        ("2026-12-25", "2026-12-25T00:00:00+00:00"),
        ("2027-02-20",),
    ),
}
GROUPS = ((1, "Servers"), (2, "Büro"), (-(2**63), None), (None, "Unassigned"), (None, None))


class Estate:
    """Records that change from snapshot to snapshot: `records` maps keys to the meaning of each attribute.

    A device is in one group, most of the time; a change of group concerns all its records.
    """

    def __init__(self, random: Random, *, devices: int = 6, per_device: int = 4) -> None:
        self.random = random
        self.records: dict[tuple[Any, ...], dict[str, int]] = {}
        self.groups: dict[str, int] = {}
        self.away: set[str] = set()
        for device in random.sample(DEVICES, devices):
            for _ in range(per_device):
                self._install(device)

    def evolve(self) -> None:
        """A few things happen to a few records and devices."""
        for _ in range(self.random.randint(0, 6)):
            self.random.choice((self._add, self._remove, self._change, self._change, self._upgrade, self._move))()

    def leave_or_return(self) -> None:
        """Some devices are not in the snapshot, or are back."""
        devices = sorted({key[0] for key in self.records})
        if self.random.random() < 0.5:
            self.away ^= set(self.random.sample(devices, self.random.randint(0, len(devices))))
        else:
            self.away = set()

    def lose_group(self) -> None:
        """All devices of a group are not in the snapshot."""
        group = self.random.choice(sorted(set(self.groups.values())))
        self.away |= {device for device, own in self.groups.items() if own == group}

    def lose_many(self) -> None:
        """Most records are gone at once."""
        for key in self.random.sample(sorted(self.records, key=repr), len(self.records) * 2 // 3):
            if len(self.records) > 1:
                del self.records[key]

    def lines(self) -> list[Record]:
        """The records that a snapshot has now, each written in one of its ways, in any order."""
        shown = [key for key in self.records if key[0] not in self.away]
        lines = [self.line(key) for key in shown]
        self.random.shuffle(lines)
        return lines

    def line(self, key: tuple[Any, ...]) -> Record:
        """One record as a line."""
        random = self.random
        group_id, group_name = GROUPS[self.groups[key[0]]]
        values = {name: random.choice(VALUES[name][meaning]) for name, meaning in self.records[key].items()}
        names = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
        line = dict(zip(names, key, strict=True)) | values | {"rbacGroupId": group_id, "rbacGroupName": group_name}
        for name in names[1:]:
            if not line[name]:
                line[name] = random.choice((None, ""))
        return line

    def twins(self) -> list[Record]:
        """Further lines for some records that the snapshot has: the same again, or with other values."""
        shown = sorted((key for key in self.records if key[0] not in self.away), key=repr)
        twins = []
        for key in self.random.sample(shown, min(len(shown), self.random.randint(1, 4))):
            kept = self.records[key]
            if self.random.random() < 0.5:
                self.records[key] = kept | self._meaning("numberOfWeaknesses") | self._meaning("diskPaths")
            twins += [self.line(key) for _ in range(self.random.randint(1, 2))]
            self.records[key] = kept
        return twins

    def _meaning(self, name: str) -> dict[str, int]:
        return {name: self.random.randrange(len(VALUES[name]))}

    def _install(self, device: str) -> None:
        vendor, name = self.random.choice(PRODUCTS)
        key = (device, vendor or "", name or "", self.random.choice(VERSIONS) or "")
        self.groups.setdefault(device, self.random.randrange(len(GROUPS)))
        self.records[key] = {name: self.random.randrange(len(VALUES[name])) for name in VALUES}

    def _add(self) -> None:
        self._install(self.random.choice(DEVICES))

    def _some(self) -> tuple[Any, ...]:
        return self.random.choice(sorted(self.records, key=repr))

    def _remove(self) -> None:
        if len(self.records) > 1:
            del self.records[self._some()]

    def _change(self) -> None:
        self.records[self._some()] |= self._meaning(self.random.choice(sorted(VALUES)))

    def _upgrade(self) -> None:
        key = self._some()
        self.records[*key[:3], self.random.choice(VERSIONS) or ""] = self.records.pop(key)

    def _move(self) -> None:
        self.groups[self._some()[0]] = self.random.randrange(len(GROUPS))


def write_snapshot(
    folder: Path, number: int, lines: Sequence[Record], random: Random, *, inventory: Inventory = Inventory.CPE
) -> Snapshot:
    """Write a snapshot in one of the two flavours, cut into parts of any size, each gzip or not."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = sorted(random.choices(range(len(lines) + 1), k=random.randint(0, 3)))
    bounds = [0, *cuts, len(lines)]
    flavour = random.choice(list(Method))
    parts = [
        write_part(folder / f"{number}-{place}.json", lines[begin:end], random, flavour=flavour)
        for place, (begin, end) in enumerate(pairwise(bounds))
    ]
    return snapshot_of(parts, number, method=flavour, inventory=inventory)


def snapshot_of(
    parts: Sequence[Part], number: int, *, method: Method = Method.FILES, inventory: Inventory = Inventory.CPE
) -> Snapshot:
    """The snapshot of generation `number`: six hours after the one before."""
    generated_at = START + timedelta(hours=6 * number)
    return Snapshot(
        inventory=inventory,
        method=method,
        snapshot_id=f"{inventory.label}-{generated_at:%Y%m%dT%H%M%SZ}",
        generated_at=generated_at,
        generation_known=True,
        parts=tuple(parts),
        content_digest=f"{number:064x}",
    )


def write_part(path: Path, lines: Sequence[Record], random: Random, *, flavour: Method = Method.FILES) -> Part:
    """Write lines in the way of a flavour: files leave null keys out now and then, pages never do."""
    spelled = {item.name: spelling(item.name, flavour) for item in SOFTWARE.fields}
    text = "".join(_line(record, spelled, random, flavour) for record in lines).encode()
    # The spellings are a sample: now and then a property is not in it.
    sampled = [name for name in spelled if name == "deviceId" or random.random() < 0.8]
    seen = {spelled[name].lower(): (spelled[name],) for name in sampled}
    if random.random() < 0.5:
        path = path.with_name(path.name + ".gz")
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return Part(path=path, name=path.name, lines=len(lines), size_bytes=len(text), spellings=seen)


def spelling(name: str, flavour: Method) -> str:
    """How a flavour spells a property: camelCase in pages, PascalCase in files."""
    if flavour is Method.JSON:
        return name
    return "OSPlatform" if name == "osPlatform" else name[0].upper() + name[1:]


def _line(record: Record, spelled: dict[str, str], random: Random, flavour: Method) -> str:
    items: list[tuple[str, Any]] = [(spelled[name], value) for name, value in record.items()]
    if flavour is Method.FILES:
        items = [(name, value) for name, value in items if value is not None or random.random() < 0.5]
        items.append(("Undocumented", {"a": [1, None]}))
    random.shuffle(items)
    blank = random.choice(("", "", "", "\n", "  \n"))
    return json.dumps(dict(items), ensure_ascii=random.random() < 0.5) + "\n" + blank
