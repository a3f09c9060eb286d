"""Writes large made-up snapshots as the file export does: PascalCase records of some 700 bytes in gzip parts.

Deterministic from its numbers, fast enough for tens of millions of records, and of bounded memory. A generation and the
next differ in one record in a hundred: of these, two in five have another number of weaknesses, and one in five each is
replaced by another product, upgraded, or gone. Up to a hundred generations.
"""

# ruff: noqa: E501 - a record's line is easier to read whole

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from isal import igzip

from connector.model import Inventory, Method, Part, Snapshot

SOFTWARE_PER_DEVICE: Final = 100
PRODUCTS: Final = 4_000
STATUSES: Final = ("None", "None", "None", "None", "EOS Version", "Upcoming EOS Version", "EOS Software")
PLATFORMS: Final = ("Windows10", "Windows11", "WindowsServer2022", "Linux", "macOS")
MOVED: Final = (0, 1)
REPLACED: Final = 2
UPGRADED: Final = 3
GONE: Final = 4
"""What becomes of a touched record, by the device's number modulo 5. MOVED: its number of weaknesses did."""
REGISTRY: Final = "HKEY_LOCAL_MACHINE\\\\SOFTWARE\\\\Microsoft\\\\Windows\\\\CurrentVersion\\\\Uninstall\\\\"
NAMES: Final = (
    "DiskPaths", "DeviceName", "OSPlatform", "RbacGroupName", "SoftwareVendor", "SoftwareName", "SoftwareVersion",
    "NumberOfWeaknesses", "RegistryPaths", "SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate",
    "DeviceId", "RbacGroupId", "Undocumented",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """How large: records, and the parts they are spread over."""

    records: int
    parts: int

    @property
    def devices(self) -> int:
        """Devices, each with the same number of records."""
        return self.records // SOFTWARE_PER_DEVICE


def write_snapshot(folder: Path, size: Size, generation: int) -> Snapshot:
    """Write the parts of one generation; two processes write side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [size.devices * part // size.parts for part in range(size.parts + 1)]
    paths = [folder / f"part-{number:05}.json.gz" for number in range(size.parts)]
    with ProcessPoolExecutor(2) as pool:
        parts = tuple(pool.map(_write_part, paths, bounds, bounds[1:], [generation] * size.parts, range(size.parts)))
    generated_at = datetime(2026, 11, 23, 8, tzinfo=UTC) + timedelta(hours=6 * generation)
    return Snapshot(
        inventory=Inventory.CPE,
        method=Method.FILES,
        snapshot_id=f"cpe-{generated_at:%Y%m%dT%H%M%SZ}",
        generated_at=generated_at,
        generation_known=True,
        parts=parts,
        content_digest=f"{generation:064}",
    )


def _write_part(path: Path, first: int, last: int, generation: int, group: int) -> Part:
    lines = size_bytes = 0
    with igzip.open(path, "wb", compresslevel=1) as file:  # type: ignore[no-untyped-call]  # isal has no types here
        for device in range(first, last):
            block = "".join(_device_lines(device, generation, group)).encode()
            lines += block.count(b"\n")
            size_bytes += len(block)
            file.write(block)
    spellings = {name.lower(): (name,) for name in NAMES}
    return Part(path=path, name=path.name, lines=lines, size_bytes=size_bytes, spellings=spellings)


def _device_lines(device: int, generation: int, group: int) -> Iterator[str]:
    random = Random(device)
    device_id = f"{random.getrandbits(160):040x}"
    head = (
        f'"DeviceName":"workstation-{device:07}.corp.example.com","OSPlatform":"{PLATFORMS[device % len(PLATFORMS)]}",'
        f'"RbacGroupName":"Group {group:03}",'
    )
    tail = f'"DeviceId":"{device_id}","RbacGroupId":{group},"Undocumented":"{random.getrandbits(128):032x}"}}\n'
    # Each generation concerns one record of a device, and each record one generation of a hundred.
    touched = {(device * 37 + number * 11) % SOFTWARE_PER_DEVICE: number for number in range(1, generation + 1)}
    for slot, product in enumerate(random.sample(range(PRODUCTS), SOFTWARE_PER_DEVICE)):
        since = touched.get(slot, 0)
        kind = device % 5 if since else -1
        if kind != GONE:
            yield _line(device, slot, product + PRODUCTS * (kind == REPLACED), since if kind in MOVED else 0,
                        ".9" if kind == UPGRADED else "", head, tail)  # fmt: skip


def _line(device: int, slot: int, product: int, more: int, suffix: str, head: str, tail: str) -> str:
    version = f"{product % 23}.{product % 7}.{1000 + device % 3}{suffix}"
    folder = f"Vendor {product % 400:03}\\\\Product {product:05}"
    second = (
        f',"C:\\\\Users\\\\user{device:07}\\\\AppData\\\\Local\\\\{folder}\\\\product.exe"' if slot % 4 == 0 else ""
    )
    date = f'"EndOfSupportDate":"2027-{1 + product % 12:02}-01T00:00:00+00:00",' if product % 7 > 3 else ""
    return (
        f'{{"DiskPaths":["C:\\\\Program Files\\\\{folder}\\\\{version}\\\\bin\\\\product.exe"{second}],{head}'
        f'"SoftwareVendor":"vendor_{product % 400:03}","SoftwareName":"product_{product:05}",'
        f'"SoftwareVersion":"{version}","NumberOfWeaknesses":{product * 7 % 60 + more},'
        f'"RegistryPaths":["{REGISTRY}Product {product:05}"],'
        f'"SoftwareFirstSeenTimestamp":"2026-{1 + slot % 12:02}-{1 + device % 28:02} 11:{slot % 60:02}:{device % 60:02}",'
        f'"EndOfSupportStatus":"{STATUSES[product % 7]}",{date}{tail}'
    )
