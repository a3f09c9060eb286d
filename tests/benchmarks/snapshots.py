"""Writes large made-up snapshots as the export has them: files of PascalCase lines, or camelCase records for pages.

A line has some 580 bytes, nine times as many as it takes in a gzip part. Deterministic from its numbers, fast enough
for a hundred million records, and of bounded memory: a process holds a few devices and the texts of their products.

How far a fleet has come is one number: how many of the hundred records of each device were touched since the first
snapshot. So two snapshots whose numbers are one apart differ in one record in a hundred. Of the records that are
touched, two in five have another number of weaknesses, and one in five each is replaced by another product, upgraded,
or gone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

from isal import igzip

from connector.model import Inventory, Method, Part, Snapshot

SOFTWARE_PER_DEVICE: Final = 100
PRODUCTS: Final = 4_000
OUT_OF_SUPPORT_FROM: Final = 4
"""From this one on, a status has a date."""
STATUSES: Final = ("None", "None", "None", "None", "EOS Version", "Upcoming EOS Version", "EOS Software")
PLATFORMS: Final = ("Windows10", "Windows11", "WindowsServer2022", "Linux", "macOS")
BUILDS: Final = 3
"""Of each product, as many versions are in use."""
PART_RECORDS_MAX: Final = 250_000
PARTS_MIN: Final = 8
BLOCK_DEVICES: Final = 10
PROCESSES: Final = 2
GZIP_LEVEL: Final = 2
"""Of isal. What it makes is as small as the parts that the service writes."""
MOVED: Final = (0, 1)
REPLACED: Final = 2
UPGRADED: Final = 3
GONE: Final = 4
"""What becomes of a touched record, by the device's number modulo 5. MOVED: its number of weaknesses did."""
REGISTRY: Final = "HKEY_LOCAL_MACHINE\\\\SOFTWARE\\\\"
STAMPS: Final = tuple(
    f"2026-{1 + number % 12:02}-{1 + number % 28:02} {number % 24:02}:{number * 7 % 60:02}:{number * 11 % 60:02}"
    for number in range(5_003)
)
"""Times when something was first seen."""
NAMES: Final = (
    "DeviceName", "OSPlatform", "SoftwareVendor", "SoftwareName", "SoftwareVersion", "NumberOfWeaknesses", "DiskPaths",
    "RegistryPaths", "SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate", "OsArchitecture",
    "RbacGroupName", "DeviceId", "RbacGroupId",
)  # fmt: skip
"""The properties of a line, in its order; one of them is not documented."""
FIRST_GENERATION: Final = datetime(2026, 11, 23, 8, tzinfo=UTC)
APART: Final = timedelta(hours=6)

Block = tuple[int, int, int]
"""Offset, size and number of lines of a part's separately compressed block."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large: records, and the parts they are spread over."""

    records: int
    parts: int

    @classmethod
    def of(cls, records: int) -> Size:
        """A size with as many parts as the service would make of it, or so."""
        return cls(records, max(PARTS_MIN, records // PART_RECORDS_MAX))

    @property
    def devices(self) -> int:
        """Devices, each with the same number of records."""
        return self.records // SOFTWARE_PER_DEVICE

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """The first device of each part, and the first after it."""
        edges = [self.devices * part // self.parts for part in range(self.parts + 1)]
        return list(pairwise(edges))


@dataclass(frozen=True, slots=True)
class Written:
    """A part that was written; blocks only of pages."""

    path: Path
    lines: int
    size_bytes: int
    blocks: tuple[Block, ...] = ()


def write_snapshot(folder: Path, size: Size, touched: int) -> Snapshot:
    """Write the files of a snapshot; two processes write side by side."""
    spellings = {name.lower(): (name,) for name in NAMES}
    generated_at = FIRST_GENERATION + APART * touched
    return Snapshot(
        inventory=Inventory.CPE,
        method=Method.FILES,
        snapshot_id=f"cpe-{generated_at:%Y%m%dT%H%M%SZ}",
        generated_at=generated_at,
        generation_known=True,
        parts=tuple(
            Part(written.path, written.path.name, written.lines, written.size_bytes, spellings)
            for written in write_parts(folder, size, touched)
        ),
        content_digest=f"{touched:064}",
    )


def write_parts(folder: Path, size: Size, touched: int, *, pages: bool = False) -> list[Written]:
    """Write the parts of a snapshot, as files or for pages; two processes write side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part-{number:05}{'.blocks' if pages else '.json.gz'}" for number in range(size.parts)]
    write = _write_blocks if pages else _write_file
    with ProcessPoolExecutor(PROCESSES) as pool:
        firsts, lasts = zip(*size.bounds, strict=True)
        return list(pool.map(write, paths, firsts, lasts, [touched] * size.parts, range(size.parts)))


def _write_file(path: Path, first: int, last: int, touched: int, group: int) -> Written:
    """One gzip member of lines."""
    lines = size_bytes = 0
    with igzip.open(path, "wb", compresslevel=GZIP_LEVEL) as file:  # type: ignore[no-untyped-call]  # isal has no types
        for text in _texts(first, last, touched, group, file_line):
            lines += text.count(b"\n")
            size_bytes += len(text)
            file.write(text)
    return Written(path, lines, size_bytes)


def _write_blocks(path: Path, first: int, last: int, touched: int, group: int) -> Written:
    """Separately compressed blocks, without the line break after the last line of each."""
    lines = size_bytes = offset = 0
    blocks: list[Block] = []
    with path.open("wb") as file:
        for text in _texts(first, last, touched, group, page_line):
            block = zlib.compress(text[:-1], 1)
            blocks.append((offset, len(block), text.count(b"\n")))
            file.write(block)
            lines, size_bytes, offset = lines + blocks[-1][2], size_bytes + len(text), offset + len(block)
    return Written(path, lines, size_bytes, tuple(blocks))


LineOf = Callable[[str, "Product", str, str], str]
"""Makes a line of what its device begins with, its product, when it was first seen, and what its device ends with."""


def _texts(first: int, last: int, touched: int, group: int, line: LineOf) -> Iterator[bytes]:
    """The lines of some devices, `BLOCK_DEVICES` at a time, each with its line break."""
    for begin in range(first, last, BLOCK_DEVICES):
        devices = range(begin, min(begin + BLOCK_DEVICES, last))
        yield "".join(text for device in devices for text in device_lines(device, touched, group, line)).encode()


def device_lines(device: int, touched: int, group: int, line: LineOf) -> Iterator[str]:
    """The lines of a device."""
    random = Random(device)
    device_id, build = f"{random.getrandbits(160):040x}", device % BUILDS
    pascal = line is file_line
    head = _values(pascal, DeviceName=f"lt-{device:07}.corp.example", OSPlatform=PLATFORMS[device % len(PLATFORMS)])
    tail = _values(pascal, RbacGroupName=f"Group {group:03}", DeviceId=device_id)
    tail += f',"{"RbacGroupId" if pascal else "rbacGroupId"}":{group}'
    # A step concerns one record of a device, and each record one step of a hundred.
    steps = {(device * 37 + number * 11) % SOFTWARE_PER_DEVICE: number for number in range(1, touched + 1)}
    for slot, number in enumerate(random.sample(range(PRODUCTS), SOFTWARE_PER_DEVICE)):
        step = steps.get(slot, 0)
        kind = device % 5 if step else -1
        if kind == GONE:
            continue
        product = product_of(
            number + PRODUCTS * (kind == REPLACED), build, step if kind in MOVED else 0, is_upgraded=kind == UPGRADED
        )
        yield line(head, product, STAMPS[(device * 31 + slot * 977) % len(STAMPS)], tail)


@dataclass(frozen=True, slots=True)
class Product:
    """The texts of a version of a product: before the time it was first seen, and after it."""

    pascal: tuple[str, str]
    camel: tuple[str, str]


@lru_cache(maxsize=30_000)
def product_of(number: int, build: int, more: int, *, is_upgraded: bool) -> Product:
    """A version of a product.

    Args:
        number: of the product.
        build: of its versions.
        more: weaknesses that it has more.
        is_upgraded: whether it is the next version.
    """
    version = f"{number % 23}.{number % 7}.{1000 + build}{'.9' if is_upgraded else ''}"
    vendor, name, title = f"vendor_{number % 400:03}", f"product_{number:05}", f"Product {number:05}"
    folder = f"C:\\\\Program Files\\\\Vendor {number % 400:03}\\\\{title}"
    paths = [f"{folder}\\\\{version}\\\\bin\\\\product.exe"]
    if number % 4 == 0:
        paths.append(f"{folder}\\\\shared\\\\updater.exe")
    code = f"{Random(number).getrandbits(88):022x}"
    weaknesses = number * 7 % 60 + more
    date = f"2027-{1 + number % 12:02}-01" if number % 7 >= OUT_OF_SUPPORT_FROM else None
    quoted = '","'.join(paths)

    def halves(*, pascal: bool) -> tuple[str, str]:
        disk, registry, many = ("DiskPaths", "RegistryPaths", "NumberOfWeaknesses") if pascal else (
            "diskPaths", "registryPaths", "numberOfWeaknesses"
        )  # fmt: skip
        before = (
            f"{_values(pascal, SoftwareVendor=vendor, SoftwareName=name, SoftwareVersion=version)},"
            f'"{many}":{weaknesses},"{disk}":["{quoted}"],"{registry}":["{REGISTRY}{{{code}}}"]'
        )
        after = _values(pascal, EndOfSupportStatus=STATUSES[number % 7])
        if pascal:
            after += f',"EndOfSupportDate":"{date}T00:00:00+00:00"' if date else ""
        else:
            after += f',"endOfSupportDate":"{date}"' if date else ',"endOfSupportDate":null'
        return before, after + "," + _values(pascal, OsArchitecture="x64")

    return Product(halves(pascal=True), halves(pascal=False))


def file_line(head: str, product: Product, first_seen: str, tail: str) -> str:
    """A line of the files, with its line break."""
    before, after = product.pascal
    return f'{{{head},{before},"SoftwareFirstSeenTimestamp":"{first_seen}",{after},{tail}}}\n'


def page_line(head: str, product: Product, first_seen: str, tail: str) -> str:
    """A record of the pages, with a line break."""
    before, after = product.camel
    return f'{{{head},{before},"softwareFirstSeenTimestamp":"{first_seen}",{after},{tail}}}\n'


def _values(pascal: bool, **texts: str) -> str:
    """Properties that are texts, of what is not to be escaped."""
    return ",".join(f'"{name if pascal else _camel(name)}":"{text}"' for name, text in texts.items())


def _camel(name: str) -> str:
    return "osPlatform" if name == "OSPlatform" else name[0].lower() + name[1:]


def gzip_bytes(parts: Sequence[Part] | Sequence[Written]) -> int:
    """Bytes on disk of some parts."""
    return sum(part.path.stat().st_size for part in parts)
